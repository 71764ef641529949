// Words beside the picture: what hovers, what is selected, and the story that is being told.
// Text gets into the page by textContent alone.

{
  const { data, processes, label, seconds, utc, span } = rtrace;

  function make(tag, properties = {}, ...content) {
    const made = Object.assign(document.createElement(tag), properties);
    made.append(...content);
    return made;
  }

  const moment = (ns) => `${seconds(ns)} s, ${utc(ns)} UTC`;

  function link(process) {
    if (process < 0) {
      return document.createTextNode("not known");
    }
    const button = make("button", { type: "button", className: "link" }, label(process));
    button.addEventListener("click", () => rtrace.picture.showLife(process));
    return button;
  }

  function where(process) {
    const container = processes.container[process];
    return container < 0 ? "" : `, ${data.containers[container]}`;
  }

  // --- what hovers -----------------------------------------------------------------------------

  const REASONS = { subreaper: "nearest subreaper", init: "init of the pid namespace" };

  function adoptionWords([ts, child, old, parent, reason, certainty]) {
    const rule = REASONS[reason] ?? "rule not known";
    return [
      `${label(parent)} adopted ${label(child)}`,
      `from ${label(old)}: ${rule}, ${certainty}`,
      moment(ts),
    ];
  }

  function linkWords([ts, , , kind, , process, number]) {
    if (kind === 0) {
      return [`${label(processes.starter[process])} forked ${label(process)}`, moment(ts)];
    }
    if (kind === 1) {
      return adoptionWords(data.reparents[number]);
    }
    if (kind === 3) {
      return [data.signals[number][3], moment(ts)];
    }
    const [, target, sender, name, how] = data.kills[number];
    const ways = {
      process: `${label(sender)} sent ${name} to ${label(target)}`,
      "parent-death": `${name} to ${label(target)}, as its parent ended`,
      "pid-namespace-end": `${name} to ${label(target)}, as its pid namespace ended`,
    };
    return [ways[how] ?? `${name} to ${label(target)}, made by the kernel`, moment(ts)];
  }

  function markWords([ts, , kind, process, number]) {
    if (kind === 0) {
      return [`${label(process)} executed`, processes.command[process], moment(ts)];
    }
    if (kind === 3) {
      return adoptionWords(data.reparents[number]);
    }
    if (kind === 4) {
      return [data.signals[number][3], moment(ts)];
    }
    return [`${label(process)}: ${rtrace.ending(process)}`, moment(ts)];
  }

  function barWords(process) {
    const life = rtrace.life(process);
    const words = [
      `${label(process)}`,
      `${processes.role[process]}${where(process)}`,
      processes.command[process],
      life.older ? "older than the capture" : `born ${moment(life.begin)}`,
    ];
    words.push(life.ended ? `${rtrace.ending(process)}, ${moment(life.end)}` : rtrace.ending(process));
    if (life.zombieUntil > life.end) {
      const still = processes.reap[process] === null ? "and nobody has waited for it" : "then reaped";
      words.push(`a zombie for ${span(life.zombieUntil - life.end)}, ${still}`);
    }
    return words;
  }

  function lossWords([, , , , number]) {
    if (number < 0) {
      return ["The capture was cut: what came later is not known"];
    }
    const [from, to, cpu, events, rest] = data.losses[number];
    const what = `${events} events and ${rest} details of cpu ${cpu} were lost`;
    return [what, `${seconds(from)} to ${seconds(to)} s`, "What happened then may be missing here"];
  }

  function tipOf(series, value) {
    const words = {
      bars: () => barWords(value[3]),
      links: () => linkWords(value),
      marks: () => markWords(value),
      losses: () => lossWords(value),
      moments: () => [data.marks[value[3]][1], moment(value[0])],
      steps: () => {
        const step = rtrace.picture.state.scope.story.steps[value[2] - 1];
        return [`${value[2]}. ${step.text}`, moment(step.ts)];
      },
    }[series];
    const lines = words ? words().filter(Boolean) : [];
    return make("div", { className: "tip-text" }, ...lines.map((line) => make("p", {}, line)));
  }

  // --- what is selected ------------------------------------------------------------------------

  function field(list, name, ...content) {
    list.append(make("dt", {}, name), make("dd", {}, ...content));
  }

  function parentsOf(list, process) {
    const only = [[processes.starter[process], null, "fork", "confirmed"]];
    // From one thread of a parent to another, it stays the same process.
    const spans = (processes.parents[process] ?? only).filter((own) => own[2] !== "thread");
    spans.forEach(([parent, from, how, certainty], i) => {
      const sure = certainty === "confirmed" ? "" : ` [${certainty}]`;
      const since = i > 0 && from !== null ? `, ${seconds(from)} s, ${how}` : "";
      field(list, i === 0 ? "parent" : "then", link(parent), `${since}${sure}`);
    });
  }

  function details(process) {
    const box = document.getElementById("details");
    box.replaceChildren();
    if (process < 0) {
      box.append(make("p", { className: "soft" }, "Choose a bar, or search, to see more."));
      return;
    }
    const life = rtrace.life(process);
    const list = make("dl");
    field(list, "role", `${processes.role[process]}${where(process)}`);
    if (processes.command[process]) {
      field(list, "command", make("code", {}, processes.command[process]));
    }
    if (life.older) {
      field(list, "born", processes.stub[process] ? "outside of the filter" : "before the capture");
    } else {
      field(list, "born", moment(life.begin), " by ", link(processes.starter[process]));
    }
    parentsOf(list, process);
    const kill = rtrace.killOf.get(process);
    const ended = life.ended ? `, ${moment(life.end)}` : "";
    field(list, "end", `${rtrace.ending(process)}${ended}`);
    if (kill && kill[2] >= 0) {
      field(list, kill[4] === "process" ? "killed by" : "with", link(kill[2]));
    }
    if (life.zombieUntil > life.end) {
      const more = processes.reap[process] === null ? ", never waited for" : "";
      field(list, "zombie", `${span(life.zombieUntil - life.end)}${more}`);
    } else if (life.ended && processes.reap[process] === null) {
      const released = processes.zombie[process] === 0;
      field(list, "reaped", released ? "by the end; when was not seen" : "not known");
    }
    const born = rtrace.children[process];
    if (born.length) {
      const some = born.slice(0, 12).flatMap((child) => [link(child), " "]);
      field(list, "forked", ...some, born.length > 12 ? `and ${born.length - 12} more` : "");
    }
    if (processes.cgroup[process]) {
      field(list, "cgroup", make("code", {}, processes.cgroup[process]));
    }
    if (processes.nsPid[process] && processes.nsPid[process] !== processes.tgid[process]) {
      field(list, "inside", `pid ${processes.nsPid[process]} in its pid namespace`);
    }
    field(list, "ask", make("code", {}, `rtrace why CAPTURE ${processes.id[process]}`));
    const zoom = make("button", { type: "button" }, "Zoom to its life");
    zoom.addEventListener("click", () => rtrace.picture.showLife(process));
    box.append(make("h3", {}, label(process)), list, zoom);
  }

  // --- the story -------------------------------------------------------------------------------

  function story(number) {
    const box = document.getElementById("story");
    const told = rtrace.picture.scopes[number].story;
    box.replaceChildren();
    box.hidden = told === null;
    if (told === null) {
      return;
    }
    const list = make("ol");
    let parted = false;
    told.steps.forEach((step, i) => {
      if (step.followed && !parted) {
        parted = true;
        list.append(make("li", { className: "part" }, "What followed"));
      }
      const sure = step.certainty === "confirmed" ? "" : ` [${step.certainty}]`;
      const button = make("button", { type: "button", className: "step" });
      button.append(
        make("span", { className: "number" }, String(i + 1)),
        make("span", { className: "when" }, `${seconds(step.ts)} s  ${utc(step.ts)}`),
        make("span", {}, `${step.text}${sure}`),
      );
      button.addEventListener("click", () => rtrace.picture.goToStep(i + 1));
      list.append(make("li", {}, button));
    });
    box.append(make("h3", {}, told.title), list);
  }

  function markStep(number) {
    const buttons = document.querySelectorAll("#story .step");
    buttons.forEach((button, i) => {
      if (i + 1 === number) {
        button.setAttribute("aria-current", "step");
        button.scrollIntoView({ block: "nearest" });
      } else {
        button.removeAttribute("aria-current");
      }
    });
  }

  Object.assign(rtrace, { make, tipOf, panel: { details, story, markStep } });
}
