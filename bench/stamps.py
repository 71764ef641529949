"""Copies of a recorded scene: the same events at another time, of other processes.

Only numpy touches the records: a copy takes microseconds, whatever the scene has.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.scenes import NAME, SOURCE
from tests.lives import CID
from tests.streams import BOOT_NS, Proc, Stream
from tracer import abi
from tracer.abi import Type
from tracer.capture_format import DETAILS, EVENT_STRIDE, EVENTS, FACT, RING_HEADER_SIZE

Array = npt.NDArray[Any]

# Processes of the scene itself; those below are the host's, the same in all scenes.
FIRST_TGID = 1000


@dataclass(frozen=True, slots=True)
class Copy:
    """One copy of a scene.

    Attributes:
        ts_ns, events: by event: its time, and the record with the ring's header as bytes.
        details: (ts_ns, record) of each.
        facts: contents of FACT chunks.
        living: processes that live on, as the snapshot at the end tells of them.
    """

    ts_ns: npt.NDArray[np.int64]
    events: Array
    details: list[tuple[int, bytes]]
    facts: list[dict[str, Any]]
    living: list[Proc]


class Stamp:
    """Makes copies of a scene.

    Attributes:
        processes: how many numbers a copy takes.
        events: how many events it has.
        duration_ns: from its beginning to its last event.
    """

    def __init__(self, stream: Stream) -> None:
        chunks = list(stream.chunks())
        raw = b"".join(content for kind, content in chunks if kind == EVENTS)
        self._records = np.frombuffer(raw, np.uint8)
        self.events = len(raw) // EVENT_STRIDE
        self.duration_ns = stream.now - BOOT_NS
        self.processes = max(p.tgid for p in stream.processes) - FIRST_TGID + 1
        self._facts = [content.decode() for kind, content in chunks if kind == FACT]
        self._living = [p for p in stream.processes if p.alive and p.tgid >= FIRST_TGID]
        self._find_fields()
        self._details = _Details(b"".join(c for kind, c in chunks if kind == DETAILS))

    def _find_fields(self) -> None:
        """Where the records have numbers and times of the scene's own, as positions of words."""
        kinds = self._records[RING_HEADER_SIZE + abi.Event.type.offset :: EVENT_STRIDE]
        numbers, spaces, times = [], [], []
        for kind in Type:
            at = np.flatnonzero(kinds == kind) * EVENT_STRIDE + RING_HEADER_SIZE
            layout = abi.event_layout(kind)
            for name, offset in zip(layout["names"], layout["offsets"], strict=True):
                if name.endswith(("tgid", "tid")) and not name.startswith("ns_"):
                    numbers.append((at + offset) // 4)
                elif name == "pidns":
                    spaces.append((at + offset) // 4)
                elif name.endswith(("ts_ns", "start_ns", "exit_ns")):
                    times.append((at + offset) // 8)
        words, longs = self._records.view(np.uint32), self._records.view(np.uint64)
        number, space, time = (np.concatenate(found) for found in (numbers, spaces, times))
        self._numbers = number[words[number] >= FIRST_TGID]
        self._spaces = space[words[space] > 0]
        # What is older than the scene is the host's.
        self._times = time[longs[time] >= BOOT_NS]

    def copy(
        self, start_ns: int, first_tgid: int, number: int, pace: float, random: np.random.Generator
    ) -> Copy:
        """A copy.

        Args:
            start_ns: when it begins, boot-time ns.
            first_tgid: its processes are numbered from here.
            number: of the copy: gives its pid namespace and its container's name.
            pace: its times are stretched by so much.
        """
        shift = first_tgid - FIRST_TGID
        records = self._records.copy()
        words, longs = records.view(np.uint32), records.view(np.uint64)
        words[self._numbers] += np.uint32(shift)
        words[self._spaces] += np.uint32(number)
        longs[self._times] = _moved(longs[self._times], start_ns, pace)
        rows = records.reshape(-1, EVENT_STRIDE)
        ts_ns = rows[:, RING_HEADER_SIZE : RING_HEADER_SIZE + 8].copy().view(np.int64)[:, 0]
        cpu_at = RING_HEADER_SIZE + abi.Event.cpu.offset
        rows[:, cpu_at] = (np.cumsum(random.random(len(rows)) < 0.05) + number) % 2
        name, cid = f"app-{number % 1_000_000:06}", random.bytes(32).hex()
        details = self._details.copy(start_ns, shift, pace, name, cid, random)
        facts = [json.loads(f.replace(CID, cid).replace(NAME, name)) for f in self._facts]
        for fact in facts:
            fact["ts_ns"] = _moved_one(fact["ts_ns"], start_ns, pace)
        living: dict[int, Proc] = {}
        for p in self._living:
            above = p.parent.tgid if p.parent else 0
            living[p.tgid] = dataclasses.replace(
                p,
                tgid=p.tgid + shift,
                start_ns=_moved_one(p.start_ns, start_ns, pace),
                parent=living.get(above, p.parent),
                ns_tgid=p.ns_tgid if p.pidns else p.tgid + shift,
                pidns=p.pidns + number if p.pidns else 0,
                args=[arg.replace(CID, cid).replace(NAME, name) for arg in p.args],
                cgroup=p.cgroup.replace(CID, cid),
            )
        return Copy(ts_ns, rows, details, facts, list(living.values()))


class _Details:
    """The details of a scene: records of any length."""

    def __init__(self, blob: bytes) -> None:
        self._blob = np.frombuffer(blob, np.uint8)
        starts, at = [], 0
        while at < len(blob):
            header = abi.DetailHeader.from_buffer_copy(blob, at)
            texts = (header.filename_len, header.args_len, header.cgroup_len, header.cgroup_v1_len)
            starts.append(at)
            at += abi.DETAIL_HEADER_SIZE + sum(texts)
            at += -at % 8
        self._bounds = [*starts, len(blob)]
        self._starts = np.array(starts, np.int64)
        self._cids = _places(blob, CID)
        self._names = _places(blob, NAME)
        self._sources = _places(blob, SOURCE)
        self._record = np.searchsorted(self._starts, self._sources[:, 0], side="right") - 1

    def copy(
        self,
        start_ns: int,
        shift: int,
        pace: float,
        name: str,
        cid: str,
        random: np.random.Generator,
    ) -> list[tuple[int, bytes]]:
        blob = self._blob.copy()
        words, longs = blob.view(np.uint32), blob.view(np.uint64)
        times = (self._starts + abi.DetailHeader.ts_ns.offset) // 8
        longs[times] = _moved(longs[times], start_ns, pace)
        begins = (self._starts + abi.DetailHeader.start_ns.offset) // 8
        own = words[(self._starts + abi.DetailHeader.tgid.offset) // 4] >= FIRST_TGID
        longs[begins[own]] = _moved(longs[begins[own]], start_ns, pace)
        words[((self._starts + abi.DetailHeader.tgid.offset) // 4)[own]] += np.uint32(shift)
        blob[self._cids] = np.frombuffer(cid.encode(), np.uint8)
        blob[self._names] = np.frombuffer(name.encode(), np.uint8)
        # gcc, cc1 and as name one file, and so do builds of the same sources.
        files = (random.integers(0, 5000) + self._record // 4 * 7) % 5000
        digits = files[:, None] // 10 ** np.arange(5, -1, -1) % 10
        blob[self._sources[:, -6:]] = digits + ord("0")
        raw, bounds = blob.tobytes(), self._bounds
        at = longs[times].tolist()
        return [(at[i], raw[bounds[i] : bounds[i + 1]]) for i in range(len(at))]


def _moved(times: Array, start_ns: int, pace: float) -> Array:
    relative = times.astype(np.int64) - BOOT_NS
    moved: Array = (start_ns + np.rint(relative * pace).astype(np.int64)).astype(np.uint64)
    return moved


def _moved_one(time: int, start_ns: int, pace: float) -> int:
    return int(_moved(np.array([time]), start_ns, pace)[0])


def _places(blob: bytes, mark: str) -> Array:
    """Positions of each byte of a mark, one row an occurrence."""
    found, at = [], blob.find(mark.encode())
    while at >= 0:
        found.append(at)
        at = blob.find(mark.encode(), at + 1)
    return np.array(found, np.int64)[:, None] + np.arange(len(mark))
