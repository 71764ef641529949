"""Reading a ring buffer: in a file that is laid out as the kernel lays out the map."""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Iterator

import pytest

from tracer.ring import BUSY, DISCARDED, HEADER_SIZE, Ring

PAGE = mmap.PAGESIZE
SIZE = PAGE
STRIDE = HEADER_SIZE + 80


class FakeMap:
    """The kernel's side: a page with each position, and the data pages twice in a row."""

    def __init__(self, start: int = 0) -> None:
        self.fd = os.memfd_create("ring")
        os.ftruncate(self.fd, 2 * PAGE + 2 * SIZE)
        self.end = start
        os.pwrite(self.fd, struct.pack("<Q", start), 0)
        self._set_end()

    def _set_end(self) -> None:
        os.pwrite(self.fd, struct.pack("<Q", self.end), PAGE)

    @property
    def position(self) -> int:
        return int(struct.unpack("<Q", os.pread(self.fd, 8, 0))[0])

    def write(self, record: bytes, flags: int = 0) -> int:
        """Adds a record; gives where its header is."""
        at = self.end
        padded = record + bytes(-len(record) % 8)
        self._put(at, struct.pack("<II", len(record) | flags, 7) + padded)
        self.end += HEADER_SIZE + len(padded)
        self._set_end()
        return at

    def set_header(self, at: int, length: int) -> None:
        self._put(at, struct.pack("<I", length))

    def _put(self, at: int, data: bytes) -> None:
        for offset, byte in enumerate(data):
            place = 2 * PAGE + (at + offset) % SIZE
            os.pwrite(self.fd, bytes([byte]), place)
            os.pwrite(self.fd, bytes([byte]), place + SIZE)


@pytest.fixture(params=[0, SIZE - 40, (1 << 40) + SIZE - STRIDE], ids=["new", "wraps", "old"])
def fake(request: pytest.FixtureRequest) -> Iterator[FakeMap]:
    made = FakeMap(request.param // 8 * 8)
    yield made
    os.close(made.fd)


@pytest.fixture
def ring(fake: FakeMap) -> Iterator[Ring]:
    made = Ring(fake.fd, SIZE)
    yield made
    made.close()


def record(number: int, size: int = 80) -> bytes:
    return bytes([number]) * size


def bodies(records: bytes) -> list[bytes]:
    return [records[i + HEADER_SIZE : i + STRIDE] for i in range(0, len(records), STRIDE)]


def read_fixed(ring: Ring, limit: int = 1 << 20) -> bytes:
    room = memoryview(bytearray(limit))
    return bytes(room[: ring.read_fixed(STRIDE, room)])


def test_empty(ring: Ring) -> None:
    assert ring.pending_bytes() == 0
    assert read_fixed(ring) == b""
    assert ring.read_records(10) == []


def test_fixed_records_with_their_headers(ring: Ring, fake: FakeMap) -> None:
    for number in range(1, 6):
        fake.write(record(number))

    assert ring.pending_bytes() == 5 * STRIDE
    assert bodies(read_fixed(ring)) == [record(n) for n in range(1, 6)]
    assert ring.pending_bytes() == 0
    assert fake.position == fake.end


def test_a_limit(ring: Ring, fake: FakeMap) -> None:
    for number in range(1, 6):
        fake.write(record(number))

    assert bodies(read_fixed(ring, 2 * STRIDE + 1)) == [record(1), record(2)]
    assert bodies(read_fixed(ring)) == [record(3), record(4), record(5)]


def test_stops_before_a_record_that_is_being_written(ring: Ring, fake: FakeMap) -> None:
    fake.write(record(1))
    busy = fake.write(record(2), BUSY)
    fake.write(record(3))

    assert bodies(read_fixed(ring)) == [record(1)]
    assert read_fixed(ring) == b""
    assert fake.position == busy
    # once it is written, all is there
    fake.set_header(busy, 80)
    assert bodies(read_fixed(ring)) == [record(2), record(3)]


def test_many_rounds(ring: Ring, fake: FakeMap) -> None:
    seen = []
    for number in range(200):
        fake.write(record(number))
        if number % 7 == 0:
            seen += bodies(read_fixed(ring))
    seen += bodies(read_fixed(ring))

    assert seen == [record(number) for number in range(200)]


def test_records_of_any_size(ring: Ring, fake: FakeMap) -> None:
    sizes = [1, 8, 9, 700, 48]
    for number, size in enumerate(sizes):
        fake.write(record(number, size))

    assert ring.read_records(2) == [record(0, 1), record(1, 8)]
    assert ring.read_records(10) == [record(2, 9), record(3, 700), record(4, 48)]
    assert fake.position == fake.end


def test_records_given_up_or_busy(ring: Ring, fake: FakeMap) -> None:
    fake.write(record(1, 20))
    fake.write(record(2, 30), DISCARDED)
    fake.write(record(3, 40))
    busy = fake.write(record(4, 50), BUSY)

    assert ring.read_records(10) == [record(1, 20), record(3, 40)]
    assert fake.position == busy
