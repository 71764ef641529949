"""A recorder that runs for weeks keeps no memory that it needed for a moment.

Source: mallopt(3), malloc_trim(3). On a C library without them (musl) nothing happens.
"""

from __future__ import annotations

import ctypes

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
_LARGE_BYTES = 128 << 10


def stay_lean() -> None:
    """To be called before threads are started.

    One arena, since only one thread at a time runs Python; and the thresholds fixed where glibc
    begins: it would raise them with the first batch that is freed, and keep such memory then.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, 1)
        mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)
        mallopt(_M_TRIM_THRESHOLD, _LARGE_BYTES)


def give_back() -> None:
    """Returns what is free to the kernel: after thousands of processes were looked at."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
