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

from analysis.columns import MAX, int64

Array = npt.NDArray[Any]
Ints = npt.NDArray[np.int64]

# Events of one CPU may be out of order by up to 100 us (an interrupt between reading the
# clock and reserving the record); windows are widened by ten times that.
SLACK_NS = 1_000_000

COLUMNS = ("from_ns", "to_ns", "cpu", "events", "details")

MOST = 100_000
"""So many windows are kept apart."""


class Counted(Protocol):
    """Records by field: ts_ns, cpu, cpu_lost."""

    def __getitem__(self, name: str, /) -> Array: ...


def windows(
    arrays: Iterable[Array],
    details: Counted,
    totals: list[tuple[int, Ints]],
    baseline: Ints,
) -> pd.DataFrame:
    """Windows of lost events and details, by from_ns.

    Args:
        arrays: all events, with fields ts_ns, cpu, cpu_lost.
        details: likewise.
        totals: (ts_ns, a row [events, details] a CPU) of LOSS chunks and trailer.
        baseline: rows [events, details] lost before the capture began: no loss of it.

    Columns: from_ns, to_ns, cpu, and how many events and details were lost (one is 0). Where there
    were more than MOST, one stands for several, and its cpu is -1.
    """
    rows = _Rows()
    known = list(arrays)
    for position in (0, 1):
        before = dict(_counts(baseline, position))
        if position == 0:
            marks = []
            if any(map(_lossy, known)) or any(np.any(cpus[:, 0]) for _, cpus in totals):
                marks = [(int64(a["ts_ns"]), a["cpu"], a["cpu_lost"]) for a in known]
        else:
            marks = [(int64(details["ts_ns"]), details["cpu"], details["cpu_lost"])]
        _add_windows(rows, marks, totals, position, before)
    return rows.frame()


class _Rows:
    """Rows of COLUMNS, of which no more are kept than a capture may need."""

    def __init__(self) -> None:
        self._blocks: list[Ints] = []
        self._count = 0

    def add(self, position: int, begin: Any, end: Any, cpu: Any, lost: Any) -> None:
        """Windows in which events (``position`` 0) or details (1) were lost."""
        none = np.zeros(len(cpu), np.int64)
        counts = (lost, none) if position == 0 else (none, lost)
        self._blocks.append(np.array([begin, np.minimum(end, MAX), cpu, *counts], np.int64))
        self._count += len(cpu)
        if self._count > 2 * MOST:
            self._blocks = [self._fewer()]
            self._count = self._blocks[0].shape[1]

    def frame(self) -> pd.DataFrame:
        """All of them."""
        if self._count > MOST:
            self._blocks = [self._fewer()]
        rows = self._joined()
        rows = rows[:, np.lexsort(rows[::-1])]
        return pd.DataFrame(dict(zip(COLUMNS, np.ascontiguousarray(rows), strict=True)))

    def _joined(self) -> Ints:
        return np.concatenate([np.empty((len(COLUMNS), 0), np.int64), *self._blocks], axis=1)

    def _fewer(self) -> Ints:
        """MOST at most: each spans some that began one after another."""
        rows = self._joined()
        rows = rows[:, np.lexsort(rows[::-1])]
        heads = np.arange(0, rows.shape[1], -(-rows.shape[1] // MOST))
        begin = np.minimum.reduceat(rows[0], heads)
        end = np.maximum.reduceat(rows[1], heads)
        lost = [np.add.reduceat(row, heads) for row in rows[3:]]
        return np.array([begin, end, np.full(len(heads), -1), *lost], np.int64)


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


def _counts(cpus: Ints, position: int) -> list[tuple[int, int]]:
    """(cpu, total) of the CPUs that lost something."""
    lossy = np.flatnonzero(cpus[:, position])
    return list(zip(lossy.tolist(), cpus[lossy, position].tolist(), strict=True))


def _add_windows(
    rows: _Rows,
    marks: list[tuple[Array, Array, Array]],
    totals: list[tuple[int, Ints]],
    position: int,
    before: dict[int, int],
) -> None:
    """Adds the windows of one ring."""
    # cpu -> (time up to which it is known, lost so far)
    last = {cpu: (0, count) for cpu, count in before.items()}
    if marks:
        ts = np.concatenate([m[0] for m in marks])
        cpu = np.concatenate([m[1] for m in marks]).astype(np.int64)
        lost = np.concatenate([m[2] for m in marks]).astype(np.int64)
        if len(ts) and (found := _steps(ts, cpu, lost, last)):
            rows.add(position, *np.array(found, np.int64).T)
    size = max([*last, -1, *(len(cpus) - 1 for _, cpus in totals)]) + 1
    since, known = np.zeros(size, np.int64), np.zeros(size, np.int64)
    for number, (since_ns, count) in last.items():
        since[number], known[number] = since_ns, count
    for ts_ns, cpus in sorted(totals, key=lambda total: total[0]):
        counts = cpus[:, position]
        # cpu_lost is 32 bits wide and would wrap; a smaller total is an older chunk.
        more = np.flatnonzero(counts > known[: len(counts)])
        if len(more):
            end = np.maximum(ts_ns, since[more]) + SLACK_NS
            rows.add(position, since[more], end, more, counts[more] - known[more])
            since[more] = np.maximum(ts_ns - SLACK_NS, since[more])
            known[more] = counts[more]


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
