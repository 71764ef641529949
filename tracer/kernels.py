"""Which kernels rtrace supports: the one list that the docs, `rtrace doctor` and the tests read.

rtrace asks the kernel for what it needs and not for its version, so a kernel that is not listed
works as a rule. What is listed, the tests have run on.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

Series = tuple[int, int]

MINIMUM: Series = (5, 8)
"""The first with the ring buffer, the boot clock for BPF, and task iterators."""


@dataclass(frozen=True, slots=True)
class Tested:
    """A kernel that the tests ran on.

    Attributes:
        series: what `rtrace doctor` goes by.
        release: the kernel's own name (uname -r).
        host: where it ran.
        date: when, YYYY-MM-DD.
    """

    series: Series
    release: str
    host: str
    date: str

    @property
    def name(self) -> str:
        """The series as text: "6.1"."""
        return series_name(self.series)


TESTED = (
    Tested((5, 10), "5.10.0-32-amd64", "Debian 11's, emulated", "2026-11-25"),
    Tested((6, 1), "6.1.0-50-amd64", "Debian 12's, emulated", "2026-11-25"),
    Tested((6, 12), "6.12.117+deb13-amd64", "Debian 13's, emulated", "2026-11-25"),
    Tested((6, 18), "6.18.44", "virtual machine", "2026-11-25"),
    Tested((7, 3), "7.3.4+deb13-amd64", "Debian 13 backports', emulated", "2026-11-25"),
)
"""Oldest first. docs/kernels.md says what ran on each."""


class Support(enum.Enum):
    """What is known of a kernel; the value is for people."""

    TOO_OLD = "too old"
    TESTED = "tested"
    UNTESTED = "not tested, should work"
    UNKNOWN = "cannot tell its version"


def series_name(series: Series) -> str:
    """(6, 1) as "6.1"."""
    return f"{series[0]}.{series[1]}"


def find_support(release: str) -> Support:
    """What is known of the kernel with this name (uname -r)."""
    numbers = release.split(".")
    try:
        series = int(numbers[0]), int(numbers[1].split("-")[0])
    except (IndexError, ValueError):
        return Support.UNKNOWN
    if series < MINIMUM:
        return Support.TOO_OLD
    return Support.TESTED if any(series == t.series for t in TESTED) else Support.UNTESTED
