"""What is recorded, cut into chunks and packed; where they go is the subclass's to say."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import zstandard

from tracer import abi
from tracer.capture_format import (
    CHUNK_BYTES,
    DETAILS,
    EVENT_STRIDE,
    EVENTS,
    JSON_LIMIT,
    JSON_TYPES,
    PHASES,
    PROCESSES,
    RAW_LIMIT,
    SOCKET_HEAD,
    SOCKET_REASONS,
    SOCKETS,
    TASK_PHASE,
    TASKS,
    dump_json,
    pack_frame,
)
from tracer.errors import CaptureError

# Measured on storms (docs/capture-format.md, "Compression").
LEVEL = -1

_PROCESS_CHUNK = 256 << 10

Buffer = bytes | bytearray | memoryview


class ChunkWriter(ABC):
    """Takes what is recorded, as chunks. Any thread may write.

    Args:
        path: what errors call it.
        chunk_bytes: begin a new chunk rather than go beyond this.
    """

    def __init__(self, path: str, chunk_bytes: int = CHUNK_BYTES) -> None:
        self.path = path
        self.chunk_bytes = chunk_bytes

    @abstractmethod
    def write(self, chunk_type: bytes, content: Buffer, count: int = 0) -> None:
        """Appends one chunk. ``content`` may be mapped memory: it is read once, not kept.

        Args:
            count: how many events or details are in it.

        Raises:
            CaptureError: it could not be written, and nothing of it was.
            ValueError: the content is longer than any reader accepts.
        """

    def write_json(self, chunk_type: bytes, value: Mapping[str, Any]) -> None:
        """Appends a JSON chunk. Strings may hold anything, also lone surrogates."""
        self.write(chunk_type, dump_json(value))

    def write_events(self, records: Buffer) -> None:
        """Appends events as they lay in the ring: 8 bytes of ring header and the event, each."""
        for part in _split(records, self.chunk_bytes // EVENT_STRIDE * EVENT_STRIDE):
            self.write(EVENTS, part, part.nbytes // EVENT_STRIDE)

    def write_details(self, records: Buffer, count: int) -> None:
        """Appends ``count`` details, each padded to 8 bytes and with no ring header."""
        # A chunk of this size holds hundreds of details, and one larger than the limit happens
        # only when the recorder was kept from running: walking the records is rare.
        if len(records) <= self.chunk_bytes:
            if len(records):
                self.write(DETAILS, records, count)
            return
        view, start, end, found = memoryview(records).cast("B"), 0, 0, 0
        while end < len(view):
            length = _detail_length(view, end)
            if found and end - start + length > self.chunk_bytes:
                self.write(DETAILS, view[start:end], found)
                start, found = end, 0
            end, found = end + length, found + 1
        self.write(DETAILS, view[start:], found)

    def write_tasks(self, phase: str, records: Buffer) -> None:
        """Appends a task iterator's snapshot, an empty one too. ``phase``: "start" or "end"."""
        head = TASK_PHASE.pack(PHASES.index(phase))
        size = self.chunk_bytes // abi.TASK_SIZE * abi.TASK_SIZE - abi.TASK_SIZE
        for part in list(_split(records, size)) or [memoryview(b"")]:
            self.write(TASKS, head + part)

    def write_sockets(self, reason: str, begun_ns: int, records: bytes, *, cut: bool) -> None:
        """Appends a snapshot of sockets.

        Args:
            reason: one of SOCKET_REASONS.
            records: that fit into one chunk.
            cut: there were more.
        """
        head = SOCKET_HEAD.pack(begun_ns, SOCKET_REASONS.index(reason), cut)
        self.write(SOCKETS, head + records)

    def write_processes(self, phase: str, processes: Iterable[Mapping[str, Any]]) -> None:
        """Appends what /proc said about processes, in as many chunks as it takes."""
        limit = min(_PROCESS_CHUNK, self.chunk_bytes)
        # As text already, of which a host of 100,000 processes has less at a time.
        head = dump_json({"phase": phase, "processes": []}).removesuffix(b"]}")
        batch: list[bytes] = []
        size = 0
        for process in processes:
            text = dump_json(process)
            if batch and size + len(text) > limit:
                self.write(PROCESSES, head + b",".join(batch) + b"]}")
                batch, size = [], 0
            batch.append(text)
            size += len(text)
        if batch:
            self.write(PROCESSES, head + b",".join(batch) + b"]}")


class Packer:
    """Makes whole chunks. Not for two threads at a time."""

    def __init__(self) -> None:
        self._compressor = zstandard.ZstdCompressor(level=LEVEL)

    def pack(self, chunk_type: bytes, content: Buffer, path: str) -> bytes:
        """Frame and payload of a chunk.

        Raises:
            CaptureError: JSON of more than 1 MiB. ``path`` is what the error calls the capture.
            ValueError: the content is longer than any reader accepts.
        """
        length = memoryview(content).nbytes
        if len(chunk_type) != 4 or length > RAW_LIMIT:
            raise ValueError(f"chunk {chunk_type!r} of {length} bytes")
        if chunk_type in JSON_TYPES and length > JSON_LIMIT:
            name = chunk_type.decode("ascii")
            raise CaptureError(f"cannot write {name} to {path}", f"it has {length} bytes")
        payload = self._compressor.compress(content)
        return pack_frame(chunk_type, payload, length) + payload


def _split(records: Buffer, size: int) -> Iterator[memoryview]:
    view = memoryview(records).cast("B")
    for start in range(0, len(view), size):
        yield view[start : start + size]


def _detail_length(view: memoryview, offset: int) -> int:
    header = abi.DetailHeader.from_buffer_copy(view, offset)
    length: int = (
        abi.DETAIL_HEADER_SIZE
        + header.filename_len
        + header.args_len
        + header.cgroup_len
        + header.cgroup_v1_len
    )
    return length + -length % 8
