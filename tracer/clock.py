"""The clocks of a recording: the kernel's boot clock, and what the others did against it.

All times in a capture are the boot clock's, as BPF programs read it. In a time namespace
(time_namespaces(7)) this process reads another one, which is corrected here: so all of the
recorder asks this module for the time.

Wall times are found from pairs of both clocks. The wall clock can be set while rtrace records,
and a suspended host stops CLOCK_MONOTONIC but not the boot clock: both are written down as facts.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

from tracer.errors import HostError

# PROC_TIME_INIT_INO (include/linux/proc_ns.h): the inode of the initial time namespace.
INITIAL_TIME_NAMESPACE = 0xEFFFFFFA
CHANGE_NS = 10_000_000
_EVERY_NS = 1_000_000_000
# The readings of one moment lie microseconds apart, unless the scheduler came between them.
_TOGETHER_NS = 50_000
_ATTEMPTS = 5
_SECOND_NS = 1_000_000_000
_OFFSETS_PATH = "/proc/self/timens_offsets"


@cache
def boot_offset_ns() -> int:
    """What this process's boot clock has more than the kernel's: its time namespace's offset.

    Raises:
        HostError: it is in a time namespace whose offset cannot be told.
    """
    try:
        own, children = (
            os.stat(f"/proc/self/ns/{name}").st_ino for name in ("time", "time_for_children")
        )
    except OSError:  # Linux before 5.6 has none, nor a host without /proc
        return 0
    if own == INITIAL_TIME_NAMESPACE:
        return 0
    if own != children:  # the offsets that can be read are those of the children's namespace
        raise HostError(
            "cannot tell the kernel's time",
            "this process has left a time namespace behind for its children",
            "start rtrace as a new program",
        )
    try:
        with open(_OFFSETS_PATH) as file:
            lines = [line.split() for line in file]
    except OSError as error:
        raise HostError(
            "cannot tell the kernel's time",
            f"{_OFFSETS_PATH}: {os.strerror(error.errno or 0)}",
            "run rtrace outside of the time namespace",
        ) from None
    return next(
        int(seconds) * _SECOND_NS + int(nanoseconds)
        for name, seconds, nanoseconds in lines
        if name in ("boottime", "7")  # CLOCK_BOOTTIME
    )


def boot_ns() -> int:
    """Now, by the kernel's boot clock: the clock of every event."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) - boot_offset_ns()


@dataclass(frozen=True, slots=True)
class Reading:
    """Three clocks at one moment, in nanoseconds.

    Attributes:
        boot: the kernel's boot clock.
        wall: CLOCK_REALTIME.
        monotonic: CLOCK_MONOTONIC, which stands still while the host is suspended.
    """

    boot: int
    wall: int
    monotonic: int


def read_clocks() -> Reading:
    """All clocks, as close together as a few attempts give them."""
    attempts = []
    for _ in range(_ATTEMPTS):
        before = boot_ns()
        wall = time.clock_gettime_ns(time.CLOCK_REALTIME)
        monotonic = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
        after = boot_ns()
        attempts.append((after - before, Reading((before + after) // 2, wall, monotonic)))
        if after - before <= _TOGETHER_NS:
            break
    return min(attempts, key=lambda attempt: attempt[0])[1]


def read_clock() -> dict[str, int]:
    """The clocks at one moment, for a capture's header."""
    reading = read_clocks()
    return {
        "boot_ns": reading.boot,
        "wall_ns": reading.wall,
        "monotonic_ns": reading.monotonic,
    }


class ClockWatch:
    """Writes a fact of the kind "clock" at the start, and whenever a clock has moved.

    Args:
        write_fact: takes the content of a FACT chunk.
        read: gives a reading.
    """

    def __init__(
        self,
        write_fact: Callable[[dict[str, Any]], None],
        read: Callable[[], Reading] = read_clocks,
    ) -> None:
        self._write_fact, self._read = write_fact, read
        self._looked_ns = time.monotonic_ns()
        self._told = read()
        self._write(self._told)

    def look(self, *, now: bool = False) -> None:
        """To be called often: it reads the clocks once a second, or ``now``."""
        now_ns = time.monotonic_ns()
        if not now and now_ns - self._looked_ns < _EVERY_NS:
            return
        self._looked_ns, reading = now_ns, self._read()
        set_by = (reading.wall - reading.boot) - (self._told.wall - self._told.boot)
        suspended = (reading.boot - reading.monotonic) - (self._told.boot - self._told.monotonic)
        if abs(set_by) > CHANGE_NS or suspended > CHANGE_NS:
            self._told = reading
            self._write(reading)

    def _write(self, reading: Reading) -> None:
        self._write_fact(
            {
                "kind": "clock",
                "boot_ns": reading.boot,
                "wall_ns": reading.wall,
                "monotonic_ns": reading.monotonic,
            }
        )
