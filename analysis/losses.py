"""When and where events were lost.

Every event says how many were lost on its CPU before it: a step between two events of one
CPU puts the loss between their times. LOSS chunks bound what no later event tells.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.columns import MAX, as_int, int64

Array = npt.NDArray[Any]

# Events of one CPU may be out of order by up to 100 us (an interrupt between reading the
# clock and reserving the record); windows are widened by ten times that.
SLACK_NS = 1_000_000

COLUMNS = ("from_ns", "to_ns", "cpu", "events", "details")


class Counted(Protocol):
    """Records by field: ts_ns, cpu, cpu_lost."""

    def __getitem__(self, name: str, /) -> Array: ...


def windows(
    arrays: Iterable[Array],
    details: Counted,
    totals: list[tuple[int, list[Any]]],
    baseline: list[Any],
) -> pd.DataFrame:
    """Windows of lost events and details, by from_ns.

    Args:
        arrays: all events, with fields ts_ns, cpu, cpu_lost.
        details: likewise.
        totals: (ts_ns, per CPU [events, details]) of LOSS chunks and trailer.
        baseline: per CPU [events, details] lost before the capture began: no loss of it.

    Columns: from_ns, to_ns, cpu, and how many events and details were lost (one is 0).
    """
    rows: list[tuple[int, int, int, int, int]] = []
    known = list(arrays)
    for position in (0, 1):
        before = dict(_counts(baseline, position))
        if position == 0:
            marks = []
            if any(map(_lossy, known)) or any(_counts(cpus, 0) for _, cpus in totals):
                marks = [(int64(a["ts_ns"]), a["cpu"], a["cpu_lost"]) for a in known]
        else:
            marks = [(int64(details["ts_ns"]), details["cpu"], details["cpu_lost"])]
        for begin, end, cpu, count in _windows(marks, totals, position, before):
            lost = (count, 0) if position == 0 else (0, count)
            rows.append((begin, min(end, MAX), cpu, *lost))
    rows.sort()
    columns = zip(*rows, strict=True) if rows else ((),) * len(COLUMNS)
    return pd.DataFrame(
        {name: np.array(values, np.int64) for name, values in zip(COLUMNS, columns, strict=True)}
    )


def with_cut(found: pd.DataFrame, cut_ns: int | None) -> pd.DataFrame:
    """Windows, and one more that stands for what a cut capture does not hold."""
    if cut_ns is None:
        return found
    row = {"from_ns": [cut_ns], "to_ns": [MAX], "cpu": [-1], "events": [1], "details": [1]}
    return pd.concat([found, pd.DataFrame(row)], ignore_index=True)


def touched(
    found: pd.DataFrame, begin: npt.NDArray[np.int64], end: npt.NDArray[np.int64]
) -> npt.NDArray[np.bool_]:
    """Whether events may have been lost between ``begin`` and ``end``, for each pair."""
    lost = found[found["events"] > 0]
    if lost.empty:
        return np.zeros(len(begin), bool)
    # A window touches unless it starts behind the end or ends before the begin.
    starts = np.sort(lost["from_ns"].to_numpy())
    ends = np.sort(lost["to_ns"].to_numpy())
    started = np.searchsorted(starts, end, side="right")
    over = np.searchsorted(ends, begin, side="left")
    return started > over


def _lossy(rows: Array) -> bool:
    return bool(len(rows)) and bool(np.any(rows["cpu_lost"]))


def _counts(cpus: list[Any], position: int) -> list[tuple[int, int]]:
    """(cpu, total) of the CPUs that lost something."""
    found = []
    for cpu, entry in enumerate(cpus):
        value = entry[position] if isinstance(entry, list) and len(entry) > position else 0
        if as_int(value):
            found.append((cpu, as_int(value)))
    return found


def _windows(
    marks: list[tuple[Array, Array, Array]],
    totals: list[tuple[int, list[Any]]],
    position: int,
    before: dict[int, int],
) -> list[tuple[int, int, int, int]]:
    """(from_ns, to_ns, cpu, lost) of one ring."""
    found: list[tuple[int, int, int, int]] = []
    # cpu -> (time up to which it is known, lost so far)
    last = {cpu: (0, count) for cpu, count in before.items()}
    if marks:
        ts = np.concatenate([m[0] for m in marks])
        cpu = np.concatenate([m[1] for m in marks]).astype(np.int64)
        lost = np.concatenate([m[2] for m in marks]).astype(np.int64)
        if len(ts):
            found = _steps(ts, cpu, lost, last)
    for ts_ns, cpus in sorted(totals, key=lambda total: total[0]):
        for number, total in _counts(cpus, position):
            since, known = last.get(number, (0, 0))
            # cpu_lost is 32 bits wide and would wrap; a smaller total is an older chunk.
            if total > known:
                found.append((since, max(ts_ns, since) + SLACK_NS, number, total - known))
                last[number] = (max(ts_ns - SLACK_NS, since), total)
    return found


def _steps(
    ts: Array, cpu: Array, lost: Array, last: dict[int, tuple[int, int]]
) -> list[tuple[int, int, int, int]]:
    """Windows that the events show; brings ``last`` up to date."""
    order = np.lexsort((ts, lost, cpu))
    ts, cpu, lost = ts[order], cpu[order], lost[order]
    new = np.ones(len(ts), bool)
    new[1:] = (cpu[1:] != cpu[:-1]) | (lost[1:] != lost[:-1])
    heads = np.flatnonzero(new)
    first, final = ts[heads], np.maximum.reduceat(ts, heads)
    cpus, counts = cpu[heads], lost[heads]
    found = []
    rows = zip(first.tolist(), final.tolist(), cpus.tolist(), counts.tolist(), strict=True)
    for begin, end, number, count in rows:
        since, known = last.get(number, (0, 0))
        if count > known:
            found.append((min(since, begin), begin + SLACK_NS, number, count - known))
        # A count below that of the beginning: the event was in the ring then already, and what
        # was lost behind it was lost in this capture.
        last[number] = (max(end - SLACK_NS, since), count)
    return found
