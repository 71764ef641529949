"""Names in FILE.segments/, where a bounded recording is kept while it runs, and reading them."""

from __future__ import annotations

import errno
import os
import re
import stat

_NAME = re.compile(r"(\d{6,12})\.rtrace", re.ASCII)
_LIMIT = 1 << 16


def segments_path(capture: str) -> str:
    """The directory that belongs to a capture's name."""
    return f"{capture}.segments"


def segment_name(number: int) -> str:
    """Name of a segment in the directory."""
    return f"{number:06}.rtrace"


def list_segments(directory_fd: int) -> list[int]:
    """Numbers of the segments in a directory, in order. Other names do not count.

    Raises:
        OSError: it cannot be read, or has more names than any recording.
    """
    found = []
    with os.scandir(directory_fd) as entries:
        for seen, entry in enumerate(entries):
            if seen >= _LIMIT:
                raise OSError(errno.E2BIG, "it has too many files")
            match = _NAME.fullmatch(entry.name)
            if match and segment_name(int(match[1])) == entry.name:
                found.append(int(match[1]))
    return sorted(found)


def open_segment(directory_fd: int, number: int) -> int:
    """File descriptor for reading a segment: a regular file, and no link.

    Raises:
        OSError: there is none, or it may not be read.
    """
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
    other = OSError(errno.EINVAL, "it is not a regular file")
    try:
        fd = os.open(segment_name(number), flags, dir_fd=directory_fd)
    except OSError as error:
        raise other if error.errno in (errno.ELOOP, errno.ENXIO) else error from None
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise other
    return fd
