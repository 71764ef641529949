// How ECharts' custom series draw each kind of thing: shapes of one datum, in pixels.

{
  const SMALL = 5; // lanes lower than this many pixels show bars alone

  const lane = (api) => Math.abs(api.size([0, 1])[1]);

  function clip(params, x0, x1) {
    const { x, width } = params.coordSys;
    return [Math.max(x0, x - 2), Math.min(x1, x + width + 2)];
  }

  function inside(params, x) {
    return x >= params.coordSys.x - 1 && x <= params.coordSys.x + params.coordSys.width + 1;
  }

  // [begin, end, row]: a band across the picture, of a heading or of what is chosen.
  function band(params, api) {
    const [, y] = api.coord([0, api.value(2)]);
    const height = lane(api);
    const { x, width } = params.coordSys;
    const shape = { x, y: y - height / 2, width, height };
    return { type: "rect", silent: true, shape, style: { fill: rtrace.colors.band } };
  }

  function picked(params, api) {
    return { ...band(params, api), style: { fill: rtrace.colors.pick, opacity: 0.2 } };
  }

  // [begin, end, row, process, zombie until, flags]; flags: 1 older, 2 still there, 4 unseen end
  function bar(params, api) {
    const row = api.value(2);
    const flags = api.value(5);
    const [x0, y] = api.coord([api.value(0), row]);
    const [x1] = api.coord([api.value(1), row]);
    const height = Math.max(1, lane(api) * 0.62);
    const [left, right] = clip(params, x0, Math.max(x1, x0 + 1.5));
    const color = rtrace.roleColor(rtrace.processes.role[api.value(3)]);
    const group = { type: "group", children: [] };
    const top = y - height / 2;
    if (right > left) {
      const style = { fill: color };
      if (flags & 4) {
        Object.assign(style, { opacity: 0.55, stroke: color, lineDash: [4, 3], lineWidth: 1 });
      }
      const shape = { x: left, y: top, width: right - left, height, r: height > 6 ? 2 : 0 };
      group.children.push({ type: "rect", shape, style });
    }
    const zombie = api.value(4);
    if (zombie > api.value(1)) {
      const [z0, z1] = clip(params, x1, api.coord([zombie, row])[0]);
      if (z1 - z0 > 0.5) {
        const shape = { x: z0, y: top, width: z1 - z0, height };
        const style = { fill: rtrace.colors.zombie, stroke: rtrace.colors.soft, lineWidth: 0.5 };
        group.children.push({ type: "rect", shape, style });
      }
    }
    return group.children.length ? group : null;
  }

  function wordOf(kind, number) {
    return kind === 1 ? "adopted" : kind === 2 ? rtrace.data.kills[number][3] : "";
  }

  // [time, row from, row to, kind, dashed, process, what]; kind: 0 fork, 1 adoption, 2 fatal signal, 3 signal
  function link(params, api) {
    const size = lane(api);
    const [x, y0] = api.coord([api.value(0), api.value(1)]);
    const [, y1] = api.coord([api.value(0), api.value(2)]);
    const kind = api.value(3);
    if (size < SMALL || !inside(params, x)) {
      return null;
    }
    const { colors } = rtrace;
    const color = [colors.fork, colors.adopt, colors.kill, colors.kill][kind];
    const down = y1 > y0 ? 1 : -1;
    const tip = y1 - (down * size) / 4;
    const width = kind === 0 ? 1 : 1.8;
    const arrow = Math.min(6, size / 2.5);
    const dash = api.value(4) ? [4, 3] : null;
    const z2 = 10 + kind;
    const word = kind === 0 || size < 14 ? "" : wordOf(kind, api.value(6));
    return {
      type: "group",
      children: [
        {
          type: "text",
          z2: 25,
          x: x + (Math.abs(y1 - y0) < size * 1.5 ? 12 : 5),
          y: y0 + down * size * 0.72,
          style: {
            text: word,
            fill: color,
            font: "bold 11px system-ui, sans-serif",
            verticalAlign: "middle",
            stroke: colors.page,
            lineWidth: 3,
          },
        },
        {
          type: "line",
          z2,
          shape: { x1: x, y1: y0, x2: x, y2: tip },
          style: { stroke: color, lineWidth: width, lineDash: dash, fill: "none" },
        },
        {
          type: "polygon",
          z2,
          shape: {
            points: [
              [x, tip],
              [x - arrow * 0.7, tip - down * arrow],
              [x + arrow * 0.7, tip - down * arrow],
            ],
          },
          style: { fill: color },
        },
        {
          type: "circle",
          z2,
          shape: { cx: x, cy: y0, r: kind === 0 ? 1.5 : 3 },
          style: { fill: color },
        },
      ],
    };
  }

  // [time, row, kind, what]; kind: 0 exec, 1 killed, 2 failed, 3 adopted, 4 signal without effect
  function mark(params, api) {
    const size = lane(api);
    const [x, y] = api.coord([api.value(0), api.value(1)]);
    if (size < SMALL || !inside(params, x)) {
      return null;
    }
    const { colors } = rtrace;
    const r = Math.min(5.5, size * 0.3);
    const z2 = 20;
    const kind = api.value(2);
    if (kind === 0) {
      const shape = { x1: x, y1: y - r, x2: x, y2: y + r };
      const style = { stroke: colors.page, lineWidth: 2, shadowBlur: 1, shadowColor: colors.ink };
      return { type: "line", z2, shape, style };
    }
    if (kind === 1) {
      const cross = [
        { x1: x - r, y1: y - r, x2: x + r, y2: y + r },
        { x1: x - r, y1: y + r, x2: x + r, y2: y - r },
      ];
      const halo = { stroke: colors.page, lineWidth: 5.5, lineCap: "round" };
      const ink = { stroke: colors.kill, lineWidth: 2.6, lineCap: "round" };
      return {
        type: "group",
        children: [halo, ink].flatMap((style) =>
          cross.map((shape) => ({ type: "line", z2, shape, style })),
        ),
      };
    }
    const points = [
      [x, y - r],
      [x + r, y],
      [x, y + r],
      [x - r, y],
    ];
    const fill = [null, null, colors.kill, colors.adopt, colors.page][kind];
    const stroke = kind === 4 ? colors.kill : colors.page;
    return { type: "polygon", z2, shape: { points }, style: { fill, stroke, lineWidth: 1 } };
  }

  // [time, row, number]: a step of a story, with its number, beside the one before.
  function step(params, api) {
    const row = api.value(1);
    const [x, y] = api.coord([api.value(0), row]);
    if (!inside(params, x)) {
      return null;
    }
    const current = rtrace.currentStep === api.value(2);
    const { colors } = rtrace;
    // Not in the order in which they are drawn: what was in the window before is drawn first.
    const places = rtrace.steps
      .filter(([, itsRow, number]) => itsRow === row && number <= api.value(2))
      .map(([ts]) => api.coord([ts, row])[0])
      .filter((place) => inside(params, place));
    const cx = places.reduce((last, place) => Math.max(place, last + 18), -Infinity);
    const cy = y - lane(api) * 0.42;
    return {
      type: "group",
      children: [
        {
          type: "line",
          z2: 29,
          shape: { x1: x, y1: y, x2: cx, y2: cy },
          style: { stroke: colors.ink, lineWidth: 1, opacity: 0.6 },
        },
        {
          type: "circle",
          z2: 30,
          shape: { cx, cy, r: 8.5 },
          style: {
            fill: current ? colors.pick : colors.ink,
            stroke: colors.page,
            lineWidth: 1.5,
          },
          textContent: {
            z2: 31,
            style: {
              text: String(api.value(2)),
              fill: colors.page,
              font: "bold 10px system-ui, sans-serif",
            },
          },
          textConfig: { position: "inside" },
        },
      ],
    };
  }

  // [from, to, ...]: a stretch in which events were lost, or of which nothing is known.
  function loss(params, api) {
    const [x0] = api.coord([api.value(0), 0]);
    const [x1] = api.coord([api.value(1), 0]);
    const [left, right] = clip(params, x0, Math.max(x1, x0 + 3));
    if (right <= left) {
      return null;
    }
    const { y, height } = params.coordSys;
    const shape = { x: left, y, width: right - left, height };
    const style = { fill: rtrace.colors.loss, stroke: rtrace.colors.kill, lineWidth: 1 };
    return { type: "rect", z2: 5, shape, style: { ...style, opacity: 0.5 } };
  }

  // [time, ...]: something that happened to the whole host.
  function moment(params, api) {
    const [x] = api.coord([api.value(0), 0]);
    if (!inside(params, x)) {
      return null;
    }
    const { y, height } = params.coordSys;
    const shape = { x1: x, y1: y, x2: x, y2: y + height };
    const style = { stroke: rtrace.colors.adopt, lineWidth: 1.5, lineDash: [2, 3] };
    return { type: "line", z2: 6, shape, style };
  }

  rtrace.shapes = { band, picked, bar, link, mark, step, loss, moment };
}
