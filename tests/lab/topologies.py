"""How docker is set up in a lab: by the packages' own units, and what is laid over their defaults.

A   containerd is a service, shim v2: today's default
B   dockerd starts a containerd of its own, shim v2
C   as B, with shim v1: the shape of docker 1.12 to 18.06
D   as A, with shim v1: the shape of docker 18.09 and 19.03
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_UNITS = Path("etc/systemd/system")
# Docker's own unit, without the containerd that it asks for.
_OWN_CONTAINERD = """\
[Unit]
Wants=
After=
After=docker.socket
[Service]
ExecStart=
ExecStart=/usr/sbin/dockerd -H fd://
"""
# Whoever may not raise the importance of a process (no CAP_SYS_RESOURCE) starts no pod without.
_CONTAINERD = """\
version = 2
[plugins."io.containerd.grpc.v1.cri"]
  restrict_oom_score_adj = true
"""
# A lab has no network, no terminal, no hardware; and its root is not to be mounted again.
_MASKED = (
    *("systemd-logind.service", "getty.target", "systemd-networkd-wait-online.service"),
    *("apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "fstrim.timer"),
    *("e2scrub_all.timer", "systemd-tmpfiles-clean.timer", "systemd-remount-fs.service"),
    *("dev-hugepages.mount", "dev-mqueue.mount", "sys-kernel-debug.mount"),
    *("sys-kernel-tracing.mount", "sys-kernel-config.mount", "sys-fs-fuse-connections.mount"),
    *("modprobe@.service", "kmod-static-nodes.service", "systemd-sysctl.service"),
    *("podman.service", "podman.socket", "podman-auto-update.timer"),
)
SHIM_V1 = "io.containerd.runtime.v1.linux"


@dataclass(frozen=True, slots=True)
class Topology:
    """Who starts containerd, and which shim it starts.

    Attributes:
        cgroup_v1: shim v1 cannot do without.
    """

    own_containerd: bool
    shim_v1: bool

    @property
    def cgroup_v1(self) -> bool:
        """Whether the lab shows its cgroups as the host has them, not as version 2 alone."""
        return self.shim_v1


TOPOLOGIES = {
    "A": Topology(own_containerd=False, shim_v1=False),
    "B": Topology(own_containerd=True, shim_v1=False),
    "C": Topology(own_containerd=True, shim_v1=True),
    "D": Topology(own_containerd=False, shim_v1=True),
}


def runs_on(topology: str, suite: str) -> bool:
    """Whether a suite's containerd still has the shim of this topology."""
    return not (TOPOLOGIES[topology].shim_v1 and suite == "sid")


def write_configuration(root: Path, suite: str, topology: Topology, *, live_restore: bool) -> None:
    """The files of a lab that differ from its suite's root."""
    daemon: dict[str, Any] = {"iptables": False, "bridge": "none", "storage-driver": "overlay2"}
    if suite != "bullseye":  # whose dockerd has no such option
        daemon["ip6tables"] = False
    if topology.shim_v1:
        daemon["default-runtime"] = SHIM_V1
    if live_restore:
        daemon["live-restore"] = True
    _write(root / "etc/docker/daemon.json", json.dumps(daemon, indent=1))
    _write(root / "etc/containerd/config.toml", _CONTAINERD)
    masked = list(_MASKED)
    if topology.own_containerd:
        _write(root / _UNITS / "docker.service.d/lab.conf", _OWN_CONTAINERD)
        masked.append("containerd.service")
    for unit in masked:
        (root / _UNITS).mkdir(parents=True, exist_ok=True)
        (root / _UNITS / unit).symlink_to("/dev/null")


def _write(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
