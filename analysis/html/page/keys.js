// The picture without a mouse: keys that work while it has the focus.

{
  const { picture } = rtrace;

  // Lanes up and down; a heading is skipped.
  function moveSelection(by) {
    const { rows, rowOf, selected, lanes } = picture.state;
    let row = rowOf.has(selected) ? rowOf.get(selected) + by : Math.ceil(lanes[0]);
    while (rows[row] && rows[row].process < 0) {
      row += by || 1;
    }
    if (!rows[row]) {
      return;
    }
    picture.select(rows[row].process);
    const size = lanes[1] - lanes[0];
    if (row < lanes[0] || row > lanes[1]) {
      picture.show(picture.state.time, [row - size / 2, row + size / 2]);
    }
  }

  // What happened to the selected process, in order; what others did to it, too.
  function moments(process) {
    const { data, processes } = rtrace;
    const times = [processes.fork[process], processes.exit[process], processes.reap[process]];
    times.push(...processes.execs[process]);
    times.push(...data.reparents.filter((r) => r[1] === process).map((r) => r[0]));
    times.push(...data.kills.filter((kill) => kill[2] === process).map((kill) => kill[0]));
    times.push(...data.signals.filter((signal) => signal[1] === process).map((s) => s[0]));
    return [...new Set(times.filter((ts) => ts !== null))].toSorted((a, b) => a - b);
  }

  function nextMoment(by) {
    const { selected, time } = picture.state;
    if (selected < 0) {
      return;
    }
    const center = (time[0] + time[1]) / 2;
    const all = moments(selected);
    const near = (time[1] - time[0]) / 1000;
    const next = by > 0 ? all.find((ts) => ts > center + near) : all.findLast((ts) => ts < center - near);
    if (next !== undefined) {
      const half = (time[1] - time[0]) / 2;
      picture.show([next - half, next + half], picture.state.lanes);
    }
  }

  const step = (by) => {
    const { story } = picture.state.scope;
    if (story) {
      const next = Math.min(Math.max(1, rtrace.currentStep + by), story.steps.length);
      picture.goToStep(next);
    }
  };

  const KEYS = {
    ArrowUp: () => moveSelection(-1),
    ArrowDown: () => moveSelection(1),
    ArrowLeft: () => picture.pan(-0.2, 0),
    ArrowRight: () => picture.pan(0.2, 0),
    PageUp: () => picture.pan(0, -10),
    PageDown: () => picture.pan(0, 10),
    "+": () => picture.zoomTime(0.5),
    "=": () => picture.zoomTime(0.5),
    "-": () => picture.zoomTime(2),
    ">": () => picture.zoomLanes(0.67),
    "<": () => picture.zoomLanes(1.5),
    0: () => picture.reset(),
    Home: () => picture.reset(),
    Enter: () => picture.state.selected >= 0 && picture.showLife(picture.state.selected),
    "[": () => nextMoment(-1),
    "]": () => nextMoment(1),
    p: () => step(-1),
    n: () => step(1),
    Escape: () => picture.select(-1),
  };

  picture.element.addEventListener("keydown", (event) => {
    const act = KEYS[event.key];
    if (act && !event.ctrlKey && !event.metaKey && !event.altKey) {
      event.preventDefault();
      act();
    }
  });

  rtrace.step = step;
}
