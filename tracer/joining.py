"""Makes one capture of segments: the first as it is, of the later ones what is behind HEAD."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence

from tracer.capture_file import CaptureFile
from tracer.capture_format import FRAME, HEAD, MAGIC, PREFIX, STORED_LIMIT, unpack_frame
from tracer.errors import CaptureError
from tracer.recording_writer import Held
from tracer.segment_directory import SegmentDirectory
from tracer.segments import open_segment, segment_name


class Joiner:
    """Appends segments to a file.

    ``add`` may be called again while the recording goes on: it copies what has come since.

    Attributes:
        target: the file.
        copied: number, events and details of each segment that is in it.
    """

    def __init__(self, target: CaptureFile) -> None:
        self.target = target
        self.copied: dict[int, Held] = {}
        self._last = self._offset = 0

    @property
    def events(self) -> int:
        """How many events the file holds."""
        return sum(held.events for held in self.copied.values())

    @property
    def details(self) -> int:
        """How many details the file holds."""
        return sum(held.details for held in self.copied.values())

    def add(self, segments: Sequence[Held]) -> bool:
        """Appends what is not in the file yet; closes the segments.

        Returns: whether it is all there: False if what lies between was dropped meanwhile, or a
        segment ends before its header does. What is behind that is left out.

        Raises:
            CaptureError: the file cannot be written.
        """
        try:
            for held in segments:
                if held.number < self._last:
                    continue
                begin = self._begin_of(held)
                if begin is None:
                    return False
                self.target.append_from(held.fd, begin, held.size)
                self._last, self._offset = held.number, held.size
                self.copied[held.number] = held
            return True
        finally:
            for held in segments:
                os.close(held.fd)

    def _begin_of(self, held: Held) -> int | None:
        """Where in a segment to go on, None if what comes before it is not there."""
        if held.number == self._last:
            return self._offset
        if self._last and held.number != self._last + 1:
            return None
        behind_header = find_header_end(held)
        return behind_header if self._last or behind_header is None else 0


def find_header_end(held: Held) -> int | None:
    """Where the chunk behind a segment's HEAD begins; None if HEAD is not there, or not whole."""
    start = os.pread(held.fd, PREFIX.size + FRAME.size, 0)
    if len(start) < PREFIX.size + FRAME.size or not start.startswith(MAGIC):
        return None
    frame = unpack_frame(start[PREFIX.size :])
    end = len(start) + frame.stored
    return end if frame.type == HEAD and frame.stored <= STORED_LIMIT and end <= held.size else None


def hold_directory(directory: SegmentDirectory) -> list[Held]:
    """The segments of a recorder that is gone; how many events they hold is not known.

    Raises:
        CaptureError: one cannot be read, or is missing.
    """
    held: list[Held] = []
    name = ""
    try:
        for number in directory.numbers():
            name = segment_name(held[-1].number + 1 if held else number)
            if segment_name(number) != name:
                raise FileNotFoundError(errno.ENOENT, "it is missing")
            fd = open_segment(directory.fd, number)
            held.append(Held(number, fd, os.fstat(fd).st_size, 0, 0))
    except OSError as error:
        for segment in held:
            os.close(segment.fd)
        raise CaptureError(
            f"cannot save what a recorder left in {directory.path}",
            f"{name}: {error.strerror}",
            "read it with `rtrace report`, and move it away",
        ) from None
    return held
