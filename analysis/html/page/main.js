// What belongs together: buttons, selections, themes, print.

{
  const { picture, panel, tables } = rtrace;
  const byId = (id) => document.getElementById(id);
  const scopeBox = byId("scope");

  picture.scopes.forEach((scope, number) => {
    scopeBox.append(rtrace.make("option", { value: String(number) }, scope.title));
  });

  picture.listeners.scope.push((number) => {
    scopeBox.value = String(number);
    const shown = picture.state.rowOf.size;
    const all = rtrace.count;
    const missing = rtrace.data.leftOut;
    const rest = missing ? `; ${missing} more, that nothing refers to, are left out` : "";
    const some = shown === all ? `all ${all} processes` : `${shown} of ${all} processes`;
    byId("scope-size").textContent = some + rest;
    panel.story(number);
    byId("step-buttons").hidden = picture.state.scope.story === null;
  });
  picture.listeners.select.push((process) => {
    panel.details(process);
    byId("said").textContent =
      process < 0 ? "" : `${rtrace.label(process)}, ${rtrace.processes.role[process]}, ${rtrace.ending(process)}`;
  });
  picture.listeners.step.push((number) => {
    panel.markStep(number);
    byId("said").textContent = picture.state.scope.story.steps[number - 1].text;
  });
  picture.listeners.window.push(({ time: [from, to] }) => {
    byId("window").textContent = `${rtrace.seconds(from)} to ${rtrace.seconds(to)} s (${rtrace.span(to - from)})`;
  });

  // --- controls --------------------------------------------------------------------------------

  const ACTIONS = {
    "zoom-in": () => picture.zoomTime(0.5),
    "zoom-out": () => picture.zoomTime(2),
    "zoom-all": () => picture.reset(),
    everything: () => picture.setScope(0),
    "step-before": () => rtrace.step(-1),
    "step-after": () => rtrace.step(1),
    "process-before": () => tables.turn(-1),
    "process-after": () => tables.turn(1),
  };
  for (const [id, act] of Object.entries(ACTIONS)) {
    byId(id).addEventListener("click", act);
  }
  scopeBox.addEventListener("change", () => picture.setScope(Number(scopeBox.value)));
  byId("search").addEventListener("input", tables.search);
  byId("search").addEventListener("keydown", (event) => {
    const [found] = event.key === "Enter" ? tables.search() : [];
    if (found !== undefined) {
      picture.showLife(found);
    }
  });

  // Buttons of tables and findings: where they belong in the picture.
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-ts], [data-story]");
    if (!button) {
      return;
    }
    if (button.dataset.story !== undefined) {
      picture.setScope(1 + Number(button.dataset.story));
      picture.goToStep(1);
    } else {
      const ids = button.dataset.processes.split(" ").filter(Boolean);
      const people = ids.map((id) => rtrace.processes.id.indexOf(id)).filter((p) => p >= 0);
      picture.jump(Number(button.dataset.ts), people);
    }
    byId("picture").scrollIntoView({ behavior: calm.matches ? "auto" : "smooth" });
    picture.element.focus({ preventScroll: true });
  });

  // --- looks -----------------------------------------------------------------------------------

  const calm = matchMedia("(prefers-reduced-motion: reduce)");
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const theme = byId("theme");

  function setTheme(name) {
    document.documentElement.dataset.theme = name;
    theme.setAttribute("aria-pressed", String(name === "dark"));
    picture.draw();
  }
  theme.addEventListener("click", () =>
    setTheme(document.documentElement.dataset.theme === "dark" ? "light" : "dark"),
  );
  dark.addEventListener("change", () => setTheme(dark.matches ? "dark" : "light"));

  // On paper it is light, and as wide as the paper.
  let before = null;
  addEventListener("beforeprint", () => {
    before = document.documentElement.dataset.theme;
    document.documentElement.dataset.theme = "light";
    picture.element.style.width = "680px";
    picture.resize();
  });
  addEventListener("afterprint", () => {
    picture.element.style.width = "";
    document.documentElement.dataset.theme = before;
    picture.resize();
  });

  let waiting = 0;
  let width = picture.element.clientWidth;
  new ResizeObserver(() => {
    if (picture.element.clientWidth !== width) {
      width = picture.element.clientWidth;
      clearTimeout(waiting);
      waiting = setTimeout(picture.resize, 100);
    }
  }).observe(picture.element);

  // --- begin -----------------------------------------------------------------------------------

  document.documentElement.classList.add("alive");
  document.documentElement.dataset.theme = dark.matches ? "dark" : "light";
  theme.setAttribute("aria-pressed", String(dark.matches));
  picture.setScope(rtrace.data.stories[0]?.grave ? 1 : 0);
  panel.details(-1);
  tables.fill();
}
