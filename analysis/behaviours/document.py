"""``behaviours`` of the report: what docs/report-json.md describes."""

from __future__ import annotations

from collections.abc import Callable, Collection

from analysis.behaviours.behaviour import (
    EXITED,
    KILLED,
    RECREATED,
    REPARENTED,
    UNAFFECTED,
    Behaviour,
    Occurrence,
    Outcome,
)
from analysis.behaviours.find import find_behaviours
from analysis.references import Json, References


def describe(
    references: References,
    wanted: Callable[[Occurrence], bool] = lambda occurrence: True,
    containers: Collection[str] | None = None,
) -> list[Json]:
    """The answers of a capture to all questions, as JSON.

    Args:
        references: gives references, and lists who was referred to.
        wanted: occurrences that are to count.
        containers: ids of those that are asked about; None: all.
    """
    found = find_behaviours(references.capture, wanted, containers)
    return [_behaviour(references, behaviour) for behaviour in found]


def _behaviour(references: References, behaviour: Behaviour) -> Json:
    return {
        "id": behaviour.question.id,
        "question": behaviour.question.text,
        "shape": behaviour.shape,
        "shim_version": behaviour.shim_version,
        "claim": behaviour.question.claim(behaviour.shape),
        "observed": bool(behaviour.occurrences),
        "verdict": behaviour.verdict,
        "certainty": behaviour.certainty,
        "doubts": behaviour.doubts,
        "occurrences": [_occurrence(references, o) for o in behaviour.occurrences],
    }


def _occurrence(references: References, occurrence: Occurrence) -> Json:
    left = occurrence.left
    return {
        "ts_ns": occurrence.ts_ns,
        "rel_ns": occurrence.ts_ns - references.boot_ns,
        "utc": references.clocks.utc(occurrence.ts_ns),
        "what": occurrence.what,
        "subject": references.ref(occurrence.subject),
        "container_id": occurrence.container_id,
        "shape": occurrence.shape,
        "shim": _outcome(references, occurrence.shim),
        "container": _outcome(references, occurrence.container),
        "process": _outcome(references, occurrence.process),
        "left": None
        if left is None
        else {
            "total": left.total,
            "with_process_1": left.with_process_1,
            "by_shim": left.by_shim,
            "zombies": left.zombies,
            "alive": left.alive,
        },
        "zombies": occurrence.zombies,
        "verdict": occurrence.verdict,
        "why": occurrence.why,
        "certainty": occurrence.certainty,
        "evidence": references.evidence(occurrence.evidence),
    }


def _outcome(references: References, outcome: Outcome | None) -> Json | None:
    if outcome is None:
        return None
    ref = references.ref
    found: Json = {
        "outcome": outcome.token,
        "ts_ns": outcome.ts_ns,
        "after_ns": outcome.after_ns,
    }
    if outcome.token in (REPARENTED, RECREATED):
        found |= {"from": ref(outcome.old), "to": ref(outcome.new)}
    if outcome.token == REPARENTED:
        found |= {"latency_ns": outcome.latency_ns, "certainty": outcome.certainty}
    if outcome.token == UNAFFECTED:
        found |= {"parent": ref(outcome.new), "by": ref(outcome.by)}
    if outcome.token in (EXITED, KILLED):
        found |= {"by": ref(outcome.by), "end": references.end(outcome.end)}
        found["meanwhile"] = _outcome(references, outcome.meanwhile)
    found["then"] = _outcome(references, outcome.then)
    return found
