"""The state of an explanation: its steps, its reasons, and what it could not find out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from analysis.model import Capture
from analysis.roles import SHIMS
from analysis.runs import Container, Run
from analysis.scene import Adoption, Scene
from analysis.signals import Signal, name_of
from analysis.steps import Entry, Evidence
from analysis.text_layout import span
from tracer.text import printable

CONFIRMED, PREDICTED, INFERRED, UNKNOWN = "confirmed", "predicted", "inferred", "unknown"
# From the least to the most doubtful.
DOUBT = (CONFIRMED, PREDICTED, INFERRED, UNKNOWN)
# Causes that are followed: a chain of real ones has three or four.
MOST_CAUSES = 12
# docker stop gives a process 10 s by default; a dockerd that starts does so for each container.
_NEAR_NS = 120_000_000_000


@dataclass(frozen=True, slots=True)
class Reason:
    """One clause of the short answer, from the end asked about towards its first cause."""

    text: str
    certainty: str


@dataclass
class Story:
    """What has been found so far.

    Attributes:
        entries: steps in no order.
        reasons: clauses of the short answer, the end itself first.
        explained: processes whose end is in it, in the order in which they were asked for.
        culprit: process with which the chain begins, and when it acted; None: nobody is known.
        missing: what could not be found out, sentences.
        follow: explains the end of another process, as a cause of the last one.
    """

    capture: Capture
    follow: Callable[[int], None] = lambda pos: None
    entries: list[Entry] = field(default_factory=list)
    reasons: list[Reason] = field(default_factory=list)
    explained: list[int] = field(default_factory=list)
    culprit: tuple[int, int] | None = None
    missing: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.scene: Scene = self.capture.scene
        self.inits: dict[int, tuple[Container, Run]] = {}
        self.shims: dict[int, list[tuple[Container, Run]]] = {}
        self._names = {c.id: name_container(c) for c in self.capture.container_list}
        for container in self.capture.container_list:
            for run in container.runs:
                if run.init is not None:
                    self.inits[run.init] = (container, run)
                if run.shim is not None:
                    self.shims.setdefault(run.shim, []).append((container, run))

    # --- words ---------------------------------------------------------------------------------

    def name(self, pos: int) -> str:
        """Label, and what it is to a container: "sleep (812; process 1 of web)"."""
        text, part = self.scene.call_label(pos), self._part(pos)
        return f"{text.removesuffix(')')}; {part})" if part else text

    def _part(self, pos: int) -> str | None:
        if pos in self.inits:
            return f"process 1 of {name_container(self.inits[pos][0])}"
        if pos in self.shims and self.scene.roles[pos] in SHIMS:
            served = list(dict.fromkeys(name_container(c) for c, _ in self.shims[pos]))
            more = f" and {len(served) - 1} more" if len(served) > 1 else ""
            return f"shim of {served[0]}{more}"
        number = int(self.scene.membership.inside[pos]) if pos >= 0 else -1
        if number < 0:
            return None
        container = self.scene.membership.ids[number]
        # One that has no process 1 and that nothing but a cgroup or a call names is not listed.
        return f"in {self._names.get(container) or printable(container[:12])}"

    def delay(self, since_ns: int | None, until_ns: int | None) -> str:
        """Time between two moments in words; "some time" if one is not known."""
        if since_ns is None or until_ns is None or until_ns < since_ns:
            return "some time"
        return span(until_ns - since_ns)

    # --- steps ---------------------------------------------------------------------------------

    def add(
        self,
        ts_ns: int | None,
        kind: str,
        text: str,
        processes: list[int],
        evidence: list[Evidence],
        certainty: str = CONFIRMED,
        rank: int = 0,
    ) -> None:
        """A step, once; none if its time is not known."""
        if ts_ns is None or ts_ns < 0:
            return
        who = [pos for pos in dict.fromkeys(processes) if pos >= 0]
        if any(e.ts_ns == ts_ns and e.kind == kind and e.processes == who for e in self.entries):
            return
        self.entries.append(Entry(ts_ns, kind, text, who, evidence, certainty, rank))

    def because(self, text: str, certainty: str = CONFIRMED) -> None:
        self.reasons.append(Reason(text, certainty))

    def lacks(self, text: str) -> None:
        if text not in self.missing:
            self.missing.append(text)

    def blame(self, pos: int, ts_ns: int) -> None:
        """The chain begins with this process, as far as is known."""
        if pos >= 0:
            self.culprit = (pos, ts_ns)

    def add_end(self, pos: int, note: str = "", certainty: str = CONFIRMED) -> None:
        """The end of a process, and who adopted its children that matter."""
        scene, end = self.scene, self.scene.end_of(pos)
        how = scene.end_text(end)
        if end.signal is not None and (end.by is not None or end.oom):
            how = how.rsplit(", ", 1)[0]  # where the signal came from is a step of its own
        text = f"{self.name(pos)} {how}"
        if end.ts_ns is not None:
            evidence = [Evidence("EXIT", end.ts_ns, pos)]
            self.add(end.ts_ns, "exit", text + note, [pos], evidence, certainty, rank=2)
        elif scene.reap_ns[pos] >= 0:
            reaped = int(scene.reap_ns[pos])
            text = f"{text}; only its reaping was recorded"
            self.add(reaped, "exit", text, [pos], [Evidence("REAP", reaped, pos)], rank=2)

    def add_signal(self, signal: Signal, text: str) -> None:
        """A signal's step. ``text`` without the one that it went to."""
        evidence = [Evidence("SIGNAL", signal.ts_ns, signal.target)]
        who = [signal.sender, signal.target]
        self.add(signal.ts_ns, "signal", text, who, evidence, rank=1)

    def add_adoption(self, adoption: Adoption, text: str) -> None:
        evidence = [Evidence("REPARENT", adoption.ts_ns, adoption.child)]
        who = [adoption.old, adoption.new, adoption.child]
        self.add(adoption.ts_ns, "adoption", text, who, evidence, adoption.certainty, rank=3)


def is_near(ts_ns: int, later_ns: int) -> bool:
    """Something may belong to what came later: of one request, or one restart of a daemon."""
    return 0 <= later_ns - ts_ns < _NEAR_NS


def name_container(container: Container) -> str:
    """Name, else short id; harmless to print."""
    return printable(container.name or container.id[:12])


def signal_text(number: int) -> str:
    return f"{name_of(number)} ({number})"


def worst(certainties: list[str]) -> str:
    return max(certainties, key=DOUBT.index, default=UNKNOWN)
