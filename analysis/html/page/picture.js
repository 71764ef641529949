// The picture: an ECharts chart of custom series, its window in time and lanes, and its selection.

{
  const { data, processes, shapes } = rtrace;
  const LANE = 24; // pixels, to begin with
  const MOST = 160; // lanes that are shown at once; more would be lower than three pixels
  const LEAST = 2000; // ns that are shown at once
  const LABELS = 236;
  const INSET = { top: 34, bottom: 44 };
  const EDGES = INSET.top + INSET.bottom + 2;
  const FIRST = -0.02 * data.duration; // what is older than the capture begins there
  const LAST = data.duration * 1.01;

  const element = document.getElementById("chart");
  const chart = echarts.init(element, null, { renderer: "canvas" });
  const listeners = { select: [], step: [], scope: [], window: [], draw: [] };
  const scopes = rtrace.scopes();
  const state = { scope: null, rows: [], rowOf: new Map(), selected: -1, time: [0, 1], lanes: [0, 1] };
  rtrace.currentStep = 0;

  const tell = (event, value) => listeners[event].forEach((listener) => listener(value));
  const room = () => element.clientHeight - EDGES + 2;
  const laneHeight = () => room() / (state.lanes[1] - state.lanes[0] + 1);

  // --- what is drawn ---------------------------------------------------------------------------

  function bars() {
    const items = [];
    state.rowOf.forEach((row, process) => {
      const life = rtrace.life(process);
      const flags = (life.older ? 1 : 0) + (life.ended || life.unseen ? 0 : 2) + (life.unseen ? 4 : 0);
      const begin = life.older ? FIRST : life.begin;
      const end = life.ended || life.unseen ? life.end : data.duration;
      items.push([begin, Math.max(begin, end), row, process, life.zombieUntil ?? -1, flags]);
    });
    return items;
  }

  function links() {
    const { rowOf } = state;
    const items = [];
    const add = (ts, from, to, kind, dashed, what) => {
      if (rowOf.has(from) && rowOf.has(to) && from !== to) {
        items.push([ts, rowOf.get(from), rowOf.get(to), kind, dashed ? 1 : 0, to, what]);
      }
    };
    rowOf.forEach((_, process) => {
      if (processes.fork[process] !== null) {
        add(processes.fork[process], processes.starter[process], process, 0, false, -1);
      }
    });
    data.reparents.forEach(([ts, child, , to, , certainty], number) =>
      add(ts, to, child, 1, certainty !== "confirmed", number),
    );
    data.kills.forEach(([ts, target, sender, , kind], number) =>
      add(ts, sender, target, 2, kind !== "process", number),
    );
    data.signals.forEach(([ts, target, sender], number) => add(ts, sender, target, 3, true, number));
    return items;
  }

  function marks() {
    const { rowOf } = state;
    const items = [];
    rowOf.forEach((row, process) => {
      processes.execs[process].forEach((ts) => items.push([ts, row, 0, process, -1]));
      const exit = processes.exit[process];
      if (exit !== null && processes.signal[process] !== null) {
        items.push([exit, row, 1, process, -1]);
      } else if (exit !== null && processes.status[process]) {
        items.push([exit, row, 2, process, -1]);
      }
    });
    data.reparents.forEach(([ts, child], number) => {
      if (rowOf.has(child)) {
        items.push([ts, rowOf.get(child), 3, child, number]);
      }
    });
    data.signals.forEach(([ts, target], number) => {
      if (rowOf.has(target)) {
        items.push([ts, rowOf.get(target), 4, target, number]);
      }
    });
    return items;
  }

  function steps() {
    const { story } = state.scope;
    const items = [];
    (story ? story.steps : []).forEach((step, i) => {
      const process = step.processes.find((candidate) => state.rowOf.has(candidate));
      if (process !== undefined) {
        items.push([step.ts, state.rowOf.get(process), i + 1]);
      }
    });
    rtrace.steps = items;
    return items;
  }

  function series(id, renderItem, x, y, items, more = {}) {
    const encode = { x, y };
    return { id, name: id, type: "custom", renderItem, encode, data: items, clip: true, ...more };
  }

  function allSeries() {
    const heads = [];
    state.rows.forEach((row, i) => row.process < 0 && heads.push([FIRST, LAST, i]));
    const last = state.rows.length - 1;
    const lost = data.losses.map(([from, to], i) => [from, to, 0, last, i]);
    if (!data.complete) {
      lost.push([data.duration, LAST, 0, last, -1]);
    }
    const moments = data.marks.map(([ts], i) => [ts, 0, last, i]);
    const quiet = { silent: true, tooltip: { show: false } };
    return [
      series("heads", shapes.band, [0, 1], 2, heads, quiet),
      series("picked", shapes.picked, [0, 1], 2, picked(), { ...quiet, z: 1 }),
      series("losses", shapes.loss, [0, 1], [2, 3], lost),
      series("moments", shapes.moment, 0, [1, 2], moments),
      series("bars", shapes.bar, [0, 1, 4], 2, bars(), { z: 3 }),
      series("links", shapes.link, 0, [1, 2], links(), { z: 4 }),
      series("marks", shapes.mark, 0, 1, marks(), { z: 5 }),
      series("steps", shapes.step, 0, 1, steps(), { z: 6, clip: false }),
    ];
  }

  function picked() {
    const row = state.rowOf.get(state.selected);
    return row === undefined ? [] : [[FIRST, LAST, row]];
  }

  // --- axes ------------------------------------------------------------------------------------

  function laneName(index) {
    const row = state.rows[index];
    if (row === undefined) {
      return "";
    }
    if (row.process < 0) {
      return `{head|${plain(data.groups[row.group].title)}}`;
    }
    const role = rtrace.roleGroup(processes.role[row.process]);
    const indent = "\u2003".repeat(row.depth);
    return `${indent}{${role}|■} ${plain(rtrace.label(row.process))}`;
  }

  // ECharts takes {style|text} for a style: what a process calls itself may not.
  const plain = (text) => text.replaceAll("{", "(").replaceAll("}", ")").replaceAll("|", "¦");

  function richStyles() {
    const rich = { head: { fontWeight: "bold", color: rtrace.colors.ink, fontSize: 12 } };
    for (const group of Object.keys(rtrace.roleTitles)) {
      rich[group] = { color: rtrace.colors[`role-${group}`], fontSize: 13 };
    }
    return rich;
  }

  function everySo(index) {
    const height = laneHeight();
    return height >= 12 || index % Math.ceil(12 / height) === 0;
  }

  function timeName(ns) {
    const tick = (state.time[1] - state.time[0]) / 8 / 1e9;
    return rtrace.seconds(ns, Math.min(9, Math.max(0, Math.ceil(-Math.log10(tick)))));
  }

  function zooms() {
    const { colors } = rtrace;
    const many = state.rows.length > Math.floor(element.clientHeight / LANE);
    const slider = {
      type: "slider",
      showDetail: false,
      showDataShadow: false,
      brushSelect: false,
      borderColor: colors.line,
      backgroundColor: "transparent",
      fillerColor: colors.band,
      handleStyle: { color: colors.page, borderColor: colors.soft },
      moveHandleStyle: { color: colors.soft },
    };
    const inside = { type: "inside", moveOnMouseMove: true, preventDefaultMouseMove: false };
    const windowOf = ([startValue, endValue], minValueSpan) => ({
      filterMode: "weakFilter",
      startValue,
      endValue,
      minValueSpan,
    });
    const time = { xAxisIndex: 0, ...windowOf(state.time, LEAST) };
    const lanes = { yAxisIndex: 0, ...windowOf(state.lanes, 2), maxValueSpan: MOST };
    return [
      { id: "time", ...inside, zoomOnMouseWheel: "ctrl", moveOnMouseWheel: false, ...time },
      { id: "lanes", ...inside, zoomOnMouseWheel: "alt", moveOnMouseWheel: "shift", ...lanes },
      { id: "timeSlider", ...slider, ...time, left: LABELS, right: 30, height: 16, bottom: 8 },
      { id: "laneSlider", ...slider, ...lanes, right: 4, width: 14, ...INSET, show: many },
    ];
  }

  function option() {
    const { colors } = rtrace;
    return {
      animation: false,
      aria: { enabled: false },
      textStyle: { fontFamily: "system-ui, sans-serif", color: colors.ink },
      grid: { left: LABELS, right: 30, ...INSET },
      tooltip: {
        trigger: "item",
        confine: true,
        className: "tip",
        padding: 0,
        borderWidth: 0,
        backgroundColor: "transparent",
        transitionDuration: 0,
        formatter: (params) => rtrace.tipOf(params.seriesId, params.value),
      },
      xAxis: {
        type: "value",
        min: FIRST,
        max: LAST,
        position: "top",
        splitNumber: 8,
        axisLabel: { color: colors.soft, formatter: timeName, hideOverlap: true, showMinLabel: false },
        axisLine: { lineStyle: { color: colors.line } },
        splitLine: { lineStyle: { color: colors.line } },
      },
      yAxis: {
        type: "category",
        inverse: true,
        triggerEvent: true,
        data: state.rows.map((_, i) => String(i)),
        axisTick: { show: false },
        axisLine: { lineStyle: { color: colors.line } },
        axisLabel: {
          align: "left",
          margin: LABELS - 6,
          width: LABELS - 14,
          overflow: "truncate",
          ellipsis: "…",
          color: colors.ink,
          interval: everySo,
          formatter: (value) => laneName(Number(value)),
          rich: richStyles(),
        },
      },
      dataZoom: zooms(),
      series: allSeries(),
    };
  }

  function draw() {
    rtrace.readLook();
    chart.setOption(option(), { notMerge: true });
    tell("window", state);
    tell("draw", state);
  }

  // --- the window ------------------------------------------------------------------------------

  function bounded([from, to], first, last, least) {
    const size = Math.min(Math.max(to - from, least), last - first);
    const begin = Math.min(Math.max((from + to - size) / 2, first), last - size);
    return [begin, begin + size];
  }

  function show(time, lanes) {
    state.time = bounded(time, FIRST, LAST, LEAST);
    const least = Math.min(3, state.rows.length) - 1;
    const last = Math.max(state.rows.length - 1, 0);
    let [top, bottom] = bounded(lanes, 0, last, least).map(Math.round);
    bottom = Math.min(bottom, top + MOST);
    top = Math.max(0, top);
    state.lanes = [top, bottom];
    chart.dispatchAction({
      type: "dataZoom",
      batch: [
        { dataZoomId: "time", startValue: state.time[0], endValue: state.time[1] },
        { dataZoomId: "lanes", startValue: top, endValue: bottom },
      ],
    });
  }

  chart.on("datazoom", (event) => {
    for (const part of event.batch ?? [event]) {
      const ofTime = part.dataZoomId.startsWith("time");
      const [first, last] = ofTime ? [FIRST, LAST] : [0, state.rows.length - 1];
      const value = (percent) => first + ((last - first) * percent) / 100;
      const range = part.startValue === undefined
        ? [value(part.start), value(part.end)]
        : [part.startValue, part.endValue];
      state[ofTime ? "time" : "lanes"] = range;
    }
    tell("window", state);
  });

  function zoomTime(factor, around = 0.5) {
    const [from, to] = state.time;
    const center = from + (to - from) * around;
    show([center - (center - from) * factor, center + (to - center) * factor], state.lanes);
  }

  function zoomLanes(factor) {
    const [from, to] = state.lanes;
    const center = (from + to) / 2;
    show(state.time, [center - ((to - from) / 2) * factor, center + ((to - from) / 2) * factor]);
  }

  function pan(times, lanes) {
    const width = state.time[1] - state.time[0];
    const [from, to] = state.lanes;
    show(state.time.map((ns) => ns + width * times), [from + lanes, to + lanes]);
  }

  // --- scope, selection, steps -----------------------------------------------------------------

  function fit() {
    const most = Math.max(300, Math.min(window.innerHeight * 0.74, 900));
    const height = Math.min(most, state.rows.length * LANE + EDGES);
    element.style.height = `${Math.max(height, 200)}px`;
    chart.resize();
  }

  function wholeTime() {
    const { story } = state.scope;
    const times = story ? story.steps.filter((step) => !step.followed).map((step) => step.ts) : [];
    if (times.length < 2) {
      return [FIRST, LAST];
    }
    const [from, to] = [Math.min(...times), Math.max(...times)];
    const pad = Math.max((to - from) * 0.3, 200000);
    return [from - pad, to + pad];
  }

  function wholeLanes() {
    const fitting = Math.max(3, Math.floor(room() / LANE));
    return [0, Math.max(0, Math.min(state.rows.length, fitting) - 1)];
  }

  function setScope(number) {
    state.scope = scopes[number];
    Object.assign(state, rtrace.rowsOf(state.scope));
    rtrace.currentStep = 0;
    fit();
    state.time = bounded(wholeTime(), FIRST, LAST, LEAST);
    state.lanes = wholeLanes();
    draw();
    tell("scope", number);
  }

  function reset() {
    show(wholeTime(), wholeLanes());
  }

  function select(process) {
    state.selected = process;
    chart.setOption({ series: [{ id: "picked", data: picked() }] });
    tell("select", process);
  }

  function bringLanes(rows) {
    const [from, to] = state.lanes;
    const [top, bottom] = [Math.min(...rows), Math.max(...rows)];
    if (top >= from && bottom <= to) {
      return state.lanes;
    }
    const size = to - from;
    const center = bottom - top <= size ? (top + bottom) / 2 : rows[0];
    return [center - size / 2, center + size / 2];
  }

  // Show a moment, and those whom it is about.
  function jump(ts, people) {
    if (people.length > 0 && !people.some((process) => state.rowOf.has(process))) {
      setScope(0);
    }
    const rows = people.filter((p) => state.rowOf.has(p)).map((p) => state.rowOf.get(p));
    let [from, to] = state.time;
    if (to - from > 0.5e9 && to - from > data.duration / 5) {
      [from, to] = [ts - 1e8, ts + 1e8];
    }
    const margin = (to - from) * 0.08;
    if (ts < from + margin || ts > to - margin) {
      [from, to] = [ts - (to - from) / 2, ts + (to - from) / 2];
    }
    show([from, to], rows.length ? bringLanes(rows) : state.lanes);
    select(people.find((process) => state.rowOf.has(process)) ?? -1);
  }

  function showLife(process) {
    if (!state.rowOf.has(process)) {
      setScope(0);
    }
    const life = rtrace.life(process);
    const until = Math.max(life.end, life.zombieUntil ?? 0);
    const pad = Math.max((until - life.begin) * 0.15, 50000);
    show([life.begin - pad, until + pad], bringLanes([state.rowOf.get(process)]));
    select(process);
  }

  function goToStep(number) {
    const { story } = state.scope;
    const step = story?.steps[number - 1];
    if (step) {
      rtrace.currentStep = number;
      chart.setOption({ series: [{ id: "steps", data: steps() }] });
      jump(step.ts, step.processes);
      tell("step", number);
    }
  }

  chart.on("click", (event) => {
    if (event.componentType === "yAxis") {
      const row = state.rows[Number(event.value)];
      select(row && row.process >= 0 ? row.process : -1);
    } else if (event.seriesId === "steps") {
      goToStep(event.value[2]);
    } else if (event.seriesId === "bars" || event.seriesId === "marks") {
      select(event.value[3]);
    } else if (event.seriesId === "links") {
      select(event.value[5]);
    }
  });

  function resize() {
    if (state.scope) {
      fit();
      draw();
    }
  }

  const moves = { jump, showLife, goToStep, zoomTime, zoomLanes, pan, reset, show };
  Object.assign(rtrace, {
    chart,
    picture: { element, state, scopes, listeners, draw, resize, setScope, select, ...moves },
  });
}
