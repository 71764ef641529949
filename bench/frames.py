"""What a capture's frames tell without decompressing anything, also while it is written."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tracer.capture_format import DETAILS, EVENT_STRIDE, EVENTS, FRAME, PREFIX, Frame, unpack_frame


def read_frames(path: Path) -> Iterator[Frame]:
    """The head of each chunk that is wholly there."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        size, offset = os.fstat(fd).st_size, PREFIX.size
        while offset + FRAME.size <= size:
            frame = unpack_frame(os.pread(fd, FRAME.size, offset))
            offset += FRAME.size + frame.stored
            if offset > size:
                return
            yield frame
    finally:
        os.close(fd)


@dataclass(frozen=True, slots=True)
class Sizes:
    """Of what is in a capture.

    Attributes:
        events: how many events.
        events_bytes: of their chunks in the file, frames included.
        details_bytes: likewise, of the details.
    """

    events: int
    events_bytes: int
    details_bytes: int


def read_sizes(path: Path) -> Sizes:
    """Adds up the frames of a capture."""
    events = events_bytes = details_bytes = 0
    for frame in read_frames(path):
        if frame.type == EVENTS:
            events += frame.raw // EVENT_STRIDE
            events_bytes += FRAME.size + frame.stored
        elif frame.type == DETAILS:
            details_bytes += FRAME.size + frame.stored
    return Sizes(events, events_bytes, details_bytes)
