"""A capture as columns: one numpy array an event type, small DataFrames for the rest.

Events stay records (structured arrays over the bytes that BPF wrote): 10,000,000 of them are
800 MB so, and several times that as columns. What is derived from them is in `processes`
and `parents`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from os import PathLike
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis import details as details_of
from analysis import losses
from analysis.ahead import ahead
from analysis.columns import MAX, as_int, put_in_order
from analysis.details import Details
from analysis.snapshots import Snapshot, Snapshots
from analysis.sockets import Sockets
from tracer import abi
from tracer.capture_format import known_fact, load_json
from tracer.capture_reader import CaptureReader

Array = npt.NDArray[Any]

# In the ring every record has eight bytes in front: length, busy bit, page offset.
RING_HEADER = 8
RECORD = RING_HEADER + abi.EVENT_SIZE
TYPE_OFFSET = RING_HEADER + abi.Event.type.offset


def _trimmed(event_type: abi.Type) -> np.dtype[np.void]:
    """Layout of a type without the padding at its end: a REAP is half a record."""
    layout = abi.event_layout(event_type)
    end = max(
        offset + np.dtype(form).itemsize
        for offset, form in zip(layout["offsets"], layout["formats"], strict=True)
    )
    return np.dtype(layout | {"itemsize": -(-end // 8) * 8})  # type: ignore[call-overload,no-any-return]


DTYPES = {event_type: _trimmed(event_type) for event_type in abi.Type}


@dataclass
class Table:
    """What a capture holds.

    Attributes:
        header: HEAD of the capture.
        trailer: TAIL, None if the capture is cut.
        complete: the capture ends with its trailer.
        damage: where and why reading stopped early, one sentence; None if it did not.
        detail_rows: what was executed with which arguments, and cgroups, by ts_ns.
        tasks: the snapshots: fields of abi.Task, and phase "start" or "end".
        procs: what /proc said then, see `snapshots.Snapshots.df_procs`; exe may be None.
        snapshots: when they were taken, in order of time.
        facts: FACT objects in the order of the capture, see `capture_format.known_fact`.
        sockets: unix sockets, and when they were looked at.
        losses: windows in which events or details were lost: from_ns, to_ns, cpu, events,
            details (how many). Empty if nothing was.
    """

    header: dict[str, Any]
    trailer: dict[str, Any] | None
    complete: bool
    damage: str | None
    detail_rows: Details
    tasks: pd.DataFrame
    procs: pd.DataFrame
    snapshots: list[Snapshot]
    facts: list[dict[str, Any]]
    losses: pd.DataFrame
    arrays: dict[abi.Type, Array] = field(default_factory=dict)
    sockets: Sockets = field(default_factory=Sockets)
    cache: dict[str, Any] = field(default_factory=dict)

    def of(self, event_type: abi.Type) -> Array:
        """Events of a type, by ts_ns: fields of ``abi.event_layout(event_type)``."""
        found = self.arrays.get(event_type)
        return found if found is not None else np.empty(0, DTYPES[event_type])

    @cached_property
    def details(self) -> pd.DataFrame:
        """Columns DETAIL_COLUMNS, by ts_ns; type is "EXEC" or "ATTACH", args a tuple of str."""
        return self.detail_rows.frame()

    @property
    def events(self) -> int:
        """How many events the capture holds."""
        return sum(len(rows) for rows in self.arrays.values())

    @property
    def started_ns(self) -> int:
        """When the recording began, or the first of its segments that is left: HEAD's clock."""
        clock = self.header.get("clock")
        return as_int(clock.get("boot_ns")) if isinstance(clock, dict) else 0

    @property
    def kept_from_ns(self) -> int:
        """From when on events are kept. A segment may hold some that are older than itself: they
        were in the ring when it began."""
        return min(self.started_ns, self.first_ns) if self.events else self.started_ns

    @property
    def first_ns(self) -> int:
        """Time of the first event; 0 if there is none."""
        first = (int(rows["ts_ns"][0]) for rows in self.arrays.values() if len(rows))
        return min(min(first, default=0), MAX)

    @property
    def last_ns(self) -> int:
        """End of the recording: the trailer's time, else that of the last event."""
        last = max(
            (int(rows["ts_ns"][-1]) for rows in self.arrays.values() if len(rows)), default=0
        )
        return max(min(last, MAX), as_int((self.trailer or {}).get("ts_ns")))

    @property
    def cut_ns(self) -> int | None:
        """Time behind which events may be missing because the capture is cut, or None."""
        return None if self.complete else max(self.last_ns - losses.SLACK_NS, 0)


def load(path: str | PathLike[str], on_progress: Callable[[float], None] | None = None) -> Table:
    """Read a capture.

    Args:
        on_progress: called now and then with the share of the file that was read, 0 to 1.

    Raises:
        CaptureError: not a capture, or of a newer schema. A cut or damaged one is read as
            far as it goes.
    """
    with CaptureReader(path) as reader:
        return from_chunks(reader, reader.chunks(), on_progress)


def from_chunks(
    reader: Any,
    chunks: Iterable[tuple[bytes, bytes]],
    on_progress: Callable[[float], None] | None = None,
) -> Table:
    """Same as `load`, of an open reader and its chunks."""
    events = _Events()
    details = details_of.Collector()
    snapshots = Snapshots()
    sockets = Sockets()
    facts: list[dict[str, Any]] = []
    totals: list[tuple[int, npt.NDArray[np.int64]]] = []
    for kind, content in ahead(events.take(chunks)):
        if kind == b"EVTS":
            if on_progress is not None:
                on_progress(reader.share)
        elif kind == b"DETL":
            details.add(content)
        elif kind == b"TASK":
            snapshots.add_tasks(content)
        elif kind == b"SOCK":
            sockets.add(content)
        elif kind in (b"PROC", b"FACT", b"LOSS"):
            found = load_json(kind, content)
            if kind == b"PROC":
                snapshots.add_procs(found)
            elif kind == b"FACT":
                if (fact := known_fact(found)) is not None:
                    facts.append(fact)
            else:
                totals.append(totals_of(found, "cpus"))
    trailer = reader.trailer
    if trailer is not None:
        totals.append(totals_of(trailer, "losses"))
    damage = damage_of(reader, events.count)
    arrays = events.arrays()
    found_details = details.collect()
    return Table(
        header=reader.header,
        trailer=trailer,
        complete=bool(reader.complete) and damage is None,
        damage=damage,
        detail_rows=found_details,
        tasks=snapshots.df_tasks(),
        procs=snapshots.df_procs(),
        snapshots=snapshots.list(),
        facts=facts,
        losses=losses.windows(
            arrays.values(), found_details, totals, totals_of(reader.header, "losses")[1]
        ),
        arrays=arrays,
        sockets=sockets,
    )


class _Events:
    """Collects events by type, then sorts each type by time."""

    def __init__(self) -> None:
        self.count = 0
        self._found: dict[abi.Type, _Growing] = {}

    def take(self, chunks: Iterable[tuple[bytes, bytes]]) -> Iterator[tuple[bytes, bytes]]:
        """The chunks; of those with events, which are taken here, the content is left out."""
        for kind, content in chunks:
            if kind == b"EVTS":
                self._add(content)
            yield kind, b"" if kind == b"EVTS" else content

    def _add(self, content: bytes) -> None:
        usable = len(content) - len(content) % RECORD
        kinds = np.frombuffer(content, np.uint8, usable)[TYPE_OFFSET::RECORD]
        self.count += len(kinds)
        present = np.bincount(kinds, minlength=256)
        for event_type, dtype in DTYPES.items():
            if present[event_type]:
                plain = np.dtype(f"V{dtype.itemsize}")
                if event_type not in self._found:
                    self._found[event_type] = _Growing(plain)
                rows = np.ndarray(len(kinds), plain, content, RING_HEADER, (RECORD,))
                self._found[event_type].add(rows[kinds == event_type])

    def arrays(self) -> dict[abi.Type, Array]:
        """Sorted arrays."""
        result = {}
        for event_type in sorted(self._found):
            rows = self._found.pop(event_type).rows().view(DTYPES[event_type])
            # Nothing is known of a subject that is not known.
            rows = rows if rows["tgid"].all() else rows[rows["tgid"] != 0]
            # The order in the file must not matter.
            put_in_order(rows, "tgid", "start_ns", "tid")
            result[event_type] = rows
        return result


class _Growing:
    """An array that grows. Of a large one the kernel moves the pages, so that nothing is copied,
    while pieces that are joined in the end would leave holes."""

    def __init__(self, dtype: np.dtype[np.void]) -> None:
        self._rows = np.empty(1 << 10, dtype)
        self._used = 0

    def add(self, rows: Array) -> None:
        used = self._used + len(rows)
        if used > len(self._rows):
            self._rows.resize(used + max(used // 8, 1 << 10), refcheck=False)
        self._rows[self._used : used] = rows
        self._used = used

    def rows(self) -> Array:
        """All of them. Nothing can be added any more."""
        self._rows.resize(self._used, refcheck=False)
        return self._rows


def damage_of(reader: Any, events: int) -> str | None:
    """What is wrong with the capture: as the reader says, or events that are missing in it."""
    if reader.damage is not None or reader.trailer is None:
        damage: str | None = reader.damage
        return damage
    counted = as_int(reader.trailer.get("events"))
    if counted == events:
        return None
    return f"its trailer counts {counted:,} events, and there are {events:,}"


def totals_of(found: dict[str, Any], key: str) -> tuple[int, npt.NDArray[np.int64]]:
    """When LOSS counters were read, and a row [events, details] a CPU.

    Args:
        found: content of LOSS, TAIL or HEAD; ``key`` holds the counters.
    """
    cpus = np.array(found.get(key) or np.empty((0, 2)), np.uint64)
    return as_int(found.get("ts_ns")), np.minimum(cpus, MAX).astype(np.int64)
