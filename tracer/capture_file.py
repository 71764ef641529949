"""A file that only grows: by all of what is appended, or by nothing.

It is never somebody else's: it is made anew, mode 0600, through no link, and belongs to whoever
ran sudo.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat

from tracer.errors import CaptureError


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
        self._directory_fd = directory_fd
        self._name = self.path if directory_fd is None else os.path.basename(self.path)
        self._failure = CaptureError(f"cannot write more to {self.path}", "it is closed")
        self._fd = _create(self.path, self._name, force, directory_fd)
        give_to_sudo_user(self._fd)

    @property
    def closed(self) -> bool:
        """Whether nothing more can be written: after close() or a failed write."""
        return self._fd < 0

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
            os.fsync(self._fd)
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
        """Closes a file that is complete.

        Raises:
            CaptureError: a disk that kept writes back (NFS) says only now that it could not.
        """
        fd, self._fd = self._fd, -1
        try:
            os.close(fd)
        except OSError as error:
            raise _write_error(self.path, error) from None

    def close(self) -> None:
        """Closes the file. May be called twice."""
        with contextlib.suppress(CaptureError):
            self.finish()

    def remove(self) -> None:
        """Closes the file and takes its name away."""
        self.close()
        with contextlib.suppress(OSError):
            os.unlink(self._name, dir_fd=self._directory_fd)

    def _check_there(self) -> int:
        """Size, if the file can be written to."""
        if self._fd < 0:
            raise self._failure
        if os.fstat(self._fd).st_nlink == 0:
            raise OSError(errno.ENOENT, "the file was removed while it was written")
        return self.size

    def _fail(self, error: OSError) -> CaptureError:
        self._take_back()
        self.close()
        self._failure = _write_error(self.path, error)
        return self._failure

    def _take_back(self) -> None:
        with contextlib.suppress(OSError):
            os.ftruncate(self._fd, self.size)


def give_to_sudo_user(fd: int) -> None:
    """Lets the user who ran sudo read, move and remove a file or directory without sudo."""
    uid, gid = os.environ.get("SUDO_UID", ""), os.environ.get("SUDO_GID", "")
    if os.geteuid() != 0 or not (uid.isdecimal() and gid.isdecimal()):
        return
    # Some file systems have no owners (vfat) or do not let root choose (NFS).
    with contextlib.suppress(OSError, OverflowError):
        os.fchown(fd, int(uid), int(gid))


def replace_by(source: str, path: str, *, force: bool, directory_fd: int) -> None:
    """Gives a finished file its name, which belongs to nobody else.

    Args:
        source: name of the file in the directory ``directory_fd``.
        force: ``path`` may be a regular file already.

    Raises:
        CaptureError: ``path`` exists, or cannot be created.
    """
    # The name is taken first, as nothing else works on every file system.
    os.close(_create(path, path, force, None))
    try:
        os.rename(source, path, src_dir_fd=directory_fd)
    except OSError as error:
        with contextlib.suppress(OSError):
            os.unlink(path)
        raise create_error(path, error) from None


def _create(path: str, name: str, force: bool, directory_fd: int | None) -> int:
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        if force:
            with contextlib.suppress(FileNotFoundError):
                if not stat.S_ISREG(os.lstat(path).st_mode):
                    raise CaptureError(
                        f"cannot write {path}",
                        "it exists and is not a regular file",
                        "give another name",
                    )
                os.unlink(path)
        return os.open(name, flags, 0o600, dir_fd=directory_fd)
    except FileExistsError:
        step = "give another name, or --force to replace it"
        raise CaptureError(f"cannot write {path}", "it exists", step) from None
    except (OSError, ValueError) as error:
        raise create_error(path, error) from None


def create_error(path: str, error: OSError | ValueError) -> CaptureError:
    """Why a file or directory cannot be created."""
    fact = f"cannot write {path}"
    directory = os.path.dirname(path) or "."
    match error:
        case FileNotFoundError():
            step = "create it, or give another name"
            return CaptureError(fact, f"there is no directory {directory}", step)
        case PermissionError():
            return CaptureError(
                fact, f"the directory {directory} is not writable", "give another name"
            )
        case OSError():
            return CaptureError(fact, error_text(error), "give another name")
        case _:  # a NUL in the name
            return CaptureError("cannot write the capture", str(error), "give another name")


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


def error_text(error: OSError) -> str:
    """The error in words that can stand in a sentence."""
    text = error.strerror or str(error)
    return text[:1].lower() + text[1:]
