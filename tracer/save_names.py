"""Names of the captures that a recording saves beside its own: STEM-YYYYmmdd-HHMMSS-WORD.rtrace."""

from __future__ import annotations

import contextlib
import os
import re
import stat
import time

from tracer.capture_file import CaptureFile
from tracer.errors import CaptureError
from tracer.invoking_user import own_uids
from tracer.output_file import held_directory, remove

_SUFFIX = ".rtrace"
_ATTEMPTS = 100


def save_path(capture: str, word: str, at_s: float) -> str:
    """Name for a save.

    Args:
        word: why it is saved, e.g. a trigger's name.
        at_s: when, seconds of CLOCK_REALTIME; local time in the name.
    """
    when = time.strftime("%Y%m%d-%H%M%S", time.localtime(at_s))
    word = re.sub(r"[^a-z0-9]+", "-", word.replace("!=", "-not-")).strip("-")
    return f"{capture.removesuffix(_SUFFIX)}-{when}-{word}{_SUFFIX}"


def create_save(capture: str, word: str, at_s: float) -> CaptureFile:
    """A new file with that name, or with a number behind it if there is one already.

    Raises:
        CaptureError: it cannot be created.
    """
    path = save_path(capture, word, at_s)
    for attempt in range(2, _ATTEMPTS):
        if os.path.lexists(path):
            path = f"{save_path(capture, word, at_s).removesuffix(_SUFFIX)}-{attempt}{_SUFFIX}"
            continue
        break
    return CaptureFile(path)


def remove_old_saves(capture: str, keep: int, newest: str) -> list[str]:
    """Removes all but the ``keep`` newest saves of a capture's name; gives what was removed.

    Args:
        newest: a save that is kept whatever its time.
    """
    directory, name = os.path.split(capture)
    stem = re.escape(name.removesuffix(_SUFFIX))
    pattern = re.compile(rf"{stem}-\d{{8}}-\d{{6}}-[a-z][a-z0-9-]*\.rtrace")
    mine, removed = own_uids(), []
    with contextlib.suppress(OSError, CaptureError), held_directory(capture) as directory_fd:
        found = []
        for entry in _list(directory_fd):
            if not pattern.fullmatch(entry):
                continue
            status = os.lstat(entry, dir_fd=directory_fd)
            path = os.path.join(directory, entry)
            # One that somebody else put there counts for nothing.
            if stat.S_ISREG(status.st_mode) and status.st_uid in mine and path != newest:
                found.append((status.st_mtime_ns, path))
        for _, path in sorted(found, reverse=True)[max(keep - 1, 0) :]:
            if remove(path, directory_fd):
                removed.append(path)
    return removed


def _list(directory_fd: int) -> list[str]:
    fd = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=directory_fd)
    try:
        return os.listdir(fd)
    finally:
        os.close(fd)
