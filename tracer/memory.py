"""Memory that was needed for a moment is not kept: by a recorder that runs for weeks, or a report.

Source: mallopt(3), malloc_trim(3). On a C library without them (musl) nothing happens.
"""

from __future__ import annotations

import ctypes

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
_LARGE_BYTES = 128 << 10
_ARRAY_BYTES = 1 << 20


def stay_lean() -> None:
    """To be called before threads are started.

    One arena, since only one thread at a time runs Python; and the thresholds fixed where glibc
    begins: it would raise them with the first batch that is freed, and keep such memory then.
    """
    _set(_M_ARENA_MAX, 1)
    _set(_M_MMAP_THRESHOLD, _LARGE_BYTES)
    _set(_M_TRIM_THRESHOLD, _LARGE_BYTES)


def keep_no_arrays() -> None:
    """Arrays of more than 1 MiB go back to the kernel when they are freed.

    glibc would keep them in its heap, up to 32 MiB each, where they leave holes: 4 % of the memory
    of a report of 10,000,000 events. That costs 3 % of the CPU time; with 128 KiB it were 14 %.
    """
    _set(_M_MMAP_THRESHOLD, _ARRAY_BYTES)


def _set(parameter: int, value: int) -> None:
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(parameter, value)


def give_back() -> None:
    """Returns what is free to the kernel: after thousands of processes were looked at."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
