"""The history of parents that follows from a log alone.

It is what a perfect capture would say, as narrow as the observations allow. A log that contradicts
itself has none: that is a fault of randomtree, or news about the kernel.
"""

from __future__ import annotations

from collections.abc import Iterable

from tests.kernel.trees.comparator import (
    Certainty,
    Interval,
    Observation,
    ProcessId,
    WitnessedProcess,
)


class ContradictionError(ValueError):
    """Two observations of a process cannot both be true."""


def find_history(processes: Iterable[WitnessedProcess]) -> dict[ProcessId, list[Interval]]:
    """The parents of each process that somebody saw.

    Raises:
        ContradictionError: a parent was seen after another one had followed it.
    """
    history: dict[ProcessId, list[Interval]] = {}
    for process in processes:
        history[process.tgid, process.start_hi_ns] = _find_parents(process)
    return history


def _find_parents(process: WitnessedProcess) -> list[Interval]:
    sightings: dict[int, list[Observation]] = {}
    for o in sorted(process.observations, key=lambda o: o.first_hi_ns):
        sightings.setdefault(o.parent_tgid, []).append(o)
    intervals: list[Interval] = []
    before_ns = process.start_lo_ns
    for parent_tgid, seen in sightings.items():
        after_ns = min(o.first_hi_ns for o in seen)
        if before_ns > after_ns:
            raise ContradictionError(f"{process}: {parent_tgid} at {after_ns} is too early")
        start_ns = seen[0].parent_start_ns
        intervals.append(
            Interval(
                before_ns,
                after_ns,
                parent_tgid,
                start_ns[1] if start_ns else None,
                Certainty.CONFIRMED,
            )
        )
        before_ns = max(o.last_ns for o in seen)
    return intervals
