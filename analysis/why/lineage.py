"""Where a process came from: its ancestors, their commands, and the systemd unit."""

from __future__ import annotations

import re
from dataclasses import dataclass

from analysis.roles import making_call
from analysis.scene import Scene
from analysis.text_safety import command_line
from tracer.text import printable

_GENERATIONS = 32
_COMMAND = 300  # characters
_UNIT = re.compile(r"[^/]+\.(?:service|scope)")


@dataclass(frozen=True, slots=True)
class Ancestor:
    """One generation.

    Attributes:
        pos: position of the process.
        left_ns: when it ended, if that was before the moment asked for; None: it still lived.
    """

    pos: int
    left_ns: int | None


def lineage(scene: Scene, pos: int, ts_ns: int) -> list[Ancestor]:
    """A process and who started it, and who started that one, up to the first that is known.

    Starters, not parents at that moment: a daemon that went into the background is init's child,
    which tells nothing.
    """
    found: list[Ancestor] = []
    seen: set[int] = set()
    while pos >= 0 and pos not in seen and len(found) < _GENERATIONS:
        if scene.ids[pos] == "0:0":
            break  # the kernel's idle task
        seen.add(pos)
        ended = int(scene.exit_ns[pos])
        found.append(Ancestor(pos, ended if 0 <= ended < ts_ns else None))
        pos = starter(scene, pos)
    return found


def starter(scene: Scene, pos: int) -> int:
    """Who forked a process, else its first parent that is known; -1.

    Of a container's process the call of runc, whose `init` stages do not matter.
    """
    call = making_call(scene.programs, pos)
    if call >= 0:
        return call
    forker = int(scene.programs.forker[pos])
    return forker if forker >= 0 else int(scene.first_parent[pos])


def unit_of(scene: Scene, pos: int) -> str | None:
    """systemd unit by the cgroup's name, the innermost: "cron.service", "session-3.scope".

    A container's scope (docker-ID.scope) is no unit that anybody wrote, and none here.
    """
    if scene.membership.inside[pos] >= 0:
        return None
    for column in ("cgroup", "cgroup_v1"):
        unit = unit_in(scene.processes[column].iat[pos])
        if unit is not None:
            return unit
    return None


def unit_in(path: object) -> str | None:
    """The innermost systemd unit of a cgroup's path."""
    units = _UNIT.findall(path) if isinstance(path, str) else []
    return str(units[-1]) if units else None


def command_of(scene: Scene, pos: int) -> str | None:
    """Command line, harmless to print; None if it was not recorded."""
    return command_line(scene.args(pos), limit=_COMMAND) or None


def origin_text(scene: Scene, pos: int) -> str:
    """ "sh (812) of cron (77), unit cron.service"."""
    text = scene.call_label(pos)
    above = starter(scene, pos)
    if above >= 0 and scene.ids[above] != "0:0":
        text = f"{text} of {scene.call_label(above)}"
    unit = unit_of(scene, pos)
    return f"{text}, unit {printable(unit)}" if unit else text
