"""A file that only grows: by all of what is appended, or by nothing.

Where it is made and whose it is: tracer.output_file.
"""

from __future__ import annotations

import contextlib
import errno
import os

from tracer.errors import CaptureError
from tracer.output_file import create, error_text, open_directory, remove, sync


class CaptureFile:
    """Creates a file and appends to it.

    Args:
        path: file to create, and how errors call it.
        force: replace a regular file that is there. Never a link, device or directory.
        directory_fd: create it in this directory, whatever ``path`` may lead to by now; only
            the last part of ``path`` counts then.

    Attributes:
        size: bytes so far.

    Raises:
        CaptureError: the file exists, or cannot be created.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, force: bool = False, directory_fd: int | None = None
    ) -> None:
        self.path = os.fspath(path)
        self.size = 0
        self._failure = CaptureError(f"cannot write more to {self.path}", "it is closed")
        self._own_directory = directory_fd is None
        self._directory_fd = open_directory(self.path) if directory_fd is None else directory_fd
        try:
            self._fd = create(self.path, self._directory_fd, force=force)
        except BaseException:
            self._leave_directory()
            raise

    @property
    def closed(self) -> bool:
        """Whether nothing more can be written: after close() or a failed write."""
        return self._fd < 0

    @property
    def inode(self) -> tuple[int, int]:
        """Device and inode, while it is open."""
        status = os.fstat(self._fd)
        return status.st_dev, status.st_ino

    def append(self, data: bytes) -> None:
        """Writes ``data`` at the end, all or nothing.

        Raises:
            CaptureError: it could not be written (disk full, file removed), or the file is
                closed. After a failure the file ends as before and is closed: each further
                write fails the same way.
        """
        try:
            view, offset = memoryview(data), self._check_there()
            while view:
                written = os.pwrite(self._fd, view, offset)
                view, offset = view[written:], offset + written
        except OSError as error:
            raise self._fail(error) from None
        except BaseException:  # an exception out of a signal handler: the capture can go on
            self._take_back()
            raise
        self.size = offset

    def append_from(self, fd: int, begin: int, end: int) -> None:
        """Copies bytes of another file to the end, in the kernel, all or nothing.

        Raises:
            CaptureError: as for append(), or the other file is shorter.
        """
        try:
            os.lseek(self._fd, self._check_there(), os.SEEK_SET)
            while begin < end:
                copied = os.sendfile(self._fd, fd, begin, end - begin)
                if not copied:
                    raise OSError(errno.ENODATA, "what is copied was cut meanwhile")
                begin += copied
            self.size = os.lseek(self._fd, 0, os.SEEK_CUR)
        except OSError as error:
            raise self._fail(error) from None

    def sync(self) -> None:
        """Waits until the disk has it.

        Raises:
            CaptureError: the disk failed.
        """
        try:
            sync(self._fd)
        except OSError as error:
            raise self._fail(error) from None

    def open_copy(self) -> int:
        """A file descriptor of the same file, for os.pread(); the caller closes it.

        Raises:
            CaptureError: the file is closed.
        """
        if self._fd < 0:
            raise self._failure
        return os.dup(self._fd)

    def finish(self) -> None:
        """Closes a file that is complete, once the disk has it.

        Raises:
            CaptureError: a disk that kept writes back says only now that it could not.
        """
        fd, self._fd = self._fd, -1
        try:
            try:
                sync(fd)
            finally:
                os.close(fd)  # NFS may say it here
        except OSError as error:
            raise _write_error(self.path, error) from None
        self._leave_directory()

    def close(self) -> None:
        """Closes the file. May be called twice."""
        self._close_file()
        self._leave_directory()

    def remove(self) -> None:
        """Closes the file, if it is not closed, and takes its name away."""
        self._close_file()
        if self._directory_fd >= 0:
            remove(self.path, self._directory_fd)
        self._leave_directory()

    def _check_there(self) -> int:
        """Size, if the file can be written to."""
        if self._fd < 0:
            raise self._failure
        if os.fstat(self._fd).st_nlink == 0:
            raise OSError(errno.ENOENT, "the file was removed while it was written")
        return self.size

    def _fail(self, error: OSError) -> CaptureError:
        self._take_back()
        self._close_file()
        self._failure = _write_error(self.path, error)
        return self._failure

    def _take_back(self) -> None:
        with contextlib.suppress(OSError):
            os.ftruncate(self._fd, self.size)

    def _close_file(self) -> None:
        fd, self._fd = self._fd, -1
        with contextlib.suppress(OSError):
            os.close(fd)

    def _leave_directory(self) -> None:
        fd, self._directory_fd = self._directory_fd, -1
        if self._own_directory and fd >= 0:
            os.close(fd)


def _write_error(path: str, error: OSError) -> CaptureError:
    fact = f"cannot write more to {path}"
    match error.errno:
        case errno.ENOSPC:
            cause, step = "the disk is full", "make room; what is in the capture can be read"
        case errno.EDQUOT:
            cause = "the disk quota is used up"
            step = "make room; what is in the capture can be read"
        case errno.EFBIG:
            cause = "the file may not become larger"
            step = "raise the limit (ulimit -f); what is in the capture can be read"
        case errno.ENOENT:
            cause, step = error_text(error), "record again"
        case _:
            cause, step = error_text(error), "what is in the capture can be read"
    return CaptureError(fact, cause, step)
