"""Capabilities of the calling thread: each thread has its own, and gives them to those it starts.

Sources: capabilities(7), capget(2), prctl(2), <linux/capability.h>.
"""

from __future__ import annotations

import contextlib
import ctypes
import enum
import os
from collections.abc import Iterable

_VERSION = 0x20080522  # _LINUX_CAPABILITY_VERSION_3, in two words
_LAST = 63
_PR_CAPBSET_READ, _PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS = 23, 24, 38
_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL = 47, 4


class Capability(enum.IntEnum):
    """Those that rtrace makes use of. Bits of capabilities(7)."""

    CHOWN = 0
    DAC_OVERRIDE = 1
    DAC_READ_SEARCH = 2
    KILL = 5
    SYS_PTRACE = 19
    SYS_ADMIN = 21
    SYS_NICE = 23
    SYS_RESOURCE = 24
    PERFMON = 38
    BPF = 39

    def __str__(self) -> str:
        return f"CAP_{self.name}"


def capabilities() -> frozenset[Capability]:
    """Those of them that are in effect."""
    try:
        effective, _ = _read()
    except OSError:
        return frozenset()
    return frozenset(capability for capability in Capability if effective >> capability & 1)


def keep_only(kept: Iterable[Capability]) -> None:
    """Gives up all others for good: this thread, its future ones and their programs have no more.

    Args:
        kept: what stays, as far as it is there.

    Raises:
        OSError: the kernel or a filter refuses it.
    """
    mask = sum(1 << capability for capability in kept)
    libc = ctypes.CDLL(None, use_errno=True)
    # No program that is run gets more than its caller has, not by set-user-id either.
    _check(libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    with contextlib.suppress(OSError):  # takes CAP_SETPCAP; the line above does without
        for number in range(_LAST + 1):
            if not mask >> number & 1 and libc.prctl(_PR_CAPBSET_READ, number, 0, 0, 0) == 1:
                _check(libc.prctl(_PR_CAPBSET_DROP, number, 0, 0, 0))
    _check(libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0))
    effective, permitted = _read()
    header = (ctypes.c_uint32 * 2)(_VERSION, 0)
    wanted = (effective & mask, permitted & mask, 0)  # nothing inheritable
    words = (ctypes.c_uint32 * 6)(*wanted, *(word >> 32 for word in wanted))
    _check(libc.capset(ctypes.byref(header), ctypes.byref(words)))


def _read() -> tuple[int, int]:
    """What is in effect, and what may be."""
    header = (ctypes.c_uint32 * 2)(_VERSION, 0)
    words = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable, twice
    libc = ctypes.CDLL(None, use_errno=True)
    _check(libc.capget(ctypes.byref(header), ctypes.byref(words)))
    return words[0] | words[3] << 32, words[1] | words[4] << 32


def _check(result: int) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
