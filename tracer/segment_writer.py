"""Writes a bounded recording: a row of segments, of which the oldest is dropped for the newest.

Each segment is a capture of its own: what lives is shown anew at its beginning, so that it needs
none of those before it. Together they never take more than the bound, not even for a moment.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping
from typing import Any

from tracer.capture_file import CaptureFile
from tracer.capture_format import CHUNK_BYTES, DETAILS, EVENTS, JSON_TYPES, TAIL, dump_json
from tracer.chunk_writer import Buffer, ChunkWriter, Packer
from tracer.clock import read_clock
from tracer.errors import CaptureError, UsageError
from tracer.joining import Joiner
from tracer.recording_writer import Counts, Held, RecordingWriter, pack_header
from tracer.segment_directory import SegmentDirectory
from tracer.units import format_size

MIN_BYTES = 1 << 20
_SEGMENTS = 8
# So many parts of the bound may a snapshot take, and a segment whose snapshot is not finished.
_BEGINNING_PART, _UNFINISHED_PART = 4, 2
_CHUNK_PART = 16


class BeginningTooLargeError(CaptureError):
    """A snapshot of what lives does not fit into the bound."""


class SegmentWriter(RecordingWriter):
    """Appends chunks to the newest segment. Any thread may write.

    Args:
        path: the capture that the segments are joined to at the end.
        directory: for the segments; removed at the end.
        max_bytes: the bound, at least MIN_BYTES.
        header: content of HEAD; clock, segment and losses are each segment's own.
        force: replace a regular file at ``path``.

    Raises:
        CaptureError: no segment can be created.
    """

    def __init__(
        self,
        path: str,
        directory: SegmentDirectory,
        max_bytes: int,
        header: Mapping[str, Any],
        *,
        force: bool = False,
    ) -> None:
        super().__init__(path, min(CHUNK_BYTES, max_bytes // _CHUNK_PART))
        self._directory, self._max_bytes, self._force = directory, max_bytes, force
        self._header = header
        self._began_ns: int = header["clock"]["boot_ns"]
        self._lock = threading.Lock()
        self._packer = Packer()
        self._segments: deque[tuple[Counts, CaptureFile]] = deque()
        self._kept_bytes = self._kept_events = 0
        self._failure: CaptureError | None = None
        self._finished = False
        self.segment = 0
        with self._lock:
            self._begin()

    @property
    def bytes_written(self) -> int:
        """See RecordingWriter."""
        return self._kept_bytes

    @property
    def readable_path(self) -> str:
        """See RecordingWriter."""
        return self._directory.path

    @property
    def events_written(self) -> int:
        """See RecordingWriter."""
        return self._kept_events

    def write(self, chunk_type: bytes, content: Buffer, count: int = 0) -> None:
        """See ChunkWriter. Begins a new segment where the one before is large enough.

        Raises:
            CaptureError: as CaptureWriter.write(); JSON that is large for the bound is refused.
        """
        with self._lock:
            data = self._pack(chunk_type, content)
            records = chunk_type in (EVENTS, DETAILS)
            if records and self._segments[-1][1].size >= self._segment_bytes:
                self._begin()
            self._append(data)
            self._segments[-1][0].add(chunk_type, count)
            self._kept_events += count if chunk_type == EVENTS else 0

    def hold(self) -> list[Held]:
        """See RecordingWriter."""
        with self._lock:
            return self._hold()

    def beginning(self) -> ChunkWriter:
        """See RecordingWriter. It refuses more than a quarter of the bound, with
        BeginningTooLargeError."""
        return _Beginning(self, self.segment, self.chunk_bytes)

    def end_beginning(self, beginning: ChunkWriter) -> None:
        """See RecordingWriter. At most half of what is kept are snapshots: a segment is twice
        as large as that with which it begins."""
        assert isinstance(beginning, _Beginning)
        with self._lock:
            if beginning.segment == self.segment:
                self._segment_bytes = max(self._max_bytes // _SEGMENTS, 2 * beginning.size)

    def close(self, trailer: Mapping[str, Any]) -> None:
        """Appends the TAIL chunk, joins the segments and removes them.

        Raises:
            CaptureError: that failed; the segments stay as they are then.
        """
        with self._lock:
            if self._finished:
                return
            self._finished = True
            try:
                self._make_room(self.chunk_bytes)
                counts = [counts for counts, _ in self._segments]
                totals = {
                    "events": sum(segment.events for segment in counts),
                    "details": sum(segment.details for segment in counts),
                }
                self._append(self._pack(TAIL, dump_json(totals | dict(trailer))))
                held = self._hold()
            finally:
                for _, file in self._segments:
                    file.close()
        try:
            self._join(held)
        except CaptureError as error:
            raise CaptureError(
                f"cannot write {self.path}",
                error.cause,
                f"what was recorded is in {self._directory.path}, and can be read there",
            ) from None
        self._directory.remove()

    def discard(self) -> None:
        """See RecordingWriter."""
        with self._lock:
            self._finished = True
            for _, file in self._segments:
                file.close()
            self._directory.empty()

    def write_beginning(self, beginning: _Beginning, chunk_type: bytes, content: Buffer) -> None:
        """What ``beginning()`` gave was written to."""
        with self._lock:
            if beginning.segment != self.segment:
                raise CaptureError(f"cannot write more to segment {beginning.segment}", "it ended")
            data = self._pack(chunk_type, content)
            if beginning.size + len(data) > self._max_bytes // _BEGINNING_PART:
                raise BeginningTooLargeError(
                    "cannot keep all that lives in each segment",
                    f"it takes more than {format_size(self._max_bytes // _BEGINNING_PART)}",
                    "give a larger --max-size",
                )
            self._append(data)
            beginning.size += len(data)

    def _pack(self, chunk_type: bytes, content: Buffer) -> bytes:
        length = memoryview(content).nbytes
        # Lists of processes are cut at half of this; a fact that is longer is none.
        if chunk_type in JSON_TYPES and length > 2 * self.chunk_bytes:
            name = chunk_type.decode("ascii")
            raise CaptureError(f"cannot write {name} to {self.path}", f"it has {length} bytes")
        return self._packer.pack(chunk_type, content, self.path)

    def _append(self, data: bytes) -> None:
        if self._failure is not None:
            raise self._failure
        self._make_room(len(data))
        self._segments[-1][1].append(data)
        self._kept_bytes += len(data)

    def _make_room(self, size: int) -> None:
        self._drop_for(size)
        if self._kept_bytes + size > self._max_bytes:
            # More came at once than half of the bound, and there is but one segment.
            self._begin()
            self._drop_for(size)

    def _drop_for(self, size: int) -> None:
        while self._kept_bytes + size > self._max_bytes and len(self._segments) > 1:
            self._drop_oldest()

    def _begin(self) -> None:
        """A new segment."""
        header = {
            **self._header,
            "clock": read_clock(),
            "segment": {
                "number": self.segment + 1,
                "began_ns": self._began_ns,
                "events_before": self.events_dropped + self._kept_events,
            },
        }
        if self.losses_before:
            header["losses"] = list(self.losses_before)
        data = pack_header(self._packer, header, self.path)
        if len(data) > self._max_bytes // _CHUNK_PART:
            raise UsageError(
                f"cannot keep {format_size(self._max_bytes)}",
                f"the header alone takes {format_size(len(data))}",
                "give a larger --max-size, or a shorter command line",
            )
        while self._segments and self._kept_bytes + len(data) > self._max_bytes:
            self._drop_oldest()  # the last one too: it is full
        try:
            file = self._directory.create(self.segment + 1)
            file.append(data)
        except CaptureError as error:
            self._failure = error
            raise
        self.segment += 1
        self._segments.append((Counts(self.segment), file))
        self._kept_bytes += len(data)
        self._segment_bytes = self._max_bytes // _UNFINISHED_PART

    def _drop_oldest(self) -> None:
        counts, file = self._segments.popleft()
        self._directory.drop(counts.number)
        file.close()
        self._kept_bytes -= file.size
        self._kept_events -= counts.events
        self.events_dropped += counts.events

    def _hold(self) -> list[Held]:
        return [
            Held(counts.number, file.open_copy(), file.size, counts.events, counts.details)
            for counts, file in self._segments
        ]

    def _join(self, held: list[Held]) -> None:
        joined = self._directory.create_joined()
        try:
            Joiner(joined).add(held)
            joined.sync()
            self._directory.publish_joined(self.path, force=self._force)
        except BaseException:
            joined.remove()
            raise
        joined.close()


class _Beginning(ChunkWriter):
    """The snapshot at the beginning of one segment."""

    def __init__(self, owner: SegmentWriter, segment: int, chunk_bytes: int) -> None:
        super().__init__(owner.path, chunk_bytes)
        self._owner, self.segment, self.size = owner, segment, 0

    def write(self, chunk_type: bytes, content: Buffer, count: int = 0) -> None:
        """See ChunkWriter."""
        self._owner.write_beginning(self, chunk_type, content)
