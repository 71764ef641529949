"""What a capture says of itself as a whole, found without keeping its events."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis import losses
from analysis.clocks import Clocks
from analysis.details import headers_in
from analysis.table import RECORD, RING_HEADER, damage_of, totals_of
from tracer import abi
from tracer.capture_format import DETAILS, EVENTS, FACT, LOSS, known_fact, load_json
from tracer.capture_reader import CaptureReader

Array = npt.NDArray[Any]

_EVENT = np.dtype(abi.event_layout())  # type: ignore[call-overload]
_MARK = np.dtype([("ts_ns", "<u8"), ("cpu", "<u2"), ("cpu_lost", "<u4")])


@dataclass
class Overview:
    """Of a capture that was read to its end.

    Attributes:
        header, trailer, complete, damage: as `analysis.table.Table` has them.
        facts: those that tell of clocks.
        events: how many it holds, of subjects that are known.
        losses: windows, as `rtrace.Capture.losses`.
    """

    header: dict[str, Any]
    trailer: dict[str, Any] | None
    complete: bool
    damage: str | None
    facts: list[dict[str, Any]]
    events: int
    losses: pd.DataFrame

    @cached_property
    def clocks(self) -> Clocks:
        """Wall times."""
        return Clocks(self)


def look_over(
    reader: CaptureReader, on_progress: Callable[[float], None] | None = None
) -> Overview:
    """Reads all of a capture once, a chunk in memory at a time.

    Args:
        on_progress: called now and then with the share of the capture that was read.
    """
    events, counted = 0, 0
    clock_facts: list[dict[str, Any]] = []
    totals: list[tuple[int, npt.NDArray[np.int64]]] = []
    marks, detail_marks = _Marks(), _Marks()
    for kind, content in reader.chunks():
        if kind == EVENTS:
            rows = np.ndarray(len(content) // RECORD, _EVENT, content, RING_HEADER, (RECORD,))
            counted += len(rows)
            events += int(np.count_nonzero(rows["tgid"]))
            marks.add(rows[rows["tgid"] != 0] if not rows["tgid"].all() else rows)
            if on_progress is not None:
                on_progress(reader.share)
        elif kind == DETAILS:
            rows = headers_in(content)
            detail_marks.add(rows[rows["tgid"] != 0])
        elif kind == FACT:
            fact = known_fact(load_json(kind, content))
            if fact is not None and fact["kind"] == "clock":
                clock_facts.append(fact)
        elif kind == LOSS:
            totals.append(totals_of(load_json(kind, content), "cpus"))
    trailer = reader.trailer
    if trailer is not None:
        totals.append(totals_of(trailer, "losses"))
    damage = damage_of(reader, counted)
    found = losses.windows(
        [marks.rows()], detail_marks.rows(), totals, totals_of(reader.header, "losses")[1]
    )
    return Overview(
        header=reader.header,
        trailer=trailer,
        complete=reader.complete and damage is None,
        damage=damage,
        facts=clock_facts,
        events=events,
        losses=found,
    )


class _Marks:
    """Of all records those that tell of losses: by CPU and count, the first and the last."""

    def __init__(self) -> None:
        self._found: list[Array] = []

    def add(self, rows: Array) -> None:
        if not len(rows):
            return
        ts = rows["ts_ns"]
        keys = rows["cpu"].astype(np.int64) << 32 | rows["cpu_lost"]
        codes, uniques = pd.factorize(keys)
        first = np.full(len(uniques), np.iinfo(np.uint64).max, np.uint64)
        last = np.zeros(len(uniques), np.uint64)
        np.minimum.at(first, codes, ts)
        np.maximum.at(last, codes, ts)
        marks = np.empty(2 * len(uniques), _MARK)
        marks["ts_ns"] = np.concatenate([first, last])
        marks["cpu"] = np.tile(uniques >> 32, 2)
        marks["cpu_lost"] = np.tile(uniques & 0xFFFFFFFF, 2)
        self._found.append(marks)

    def rows(self) -> Array:
        return np.concatenate([np.empty(0, _MARK), *self._found])
