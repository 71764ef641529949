"""FILE.segments/ as the recorder sees it: locked, and reached through the open directory.

The lock ends with the recorder, however it ends. Whoever may rename the directory cannot lead a
recorder elsewhere.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os

from tracer.capture_file import CaptureFile
from tracer.errors import CaptureError
from tracer.invoking_user import as_invoking_user, give_to_invoking_user, own_uids
from tracer.output_file import create_error, error_text, open_directory, remove, replace_by
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
        self.path, self._name = path, os.path.basename(path)
        self._above_fd = open_directory(path)
        try:
            with contextlib.suppress(FileExistsError):
                as_invoking_user(lambda: os.mkdir(self._name, 0o700, dir_fd=self._above_fd))
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
            self.fd = os.open(self._name, flags, dir_fd=self._above_fd)
        except (OSError, ValueError) as error:
            os.close(self._above_fd)
            if isinstance(error, OSError) and error.errno in (errno.ENOTDIR, errno.ELOOP):
                cause = "it exists and is not a directory"
                raise CaptureError(f"cannot write {path}", cause, "give another name") from None
            raise create_error(path, error) from None
        try:
            self._take()
        except BaseException:
            self.close()
            raise
        give_to_invoking_user(self.fd)

    def _take(self) -> None:
        fact = f"cannot write to {self.path}"
        status = os.fstat(self.fd)
        if status.st_uid not in own_uids() or status.st_mode & 0o022:
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
        replace_by(_JOINED, self.fd, path, force=force)

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
        self._remove_if_empty()
        self.close()

    def leave(self) -> None:
        """Closes it; removes it if no segments are in it."""
        if self.fd >= 0:
            self._remove_if_empty()
            self.close()

    def close(self) -> None:
        """Gives the lock back. May be called twice."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)
            os.close(self._above_fd)

    def _create(self, name: str) -> CaptureFile:
        return CaptureFile(os.path.join(self.path, name), directory_fd=self.fd)

    def _unlink(self, name: str) -> None:
        remove(name, self.fd)

    def _remove_if_empty(self) -> None:
        with contextlib.suppress(OSError):
            as_invoking_user(lambda: os.rmdir(self._name, dir_fd=self._above_fd))
