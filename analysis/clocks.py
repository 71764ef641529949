"""Wall-clock times of a capture, though the wall clock may have been set while it was recorded.

The recorder reads the clocks when it begins and when one of them has moved against the others:
each reading holds until the next. CLOCK_BOOTTIME goes on while a host is suspended, CLOCK_MONOTONIC
stands still.
"""

from __future__ import annotations

import bisect
import datetime
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from analysis.columns import MAX, as_int

# The recorder writes a reading when something moved by more than this (docs/capture-format.md).
CHANGE_NS = 10_000_000


@dataclass(frozen=True, slots=True)
class Reading:
    """The clocks at one moment, and what had happened to them since the reading before.

    Attributes:
        boot_ns, wall_ns: of the same moment.
        set_ns: the wall clock was set by so much, forward if positive; 0: it was not.
        suspended_ns: the host was suspended for so long; 0: it was not, or that cannot be told.
        since_ns: boot time of the reading before; its own for the first.
    """

    boot_ns: int
    wall_ns: int
    set_ns: int
    suspended_ns: int
    since_ns: int


class Recorded(Protocol):
    """Of a capture its HEAD and its FACTs, at least those of kind "clock"."""

    @property
    def header(self) -> dict[str, Any]: ...

    @property
    def facts(self) -> list[dict[str, Any]]: ...


class Clocks:
    """What the wall clock showed when.

    Attributes:
        readings: by boot_ns; the first one is that of HEAD.
    """

    def __init__(self, table: Recorded) -> None:
        head = table.header.get("clock")
        head = head if isinstance(head, dict) else {}
        facts = [fact for fact in table.facts if fact.get("kind") == "clock"]
        facts.sort(key=lambda fact: as_int(fact.get("boot_ns")))
        # A segment may repeat what was read before it: that only tells how long the host had been
        # suspended until then.
        older = [
            fact for fact in facts if as_int(fact.get("boot_ns")) < as_int(head.get("boot_ns"))
        ]
        stood = _stood(older[-1]) if older else None
        self.readings: list[Reading] = []
        for found in [head, *facts[len(older) :]]:
            boot_ns, wall_ns = as_int(found.get("boot_ns")), as_int(found.get("wall_ns"))
            last = self.readings[-1] if self.readings else Reading(boot_ns, wall_ns, 0, 0, boot_ns)
            now_stood = _stood(found)
            suspended_ns = 0 if stood is None or now_stood is None else now_stood - stood
            stood = stood if now_stood is None else now_stood
            set_ns = (wall_ns - boot_ns) - (last.wall_ns - last.boot_ns)
            suspended_ns = _if_large(max(suspended_ns, 0))
            self.readings.append(
                Reading(boot_ns, wall_ns, _if_large(set_ns), suspended_ns, last.boot_ns)
            )
        self._boots = [reading.boot_ns for reading in self.readings]

    def wall_ns(self, ts_ns: int) -> int | None:
        """Wall time of a boot time, ns since 1970; None if the capture does not tell."""
        reading = self.readings[max(bisect.bisect_right(self._boots, ts_ns) - 1, 0)]
        return reading.wall_ns + ts_ns - reading.boot_ns if reading.wall_ns else None

    def wall_times(
        self, ts_ns: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
        """Wall times of many boot times, and of which of them it is known."""
        at = np.searchsorted(np.array(self._boots, np.int64), ts_ns, side="right") - 1
        boots, walls = (
            np.array(values, np.int64)[np.maximum(at, 0)]
            for values in (self._boots, [reading.wall_ns for reading in self.readings])
        )
        # Both are in 0 .. 2**62: neither difference nor sum is beyond 64 bits.
        found = np.clip(ts_ns, 0, MAX) - boots
        known = (walls > 0) & (found <= np.iinfo(np.int64).max - walls) & (found >= -walls)
        return np.where(known, walls + np.where(known, found, 0), 0), known

    def utc(self, ts_ns: int) -> str | None:
        """Same, as text to the microsecond: "2023-11-14T22:13:20.000000Z"."""
        wall_ns = self.wall_ns(ts_ns)
        if wall_ns is None:
            return None
        try:
            epoch = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
            found = epoch + datetime.timedelta(microseconds=wall_ns // 1000)
        except OverflowError:
            return None
        return found.isoformat(timespec="microseconds").replace("+00:00", "Z")


def _stood(found: dict[str, Any]) -> int | None:
    """How long the host had been suspended since its boot, ns; None if that was not read."""
    monotonic = found.get("monotonic_ns")
    return None if monotonic is None else as_int(found.get("boot_ns")) - as_int(monotonic)


def _if_large(ns: int) -> int:
    return ns if abs(ns) > CHANGE_NS else 0
