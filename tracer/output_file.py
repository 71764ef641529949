"""The one way in which rtrace makes files: captures, segments, saves, tickets, reports, exports.

A file is made anew, mode 0600, through no link, and belongs to whoever ran sudo. ``force`` takes
the name away from a regular file that is there, and never writes into it: it may have other names.

Captures grow under their names, as what is recorded is kept. All else (`new_file`) has no name
until it is whole. Where the file system has no files without names (NFS, vfat), it is called
.rtrace-*.part until then, which SIGKILL alone leaves behind.

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

from tracer.ending import undone_by
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
# What file systems say that have no files without names (open(2), O_TMPFILE).
_NO_UNNAMED = (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOSYS)
_STEP = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC


@contextlib.contextmanager
def new_file(path: str, *, force: bool = False) -> Iterator[BinaryIO]:
    """A file to write to, which is there whole, when the block is done, or not at all.

    Args:
        path: file to create.
        force: replace a regular file that is there.

    Raises:
        CaptureError: it cannot be created, or not be written.
    """
    with held_directory(path) as directory_fd:
        _check_free(path, directory_fd, force)
        beside = name_beside()
        with undone_by(lambda: remove(beside, directory_fd)):
            try:
                fd, unnamed = _open_beside(beside, directory_fd)
                kept = os.dup(fd)
                try:
                    # Closed before it gets its name: some file systems say only then that they
                    # could not write.
                    with os.fdopen(fd, "wb") as file:
                        yield file
                        file.flush()
                        sync(fd)
                    source = f"/proc/self/fd/{kept}" if unnamed else beside
                    _publish(path, source, beside, directory_fd, force)
                finally:
                    os.close(kept)
            except OSError as error:
                raise create_error(path, error) from None


def name_of(path: str) -> str:
    """The last part of a path.

    Raises:
        CaptureError: there is none.
    """
    name = os.path.basename(path)
    if not name:
        fact = f"cannot write {path}" if path else "cannot write the output"
        raise CaptureError(fact, "it has no name", "give one")
    return name


def name_beside() -> str:
    """For what will have its own name as soon as it is whole."""
    return f".rtrace-{os.urandom(8).hex()}.part"


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
        raise exists_error(path)
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
        return _open_new(name, _NEW, directory_fd)
    except FileExistsError:
        raise exists_error(path) from None
    except (OSError, ValueError) as error:
        raise create_error(path, error) from None


def sync(fd: int) -> None:
    """Waits until the disk has what was written to a file: only a sync tells what went wrong with
    what the kernel wrote later, and a power failure takes what has not been written.

    Raises:
        OSError: the disk failed.
    """
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a file system that has nothing to wait for (fsync(2))
            raise


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
        _take_name(source, source_fd, path, directory_fd, force)


def exists_error(path: str) -> CaptureError:
    """Why a name is not taken."""
    step = "give another name, or --force to replace it"
    return CaptureError(f"cannot write {path}", "it exists", step)


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


def _open_new(name: str, flags: int, directory_fd: int) -> int:
    fd = as_invoking_user(lambda: os.open(name, flags, 0o600, dir_fd=directory_fd))
    give_to_invoking_user(fd)
    return fd


def _check_free(path: str, directory_fd: int, force: bool) -> None:
    """Before work is done for a file: as ``create`` would find it."""
    name = name_of(path)
    try:
        mode = os.lstat(name, dir_fd=directory_fd).st_mode
    except FileNotFoundError:
        return
    except (OSError, ValueError) as error:
        raise create_error(path, error) from None
    if not force:
        raise exists_error(path)
    _check_regular(path, mode)


def _open_beside(beside: str, directory_fd: int) -> tuple[int, bool]:
    """File descriptor of a new file, and whether it has no name; else it is ``beside``."""
    try:
        fd = _open_new(".", os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, directory_fd)
    except OSError as error:
        if error.errno not in _NO_UNNAMED:
            raise
    else:
        if os.path.exists(f"/proc/self/fd/{fd}"):  # from where it can be linked
            return fd, True
        os.close(fd)
    return _open_new(beside, _NEW, directory_fd), False


def _publish(path: str, source: str, beside: str, directory_fd: int, force: bool) -> None:
    """Gives a file that is whole its name. ``source``: ``beside``, or where a link leads to it."""
    name, unnamed = os.path.basename(path), source != beside

    def link(target: str) -> None:
        def make() -> None:
            os.link(
                source, target, src_dir_fd=directory_fd, dst_dir_fd=directory_fd,
                follow_symlinks=unnamed,
            )  # fmt: skip

        as_invoking_user(make)

    try:
        link(name)
    except FileExistsError:
        if not force:
            raise exists_error(path) from None
        _check_regular(path, os.lstat(name, dir_fd=directory_fd).st_mode)
        if unnamed:
            link(beside)
        _rename(beside, directory_fd, name, directory_fd)
    except OSError:
        if unnamed:
            raise
        _take_name(beside, directory_fd, path, directory_fd, force)  # it knows no links
    else:
        if not unnamed:
            remove(beside, directory_fd)


def _take_name(source: str, source_fd: int, path: str, directory_fd: int, force: bool) -> None:
    """Renames a file to a name that is taken first, as nothing else works everywhere."""
    os.close(create(path, directory_fd, force=force))
    try:
        _rename(source, source_fd, os.path.basename(path), directory_fd)
    except OSError as error:
        remove(path, directory_fd)
        raise create_error(path, error) from None


def _rename(source: str, source_fd: int, target: str, target_fd: int) -> None:
    as_invoking_user(lambda: os.rename(source, target, src_dir_fd=source_fd, dst_dir_fd=target_fd))


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
