"""Whoever ran sudo: what root's rtrace writes is to be theirs, and made with their rights.

Making, renaming and removing a file is done as that user (its user and group id for files, of the
calling thread alone). So nobody can lead rtrace to make or remove something where that user may
not; and where root's word counts for nothing (NFS), that user's does. Where the user may not write,
and root may, root does it: who may run rtrace as root may have it write there.

Source: setfsuid(2), credentials(7). setfsuid() also takes away the capabilities that are about
files, and gives them back (capabilities(7)).
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
from collections.abc import Callable, Iterator
from typing import TypeVar

T = TypeVar("T")
_IDS = 1 << 32


def invoking_user() -> tuple[int, int] | None:
    """User and group id of whoever ran sudo; None: this process is nobody's but its own user's."""
    uid, gid = os.environ.get("SUDO_UID", ""), os.environ.get("SUDO_GID", "")
    if os.geteuid() != 0 or not (uid.isdecimal() and gid.isdecimal()):
        return None
    if not (0 < int(uid) < _IDS - 1 and int(gid) < _IDS - 1):
        return None
    return int(uid), int(gid)


def own_uids() -> set[int]:
    """Who may own what this process writes to: itself, and who ran sudo."""
    user = invoking_user()
    return {os.geteuid()} if user is None else {os.geteuid(), user[0]}


def as_invoking_user(do: Callable[[], T]) -> T:
    """What ``do`` gives, done as whoever ran sudo; where that is not permitted, as this process."""
    user = invoking_user()
    if user is None:
        return do()
    with contextlib.suppress(PermissionError), acting_as(*user):
        return do()
    return do()


def give_to_invoking_user(fd: int) -> None:
    """Lets the user who ran sudo read, move and remove a file or directory without sudo."""
    user = invoking_user()
    if user is not None:
        # Some file systems have no owners (vfat) or do not let root choose (NFS).
        with contextlib.suppress(OSError):
            os.fchown(fd, *user)


def stay_able() -> None:
    """Lets this process act as whoever ran sudo when it has no CAP_SETUID any more: as its saved
    ids may be taken at any time. They are not handed on to programs."""
    user = invoking_user()
    if user is not None:
        with contextlib.suppress(OSError):
            os.setresgid(-1, -1, user[1])
            os.setresuid(-1, -1, user[0])


@contextlib.contextmanager
def acting_as(uid: int, gid: int) -> Iterator[None]:
    """Files are asked for, in this thread, as that user.

    Raises:
        PermissionError: it may not become that user (see ``stay_able``).
    """
    libc = ctypes.CDLL(None)
    own_gid = libc.setfsgid(gid)
    own_uid = libc.setfsuid(uid)
    try:
        # They never fail; they say who it was before.
        if libc.setfsuid(-1) % _IDS != uid or libc.setfsgid(-1) % _IDS != gid:
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))
        yield
    finally:
        libc.setfsuid(own_uid)
        libc.setfsgid(own_gid)
