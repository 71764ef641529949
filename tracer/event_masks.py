"""Finds the few events of a batch that Python must look at, at C speed.

A byte that all records have at the same place (type, flags, a byte of start_ns) is a strided slice
of the batch, translated to 0 and 1, and such masks are combined as large integers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tracer import abi
from tracer.capture_format import EVENT_STRIDE, RING_HEADER_SIZE

Key = tuple[int, int]  # tgid, start_ns

TYPE_AT = RING_HEADER_SIZE + abi.Event.type.offset
FLAGS_AT = RING_HEADER_SIZE + abi.Event.flags.offset
START_AT = RING_HEADER_SIZE + abi.Event.start_ns.offset


def table(values: Iterable[int]) -> bytes:
    """For ``bytes.translate``: 1 for these values, 0 for all others."""
    marks = bytearray(256)
    for value in values:
        marks[value] = 1
    return bytes(marks)


def mask(plane: bytes, marks: bytes) -> int:
    """One byte a record, the first one the lowest: 1 where the table says so."""
    return int.from_bytes(plane.translate(marks), "little")


def offsets(marked: int, count: int) -> Iterator[int]:
    """Where the records of a mask begin in the batch."""
    if not marked:
        return
    marks = marked.to_bytes(count, "little")
    index = marks.find(1)
    while index >= 0:
        yield index * EVENT_STRIDE
        index = marks.find(1, index + 1)


class StartFilter:
    """Records with the start_ns of one of some processes at an offset, and few others.

    The low bytes of start_ns are as good as random: one of them is enough for a few processes,
    more processes take more bytes.
    """

    def __init__(self, offset: int) -> None:
        self._offset = offset
        self._keys: set[Key] = set()
        self._tables: list[bytes] = []

    def mask(self, batch: bytes, keys: set[Key]) -> int:
        """Marks the records that may be meant."""
        if keys != self._keys:
            self._keys = set(keys)
            self._tables = self._make_tables()
        if not self._tables:
            return 0
        marked = -1
        for byte, marks in enumerate(self._tables):
            marked &= mask(batch[self._offset + byte :: EVENT_STRIDE], marks)
        return marked

    def _make_tables(self) -> list[bytes]:
        tables: list[bytes] = []
        passing = 1.0
        while self._keys and len(tables) < 5 and passing > 1 / 50:
            shift = 8 * len(tables)
            tables.append(table(start_ns >> shift & 0xFF for _, start_ns in self._keys))
            passing *= tables[-1].count(1) / 256
        return tables
