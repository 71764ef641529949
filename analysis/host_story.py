"""The story of the host: its daemons, those who came and went, and commands of no container.

Containers have stories of their own, see `timeline`.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.columns import as_int
from analysis.people import people_of
from analysis.roles import SHIMS
from analysis.runs import Container
from analysis.scene import Adoption, End, Scene
from analysis.signals import Signal, name_of
from analysis.steps import (
    Entry,
    Evidence,
    Repeat,
    adoption_entry,
    command_repeat,
    is_at_end,
    rule_text,
    says_nothing,
)
from analysis.text_layout import span
from analysis.text_safety import command_line
from analysis.why.lineage import starter, unit_of
from analysis.why.services import VERBS, asks, control_rows
from tracer.text import printable

Bools = npt.NDArray[np.bool_]

DAEMONS = ("dockerd", "containerd", "containerd-managed", "kubelet", "cri-dockerd")
CLIENTS = ("docker-client", "ctr", "podman")
PARTS = ("shim-v1", "shim-v2", "shim-start", "conmon", "runc", "crun")
# Signals to one daemon that are told one by one; the rest is counted.
TOLD = 20


@dataclass(frozen=True, slots=True)
class Daemon:
    """A daemon, or the init that starts daemons. Processes are positions.

    Attributes:
        began_ns: when it executed its program, or was forked; None: before what is kept, or lost.
        starter: who forked it; -1: not known.
        former: the daemon of its kind whose place it took; -1: none is known.
        unit: systemd's, by its cgroup; None: in none.
    """

    pos: int
    began_ns: int | None
    starter: int
    former: int
    unit: str | None


def find_daemons(scene: Scene) -> list[Daemon]:
    """Daemons by birth, those older than the recording first; and inits that came or went."""
    found = scene.positions(*DAEMONS)
    spaces = {int(scene.pidns[pos]) for pos in scene.positions(*DAEMONS, *PARTS)}
    found += [
        pos
        for pos in scene.positions("init")
        if int(scene.pidns[pos]) in spaces and (scene.exit_ns[pos] >= 0 or scene.fork_ns[pos] >= 0)
    ]
    ends = _Ends(scene)
    result = []
    for pos in sorted(found, key=lambda pos: (scene.fork_ns[pos], scene.start_ns[pos])):
        began_ns = scene.exec_ns(pos)
        if began_ns is None:
            began_ns = scene.born_ns(pos)
        above = starter(scene, pos)
        former = ends.former(pos, began_ns)
        result.append(Daemon(pos, began_ns, above, former, unit_of(scene, pos)))
    return result


class _Ends:
    """Daemons that ended, by their kind, in order; and the same by their arguments too."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._found: dict[tuple[object, ...], list[tuple[int, int, int]]] = {}
        ended = (pos for pos in scene.positions(*DAEMONS) if scene.exit_ns[pos] >= 0)
        for number, pos in enumerate(ended):
            for key in self._keys(pos):
                entry = int(scene.exit_ns[pos]), -number, pos
                self._found.setdefault(key, []).append(entry)
        for entries in self._found.values():
            entries.sort()

    def _keys(self, pos: int) -> tuple[tuple[object, ...], ...]:
        kind = self._scene.roles[pos], int(self._scene.pidns[pos])
        return (*kind, self._scene.args(pos)), kind

    def former(self, pos: int, began_ns: int | None) -> int:
        """The daemon whose place one took: the last to end of its kind, with its arguments if
        there were several; -1: none."""
        if began_ns is None or self._scene.roles[pos] == "init":
            return -1
        for key in self._keys(pos):
            entries = self._found.get(key, [])
            at = bisect.bisect_left(entries, (began_ns + 1,)) - 1
            if at >= 0 and entries[at][2] == pos:
                at -= 1
            if at >= 0:
                return entries[at][2]
        return -1


def lines_of(daemons: list[Daemon]) -> dict[int, list[int]]:
    """For each daemon all that followed each other in its place, in order: positions."""
    lines: dict[int, list[int]] = {}
    for daemon in daemons:
        line = lines.setdefault(daemon.former, []) if daemon.former in lines else []
        line.append(daemon.pos)
        lines[daemon.pos] = line
    return lines


def host_timeline(scene: Scene, containers: list[Container], daemons: list[Daemon]) -> list[Entry]:
    """All steps of the host, in order of time; nothing is folded yet.

    Args:
        containers: all that the capture has. daemons: as `find_daemons` gave them.
    """
    story = _Story(scene, containers, {daemon.pos for daemon in daemons})
    for daemon in daemons:
        story.tell_daemon(daemon)
    story.tell_commands()
    story.tell_parts()
    return sorted(story.entries, key=lambda e: (e.ts_ns, e.rank))


class _Story:
    def __init__(self, scene: Scene, containers: list[Container], daemons: set[int]) -> None:
        self.scene, self._daemons = scene, daemons
        self.entries: list[Entry] = []
        self._names = {c.id: printable(c.name or c.id[:12]) for c in containers}
        self._recorder, self._command = _recorder(scene)
        self._claimed = {p for c in containers for p in people_of(scene, c)}

    # --- daemons -------------------------------------------------------------------------------

    def tell_daemon(self, daemon: Daemon) -> None:
        scene, pos = self.scene, daemon.pos
        self._tell_start(daemon)
        end = scene.end_of(pos)
        signals = [s for s in scene.signals.to(pos) if s != end.by and _is_told(s, end)]
        for signal in signals[:TOLD]:
            self._tell_signal(pos, signal)
        if len(signals) > TOLD:
            text = f"{len(signals) - TOLD} more signals to {scene.label(pos)} are not listed"
            self.entries.append(Entry(signals[TOLD].ts_ns, "note", text, [pos], []))
        for adoption in scene.adoptions_of(pos):
            if adoption.reason == "thread" or self._is_end_told(adoption):
                continue
            old = scene.label(adoption.old)
            text = f"{scene.label(adoption.new)} adopted {scene.label(pos)} from {old}"
            if adoption.new < 0:
                text = f"{scene.label(pos)} lost its parent, {old}"
            people = [p for p in (pos, adoption.new, adoption.old) if p >= 0]
            evidence = [Evidence("REPARENT", adoption.ts_ns, pos)]
            text = f"{text}: {rule_text(adoption)}"
            entry = Entry(adoption.ts_ns, "daemon", text, people, evidence, adoption.certainty)
            self.entries.append(entry)
        if end.ts_ns is None:
            return
        text = f"{_label(scene, daemon)} {scene.end_text(end)}"
        evidence = [Evidence("EXIT", end.ts_ns, pos)]
        if end.by is not None:
            evidence.append(Evidence("SIGNAL", end.by.ts_ns, pos))
        adopted = [a for a in scene.adoptions_from(pos) if is_at_end(a, end.ts_ns)]
        entry = adoption_entry(
            scene, end.ts_ns, "daemon", text, pos, adopted, evidence, self._child_text(end.ts_ns)
        )
        if end.by is not None and end.by.sender >= 0 and end.by.sender not in entry.processes:
            entry.processes.append(end.by.sender)
        entry.main = True
        self.entries.append(entry)

    def _tell_start(self, daemon: Daemon) -> None:
        scene, pos = self.scene, daemon.pos
        if daemon.began_ns is None:
            return
        by = scene.label(daemon.starter)
        words = command_line(scene.args(pos), limit=120)
        text = f"{by} started {_label(scene, daemon)}"
        text += f": {words}" if words else ""
        people = [pos] if daemon.starter < 0 else [pos, daemon.starter]
        if daemon.former >= 0:
            ended = int(scene.exit_ns[daemon.former])
            former = scene.label(daemon.former)
            text += f"; {former} had ended {span(daemon.began_ns - ended)} before"
            people.append(daemon.former)
        executed = scene.exec_ns(pos)
        evidence = [] if executed is None else [Evidence("EXEC", executed, pos)]
        if (born := scene.born_ns(pos)) is not None:
            evidence.insert(0, Evidence("FORK", born, pos))
        self.entries.append(Entry(daemon.began_ns, "daemon", text, people, evidence, main=True))

    def _is_end_told(self, adoption: Adoption) -> bool:
        """The end of the old parent is told, and says who adopted its children."""
        old = adoption.old
        return old in self._daemons and is_at_end(adoption, int(self.scene.exit_ns[old]))

    def _child_text(self, ts_ns: int) -> Callable[[int], str]:
        """What to say of a child that lost its parent then."""
        scene = self.scene

        def text(pos: int) -> str:
            name = self._names.get(scene.membership.of(pos) or "")
            shim = f", shim of {name}," if name and scene.roles[pos] in (*SHIMS, "conmon") else ""
            dead = ", dead by then," if 0 <= scene.exit_ns[pos] <= ts_ns else ""
            return shim or dead

        return text

    def _tell_signal(self, pos: int, signal: Signal) -> None:
        scene = self.scene
        left = "" if signal.delivered else " (ignored, or already pending)"
        number = f"{name_of(signal.signal)} ({signal.signal})"
        text = f"{number} to {scene.label(pos)}{left}, {scene.origin_text(signal)}"
        people = [pos] if signal.sender < 0 else [pos, signal.sender]
        evidence = [Evidence("SIGNAL", signal.ts_ns, pos)]
        self.entries.append(Entry(signal.ts_ns, "signal", text, people, evidence))

    # --- commands ------------------------------------------------------------------------------

    def tell_commands(self) -> None:
        """Clients that belong to no container, and what asks systemd to stop or start something."""
        scene = self.scene
        programs, verbs = scene.programs, (*VERBS, "start")
        found = set(scene.positions(*CLIENTS))
        found |= {int(programs.pos[r]) for r in control_rows(scene) if asks(scene, r, verbs)}
        for pos in sorted(found - self._claimed):
            if self._is_recorders(pos):
                continue
            words = command_line(scene.args(pos)) or "arguments not recorded"
            self._tell_short(pos, "client", f"{scene.label(pos)} ran", words)
            if self.entries and self.entries[-1].processes == [pos]:
                self.entries[-1].repeat = command_repeat(scene, pos)

    def tell_parts(self) -> None:
        """Shims and calls of runc of which nothing says whose they are."""
        scene = self.scene
        for pos in scene.positions(*PARTS):
            if pos in self._claimed or self._is_recorders(pos):
                continue
            forker = scene.call_label(int(scene.programs.forker[pos]))
            words = command_line(scene.args(pos)) or "arguments not recorded"
            kind = "runc" if scene.roles[pos] in ("runc", "crun") else "shim"
            self._tell_short(pos, kind, f"{forker} ran {scene.label(pos)}", words)
            if kind == "runc" and self.entries and self.entries[-1].processes == [pos]:
                end = scene.end_of(pos)
                outcome = scene.end_text(end) if end.how == "exited" else None
                what = f"times, of no container: {words}"
                self.entries[-1].repeat = Repeat(what, what, outcome, pos)

    def _is_recorders(self, pos: int) -> bool:
        """What the recorder ran to find versions, and not for the user."""
        own = self._recorder >= 0 and int(self.scene.programs.forker[pos]) == self._recorder
        return own and self.scene.args(pos) != self._command

    def _tell_short(self, pos: int, kind: str, ran: str, words: str) -> None:
        """Begin and end of a process in one step; the end alone, if it began before."""
        scene, began, end = self.scene, self.scene.exec_ns(pos), self.scene.end_of(pos)
        evidence = [] if began is None else [Evidence("EXEC", began, pos)]
        if began is None:
            began = scene.born_ns(pos)
        text = f"{ran}: {words}"
        if began is None:
            text = f"{scene.label(pos)}, which had begun before, {scene.end_text(end)}: {words}"
        elif end.ts_ns is not None:
            text = f"{text}, which {scene.end_text(end)} after {span(end.ts_ns - began)}"
        if end.ts_ns is not None:
            evidence.append(Evidence("EXIT", end.ts_ns, pos))
        ts_ns = end.ts_ns if began is None else began
        if ts_ns is not None:
            self.entries.append(Entry(ts_ns, kind, text, [pos], evidence))


def _recorder(scene: Scene) -> tuple[int, tuple[str, ...]]:
    """The recorder (-1: not known), and the command that it ran for the user, ()."""
    header = scene.table.header
    argv = header.get("argv")
    words = [str(word) for word in argv] if isinstance(argv, list) else []
    command = words[words.index("--") + 1 :] if "--" in words else []
    pid = as_int(header.get("pid"))
    return (scene.holder_of(pid, scene.table.started_ns) if pid else -1), tuple(command)


def _is_told(signal: Signal, end: End) -> bool:
    """Not what says nothing, nor what comes behind the end."""
    late = end.by is not None and signal.ts_ns > end.by.ts_ns
    return not (late or says_nothing(signal) or signal.kind == "pid-namespace-end")


def _label(scene: Scene, daemon: Daemon) -> str:
    """ "dockerd (612; docker.service)"."""
    label = scene.label(daemon.pos)
    return f"{label[:-1]}; {printable(daemon.unit)})" if daemon.unit else label


# --- everybody else ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Others:
    """Processes that no story tells of, of one container or of the host.

    Attributes:
        container: id; None: the host.
        positions: of the processes, by birth.
        names: how often each name, the most frequent first.
    """

    container: str | None
    positions: npt.NDArray[np.int64]
    names: list[tuple[str, int]]


def find_others(scene: Scene, told: Iterable[int], kept: Bools) -> list[Others]:
    """Processes that no step is about.

    Args:
        told: positions of those that some step is about.
        kept: by position, those that the report is about and that came or went.
    """
    frame = scene.processes
    left = kept & ~frame["kthread"].to_numpy(bool) & ~frame["stub"].to_numpy(bool)
    left[np.fromiter(told, np.int64)] = False
    found = np.flatnonzero(left)
    inside = scene.membership.inside[found]
    found = found[np.argsort(inside, kind="stable")]
    numbers, first = np.unique(scene.membership.inside[found], return_index=True)
    codes, names = pd.factorize(scene.comm[found])
    result = []
    for number, people, own in zip(
        numbers.tolist(), np.split(found, first)[1:], np.split(codes, first)[1:], strict=True
    ):
        known, counts = np.unique(own, return_counts=True)
        counted = list(zip((str(n) for n in names[known]), counts.tolist(), strict=True))
        counted.sort(key=lambda pair: (-pair[1], pair[0]))
        container = scene.membership.ids[number] if number >= 0 else None
        result.append(Others(container, people.astype(np.int64), counted))
    return result


def tell_others(scene: Scene, others: Others) -> list[Entry]:
    """One step for each of them."""
    result = []
    for pos in others.positions.tolist():
        forker, end = int(scene.programs.forker[pos]), scene.end_of(pos)
        born, executed = scene.born_ns(pos), scene.exec_ns(pos)
        ts_ns = end.ts_ns if born is None else born
        if ts_ns is None:
            continue
        evidence = [] if born is None else [Evidence("FORK", born, pos)]
        words = ""
        if executed is not None:
            words = f": {command_line(scene.args(pos)) or 'arguments not recorded'}"
            evidence.append(Evidence("EXEC", executed, pos))
        text = f"{scene.label(forker)} forked {scene.label(pos)}{words}"
        if born is None:
            text = f"{scene.label(pos)}{words}"
        if end.ts_ns is not None:
            took = "" if born is None else f" after {span(end.ts_ns - born)}"
            text = f"{text}{', which' * (born is not None)} {scene.end_text(end)}{took}"
            evidence.append(Evidence("EXIT", end.ts_ns, pos))
        result.append(Entry(ts_ns, "process", text, [pos], evidence))
    return result
