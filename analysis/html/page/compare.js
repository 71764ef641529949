// The comparison: how latencies are distributed, a chart each, and a theme.

{
  const data = JSON.parse(document.getElementById("comparison-data").textContent);
  const charts = [];

  const UNITS = [
    [1e9, "s"],
    [1e6, "ms"],
    [1e3, "µs"],
    [1, "ns"],
  ];
  function duration(ns) {
    const [size, unit] = UNITS.find(([least]) => ns >= least) ?? [1, "ns"];
    return `${Number((ns / size).toPrecision(3))} ${unit}`;
  }

  function colors() {
    const style = getComputedStyle(document.documentElement);
    const value = (name) => style.getPropertyValue(`--${name}`).trim();
    return {
      ink: value("ink"),
      soft: value("soft"),
      line: value("line"),
      page: value("page"),
      base: value("role-daemon"),
      other: value("role-shim"),
      kill: value("kill"),
    };
  }

  function tip(params) {
    const box = document.createElement("div");
    box.className = "tip-text";
    for (const text of [params.value[2], `${params.seriesName} ${duration(params.value[0])}`]) {
      const line = document.createElement("p");
      line.textContent = text;
      box.append(line);
    }
    return box;
  }

  // A dot each value, one above the other where they are many; the median as a bar.
  function option({ groups }) {
    const look = colors();
    const names = groups.map((group) => group.name);
    const dots = groups.flatMap(({ values, name, baseline }, row) =>
      values.map((ns) => ({
        value: [Math.max(ns, 1), row, name],
        itemStyle: { color: baseline ? look.base : look.other },
      })),
    );
    const medians = groups.map(({ median, name }, row) => [Math.max(median, 1), row, name]);
    return {
      animation: false,
      textStyle: { fontFamily: "system-ui, sans-serif", color: look.ink },
      grid: { left: 410, right: 30, top: 8, bottom: 28 },
      tooltip: {
        trigger: "item",
        confine: true,
        padding: 0,
        borderWidth: 0,
        backgroundColor: "transparent",
        formatter: tip,
      },
      xAxis: {
        type: "log",
        axisLabel: { color: look.soft, formatter: duration },
        splitLine: { lineStyle: { color: look.line } },
      },
      yAxis: {
        type: "category",
        inverse: true,
        data: names,
        axisTick: { show: false },
        axisLine: { lineStyle: { color: look.line } },
        axisLabel: { color: look.ink, width: 395, overflow: "truncate", interval: 0 },
        splitLine: { show: true, lineStyle: { color: look.line } },
      },
      series: [
        {
          name: "value",
          type: "scatter",
          data: dots,
          symbolSize: 9,
          itemStyle: { opacity: 0.55, borderColor: look.page, borderWidth: 1 },
        },
        {
          name: "median",
          type: "scatter",
          data: medians,
          symbol: "rect",
          symbolSize: [3, 18],
          itemStyle: { color: look.kill },
          z: 3,
        },
      ],
    };
  }

  function draw() {
    for (const { chart, row } of charts) {
      chart.setOption(option(row), { notMerge: true });
    }
  }

  for (const row of data) {
    const element = document.getElementById(`latency-${row.id}`);
    element.style.height = `${row.groups.length * 26 + 40}px`;
    charts.push({ chart: echarts.init(element, null, { renderer: "canvas" }), row });
  }

  const dark = matchMedia("(prefers-color-scheme: dark)");
  const theme = document.getElementById("theme");
  function setTheme(name) {
    document.documentElement.dataset.theme = name;
    theme.setAttribute("aria-pressed", String(name === "dark"));
    draw();
  }
  theme.addEventListener("click", () =>
    setTheme(document.documentElement.dataset.theme === "dark" ? "light" : "dark"),
  );
  dark.addEventListener("change", () => setTheme(dark.matches ? "dark" : "light"));
  addEventListener("resize", () => charts.forEach(({ chart }) => chart.resize()));

  function resizeTo(width) {
    charts.forEach(({ chart }) => chart.resize({ width }));
    draw();
  }
  let before = null;
  addEventListener("beforeprint", () => {
    before = document.documentElement.dataset.theme;
    document.documentElement.dataset.theme = "light";
    resizeTo(680);
  });
  addEventListener("afterprint", () => {
    document.documentElement.dataset.theme = before;
    resizeTo("auto");
  });

  document.documentElement.classList.add("alive");
  setTheme(dark.matches ? "dark" : "light");
}
