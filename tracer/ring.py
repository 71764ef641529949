"""Reading a BPF ring buffer in bulk, from its mapped pages, with no call per record.

Layout: kernel/bpf/ringbuf.c. The first page holds the consumer's position (ours to write),
the next the producer's, then come the data pages, mapped twice in a row so that a record that
wraps around is contiguous. Each record begins with 8 bytes: a u32 length whose top bit says
that the producer is still writing ("busy") and the next that it gave the record up
("discarded"), and a u32 page offset.

Headers are read before the bodies, never in one copy with them: memcpy() begins where it likes,
and a record that is finished meanwhile would then come with an old body.

The position is a plain aligned 8-byte store: enough on x86-64, where stores are not reordered
with earlier loads.
"""

from __future__ import annotations

import mmap
import os

from tracer.errors import HostError
from tracer.privileges import explain_refusal

HEADER_SIZE = 8
BUSY, DISCARDED = 1 << 31, 1 << 30
_LENGTH_MASK = DISCARDED - 1
_WINDOW_BYTES = 64 << 10
_FLAGS_BYTE = 3  # where both flags are in the little-endian header


class Ring:
    """A mapped ring buffer.

    Args:
        fd: of the BPF map; not closed here.
        size: of the map in bytes, a power of two and a multiple of the page size.

    Raises:
        HostError: there is no room for it in this process.
    """

    def __init__(self, fd: int, size: int) -> None:
        self.size = size
        self._mask = size - 1
        try:
            self._consumer = mmap.mmap(fd, mmap.PAGESIZE)
            self._producer = mmap.mmap(
                fd,
                mmap.PAGESIZE + 2 * size,
                mmap.MAP_SHARED,
                mmap.PROT_READ,
                offset=mmap.PAGESIZE,
            )
        except OSError as error:
            why = explain_refusal(error.errno or 0) or (os.strerror(error.errno or 0),)
            raise HostError(f"cannot map a ring buffer of {size:,} bytes", *why) from None
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

    def read_fixed(self, stride: int, into: memoryview) -> int:
        """Copies records of one size as they lie in the ring, each with its 8-byte header.

        Args:
            stride: size of a record with its header, in bytes.
            into: where to; as many records as have room there.

        Returns: how many bytes were copied.
        """
        position = self._position[0]
        count = min(self._end[0] - position, len(into)) // stride
        if not count:
            return 0
        start = position & self._mask
        flags = bytes(self._data[start + _FLAGS_BYTE : start + count * stride : stride])
        if flags.count(0) != count:  # at C speed for all records; in Python for the first bad one
            count = next(i for i, flag in enumerate(flags) if flag)
        size = count * stride
        into[:size] = self._data[start : start + size]
        self._position[0] = position + size
        return size

    def read_records(self, limit: int) -> list[bytes]:
        """Records of any size, without their headers.

        Args:
            limit: read at most so many records. None may be longer than 64 KiB.
        """
        records: list[bytes] = []
        position, end = self._position[0], self._end[0]
        while position < end and len(records) < limit:
            start = position & self._mask
            part = self._data[start : start + min(end - position, _WINDOW_BYTES)]
            # Copied, since walking in the ring itself waits for each record.
            headers = memoryview(bytes(part)).cast("I")
            used = _split_records(headers, bytes(part), records, limit - len(records))
            if not used:
                break
            position += used
        self._position[0] = position
        return records


def _split_records(headers: memoryview, part: bytes, records: list[bytes], limit: int) -> int:
    """Appends the records up to the first that is unfinished, or not whole in the part.

    Args:
        headers: the same part of the ring as it was before, in units of four bytes.

    Returns: how many bytes they take, headers and padding included.
    """
    at, size = 0, len(part)
    for _ in range(limit):
        if at == size:
            break
        header, body = headers[at >> 2], at + HEADER_SIZE
        after = (body + (header & _LENGTH_MASK) + 7) & ~7
        if header & BUSY or after > size:
            break
        if header < DISCARDED:
            records.append(part[body : body + header])
        at = after
    return at
