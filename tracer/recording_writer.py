"""What a recording is written by: one file, or a row of segments of which the oldest go."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tracer.capture_format import DETAILS, EVENTS, HEAD, dump_json, pack_prefix
from tracer.chunk_writer import ChunkWriter, Packer


@dataclass(slots=True)
class Counts:
    """What a segment holds. A capture in one piece is one segment, number 1."""

    number: int = 1
    events: int = 0
    details: int = 0

    def add(self, chunk_type: bytes, count: int) -> None:
        """A chunk was written."""
        if chunk_type == EVENTS:
            self.events += count
        elif chunk_type == DETAILS:
            self.details += count


@dataclass(frozen=True, slots=True)
class Held:
    """A segment up to the end of some chunk.

    Attributes:
        fd: for os.pread(), good also when the segment has been dropped. To be closed.
        size: bytes up to there.
    """

    number: int
    fd: int
    size: int
    events: int
    details: int


class RecordingWriter(ChunkWriter):
    """See ``CaptureWriter`` and ``SegmentWriter``. Any thread may write.

    Attributes:
        events_dropped: events that were written, and had to go for newer ones.
        segment: number of the segment that is being written.
        losses_before: events and details of each CPU that were lost for certain before the
            events that are written next.
    """

    events_dropped = 0
    segment = 1
    losses_before: Sequence[tuple[int, int]] = ()

    @property
    @abstractmethod
    def bytes_written(self) -> int:
        """Bytes that are kept."""

    @property
    @abstractmethod
    def events_written(self) -> int:
        """Events that are kept."""

    @property
    def readable_path(self) -> str:
        """What to read, if the capture cannot be ended."""
        return self.path

    @abstractmethod
    def hold(self) -> list[Held]:
        """All that is kept now, in order.

        Raises:
            CaptureError: nothing can be written any more.
        """

    @abstractmethod
    def close(self, trailer: Mapping[str, Any]) -> None:
        """Appends the TAIL chunk and ends the capture; nothing when that has been done.

        Args:
            trailer: content of TAIL; how many events and details there are is added.

        Raises:
            CaptureError: it cannot be written; what was written before can be read.
        """

    @abstractmethod
    def discard(self) -> None:
        """Takes away what was written: nothing has been recorded."""

    def beginning(self) -> ChunkWriter:
        """Takes the snapshot with which the segment begins that is being written now.

        What is written to it later than to another segment is refused, with CaptureError.
        """
        return self

    def end_beginning(self, beginning: ChunkWriter) -> None:
        """That snapshot is complete."""


def pack_header(packer: Packer, header: Mapping[str, Any], path: str) -> bytes:
    """What each segment begins with."""
    return pack_prefix() + packer.pack(HEAD, dump_json(header), path)
