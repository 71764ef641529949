"""The host's cgroup hierarchies, and which of them a path lies in.

Source: cgroups(7), /proc/self/mountinfo (proc_pid_mountinfo(5)).
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from tracer import abi

_NAMING_CONTROLLERS = (
    abi.Controller.PIDS,
    abi.Controller.MEMORY,
    abi.Controller.DEVICES,
    abi.Controller.CPU,
)


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """One mounted hierarchy.

    Attributes:
        mount: where it is mounted.
        version: 1 or 2.
        controllers: of a v1 hierarchy; none in one that is only named, as systemd's.
        root: path of the mounted directory in its hierarchy.
    """

    mount: str
    version: int
    controllers: tuple[abi.Controller, ...]
    root: str


def _unescape(field: str) -> str:
    """Octal escapes of mountinfo (\\040 is a space)."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), field)


def read_hierarchies(mountinfo: str = "/proc/self/mountinfo") -> list[Hierarchy]:
    """All mounted cgroup hierarchies; none where there is no /proc to tell."""
    known = {controller.name.lower(): controller for controller in abi.Controller}
    found = []
    try:
        with open(mountinfo, errors="surrogateescape") as file:
            lines = file.read().split("\n")
    except OSError:
        return []
    for line in lines:
        left, _, right = line.partition(" - ")
        fields, kind = left.split(" "), right.split(" ")
        if kind[0] not in ("cgroup", "cgroup2"):
            continue
        options = kind[-1].split(",")
        found.append(
            Hierarchy(
                mount=_unescape(fields[4]),
                version=2 if kind[0] == "cgroup2" else 1,
                controllers=tuple(known[o] for o in options if o in known),
                root=_unescape(fields[3]),
            )
        )
    return found


def cgroup_mode(hierarchies: list[Hierarchy]) -> str:
    """ "v1", "hybrid" (v1 controllers beside a v2 tree), "v2" or "none"."""
    v1 = any(h.version == 1 and h.controllers for h in hierarchies)
    v2 = any(h.version == 2 for h in hierarchies)
    if v1:
        return "hybrid" if v2 else "v1"
    return "v2" if v2 else "none"


def naming_controller(hierarchies: list[Hierarchy]) -> abi.Controller:
    """A controller in whose v1 hierarchy containers have cgroups of their own, or NONE."""
    mounted = {c for h in hierarchies if h.version == 1 for c in h.controllers}
    return next((c for c in _NAMING_CONTROLLERS if c in mounted), abi.Controller.NONE)


def find_hierarchy(path: str, hierarchies: list[Hierarchy]) -> Hierarchy | None:
    """The hierarchy that a directory lies in: the one with the longest mount point above it."""
    real = os.path.realpath(path)
    above = [h for h in hierarchies if (real + "/").startswith(h.mount.rstrip("/") + "/")]
    return max(above, key=lambda h: len(h.mount), default=None)
