"""Processes under measurement, seen from outside."""

from __future__ import annotations

import time
from pathlib import Path

from bench.errors import BenchError

_CPUCLOCK_SCHED = 2  # include/linux/posix-timers_types.h


def read_cpu_ns(pid: int) -> int:
    """CPU time of a process so far: all its threads, those that have ended too.

    The clock that clock_getcpuclockid(3) names.

    Raises:
        BenchError: there is no such process any more.
    """
    try:
        return time.clock_gettime_ns(~pid << 3 | _CPUCLOCK_SCHED)
    except OSError:
        raise BenchError(f"process {pid} has ended") from None


def read_peak_rss(pid: int) -> int:
    """VmHWM in bytes.

    Raises:
        BenchError: the process has ended.
    """
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) << 10
    except OSError:
        pass
    raise BenchError(f"process {pid} has ended")
