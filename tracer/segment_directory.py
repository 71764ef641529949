"""FILE.segments/ as the recorder sees it: locked, and reached through the open directory.

The lock ends with the recorder, however it ends. Whoever may rename the directory cannot lead a
recorder elsewhere.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os

from tracer.capture_file import (
    CaptureFile,
    create_error,
    error_text,
    give_to_sudo_user,
    replace_by,
)
from tracer.errors import CaptureError
from tracer.segments import list_segments, segment_name

_JOINED = "joined"


class SegmentDirectory:
    """Creates the directory, or takes over one that a recorder left behind.

    Attributes:
        fd: of the directory.

    Raises:
        CaptureError: it cannot be created, is in use by a recorder, or is somebody else's.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        try:
            with contextlib.suppress(FileExistsError):
                os.mkdir(path, 0o700)
            self.fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except (OSError, ValueError) as error:
            if isinstance(error, OSError) and error.errno in (errno.ENOTDIR, errno.ELOOP):
                cause = "it exists and is not a directory"
                raise CaptureError(f"cannot write {path}", cause, "give another name") from None
            raise create_error(path, error) from None
        try:
            self._take()
        except BaseException:
            os.close(self.fd)
            raise
        give_to_sudo_user(self.fd)

    def _take(self) -> None:
        fact = f"cannot write to {self.path}"
        status = os.fstat(self.fd)
        if status.st_uid not in _own_uids() or status.st_mode & 0o022:
            raise CaptureError(fact, "it may be changed by somebody else", "give another name")
        try:
            fcntl.flock(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            step = "give another name, or stop that one"
            raise CaptureError(fact, "another recorder is writing there", step) from None
        except OSError:  # a file system without locks
            pass

    def numbers(self) -> list[int]:
        """Numbers of the segments that are there, in order.

        Raises:
            CaptureError: the directory cannot be read.
        """
        try:
            return list_segments(self.fd)
        except OSError as error:
            raise CaptureError(f"cannot read {self.path}", error_text(error)) from None

    def create(self, number: int) -> CaptureFile:
        """A new segment.

        Raises:
            CaptureError: it cannot be created.
        """
        return self._create(segment_name(number))

    def create_joined(self) -> CaptureFile:
        """A file for the whole of it, which readers of the directory leave alone.

        Raises:
            CaptureError: it cannot be created.
        """
        self._unlink(_JOINED)
        return self._create(_JOINED)

    def publish_joined(self, path: str, *, force: bool) -> None:
        """Gives the joined file its own name, outside, that nobody else may have yet.

        Args:
            force: it may be that of another regular file.

        Raises:
            CaptureError: the name is taken, or cannot be.
        """
        replace_by(_JOINED, path, force=force, directory_fd=self.fd)

    def drop(self, number: int) -> None:
        """Removes a segment."""
        self._unlink(segment_name(number))

    def empty(self) -> None:
        """Removes all segments."""
        for number in self.numbers():
            self.drop(number)
        self._unlink(_JOINED)

    def remove(self) -> None:
        """Removes the directory with all segments; what else somebody put there stays."""
        with contextlib.suppress(CaptureError):
            self.empty()
        with contextlib.suppress(OSError):
            os.rmdir(self.path)
        self.close()

    def leave(self) -> None:
        """Closes it; removes it if no segments are in it."""
        if self.fd >= 0:
            with contextlib.suppress(OSError):  # there are
                os.rmdir(self.path)
            self.close()

    def close(self) -> None:
        """Gives the lock back. May be called twice."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)

    def _create(self, name: str) -> CaptureFile:
        return CaptureFile(os.path.join(self.path, name), directory_fd=self.fd)

    def _unlink(self, name: str) -> None:
        with contextlib.suppress(OSError):
            os.unlink(name, dir_fd=self.fd)


def _own_uids() -> set[int]:
    """Who may own what this process writes to: itself, and who ran sudo."""
    own, sudo = os.geteuid(), os.environ.get("SUDO_UID", "")
    return {own, int(sudo)} if own == 0 and sudo.isdecimal() else {own}
