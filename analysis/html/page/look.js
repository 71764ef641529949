// Colours and patterns, read from the style sheet, which has a light and a dark set of them.

{
  const GROUPS = {
    init: "init",
    dockerd: "daemon",
    containerd: "daemon",
    "containerd-managed": "daemon",
    podman: "daemon",
    kubelet: "daemon",
    "cri-dockerd": "daemon",
    "shim-v1": "shim",
    "shim-v2": "shim",
    conmon: "shim",
    "shim-start": "helper",
    runc: "runc",
    crun: "runc",
    "runc-init": "runc",
    "container-init": "inside",
    "container-process": "member",
    "docker-client": "client",
    ctr: "client",
    other: "other",
  };
  const TITLES = {
    init: "init",
    daemon: "daemon",
    shim: "shim, monitor",
    helper: "shim start",
    runc: "runc",
    inside: "process 1 of a container",
    member: "in a container",
    client: "client",
    other: "other",
  };

  let colors = {};

  function hatch(color, background) {
    const tile = document.createElement("canvas");
    tile.width = 6;
    tile.height = 6;
    const pen = tile.getContext("2d");
    pen.fillStyle = background;
    pen.fillRect(0, 0, 6, 6);
    pen.strokeStyle = color;
    pen.lineWidth = 1.5;
    for (const shift of [-6, 0, 6]) {
      pen.beginPath();
      pen.moveTo(shift, 6);
      pen.lineTo(shift + 6, 0);
      pen.stroke();
    }
    return { image: tile, repeat: "repeat" };
  }

  function readLook() {
    const style = getComputedStyle(document.documentElement);
    const value = (name) => style.getPropertyValue(`--${name}`).trim();
    colors = {};
    for (const name of ["page", "ink", "soft", "line", "band", "pick", "fork", "adopt", "kill", "good"]) {
      colors[name] = value(name);
    }
    for (const name of Object.keys(TITLES)) {
      colors[`role-${name}`] = value(`role-${name}`);
    }
    colors.zombie = hatch(value("ink"), value("page"));
    colors.loss = hatch(value("kill"), "transparent");
    return colors;
  }

  const roleGroup = (role) => GROUPS[role] ?? "other";
  const roleColor = (role) => colors[`role-${roleGroup(role)}`];

  Object.assign(rtrace, { readLook, roleGroup, roleColor, roleTitles: TITLES });
  Object.defineProperty(rtrace, "colors", { get: () => colors });
}
