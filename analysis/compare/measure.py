"""What one capture adds to a comparison: small and plain, so that processes can hand it on."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from analysis.behaviours.behaviour import (
    NOT_OBSERVED,
    REPARENTED,
    Behaviour,
    Occurrence,
    Outcome,
)
from analysis.behaviours.find import find_behaviours
from analysis.clocks import Clocks
from analysis.compare.latencies import Samples, measure_latencies
from analysis.compare.tree import Tree, measure_tree
from analysis.model import Capture, open_capture
from analysis.recording import describe, describe_losses
from analysis.references import Json, References
from analysis.roles import SHIMS

# Questions whose answer may depend on how the one that it is about ended.
_BY_CAUSE = ("dockerd-exit", "containerd-exit", "shim-exit", "container-exit")
_CITED = 5


@dataclass(frozen=True, slots=True, order=True)
class Outcomes:
    """What became of those that a question is about, in words without numbers.

    Attributes:
        cause: how the one that it is about ended (exited, killed, killed by parent-death), "" where
            that is no question.
    """

    cause: str
    shim: str
    container: str
    process: str
    verdict: str


@dataclass
class Answer:
    """A capture's answer to one question. ``first``: by outcome, the first occurrence as JSON."""

    shape: str
    claim: str
    verdict: str
    certainty: str | None
    counts: Counter[Outcomes] = field(default_factory=Counter)
    first: dict[Outcomes, Json] = field(default_factory=dict)


@dataclass
class Measured:
    """One capture.

    Attributes:
        capture: ``capture`` of its report, without what only a report needs.
        shape, shim, live_restore: the engine as the events (and the daemon itself) show it.
        answers: by id of the question.
    """

    path: str
    label: str | None
    capture: Json
    lost: int
    docker: str | None
    shape: str
    shim: str | None
    live_restore: bool | None
    doubts: list[str]
    answers: dict[str, Answer]
    latencies: Samples
    tree: Tree


def measure(path: str, label: str | None) -> Measured:
    """Read a capture once.

    Raises:
        CaptureError: it cannot be read.
    """
    return measure_capture(open_capture(path), path, label)


def measure_capture(capture: Capture, path: str, label: str | None) -> Measured:
    """The same of one that is open."""
    behaviours = find_behaviours(capture)
    references = References(capture)
    described = describe(capture, Clocks(capture.table), [], references.ref)
    losses = describe_losses(capture.table)
    runtimes = described["runtimes"]
    docker = [r for r in runtimes if r.get("name") == "docker"]
    shims = {b.shim_version for b in behaviours}
    return Measured(
        path=path,
        label=label,
        capture={key: described[key] for key in _KEPT},
        lost=losses["events"] + losses["details"],
        docker=next((_text(r.get("version")) for r in docker), None),
        shape=behaviours[0].shape if len({b.shape for b in behaviours}) == 1 else "unknown",
        shim=shims.pop(),
        live_restore=next((r.get("live_restore") is True for r in docker), None),
        doubts=behaviours[0].doubts,
        answers={b.question.id: _answer(capture, references, b) for b in behaviours},
        latencies=measure_latencies(capture, behaviours),
        tree=measure_tree(capture),
    )


_KEPT = (
    *("rtrace", "host", "kernel", "runtimes", "engine", "filter", "started", "duration_ns"),
    *("events", "processes", "complete", "damage"),
)


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _answer(capture: Capture, references: References, behaviour: Behaviour) -> Answer:
    answer = Answer(
        behaviour.shape,
        behaviour.question.claim(behaviour.shape),
        behaviour.verdict,
        behaviour.certainty,
    )
    for occurrence in behaviour.occurrences:
        outcomes = _outcomes(capture, behaviour.question.id, occurrence)
        answer.counts[outcomes] += 1
        if outcomes not in answer.first:
            answer.first[outcomes] = {
                "ts_ns": occurrence.ts_ns,
                "rel_ns": occurrence.ts_ns - references.boot_ns,
                "what": occurrence.what,
                "why": occurrence.why,
                "certainty": occurrence.certainty,
                "evidence": references.evidence(occurrence.evidence[:_CITED]),
            }
    return answer


def _outcomes(capture: Capture, id_: str, occurrence: Occurrence) -> Outcomes:
    scene = capture.scene
    cause = ""
    if id_ in _BY_CAUSE:
        end = scene.end_of(occurrence.subject)
        by_kernel = end.by is not None and end.by.kind != "process"
        cause = f"{end.how} by {end.by.kind}" if end.by is not None and by_kernel else end.how
    container = outcome_text(capture, occurrence.container)
    if occurrence.left is not None:
        left = occurrence.left
        kinds = {
            "killed with process 1": left.with_process_1,
            "reaped by the shim": left.by_shim,
            "zombies": left.zombies,
            "alive": left.alive,
        }
        container = f"left: {', '.join(k for k, n in kinds.items() if n) or 'none of them seen'}"
    elif occurrence.zombies:
        container += ", zombies stayed"
    return Outcomes(
        cause,
        outcome_text(capture, occurrence.shim),
        container,
        outcome_text(capture, occurrence.process),
        occurrence.verdict,
    )


def outcome_text(capture: Capture, outcome: Outcome | None) -> str:
    """ "reparented from containerd to init, then killed by containerd"; "": there is none."""
    if outcome is None:
        return ""
    roles = capture.scene.roles

    def role(pos: int) -> str:
        # Which kind of shim or containerd it is is no behaviour: the group's name tells.
        name = str(roles[pos]) if pos >= 0 else "?"
        return "shim" if name in SHIMS else name.removesuffix("-managed")

    text = outcome.token
    if outcome.token == REPARENTED:
        text += f" from {role(outcome.old)} to {role(outcome.new)}"
    elif outcome.end is not None:
        by = outcome.end.by
        if by is not None and by.kind != "process":
            text += f" by {by.kind}"
        elif outcome.by >= 0 and outcome.token == "killed":
            killer = role(outcome.by)
            text += " from outside" if killer == "other" else f" by {killer}"
    if outcome.meanwhile is not None:
        text += f" ({outcome_text(capture, outcome.meanwhile)} before)"
    if outcome.then is not None:
        text += f", then {outcome_text(capture, outcome.then)}"
    return text


def judged(answer: Answer) -> dict[str, set[tuple[str, str, str]]]:
    """By cause: what became of those that it is about, where that could be judged."""
    found: dict[str, set[tuple[str, str, str]]] = {}
    for o in answer.counts:
        if o.verdict != NOT_OBSERVED:
            found.setdefault(o.cause, set()).add((o.shim, o.container, o.process))
    return found
