"""A capture as columns: one numpy array an event type, small DataFrames for the rest.

Events stay records (structured arrays over the bytes that BPF wrote): 10,000,000 of them are
800 MB so, and several times that as columns. What is derived from them is in `processes`
and `parents`.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from os import PathLike
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis import losses
from analysis.columns import MAX, as_int, frame, int64, objects, text
from analysis.snapshots import Snapshot, Snapshots
from tracer import abi
from tracer.capture_format import load_json
from tracer.capture_reader import CaptureReader

Array = npt.NDArray[Any]

# In the ring every record has eight bytes in front: length, busy bit, page offset.
RING_HEADER = 8
RECORD = RING_HEADER + abi.EVENT_SIZE
TYPE_OFFSET = RING_HEADER + abi.Event.type.offset

DETAIL_COLUMNS = (
    "ts_ns",
    "tgid",
    "start_ns",
    "type",
    "filename",
    "args",
    "args_total",
    "args_cut",
    "cgroup",
    "cgroup_v1",
    "hierarchy",
    "cpu",
    "cpu_lost",
)
DETAIL_TEXTS = ("type", "filename", "args", "cgroup", "cgroup_v1")


def _trimmed(event_type: abi.Type) -> np.dtype[np.void]:
    """Layout of a type without the padding at its end: a REAP is half a record."""
    layout = abi.event_layout(event_type)
    end = max(
        offset + np.dtype(form).itemsize
        for offset, form in zip(layout["offsets"], layout["formats"], strict=True)
    )
    return np.dtype(layout | {"itemsize": -(-end // 8) * 8})  # type: ignore[call-overload,no-any-return]


DTYPES = {event_type: _trimmed(event_type) for event_type in abi.Type}


DETAIL_DTYPE = np.dtype(
    abi.numpy_layout((abi.DetailHeader, 0), itemsize=abi.DETAIL_HEADER_SIZE)  # type: ignore[call-overload]
)


@dataclass
class Table:
    """What a capture holds.

    Attributes:
        header: HEAD of the capture.
        trailer: TAIL, None if the capture is cut.
        complete: the capture ends with its trailer.
        damage: where and why reading stopped early, one sentence; None if it did not.
        details: columns DETAIL_COLUMNS, sorted by ts_ns; type is "EXEC" or "ATTACH", args a
            tuple of str.
        tasks: the snapshots: fields of abi.Task, and phase "start" or "end".
        procs: what /proc said then, see `snapshots.Snapshots.df_procs`; exe may be None.
        snapshots: when they were taken, in order of time.
        facts: FACT objects in the order of the capture.
        losses: windows in which events or details were lost: from_ns, to_ns, cpu, events,
            details (how many). Empty if nothing was.
    """

    header: dict[str, Any]
    trailer: dict[str, Any] | None
    complete: bool
    damage: str | None
    details: pd.DataFrame
    tasks: pd.DataFrame
    procs: pd.DataFrame
    snapshots: list[Snapshot]
    facts: list[dict[str, Any]]
    losses: pd.DataFrame
    arrays: dict[abi.Type, Array] = field(default_factory=dict)
    cache: dict[str, Any] = field(default_factory=dict)

    def of(self, event_type: abi.Type) -> Array:
        """Events of a type, by ts_ns: fields of ``abi.event_layout(event_type)``."""
        found = self.arrays.get(event_type)
        return found if found is not None else np.empty(0, DTYPES[event_type])

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


def load(path: str | PathLike[str], on_progress: Callable[[int], None] | None = None) -> Table:
    """Read a capture.

    Args:
        on_progress: called now and then with the number of events read so far.

    Raises:
        CaptureError: not a capture, or of a newer schema. A cut or damaged one is read as
            far as it goes.
    """
    reader = CaptureReader(path)
    return from_chunks(reader, reader.chunks(), on_progress)


def from_chunks(
    reader: Any,
    chunks: Iterable[tuple[bytes, bytes]],
    on_progress: Callable[[int], None] | None = None,
) -> Table:
    """Same as `load`, of an open reader and its chunks."""
    events = _Events()
    details = _Details()
    snapshots = Snapshots()
    facts: list[dict[str, Any]] = []
    totals: list[tuple[int, list[Any]]] = []
    for kind, content in chunks:
        if kind == b"EVTS":
            events.add(content)
            if on_progress is not None:
                on_progress(events.count)
        elif kind == b"DETL":
            details.add(content)
        elif kind == b"TASK":
            snapshots.add_tasks(content)
        elif kind in (b"PROC", b"FACT", b"LOSS"):
            found = load_json(kind, content)
            if kind == b"PROC":
                snapshots.add_procs(found)
            elif kind == b"FACT":
                facts.append(found)
            else:
                totals.append(_totals(found, "cpus"))
    trailer = reader.trailer
    if trailer is not None:
        totals.append(_totals(trailer, "losses"))
    damage = _damage(reader, events.count)
    arrays = events.arrays()
    found_details = details.frame()
    return Table(
        header=reader.header,
        trailer=trailer,
        complete=bool(reader.complete) and damage is None,
        damage=damage,
        details=found_details,
        tasks=snapshots.df_tasks(),
        procs=snapshots.df_procs(),
        snapshots=snapshots.list(),
        facts=facts,
        losses=losses.windows(
            arrays.values(), found_details, totals, _totals(reader.header, "losses")[1]
        ),
        arrays=arrays,
    )


class _Events:
    """Collects events by type, then sorts each type by time."""

    def __init__(self) -> None:
        self.count = 0
        self._pieces: dict[abi.Type, list[Array]] = {}

    def add(self, content: bytes) -> None:
        usable = len(content) - len(content) % RECORD
        kinds = np.frombuffer(content, np.uint8, usable)[TYPE_OFFSET::RECORD]
        self.count += len(kinds)
        present = np.bincount(kinds, minlength=256)
        for event_type, dtype in DTYPES.items():
            if not present[event_type]:
                continue
            rows = np.ndarray(len(kinds), f"V{dtype.itemsize}", content, RING_HEADER, (RECORD,))
            self._pieces.setdefault(event_type, []).append(rows[kinds == event_type])

    def arrays(self) -> dict[abi.Type, Array]:
        """Sorted arrays; the pieces of each type are given back before the next is built."""
        result = {}
        for event_type in sorted(self._pieces):
            rows = np.concatenate(self._pieces.pop(event_type)).view(DTYPES[event_type])
            # Nothing is known of a subject that is not known.
            result[event_type] = _sorted(rows if rows["tgid"].all() else rows[rows["tgid"] != 0])
        return result


def _sorted(rows: Array) -> Array:
    """Rows by ts_ns, then by subject and thread: the order in the file must not matter."""
    ts = np.ascontiguousarray(rows["ts_ns"])
    if bool(np.all(ts[1:] > ts[:-1])):
        return rows
    order = np.argsort(ts, kind="stable")
    ts = ts[order]
    same = np.zeros(len(ts), bool)
    same[1:] = ts[1:] == ts[:-1]
    same[:-1] |= same[1:]
    ties = np.flatnonzero(same)
    if len(ties):
        tied = rows[order[ties]]
        inner = np.lexsort((tied["tid"], tied["start_ns"], tied["tgid"], tied["ts_ns"]))
        order[ties] = order[ties][inner]
    # As plain bytes: taking structured rows goes field by field and is ten times slower.
    return rows.view(f"V{rows.dtype.itemsize}")[order].view(rows.dtype)


class _Details:
    """Decodes details: headers by numpy, and each distinct text once, as storms repeat few."""

    # type and the four lengths, behind ts_ns, start_ns, tgid, args_total
    _lengths = struct.Struct("<HHHHH")
    _lengths_at = abi.DetailHeader.type.offset

    def __init__(self) -> None:
        self._headers: list[Array] = []
        self._codes: list[Array] = []
        self._known: dict[bytes, int] = {}

    def add(self, content: bytes) -> None:
        """Same walk as ``abi.decode_details``, which makes an object of every record."""
        unpack, size, known = self._lengths.unpack_from, abi.DETAIL_HEADER_SIZE, self._known
        lengths_at = self._lengths_at
        offsets: list[int] = []
        codes: list[int] = []
        offset, end = 0, len(content) - size
        while offset <= end:
            _, filename, args, group, group_v1 = unpack(content, offset + lengths_at)
            stop = offset + size + filename + args + group + group_v1
            if stop > end + size:
                break
            # From the lengths on, all but times and process: the same texts, the same bytes.
            codes.append(known.setdefault(content[offset + lengths_at : stop], len(known)))
            offsets.append(offset)
            offset = stop + (-stop & 7)
        words = np.frombuffer(content, np.uint64, len(content) // 8)
        at = np.array(offsets, np.int64)[:, None] // 8 + np.arange(size // 8)
        self._headers.append(words[at].view(DETAIL_DTYPE)[:, 0])
        self._codes.append(np.array(codes, np.int64))

    def frame(self) -> pd.DataFrame:
        rows = np.concatenate([np.empty(0, DETAIL_DTYPE), *self._headers])
        codes = np.concatenate([np.empty(0, np.int64), *self._codes])
        known = np.isin(rows["type"], [int(kind) for kind in abi.DetailType])
        kept = np.flatnonzero(known & (rows["tgid"] != 0))
        order = kept[
            np.lexsort([rows[name][kept] for name in ("hierarchy", "start_ns", "tgid", "ts_ns")])
        ]
        rows, codes = rows[order], codes[order]
        texts = [_detail_texts(key) for key in self._known]
        columns = [objects(column)[codes] for column in zip(*texts, strict=True)]
        columns = columns or [np.empty(0, object)] * len(DETAIL_TEXTS)
        numbers = [name for name in DETAIL_COLUMNS if name in (DETAIL_DTYPE.names or ())]
        data: dict[str, Any] = {name: int64(rows[name]) for name in numbers}
        data |= dict(zip(DETAIL_TEXTS, columns, strict=True))
        data["args_cut"] = rows["args_total"] > rows["args_len"]
        return frame({name: data[name] for name in DETAIL_COLUMNS})


def _detail_texts(content: bytes) -> tuple[Any, ...]:
    """DETAIL_TEXTS of a record, of which the part before its type was cut off."""
    kind, *lengths = struct.unpack_from("<HHHHH", content)
    texts = content[abi.DETAIL_HEADER_SIZE - abi.DetailHeader.type.offset :]
    ends = np.cumsum(lengths).tolist()
    filename, args, group, group_v1 = (
        texts[begin:end] for begin, end in zip([0, *ends[:-1]], ends, strict=True)
    )
    if kind == abi.DetailType.EXEC:
        group, group_v1 = _cgroup_path(group), _cgroup_path(group_v1)
    arguments = args.removesuffix(b"\0").split(b"\0") if args else []
    return (
        "EXEC" if kind == abi.DetailType.EXEC else "ATTACH",
        text(filename),
        tuple(text(argument) for argument in arguments),
        text(group),
        text(group_v1),
    )


def _cgroup_path(names: bytes) -> bytes:
    """Path from names, the innermost first, each ended by a NUL."""
    return b"/" + b"/".join(reversed(names.split(b"\0")[:-1])) if names else b""


def _damage(reader: Any, events: int) -> str | None:
    """What is wrong with the capture: as the reader says, or events that are missing in it."""
    if reader.damage is not None or reader.trailer is None:
        damage: str | None = reader.damage
        return damage
    counted = as_int(reader.trailer.get("events"))
    if counted == events:
        return None
    return f"its trailer counts {counted:,} events, and there are {events:,}"


def _totals(found: dict[str, Any], key: str) -> tuple[int, list[Any]]:
    cpus = found.get(key)
    return as_int(found.get("ts_ns")), cpus if isinstance(cpus, list) else []
