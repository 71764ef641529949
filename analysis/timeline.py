"""The story of each container, in order, in words that a docker engineer uses: see `steps`."""

from __future__ import annotations

import bisect
from collections import defaultdict
from functools import cached_property

from analysis.containers import exec_process, workload_rows
from analysis.roles import SHIMS
from analysis.runs import Call, Container, Run
from analysis.scene import Adoption, Scene
from analysis.signals import name_of
from analysis.steps import (
    Entry,
    Evidence,
    Repeat,
    adoption_entry,
    command_repeat,
    is_at_end,
    says_nothing,
)
from analysis.text_safety import command_line
from tracer.text import printable

# Signals and execs of one process that are told one by one; the rest is counted.
TOLD = 20
# From a fatal signal to the end that follows at once.
_AT_ONCE_NS = 100_000_000
# Calls of runc that change nothing.
_QUERIES = ("state", "events", "ps", "list", "features")


def container_timeline(scene: Scene, container: Container) -> list[Entry]:
    """All steps of a container, in order of time; nothing is folded yet."""
    story = _Story(scene, container)
    for run in container.runs:
        story.tell(run)
    story.tell_clients()
    story.tell_adoptions()
    return sorted(story.entries, key=lambda e: (e.ts_ns, e.rank))


class _Story:
    def __init__(self, scene: Scene, container: Container) -> None:
        self.scene, self.container = scene, container
        self.entries: list[Entry] = []
        self._ended: set[int] = set()
        self._parts: dict[int, str] = {}
        for run in container.runs:
            self._name_parts(run)

    def _name_parts(self, run: Run) -> None:
        """What to say behind a process's name, where the name alone would not tell."""
        if run.init is not None:
            self._parts[run.init] = "process 1"
        if run.shim is not None and self.scene.roles[run.shim] in SHIMS:
            self._parts[run.shim] = "the shim"

    def add(
        self,
        ts_ns: int | None,
        kind: str,
        text: str,
        pos: list[int],
        *evidence: Evidence,
        main: bool = False,
    ) -> None:
        if ts_ns is not None and ts_ns >= 0:
            self.entries.append(Entry(ts_ns, kind, text, pos, list(evidence), main=main))

    def _mark(self, since: int, repeat: Repeat) -> None:
        """The entries from a number on are steps of something that may be repeated."""
        for entry in self.entries[since:]:
            entry.repeat = repeat

    # --- birth ---------------------------------------------------------------------------------

    def tell(self, run: Run) -> None:
        scene, phases = self.scene, run.phases
        who = scene.label
        if run.starter is not None and phases.get("shim_start_ns") is not None:
            by = who(int(scene.programs.forker[run.starter]))
            ts = phases["shim_start_ns"]
            text = f"{by} ran {scene.call_label(run.starter)}"
            self.add(ts, "shim", text, [run.starter], *self._forked(run.starter))
            self.tell_end(run.starter, "shim")
        if run.shim is not None:
            self._tell_shim(run)
        if run.create is not None:
            self._tell_create(run, run.create)
        for call in run.calls:
            if call is not run.create:
                self._tell_call(run, call)
        if run.init is not None:
            self._tell_init(run, run.init)

    def _forked(self, pos: int) -> list[Evidence]:
        born = self.scene.born_ns(pos)
        return [] if born is None else [Evidence("FORK", born, pos)]

    def _tell_shim(self, run: Run) -> None:
        scene, shim = self.scene, run.shim
        assert shim is not None
        role = scene.roles[shim]
        by = int(scene.programs.forker[shim])
        what = {"shim-v1": "the shim (v1)", "shim-v2": "the shim (v2)", "conmon": "the monitor"}
        text = f"{scene.call_label(by)} forked {scene.label(shim)}: {what.get(role, role)}"
        self.add(scene.born_ns(shim), "shim", text, [shim], *self._forked(shim))
        self._tell_signals(shim)
        self.tell_end(shim, "shim")

    def _tell_create(self, run: Run, call: Call) -> None:
        scene = self.scene
        by = scene.label(int(scene.programs.forker[call.pos]))
        text = f"{by} ran {scene.call_label(call.pos)}"
        self.add(scene.exec_ns(call.pos), "runc", text, [call.pos], *self._executed(call.pos))
        self.tell_end(call.pos, "runc")

    def _executed(self, pos: int) -> list[Evidence]:
        ts_ns = self.scene.exec_ns(pos)
        return [] if ts_ns is None else [Evidence("EXEC", ts_ns, pos)]

    def _tell_init(self, run: Run, init: int) -> None:
        scene = self.scene
        stages = ""
        if run.create is not None and int(scene.programs.forker[init]) != run.create.pos:
            stages = " through its `init` stages"
        maker = scene.call_label(run.create.pos) if run.create else None
        text = f"{maker} made process 1, {scene.label(init)},{stages}"
        if maker is None:
            text = f"{scene.label(int(scene.programs.forker[init]))} forked process 1"
            text = f"{text}, {scene.label(init)}"
        self.add(scene.born_ns(init), "init", text.rstrip(","), [init], *self._forked(init))
        rows = workload_rows(scene, init)
        programs = scene.programs
        for row in rows[:TOLD]:
            ts_ns = int(programs.from_ns[row])
            words = command_line(programs.args[row]) or printable(programs.filename[row])
            first = ts_ns == run.phases.get("workload_ns")
            verb = "started the workload" if first else "executed"
            text = f"process 1 ({scene.tgid[init]}) {verb}: {words or 'program not recorded'}"
            self.add(ts_ns, "init", text, [init], Evidence("EXEC", ts_ns, init), main=first)
        self._count_rest(len(rows), [int(programs.from_ns[r]) for r in rows], "execs", init)
        self._tell_signals(init)
        self.tell_end(init, "exit")
        self._tell_reap(init)

    def _count_rest(self, count: int, times: list[int], what: str, pos: int) -> None:
        if count > TOLD:
            text = f"{count - TOLD} more {what} of {self.scene.label(pos)} are not listed"
            self.add(times[TOLD], "note", text, [pos])

    def _tell_reap(self, pos: int) -> None:
        scene = self.scene
        ts_ns = int(scene.reap_ns[pos])
        ended = int(scene.exit_ns[pos])
        # REAP comes late (RCU): the parent at the exit is the one that waited, unless it left.
        parent = scene.parent_at(pos, max(ended, 0))
        for adoption in scene.adoptions_of(pos):
            if adoption.ts_ns > ended >= 0:
                parent = adoption.new
        by = f"; its parent was {scene.label(parent)}" if parent >= 0 else ""
        text = f"{scene.label(pos)}, process 1, had been reaped{by}"
        self.add(ts_ns, "reap", text, [pos], Evidence("REAP", ts_ns, pos))

    # --- calls, signals, ends ------------------------------------------------------------------

    def _tell_call(self, run: Run, call: Call) -> None:
        scene = self.scene
        forker = int(scene.programs.forker[call.pos])
        argument = f", signal {printable(call.argument)}" if call.argument else ""
        text = f"{scene.call_label(forker)} ran {scene.call_label(call.pos)}{argument}"
        since = len(self.entries)
        if call.verb == "exec":
            self.add(call.ts_ns, "exec", text, [call.pos], *self._executed(call.pos))
            self._tell_exec(call)
            self.tell_end(call.pos, "exec")
            self._mark(since, self._exec_repeat(run, call))
            return
        end = scene.end_of(call.pos)
        evidence = self._executed(call.pos)
        if end.ts_ns is not None:
            took = f" after {(end.ts_ns - call.ts_ns) / 1e6:.1f} ms" if call.ts_ns >= 0 else ""
            text = f"{text}, which {scene.end_text(end)}{took}"
            evidence.append(Evidence("EXIT", end.ts_ns, call.pos))
            if not scene.adoptions_from(call.pos):
                self._ended.add(call.pos)
        self.add(call.ts_ns, "runc", text, [call.pos], *evidence)
        if call.pos not in self._ended:
            self.tell_end(call.pos, "runc")
        if call.verb in _QUERIES:
            outcome = scene.end_text(end) if end.how == "exited" else None
            what = f"calls of {printable(scene.name(call.pos))} {call.verb}"
            self._mark(since, Repeat(f"{run.anchor_ns} {what}", what, outcome, call.pos))

    def _exec_repeat(self, run: Run, call: Call) -> Repeat:
        """Execs of one command are alike, if runc and what it brought in end in the same way."""
        scene = self.scene
        pos = exec_process(scene, call)
        rows = [] if pos is None else workload_rows(scene, pos)[:1]
        words = [command_line(scene.programs.args[row], limit=80) for row in rows]
        ends = [scene.end_of(p) for p in (call.pos, pos) if p is not None]
        # A runc that does not detach passes on the status of what it brought in.
        alike = {end.status for end in ends if end.status or end is ends[-1]}
        outcome = None
        if all(end.how == "exited" for end in ends) and len(alike) == 1:
            outcome = scene.end_text(ends[-1])
        what = f"execs of: {words[0]}" if words and words[0] else "execs of an unknown command"
        return Repeat(f"{run.anchor_ns} {what}", what, outcome, call.pos)

    def _tell_exec(self, call: Call) -> None:
        scene = self.scene
        pos = exec_process(scene, call)
        if pos is None:
            return
        rows = workload_rows(scene, pos)[:1]
        for row in rows:
            ts_ns = int(scene.programs.from_ns[row])
            words = command_line(scene.programs.args[row])
            text = f"{scene.label(pos)} entered the container: {words or 'arguments not recorded'}"
            self.add(ts_ns, "exec", text, [pos], Evidence("EXEC", ts_ns, pos))
        self.tell_end(pos, "exec")

    def _tell_signals(self, pos: int) -> None:
        scene = self.scene
        # When process 1 ends, the kernel signals its whole namespace, also its own threads.
        end = scene.end_of(pos)
        at_once = (
            end.by is not None and end.ts_ns is not None and end.ts_ns - end.by.ts_ns < _AT_ONCE_NS
        )
        found = [
            s
            for s in scene.signals.to(pos)
            if (s.kind != "pid-namespace-end" or s.sender != pos)
            # The end tells who sent the signal that it followed at once.
            and (not at_once if s == end.by else not says_nothing(s))
        ]
        for signal in found[:TOLD]:
            left = "" if signal.delivered else " (ignored, or already pending)"
            target = f"{scene.label(pos)}{self._part(pos)}".rstrip(",")
            number = f"{name_of(signal.signal)} ({signal.signal})"
            text = f"{number} to {target}{left}, {scene.origin_text(signal)}"
            who = [pos] if signal.sender < 0 else [pos, signal.sender]
            self.add(signal.ts_ns, "signal", text, who, Evidence("SIGNAL", signal.ts_ns, pos))
        self._count_rest(len(found), [s.ts_ns for s in found], "signals", pos)

    def _part(self, pos: int) -> str:
        return f", {self._parts[pos]}," if pos in self._parts else ""

    def tell_end(self, pos: int, kind: str) -> None:
        """Exit of a process and what became of its children that matter here."""
        if pos in self._ended:
            return
        self._ended.add(pos)
        scene = self.scene
        end = scene.end_of(pos)
        if end.ts_ns is None:
            return
        part = self._part(pos)
        starts = scene.roles[pos] == "shim-start"
        name = scene.call_label(pos) if starts else scene.label(pos)
        text = f"{name}{part} {scene.end_text(end)}"
        evidence = [Evidence("EXIT", end.ts_ns, pos)]
        if end.by is not None:
            evidence.append(Evidence("SIGNAL", end.by.ts_ns, pos))
        adopted = self._own([a for a in scene.adoptions_from(pos) if is_at_end(a, end.ts_ns)])
        if not adopted and part.startswith(", process 1"):
            text += self._with_namespace(pos, end.ts_ns)
        main = self._is_main(pos, end.ts_ns)
        self._add_adoptions(end.ts_ns, kind, text, pos, adopted, evidence, main=main)
        told = self.entries[-1].processes
        if end.by is not None and end.by.sender >= 0 and end.by.sender not in told:
            told.append(end.by.sender)

    def _is_main(self, pos: int, exit_ns: int) -> bool:
        """Of the ends that of process 1, and of a shim while its process 1 lives."""
        return self._parts.get(pos) == "process 1" or any(
            self.scene.alive_at(init, exit_ns) for init in self._inits_of.get(pos, ())
        )

    @cached_property
    def _inits_of(self) -> dict[int, list[int]]:
        """Processes 1 of each shim."""
        found: dict[int, list[int]] = defaultdict(list)
        for run in self.container.runs:
            if run.init is not None and run.shim is not None:
                found[run.shim].append(run.init)
        return found

    def _with_namespace(self, init: int, exit_ns: int) -> str:
        """How many others the kernel killed as process 1 of their pid namespace ended."""
        ends = self._ended_with.get(init, [])
        count = len(ends) - bisect.bisect_left(ends, exit_ns)
        plural = "" if count == 1 else "es"
        return f"; the kernel killed {count} more process{plural} in its pid namespace" * (
            count > 0
        )

    @cached_property
    def _ended_with(self) -> dict[int, list[int]]:
        """When others ended, in order, by the process 1 with which their pid namespace did."""
        found: dict[int, list[int]] = defaultdict(list)
        for pos in self.scene.membership.members(self.container.id):
            by = self.scene.end_of(pos).by
            if by is not None and by.kind == "pid-namespace-end" and by.sender != pos:
                found[by.sender].append(int(self.scene.exit_ns[pos]))
        return {init: sorted(times) for init, times in found.items()}

    # --- adoptions -----------------------------------------------------------------------------

    def _own(self, adoptions: list[Adoption]) -> list[Adoption]:
        """Those whose child belongs to the container: in it, or its shim."""
        membership, container = self.scene.membership, self.container.id
        return [
            a for a in adoptions if a.child in self._parts or membership.of(a.child) == container
        ]

    def tell_adoptions(self) -> None:
        """Adoptions in the container, and of its shim, that no step has told."""
        scene = self.scene
        groups: dict[tuple[int, int], list[Adoption]] = defaultdict(list)
        children = set(scene.membership.members(self.container.id)) | set(self._parts)
        told = {id_ for entry in self.entries for id_ in _adopted(entry)}
        for child in scene.adopted(sorted(children)):
            for adoption in scene.adoptions_of(child):
                # From one thread of a process to another: the parent is the same process.
                if adoption.reason != "thread" and (adoption.ts_ns, child) not in told:
                    ended = int(scene.exit_ns[adoption.old]) if adoption.old >= 0 else -1
                    ts_ns = ended if is_at_end(adoption, ended) else adoption.ts_ns
                    groups[adoption.old, ts_ns].append(adoption)
        for (old, ts_ns), adopted in groups.items():
            if old >= 0 and int(scene.exit_ns[old]) == ts_ns:
                end = scene.end_of(old)
                text = f"{scene.label(old)} {scene.end_text(end)}"
                evidence = [Evidence("EXIT", ts_ns, old)]
            else:
                text, evidence = f"{scene.label(old)} was ending", []
            main = any(adoption.child in self._parts for adoption in adopted)
            kind = "adoption" if main else "orphan"
            self._add_adoptions(ts_ns, kind, text, old, adopted, evidence)

    def _add_adoptions(
        self,
        ts_ns: int,
        kind: str,
        text: str,
        old: int,
        adopted: list[Adoption],
        evidence: list[Evidence],
        *,
        main: bool = False,
    ) -> None:
        entry = adoption_entry(self.scene, ts_ns, kind, text, old, adopted, evidence, self._part)
        entry.main = main
        self.entries.append(entry)

    # --- clients -------------------------------------------------------------------------------

    def tell_clients(self) -> None:
        scene = self.scene
        unsure = {r.client for r in self.container.runs if not r.client_sure}
        for pos in self.container.clients:
            words = command_line(scene.args(pos)) or "arguments not recorded"
            text = f"{scene.label(pos)} ran: {words}"
            if pos in unsure:
                text += " (it does not name the container, but was the only such command then)"
            since = len(self.entries)
            self.add(scene.exec_ns(pos), "client", text, [pos], *self._executed(pos))
            self.tell_end(pos, "client")
            self._mark(since, command_repeat(scene, pos))


def _adopted(entry: Entry) -> list[tuple[int, int]]:
    return [(e.ts_ns, e.pos) for e in entry.evidence if e.event == "REPARENT"]
