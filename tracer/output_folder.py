"""A folder of new files, there whole or not at all: made as tracer.output_file makes one file.

Until it is whole it is called .rtrace-*.part, beside its place; only SIGKILL leaves that behind.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
from collections.abc import Callable, Collection, Iterator
from typing import BinaryIO

from tracer.ending import undone_by
from tracer.errors import CaptureError
from tracer.invoking_user import as_invoking_user, give_to_invoking_user
from tracer.output_file import (
    create,
    create_error,
    exists_error,
    held_directory,
    name_beside,
    name_of,
    remove,
    sync,
)

_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# linux/fs.h
_NOREPLACE, _EXCHANGE = 1, 2
_NO_FLAGS = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP)


@contextlib.contextmanager
def new_folder(
    path: str, *, force: bool, names: Collection[str]
) -> Iterator[Callable[[str], BinaryIO]]:
    """Gives what makes a new file in it; the caller closes each.

    Args:
        path: folder to create, mode 0700; it is there when the block is done.
        force: replace a folder that is there, if it holds nothing but files of these names.

    Raises:
        CaptureError: it exists, or it or a file in it cannot be written.
    """
    path = path.rstrip("/") or path
    with held_directory(path) as directory_fd:
        _check_free(path, directory_fd, force, names)
        beside = name_beside()
        with undone_by(lambda: _take_away(beside, directory_fd, names)):
            try:
                fd = _make(beside, directory_fd)
                try:
                    yield lambda name: os.fdopen(create(os.path.join(path, name), fd), "wb")
                    _sync(fd)
                finally:
                    os.close(fd)
                _publish(beside, path, directory_fd, force, names)
            except OSError as error:
                raise create_error(path, error) from None


def _check_free(path: str, directory_fd: int, force: bool, names: Collection[str]) -> None:
    """Nothing is there, or what may be replaced."""
    name = name_of(path)
    try:
        os.lstat(name, dir_fd=directory_fd)
        if not force:
            raise exists_error(path)
        fd = os.open(name, _OPEN, dir_fd=directory_fd)
    except FileNotFoundError:
        return
    except NotADirectoryError:
        cause = "it exists and is not a folder"
        raise CaptureError(f"cannot write {path}", cause, "give another name") from None
    except (OSError, ValueError) as error:
        raise create_error(path, error) from None
    try:
        if not set(os.listdir(fd)) <= set(names):
            cause = "it is a folder with other files in it"
            raise CaptureError(f"cannot replace {path}", cause, "give another name")
    finally:
        os.close(fd)


def _make(name: str, directory_fd: int) -> int:
    """File descriptor of a new folder."""
    as_invoking_user(lambda: os.mkdir(name, 0o700, dir_fd=directory_fd))
    fd = os.open(name, _OPEN, dir_fd=directory_fd)
    give_to_invoking_user(fd)
    return fd


def _sync(fd: int) -> None:
    for name in os.listdir(fd):
        file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=fd)
        try:
            sync(file)
        finally:
            os.close(file)


def _publish(
    beside: str, path: str, directory_fd: int, force: bool, names: Collection[str]
) -> None:
    """Gives a folder that is whole its name. What had it is removed, or has the other one."""
    name = os.path.basename(path)
    try:
        try:
            _rename(beside, name, directory_fd, _NOREPLACE)
        except FileExistsError:
            _check_free(path, directory_fd, force, names)
            _rename(beside, name, directory_fd, _EXCHANGE)
            _take_away(beside, directory_fd, names)
    except OSError as error:
        if error.errno not in _NO_FLAGS:
            raise
        _check_free(path, directory_fd, force, names)
        _take_away(name, directory_fd, names)
        # The name is taken first: only an empty folder is renamed over.
        as_invoking_user(lambda: os.mkdir(name, 0o700, dir_fd=directory_fd))
        _rename(beside, name, directory_fd)


def _rename(source: str, target: str, directory_fd: int, flags: int = 0) -> None:
    """renameat2(2), which Python has not."""
    libc = ctypes.CDLL(None, use_errno=True)
    old, new = os.fsencode(source), os.fsencode(target)

    def rename() -> None:
        if libc.renameat2(directory_fd, old, directory_fd, new, flags):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))

    as_invoking_user(rename)


def _take_away(name: str, directory_fd: int, names: Collection[str]) -> None:
    """Removes a folder with these files, as far as it is there and nothing else is in it."""
    try:
        fd = os.open(name, _OPEN, dir_fd=directory_fd)
    except OSError:
        return
    try:
        for each in set(os.listdir(fd)) & set(names):
            remove(each, fd)
    finally:
        os.close(fd)
    with contextlib.suppress(OSError):
        as_invoking_user(lambda: os.rmdir(name, dir_fd=directory_fd))
