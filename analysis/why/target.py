"""What `rtrace why` is asked about: a container, a process, a daemon by its name."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass

import numpy as np

from analysis.model import Capture
from analysis.runs import Container
from analysis.scene import Scene
from analysis.selection import container_label, match_containers
from analysis.text_layout import seconds
from tracer.errors import CaptureError
from tracer.text import printable

_LISTED = 10
_CLOSE = 5
_COMPARED = 2000  # difflib is slow
# Known by these words too, as there is mostly one of each.
_DAEMONS = ("dockerd", "containerd", "containerd-managed", "kubelet", "cri-dockerd")
_ASKS_ONLY = ("--version", "-v", "version", "--help", "-h", "config", "--validate")


@dataclass(frozen=True)
class Target:
    """What is to be explained.

    Attributes:
        asked: the word that the user gave.
        pos: process whose end it is; None: nothing of the container was seen but its name.
        container: container that was asked for, or whose process 1 the process is.
        run: index of the container's run; -1: none.
        by_name: the container was asked for, not one of its processes.
    """

    asked: str
    pos: int | None
    container: Container | None = None
    run: int = -1
    by_name: bool = False


def find_target(capture: Capture, wanted: str) -> Target:
    """Resolve a container's name, id or beginning of its id, a host pid, "tgid:start_ns", or the
    name of a daemon.

    Raises:
        CaptureError: none or several fit; its line names the close ones, or those that fit.
    """
    scene, containers = capture.scene, capture.container_list
    if re.fullmatch(r"\d+:\d+", wanted):
        named = scene.ids.find(wanted)
        return _one(capture, wanted, [named] if named >= 0 else [], [])
    exact = [c for c in containers if wanted in (c.name, c.id)]
    if exact:
        return _one(capture, wanted, [], exact)
    if wanted.isascii() and wanted.isdigit() and len(wanted) < 10:
        found = np.flatnonzero(scene.tgid == int(wanted)).tolist()
        return _one(capture, wanted, found, match_containers(containers, wanted))
    fitting = match_containers(containers, wanted)
    return _one(capture, wanted, [] if fitting else _daemons(scene, wanted), fitting)


def _daemons(scene: Scene, wanted: str) -> list[int]:
    """Daemons with this name or role. `containerd --version` is none."""
    return [
        pos
        for pos in scene.positions(*_DAEMONS)
        if wanted in (scene.name(pos), scene.comm[pos], scene.roles[pos])
        and scene.args(pos)[1:2] not in [(word,) for word in _ASKS_ONLY]
    ]


def _one(
    capture: Capture, wanted: str, processes: list[int], containers: list[Container]
) -> Target:
    if len(processes) + len(containers) == 1:
        if containers:
            return _container_target(capture.scene, wanted, containers[0])
        return _process_target(capture, wanted, processes[0])
    shown = printable(wanted)
    if not processes and not containers:
        raise CaptureError(
            f"no process or container '{shown}'",
            "no name, id or pid in the capture fits it",
            _suggestion(capture, wanted),
        )
    labels = [f"container {container_label(c)}" for c in containers]
    labels += [_process_label(capture, pos) for pos in processes]
    listed = ", ".join(labels[:_LISTED])
    more = f" and {len(labels) - _LISTED} more" if len(labels) > _LISTED else ""
    steps = ["tgid:start_ns as given here"] * bool(processes)
    steps += ["more of the container's id"] * bool(containers)
    raise CaptureError(
        f"cannot choose by '{shown}'",
        f"it fits {len(labels)}: {listed}{more}",
        f"give {' or '.join(steps)}",
    )


def _container_target(scene: Scene, wanted: str, container: Container) -> Target:
    """The last run of a container: that is the end that people ask about."""
    if not container.runs:
        return Target(wanted, None, container, -1, True)
    run = len(container.runs) - 1
    last = container.runs[run]
    pos = last.init
    if pos is None and last.create is not None:
        pos = last.create.pos  # it never got as far as a process 1
    return Target(wanted, last.shim if pos is None else pos, container, run, True)


def _process_target(capture: Capture, wanted: str, pos: int) -> Target:
    for container in capture.container_list:
        for number, run in enumerate(container.runs):
            if run.init == pos:
                return Target(wanted, pos, container, number)
    return Target(wanted, pos)


def _process_label(capture: Capture, pos: int) -> str:
    """ "sleep 812:73000 (from +1.200 s to +3.400 s)"."""
    scene = capture.scene
    clock = capture.table.started_ns
    begin, end = scene.born_ns(pos), scene.end_of(pos)
    since = "from before" if begin is None else f"from {_offset(begin, clock)}"
    until = "" if end.ts_ns is None else f" to {_offset(end.ts_ns, clock)}"
    until = ", alive at the end" if end.how == "running" else until
    return f"{printable(scene.name(pos)) or '?'} {scene.ids[pos]} ({since}{until})"


def _offset(ts_ns: int, clock_ns: int) -> str:
    return f"{seconds(ts_ns - clock_ns, sign=True, digits=3)} s"


def _suggestion(capture: Capture, wanted: str) -> str:
    scene = capture.scene
    if wanted.isascii() and wanted.isdigit() and len(wanted) < 10:
        inside = np.flatnonzero(
            (scene.pidns > 0) & (scene.processes["ns_tgid"].fillna(0).to_numpy() == int(wanted))
        ).tolist()
        if inside:
            names = ", ".join(scene.label(pos) for pos in inside[:_CLOSE])
            return f"that number within a pid namespace is, on the host, {names}"
    words: dict[str, str] = {}
    for container in capture.container_list:
        for key in (container.id, container.id[:12], container.name):
            if key:
                words[key] = container_label(container)
    for pos in scene.positions(*_DAEMONS):
        words.setdefault(scene.name(pos), f"{scene.label(pos)}")
    for pos in np.flatnonzero(scene.exit_ns >= 0)[:_COMPARED].tolist():
        words[str(scene.tgid[pos])] = scene.label(pos)
    close = difflib.get_close_matches(wanted, list(words), n=_CLOSE, cutoff=0.6)
    labels = list(dict.fromkeys(words[key] for key in close))
    if labels:
        return f"did you mean {' or '.join(labels)}?"
    containers = [container_label(c) for c in capture.container_list]
    if not containers:
        return "see `rtrace report` for what is there"
    more = f" and {len(containers) - _CLOSE} more" if len(containers) > _CLOSE else ""
    return f"the containers are {', '.join(containers[:_CLOSE])}{more}"
