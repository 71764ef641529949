"""What is asked of a capture, what was published about it, and the shape of an answer.

The published claims are of an article on docker "1.18" and "1.19". What it calls 1.18 is the shape
in which containerd is dockerd's child (docker up to 18.06), 1.19 the one in which containerd is a
service of its own (18.09 and 19.03).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from analysis.scene import End
from analysis.steps import Evidence
from analysis.why.story import CONFIRMED, DOUBT, worst

MANAGED, SERVICE, UNKNOWN_SHAPE = "docker-18", "docker-19", "unknown"
HOLDS, CONTRADICTED, NOT_OBSERVED = "holds", "contradicted", "not-observed"

UNAFFECTED, REPARENTED, EXITED = "unaffected", "reparented", "exited"
KILLED, RECREATED = "killed", "recreated"


@dataclass(frozen=True, slots=True)
class Question:
    """``managed``, ``service``: the published claim for either shape."""

    id: str
    text: str
    managed: str
    service: str

    def claim(self, shape: str) -> str:
        if shape == UNKNOWN_SHAPE and self.managed != self.service:
            return f"{MANAGED}: {self.managed}; {SERVICE}: {self.service}"
        return self.service if shape == SERVICE else self.managed


_TAKEN_OVER = "the shim is taken over by systemd, the container is unaffected"

QUESTIONS = tuple(
    Question(*texts)
    for texts in (
        (
            "start",
            "who adopts the container's process 1 when runc exits; whose child is the shim",
            *("runc starts it and exits, the shim becomes the parent",) * 2,
        ),
        (
            "dockerd-exit",
            "what becomes of shim and container when dockerd exits or restarts",
            _TAKEN_OVER,
            "process tree and container are unaffected",
        ),
        (
            "containerd-exit",
            "what becomes of shim and container when containerd exits",
            *(_TAKEN_OVER,) * 2,
        ),
        (
            "shim-exit",
            "what becomes of the container when its shim exits",
            *("the container is recycled",) * 2,
        ),
        (
            "container-exit",
            "what becomes of the shim when the container's process 1 exits",
            *("the shim exits too, no zombies stay",) * 2,
        ),
        (
            "restart",
            "what a restart of a container makes anew",
            *("a new shim and a new process 1",) * 2,
        ),
        (
            "exec",
            "whose child is a process that is brought into a container",
            *("runc enters and exits, the shim becomes the parent",) * 2,
        ),
        (
            "reap",
            "who reaps the processes that are left when process 1 exits",
            *("the shim reaps them, no zombies stay",) * 2,
        ),
    )
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a shim, of a container's process 1, or of a process in it.

    Attributes:
        token: unaffected, reparented, exited, killed, recreated.
        ts_ns: when; of unaffected: until when it was seen to be.
        after_ns: how long after what is asked about (unaffected: how long it was watched).
        old, new: parents of reparented, processes of recreated; -1. ``new`` of an unaffected
            shim: whose child it is.
        latency_ns: of reparented: from the old parent's exit to the observation of the new one.
        end: of exited and killed.
        by: who ended it, or told it to end (of unaffected: in vain so far); -1: nobody, or not
            known.
        meanwhile: it was reparented before it ended.
        then: what followed.
    """

    token: str
    ts_ns: int | None = None
    after_ns: int | None = None
    old: int = -1
    new: int = -1
    latency_ns: int | None = None
    certainty: str = CONFIRMED
    end: End | None = None
    by: int = -1
    meanwhile: Outcome | None = None
    then: Outcome | None = None


@dataclass(frozen=True, slots=True)
class Left:
    """Processes of a container that its process 1 left behind, by what became of them.

    Attributes:
        with_process_1: killed by the kernel as the pid namespace ended.
        by_shim: reaped as children of the shim. zombies: not reaped at the end. alive: then.
    """

    total: int
    with_process_1: int
    by_shim: int
    zombies: int
    alive: int


@dataclass(frozen=True, slots=True)
class Occurrence:
    """One time that it came to what is asked about, for one container.

    Attributes:
        what: sentence, harmless to print.
        why: why the verdict is what it is, likewise.
        subject: position of the process that it is about.
        shim, container: None: not asked, or not known.
        process: of the one that an exec brought in.
    """

    ts_ns: int
    what: str
    subject: int
    container_id: str
    shape: str
    verdict: str
    why: str
    shim: Outcome | None = None
    container: Outcome | None = None
    process: Outcome | None = None
    left: Left | None = None
    zombies: int | None = None
    evidence: list[Evidence] = field(default_factory=list)
    certainty: str = CONFIRMED


@dataclass(frozen=True, slots=True)
class Behaviour:
    """The answer of a capture to a question."""

    question: Question
    shape: str
    shim_version: str | None
    occurrences: list[Occurrence]
    doubts: list[str]

    @property
    def verdict(self) -> str:
        return judge(self.occurrences)

    @property
    def certainty(self) -> str | None:
        """Of the verdict: as sure as the surest occurrence that gives it. None: no verdict."""
        verdict = self.verdict
        mine = [o.certainty for o in self.occurrences if o.verdict == verdict]
        if verdict == NOT_OBSERVED or not mine:
            return None
        # One that contradicts is enough; that all hold is as sure as the least sure.
        return best(mine) if verdict == CONTRADICTED else worst(mine)


def best(certainties: list[str]) -> str:
    return min(certainties, key=DOUBT.index)


def judge(occurrences: Iterable[Occurrence]) -> str:
    """A claim is contradicted by one occurrence, and holds if it held each time."""
    verdicts = {occurrence.verdict for occurrence in occurrences}
    for verdict in (CONTRADICTED, HOLDS):
        if verdict in verdicts:
            return verdict
    return NOT_OBSERVED
