"""Reading a BPF ring buffer in bulk, from its mapped pages, with no call per record.

Layout: kernel/bpf/ringbuf.c. The first page holds the consumer's position (ours to write),
the next the producer's, then come the data pages, mapped twice in a row so that a record that
wraps around is contiguous. Each record begins with 8 bytes: a u32 length whose top bit says
that the producer is still writing ("busy") and the next that it gave the record up
("discarded"), and a u32 page offset.

The position is a plain aligned 8-byte store: enough on x86-64, where stores are not reordered
with earlier loads.
"""

from __future__ import annotations

import mmap
import struct

HEADER_SIZE = 8
BUSY, DISCARDED = 1 << 31, 1 << 30
_LENGTH_MASK = DISCARDED - 1
_HEADER = struct.Struct("<I")
_FLAGS_BYTE = 3  # where both flags are in the little-endian header


class Ring:
    """A mapped ring buffer.

    Args:
        fd: of the BPF map; not closed here.
        size: of the map in bytes, a power of two and a multiple of the page size.
    """

    def __init__(self, fd: int, size: int) -> None:
        self.size = size
        self._mask = size - 1
        self._consumer = mmap.mmap(fd, mmap.PAGESIZE)
        self._producer = mmap.mmap(
            fd,
            mmap.PAGESIZE + 2 * size,
            mmap.MAP_SHARED,
            mmap.PROT_READ,
            offset=mmap.PAGESIZE,
        )
        self._position = memoryview(self._consumer).cast("Q")
        self._end = memoryview(self._producer)[:8].cast("Q")
        self._data = memoryview(self._producer)[mmap.PAGESIZE :]

    def close(self) -> None:
        """Unmaps the ring."""
        self._position.release()
        self._end.release()
        self._data.release()
        self._consumer.close()
        self._producer.close()

    def pending_bytes(self) -> int:
        """How much there is to read."""
        return self._end[0] - self._position[0]

    def read_fixed(self, stride: int, limit: int) -> bytes:
        """Records of one size, as they lie in the ring, each with its 8-byte header.

        Args:
            stride: size of a record with its header, in bytes.
            limit: read at most so many bytes.
        """
        position = self._position[0]
        count = min(self._end[0] - position, limit) // stride
        if not count:
            return b""
        start = position & self._mask
        records = bytes(self._data[start : start + count * stride])
        flags = records[_FLAGS_BYTE::stride]
        if flags.count(0) != count:  # at C speed for all records; in Python for the first bad one
            count = next(i for i, flag in enumerate(flags) if flag)
            records = records[: count * stride]
        self._position[0] = position + count * stride
        return records

    def read_records(self, limit: int) -> list[bytes]:
        """Records of any size, without their headers.

        Args:
            limit: read at most so many records.
        """
        position, end = self._position[0], self._end[0]
        data, mask, unpack = self._data, self._mask, _HEADER.unpack_from
        records: list[bytes] = []
        while position < end and len(records) < limit:
            start = position & mask
            (header,) = unpack(data, start)
            if header & BUSY:
                break
            length = header & _LENGTH_MASK
            if not header & DISCARDED:
                body = start + HEADER_SIZE
                records.append(bytes(data[body : body + length]))
            position += (length + HEADER_SIZE + 7) & ~7
        self._position[0] = position
        return records
