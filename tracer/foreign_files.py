"""Files of other processes: whoever runs those chooses what is there, and may wish us no good.

A name is looked up in the root that the process has: symbolic links lead nowhere else, and the
links of /proc to other processes' files nowhere at all. What is found is opened only if it is a
regular file, for to open a device may do something, and to open a fifo may wait for ever.

Source: openat2(2).
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import os
import stat
from collections.abc import Iterator

LIMIT = 1 << 20
"""A container's configuration has some 30 KB; with environment and arguments, hardly more."""

_SYS_OPENAT2 = 437  # on all architectures
_RESOLVE_NO_MAGICLINKS, _RESOLVE_IN_ROOT = 0x02, 0x10
# A value takes up to 250 bytes of memory, and 3 of a file.
_VALUES_LIMIT = 200_000


class _OpenHow(ctypes.Structure):
    """struct open_how (include/uapi/linux/openat2.h)."""

    _fields_ = (
        ("flags", ctypes.c_uint64),
        ("mode", ctypes.c_uint64),
        ("resolve", ctypes.c_uint64),
    )


def read_regular(root: str, path: str, limit: int = LIMIT) -> bytes:
    """The beginning of a file.

    Args:
        root: directory that stands for /, such as /proc/PID/root.

    Raises:
        OSError: it is not there, may not be read, or is no regular file.
    """
    with found(root, path) as fd:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file", path)
        with open(f"/proc/self/fd/{fd}", "rb") as file:
            return file.read(limit)


@contextlib.contextmanager
def found(root: str, path: str) -> Iterator[int]:
    """File descriptor (O_PATH) of whatever has a name, a symbolic link included; nothing has been
    opened yet.

    Raises:
        OSError: nothing has it.
    """
    root_fd = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fd = _open_in_root(root_fd, path)
    finally:
        os.close(root_fd)
    try:
        yield fd
    finally:
        os.close(fd)


def _open_in_root(root_fd: int, path: str) -> int:
    flags = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
    how = _OpenHow(flags, 0, _RESOLVE_IN_ROOT | _RESOLVE_NO_MAGICLINKS)
    libc = ctypes.CDLL(None, use_errno=True)
    fd: int = libc.syscall(
        _SYS_OPENAT2, root_fd, os.fsencode(path), ctypes.byref(how), ctypes.sizeof(how)
    )
    if fd >= 0:
        return fd
    number = ctypes.get_errno()
    if number in (errno.ENOSYS, errno.EPERM):  # a seccomp filter that does not know it
        return os.open(path.lstrip("/"), flags, dir_fd=root_fd)
    raise OSError(number, os.strerror(number), path)


def parse_json(content: bytes) -> object:
    """The value in a text that may have been made to take all memory, or all stack.

    Raises:
        ValueError: it is no JSON, or too much of it.
    """
    if sum(map(content.count, (b",", b"[", b"{"))) > _VALUES_LIMIT:
        raise ValueError("it has too many values")
    try:
        value: object = json.loads(content)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    return value
