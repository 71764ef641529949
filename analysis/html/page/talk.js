// Who talks to whom: clients, daemons and shims from left to right, a line a connection.

{
  const { talk } = rtrace.data;
  const element = document.getElementById("talk-chart");
  const ROW = 54;
  const WORDS = {
    connected: "connected at the end",
    "was-connected": "was connected, not at the end",
    "not-connected": "NOT CONNECTED at the end",
  };

  function place(nodes) {
    const columns = [[], [], [], []];
    nodes.forEach((node) => columns[node.column].push(node));
    const used = columns.filter((column) => column.length > 0);
    const rows = Math.max(...used.map((column) => column.length));
    const width = element.clientWidth;
    const step = used.length > 1 ? (width - 260) / (used.length - 1) : 0;
    const at = new Map();
    used.forEach((column, i) =>
      column.forEach((node, row) => {
        const y = (rows * ROW * (row + 0.5)) / column.length;
        at.set(node.id, [130 + i * step, y]);
      }),
    );
    return { at, height: rows * ROW + 20 };
  }

  function tip({ dataType, data }) {
    const words = dataType === "edge" ? data.words : [data.label.formatter];
    return rtrace.make(
      "div",
      { className: "tip-text" },
      ...words.map((line) => rtrace.make("p", {}, line)),
    );
  }

  function option() {
    const { colors } = rtrace;
    const { at } = place(talk.nodes);
    const ink = { connected: colors.good, "was-connected": colors.fork, "not-connected": colors.kill };
    const names = new Map(talk.nodes.map((node) => [node.id, node.name]));
    return {
      animation: false,
      textStyle: { fontFamily: "system-ui, sans-serif" },
      tooltip: {
        confine: true,
        padding: 0,
        borderWidth: 0,
        backgroundColor: "transparent",
        formatter: tip,
      },
      series: [
        {
          type: "graph",
          layout: "none",
          left: 130,
          right: 130,
          top: ROW / 2,
          bottom: ROW / 2,
          symbolSize: 18,
          edgeSymbol: ["none", "arrow"],
          edgeSymbolSize: 9,
          emphasis: { disabled: true },
          data: talk.nodes.map((node) => ({
            id: node.id,
            x: at.get(node.id)[0],
            y: at.get(node.id)[1],
            itemStyle: { color: rtrace.roleColor(node.role) },
            label: {
              show: true,
              position: "top",
              distance: 6,
              color: colors.ink,
              fontSize: 12,
              width: 240,
              overflow: "truncate",
              textBorderColor: colors.page,
              textBorderWidth: 3,
              formatter: node.note ? `${node.name}, ${node.note}` : node.name,
            },
          })),
          links: talk.edges.map((edge) => ({
            source: edge.from,
            target: edge.to,
            words: [
              `${names.get(edge.from)} → ${names.get(edge.to)}: ${WORDS[edge.state]}`,
              edge.protocol,
              edge.socket,
            ].filter(Boolean),
            lineStyle: {
              color: ink[edge.state],
              opacity: 1,
              width: edge.state === "was-connected" ? 1.2 : 2.2,
              type: edge.state === "connected" ? "solid" : "dashed",
              curveness: 0.1,
            },
          })),
        },
      ],
    };
  }

  if (talk) {
    element.style.height = `${place(talk.nodes).height}px`;
    const chart = echarts.init(element, null, { renderer: "canvas" });
    chart.on("click", ({ dataType, data }) => {
      const process = dataType === "node" ? rtrace.processes.id.indexOf(data.id) : -1;
      if (process >= 0) {
        rtrace.picture.showLife(process);
        document.getElementById("picture").scrollIntoView();
      }
    });
    rtrace.picture.listeners.draw.push(() => {
      chart.resize();
      chart.setOption(option(), { notMerge: true });
    });
  }
}
