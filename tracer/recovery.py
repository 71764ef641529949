"""A bounded recording whose recorder was killed: saved before another one begins in its place."""

from __future__ import annotations

import os
from collections.abc import Callable

from tracer.errors import CaptureError
from tracer.joining import Joiner, find_header_end, hold_directory
from tracer.recording_writer import Held
from tracer.save_names import create_save
from tracer.segment_directory import SegmentDirectory
from tracer.segments import segment_name, segments_path
from tracer.units import format_size


def take_directory(capture: str, say: Callable[[str], None]) -> SegmentDirectory:
    """The directory for a capture's segments, empty.

    Args:
        say: gets a line about what was saved out of it.

    Raises:
        CaptureError: it cannot be had, or what is in it cannot be saved: it stays there then.
    """
    directory = SegmentDirectory(segments_path(capture))
    try:
        if held := hold_directory(directory):
            _save(capture, directory, held, say)
        directory.empty()
    except BaseException:
        directory.leave()
        raise
    return directory


def _save(
    capture: str, directory: SegmentDirectory, held: list[Held], say: Callable[[str], None]
) -> None:
    # The last one has no header yet if the recorder was killed when it began it.
    if find_header_end(held[-1]) is None:
        os.close(held.pop().fd)
    if not held:
        return
    saved = create_save(capture, "recovered", os.fstat(held[-1].fd).st_mtime)
    try:
        joiner = Joiner(saved)
        if not joiner.add(held):
            damaged = next(h for h in held if h.number not in joiner.copied)
            raise CaptureError(
                f"cannot save what a recorder left in {directory.path}",
                f"{segment_name(damaged.number)} has no header",
                "read it with `rtrace report`, and move it away",
            )
        saved.sync()
    except BaseException:
        saved.remove()
        raise
    saved.close()
    say(f"saved {saved.path}: {format_size(saved.size)}, left by a recorder that was killed")
