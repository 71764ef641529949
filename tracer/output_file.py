"""The one way in which rtrace makes files: captures, segments, saves, tickets, reports, exports.

A file is made anew, mode 0600, through no link, and belongs to whoever ran sudo. ``force`` takes
the name away from a regular file that is there, and never writes into it: it may have other names.

The directory is walked to step by step and held open, so that whoever renames it, or puts something
else in its place meanwhile, leads nobody elsewhere. A symbolic link on the way is followed only if
it is root's or one's own: /tmp is everybody's, and a home folder may be somebody else's. (To follow
none, as RESOLVE_NO_SYMLINKS of openat2(2) does, would refuse /var/run and many a home.) Nothing
here relies on /proc/sys/fs/protected_*.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections import deque
from collections.abc import Iterator
from typing import BinaryIO

from tracer.errors import CaptureError
from tracer.invoking_user import (
    acting_as,
    as_invoking_user,
    give_to_invoking_user,
    invoking_user,
    own_uids,
)

_LINKS = 40  # as many as the kernel follows (MAXSYMLINKS)
_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_STEP = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC


@contextlib.contextmanager
def new_file(path: str, *, force: bool = False) -> Iterator[BinaryIO]:
    """A file to write to, which is there whole or not at all.

    Args:
        path: file to create.
        force: replace a regular file that is there.

    Raises:
        CaptureError: it cannot be created, or not be written.
    """
    with held_directory(path) as directory_fd:
        fd = create(path, directory_fd, force=force)
        try:
            with os.fdopen(fd, "wb") as file:
                yield file
        except BaseException as error:
            remove(path, directory_fd)
            if isinstance(error, OSError):
                raise create_error(path, error) from None
            raise


def check_output(path: str, *, force: bool) -> None:
    """Before work is done for a file: once more when the file is made, by who makes it.

    Raises:
        CaptureError: it could not be created.
    """
    try:
        mode = os.lstat(path).st_mode
    except (OSError, ValueError):
        return
    if not force:
        raise _exists(path)
    _check_regular(path, mode)


def may_create(path: str) -> bool:
    """Whether whoever ran sudo, else this process, may make files beside a file."""
    user = invoking_user()
    try:
        with held_directory(path) as fd, acting_as(*user) if user else contextlib.nullcontext():
            return os.access(".", os.W_OK | os.X_OK, dir_fd=fd, effective_ids=True)
    except (CaptureError, PermissionError):
        return False


def open_directory(path: str) -> int:
    """File descriptor (O_PATH) of the directory that a file is in. See above.

    Args:
        path: of the file.

    Raises:
        CaptureError: it is not there, or somebody else's link leads to it.
    """
    try:
        return as_invoking_user(lambda: _walk(os.path.dirname(path)))
    except (OSError, ValueError) as error:
        raise create_error(path, error) from None


@contextlib.contextmanager
def held_directory(path: str) -> Iterator[int]:
    """As ``open_directory``, while it lasts."""
    fd = open_directory(path)
    try:
        yield fd
    finally:
        os.close(fd)


def create(path: str, directory_fd: int, *, force: bool = False) -> int:
    """File descriptor of a new file.

    Args:
        path: how errors call it; its last part is created in the directory.

    Raises:
        CaptureError: it exists, or cannot be created.
    """
    name = os.path.basename(path)
    try:
        if force:
            with contextlib.suppress(FileNotFoundError):
                _check_regular(path, os.lstat(name, dir_fd=directory_fd).st_mode)
                as_invoking_user(lambda: os.unlink(name, dir_fd=directory_fd))
        fd = as_invoking_user(lambda: os.open(name, _NEW, 0o600, dir_fd=directory_fd))
    except FileExistsError:
        raise _exists(path) from None
    except (OSError, ValueError) as error:
        raise create_error(path, error) from None
    give_to_invoking_user(fd)
    return fd


def remove(path: str, directory_fd: int) -> bool:
    """Takes a name away, if it is there and may be; whether it did."""
    name = os.path.basename(path)
    try:
        as_invoking_user(lambda: os.unlink(name, dir_fd=directory_fd))
    except OSError:
        return False
    return True


def replace_by(source: str, source_fd: int, path: str, *, force: bool) -> None:
    """Gives a finished file its name, which belongs to nobody else.

    Args:
        source: name of the file in the directory ``source_fd``.
        force: ``path`` may be a regular file already.

    Raises:
        CaptureError: ``path`` exists, or cannot be created.
    """
    with held_directory(path) as directory_fd:
        # The name is taken first, as nothing else works on every file system.
        os.close(create(path, directory_fd, force=force))
        name = os.path.basename(path)
        try:
            as_invoking_user(
                lambda: os.rename(source, name, src_dir_fd=source_fd, dst_dir_fd=directory_fd)
            )
        except OSError as error:
            remove(path, directory_fd)
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


def error_text(error: OSError) -> str:
    """The error in words that can stand in a sentence."""
    text = error.strerror or str(error)
    return text[:1].lower() + text[1:]


def _exists(path: str) -> CaptureError:
    step = "give another name, or --force to replace it"
    return CaptureError(f"cannot write {path}", "it exists", step)


def _check_regular(path: str, mode: int) -> None:
    if not stat.S_ISREG(mode):
        cause = "it exists and is not a regular file"
        raise CaptureError(f"cannot write {path}", cause, "give another name")


def _walk(directory: str) -> int:
    trusted = own_uids() | {0}
    fd = _start(directory)
    try:
        parts, links = deque(directory.split("/")), 0
        while parts:
            part = parts.popleft()
            if part in ("", "."):
                continue
            try:
                # O_DIRECTORY, or what is mounted on demand would not be.
                below = os.open(part, _STEP | os.O_DIRECTORY, dir_fd=fd)
            except NotADirectoryError:
                links += 1
                if links > _LINKS:
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP)) from None
                target = _read_link(part, fd, trusted, directory)
                parts.extendleft(reversed(target.split("/")))
                if not target.startswith("/"):
                    continue
                below = _start(target)
            fd, passed = below, fd
            os.close(passed)
        return fd
    except BaseException:
        os.close(fd)
        raise


def _read_link(name: str, directory_fd: int, trusted: set[int], directory: str) -> str:
    """Where a symbolic link leads, if it is one and may be followed."""
    fd = os.open(name, _STEP, dir_fd=directory_fd)
    try:
        status = os.fstat(fd)
        if not stat.S_ISLNK(status.st_mode):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        if status.st_uid not in trusted:
            cause = f"a symbolic link of user {status.st_uid} leads to {directory}"
            raise OSError(errno.ELOOP, cause)
        return os.readlink("", dir_fd=fd)
    finally:
        os.close(fd)


def _start(path: str) -> int:
    return os.open("/" if path.startswith("/") else ".", _STEP | os.O_DIRECTORY)
