"""Processes, ends, moments and evidence as JSON: the parts that every document of the desk shares.

docs/report-json.md describes them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from analysis.clocks import Clocks
from analysis.model import Capture
from analysis.scene import End
from analysis.signals import name_of
from analysis.steps import Entry, Evidence

Json = dict[str, Any]


class References:
    """Builds references, and remembers which processes were named.

    Attributes:
        boot_ns: boot time from which the relative times count.
        clocks: what the wall clock showed when.
        named: positions of the processes that were referred to, also by the steps of a story.
    """

    def __init__(self, capture: Capture) -> None:
        self.capture, self.scene = capture, capture.scene
        self.boot_ns = capture.table.started_ns
        self.clocks = Clocks(capture.table)
        self._refs: dict[int, Json] = {}
        self._told: set[int] = set()

    @property
    def named(self) -> list[int]:
        return sorted(self._told.union(self._refs))

    def ref(self, pos: int | None) -> Json | None:
        """A process by reference; None if not known."""
        if pos is None or pos < 0:
            return None
        found = self._refs.get(pos)
        if found is None:
            scene = self.scene
            found = self._refs[pos] = {
                "id": scene.ids[pos],
                "tgid": int(scene.tgid[pos]),
                "start_ns": int(scene.start_ns[pos]),
                "comm": scene.comm[pos],
                "name": scene.name(pos),
                "role": scene.roles[pos],
                "container": scene.membership.of(pos),
            }
        return found

    def end(self, end: End | None) -> Json | None:
        """How a process ended, None if there is no process."""
        if end is None:
            return None
        return {
            "how": end.how,
            "ts_ns": end.ts_ns,
            "exit_status": end.status,
            "exit_signal": end.signal,
            "signal_name": None if end.signal is None else name_of(end.signal),
            "core": end.core,
            "oom": end.oom,
            "memory": None if end.memory is None else asdict(end.memory),
            "cause": self.cause(end),
            "text": self.scene.end_text(end),
        }

    def cause(self, end: End) -> Json | None:
        """The fatal signal, None if there was none or it was not recorded."""
        if end.by is None and not end.oom:
            return None
        kind = "oom" if end.oom or end.by is None else end.by.kind
        sender = end.by.sender if end.by is not None else None
        return {
            "kind": kind,
            "ts_ns": end.by.ts_ns if end.by is not None else None,
            # The task in whose context a kernel-made signal arose did not send it.
            "sender": self.ref(sender) if kind == "process" else None,
            "context": self.ref(sender) if kind != "process" else None,
        }

    def step(self, entry: Entry) -> Json:
        """A step of a story: what, when, who, and the events that it rests on."""
        self._told.update(entry.processes)
        return {
            "ts_ns": entry.ts_ns,
            "rel_ns": entry.ts_ns - self.boot_ns,
            "utc": self.clocks.utc(entry.ts_ns),
            "kind": entry.kind,
            "text": entry.text,
            "certainty": entry.certainty,
            "processes": [self.scene.ids[pos] for pos in entry.processes],
            "evidence": self.evidence(entry.evidence),
        }

    def evidence(self, found: Iterable[Evidence]) -> list[Json]:
        """References to records; what was concluded without one has none."""
        return [
            {"event": e.event, "ts_ns": e.ts_ns, "id": self.scene.ids[e.pos]}
            for e in found
            if e.pos >= 0 and self.scene.holds(e.event, e.ts_ns, e.pos)
        ]
