// Search, and the table of all processes, which is made a page at a time.

{
  const { processes, count, label, make, seconds } = rtrace;
  const PAGE = 100;
  const FOUND = 50;

  const haystack = [];
  function textOf(process) {
    if (haystack[process] === undefined) {
      const { command, role, file, cgroup, id, container } = processes;
      const words = [label(process), rtrace.data.containers[container[process]] ?? ""];
      words.push(...[command, role, file, cgroup, id].map((column) => column[process]));
      haystack[process] = words.join("\n").toLowerCase();
    }
    return haystack[process];
  }

  function find(words) {
    const wanted = words.toLowerCase().split(/\s+/).filter(Boolean);
    const found = [];
    for (let process = 0; wanted.length && process < count; process++) {
      if (wanted.every((word) => textOf(process).includes(word))) {
        found.push(process);
      }
    }
    return found;
  }

  function search() {
    const input = document.getElementById("search");
    const list = document.getElementById("found");
    const said = document.getElementById("found-count");
    const found = find(input.value);
    list.replaceChildren();
    for (const process of found.slice(0, FOUND)) {
      const button = make("button", { type: "button" }, label(process));
      const words = processes.command[process] || processes.role[process];
      button.append(make("span", { className: "soft" }, ` ${words}`));
      button.addEventListener("click", () => rtrace.picture.showLife(process));
      list.append(make("li", {}, button));
    }
    const more = found.length > FOUND ? `, the first ${FOUND} are listed` : "";
    const plural = found.length === 1 ? "process" : "processes";
    said.textContent = input.value.trim() ? `${found.length} ${plural}${more}` : "";
    list.hidden = found.length === 0;
    return found;
  }

  // --- all processes ---------------------------------------------------------------------------

  let first = 0;

  function row(process) {
    const time = (ns) => (ns === null ? "" : seconds(ns));
    const show = make("button", { type: "button", className: "link" }, label(process));
    show.addEventListener("click", () => rtrace.picture.showLife(process));
    const life = rtrace.life(process);
    return make(
      "tr",
      {},
      make("th", { scope: "row" }, show),
      make("td", {}, processes.role[process]),
      make("td", {}, rtrace.data.containers[processes.container[process]] ?? ""),
      make("td", { className: "time" }, life.older ? "before" : time(life.begin)),
      make("td", { className: "time" }, time(processes.exit[process])),
      make("td", {}, rtrace.ending(process)),
      make("td", {}, make("code", {}, processes.command[process])),
    );
  }

  function fill() {
    const body = document.querySelector("#process-table tbody");
    const last = Math.min(first + PAGE, count);
    body.replaceChildren(...Array.from({ length: last - first }, (_, i) => row(first + i)));
    document.getElementById("process-range").textContent = `${first + 1} to ${last} of ${count}`;
    document.getElementById("process-before").disabled = first === 0;
    document.getElementById("process-after").disabled = last === count;
  }

  function turn(pages) {
    first = Math.min(Math.max(0, first + pages * PAGE), Math.max(0, count - 1));
    fill();
  }

  Object.assign(rtrace, { tables: { search, fill, turn } });
}
