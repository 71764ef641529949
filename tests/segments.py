"""Bounded recordings made by the real writer, for tests."""

from __future__ import annotations

import random
import struct
from pathlib import Path
from typing import Any

from tests.streams import Stream
from tracer.capture_format import EVENT_STRIDE, EVENTS
from tracer.capture_reader import CaptureReader
from tracer.segment_directory import SegmentDirectory
from tracer.segment_writer import MIN_BYTES, SegmentWriter
from tracer.segments import segments_path

HEADER: dict[str, Any] = Stream().header
TRAILER = {"ts_ns": 5, "reason": "signal"}
Chunks = list[tuple[bytes, bytes]]


def some_events(first: int, count: int) -> bytes:
    """Records that cannot be compressed, each with its number as ``ts_ns``."""
    noise = random.Random(first)
    size = EVENT_STRIDE - 16
    return b"".join(
        struct.pack("<QQ", 0, number) + noise.randbytes(size)
        for number in range(first, first + count)
    )


def open_writer(path: Path, max_bytes: int = MIN_BYTES, **options: Any) -> SegmentWriter:
    """A writer whose first segment has begun."""
    directory = SegmentDirectory(segments_path(str(path)))
    return SegmentWriter(str(path), directory, max_bytes, HEADER, **options)


def write_numbered(writer: SegmentWriter, first: int, count: int, *, at_once: int = 500) -> None:
    """Events with numbers, in chunks; each segment begins with an empty snapshot."""
    shown = 0
    for begin in range(first, first + count, at_once):
        if writer.segment != shown:
            shown = writer.segment
            beginning = writer.beginning()
            beginning.write_tasks("start", b"")
            writer.end_beginning(beginning)
        writer.write_events(some_events(begin, min(at_once, first + count - begin)))


def read(path: Path) -> tuple[Chunks, CaptureReader]:
    """All chunks of a file or directory, and the reader, closed."""
    with CaptureReader(path) as reader:
        return list(reader.chunks()), reader


def numbers_in(chunks: Chunks) -> list[int]:
    """Numbers of the events that chunks hold."""
    return [
        struct.unpack_from("<Q", content, offset + 8)[0]
        for kind, content in chunks
        if kind == EVENTS
        for offset in range(0, len(content), EVENT_STRIDE)
    ]


def size_of(directory: Path) -> int:
    """Bytes of all files in a directory."""
    return sum(file.stat().st_size for file in directory.iterdir())
