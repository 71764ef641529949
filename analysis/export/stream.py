"""Events and details in order of time, some of them in memory at a time.

Both rings (events; arguments and cgroups) are nearly in order, and are written one after the other.
So what is newer than the newest record of either, less SLACK_NS, waits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from analysis.ahead import ahead
from analysis.columns import MAX, int64
from analysis.details import Collector, Details
from analysis.table import RECORD, RING_HEADER
from tracer import abi
from tracer.capture_format import DETAILS, EVENTS
from tracer.capture_reader import CaptureReader

Array = npt.NDArray[Any]

SLACK_NS = 100_000_000
ENOUGH = 32_768
"""Fewer events are not worth the calls that a table of each type takes."""
WAITING = 1_000_000
"""So many events wait at most, for details that may never come: half of them are given out then."""

EVENT = np.dtype(abi.event_layout())  # type: ignore[call-overload]
_PLAIN = np.dtype(f"V{abi.EVENT_SIZE}")


@dataclass(frozen=True, slots=True)
class Batch:
    """What happened before a time, and was not given out yet.

    Attributes:
        events: records as BPF wrote them, in order of time: ``view(abi.event_layout(...))``.
        details: table of `make_details`, in order of time.
        until_ns: nothing of an earlier time follows, or little, and late.
    """

    events: Array
    details: pa.Table
    until_ns: int


def batches(
    reader: CaptureReader,
    make_details: Callable[[Details], pa.Table],
    on_progress: Callable[[float], None] | None = None,
) -> Iterator[Batch]:
    """All events and details of a capture, without those of unknown types and of nobody.

    Args:
        make_details: makes a table of some details, with a column ``ts_ns``.
        on_progress: called now and then with the share of the capture that was read.
    """
    held, wanted = np.empty(0, _PLAIN), ENOUGH
    newest = newest_detail = 0
    details = make_details(Collector().collect())
    for kind, content in ahead(reader.chunks()):
        if kind == DETAILS:
            collector = Collector()
            collector.add(content)
            found = make_details(collector.collect())
            newest_detail = max(newest_detail, int(found["ts_ns"].to_numpy().max(initial=0)))
            details = pa.concat_tables([details, found])
        elif kind == EVENTS:
            rows = np.ndarray(len(content) // RECORD, _PLAIN, content, RING_HEADER, (RECORD,))
            rows = _known(np.ascontiguousarray(rows))
            held = np.concatenate([held, rows])
            newest = max(newest, int(_times(rows).max(initial=0)))
            if on_progress is not None:
                on_progress(reader.share)
        if len(held) < wanted:
            continue
        before = max(min(newest, newest_detail) - SLACK_NS, 0)
        if len(held) > WAITING:
            # At least that half, however many are of one time.
            middle = np.partition(_times(held), WAITING // 2)[WAITING // 2]
            before = max(before, int(middle) + 1)
        due, held = _split(held, before)
        now, details = _split_table(details, before)
        wanted = len(held) + ENOUGH
        yield from _pieces(due, now, before)
    due, _ = _split(held, MAX + 1)
    now, _ = _split_table(details, MAX + 1)
    yield from _pieces(due, now, MAX + 1)


def _pieces(events: Array, details: pa.Table, until_ns: int) -> Iterator[Batch]:
    """Batches of ENOUGH events, cut between two times."""
    ts, ts_of_details = _times(events), details["ts_ns"].to_numpy()
    begin = told = 0
    while begin < len(events) or told < len(details):
        end, until = len(events), until_ns
        if begin + ENOUGH < end:
            until = int(ts[begin + ENOUGH])
            first = int(np.searchsorted(ts, until))
            # Of one time there may be more than enough.
            end = first if first > begin else int(np.searchsorted(ts, until, side="right"))
            until = until if first > begin else until + 1
        due = int(np.searchsorted(ts_of_details, until))
        yield Batch(events[begin:end], details.slice(told, due - told), until)
        begin, told = end, due


def _known(rows: Array) -> Array:
    fields = rows.view(EVENT)
    known = (fields["tgid"] != 0) & (fields["type"] >= 1) & (fields["type"] <= max(abi.Type))
    return rows if known.all() else rows[known]


def _times(rows: Array) -> npt.NDArray[np.int64]:
    return int64(rows.view(EVENT)["ts_ns"])


def _split(rows: Array, before: int) -> tuple[Array, Array]:
    """Those of an earlier time, in order, and the others."""
    ts = _times(rows)
    due = ts < before
    now = rows[due]
    return now[np.argsort(ts[due], kind="stable")], rows[~due]


def _split_table(table: pa.Table, before: int) -> tuple[pa.Table, pa.Table]:
    ts = table["ts_ns"].to_numpy()
    due = ts < before
    at = np.flatnonzero(due)
    return table.take(at[np.argsort(ts[at], kind="stable")]), table.filter(pa.array(~due))
