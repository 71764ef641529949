"""What is told when clocks move. Readings are given: no test sets a clock or suspends a host."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from tracer import clock
from tracer.clock import ClockWatch, Reading, read_clock, read_clocks

SECOND = 1_000_000_000
MILLISECOND = 1_000_000
START = Reading(boot=1000 * SECOND, wall=1_700_000_000 * SECOND, monotonic=900 * SECOND)


class Host:
    """Clocks that go, are set, and stand still."""

    def __init__(self) -> None:
        self.now = START
        self.facts: list[dict[str, Any]] = []
        self.watch = ClockWatch(self.facts.append, lambda: self.now)

    def go(self, *, by_ns: int = SECOND, set_ns: int = 0, suspended_ns: int = 0) -> None:
        now = self.now
        self.now = Reading(
            now.boot + by_ns + suspended_ns,
            now.wall + by_ns + suspended_ns + set_ns,
            now.monotonic + by_ns,
        )
        self.watch.look(now=True)


def test_a_recording_begins_with_its_clocks() -> None:
    host = Host()

    assert host.facts == [
        {
            "kind": "clock",
            "boot_ns": START.boot,
            "wall_ns": START.wall,
            "monotonic_ns": START.monotonic,
        }
    ]


def test_clocks_that_only_go_are_not_told() -> None:
    host = Host()
    for _ in range(100):
        host.go(by_ns=3600 * SECOND)

    assert len(host.facts) == 1


@pytest.mark.parametrize("set_ns", [3600 * SECOND, -3600 * SECOND, 11 * MILLISECOND])
def test_a_wall_clock_that_is_set(set_ns: int) -> None:
    host = Host()
    host.go()
    host.go(set_ns=set_ns)
    host.go()

    _, told = host.facts
    assert told["boot_ns"] == START.boot + 2 * SECOND
    assert told["wall_ns"] == START.wall + 2 * SECOND + set_ns


def test_a_wall_clock_that_is_slewed_is_told_every_ten_milliseconds() -> None:
    host = Host()
    for _ in range(100):
        host.go(set_ns=500_000)  # as fast as adjtimex() lets it: 0.5 ms a second

    assert len(host.facts) == 1 + 100 // 21
    for before, after in zip(host.facts, host.facts[1:], strict=False):
        moved = (after["wall_ns"] - after["boot_ns"]) - (before["wall_ns"] - before["boot_ns"])
        assert moved == 21 * 500_000


def test_a_host_that_was_suspended() -> None:
    host = Host()
    host.go(suspended_ns=600 * SECOND)
    host.go()

    before, after = host.facts
    slept = (after["boot_ns"] - after["monotonic_ns"]) - (
        before["boot_ns"] - before["monotonic_ns"]
    )
    assert slept == 600 * SECOND
    assert after["wall_ns"] - after["boot_ns"] == before["wall_ns"] - before["boot_ns"]


def test_a_wall_clock_that_is_set_back_to_where_it_was() -> None:
    host = Host()
    host.go(set_ns=SECOND)
    host.go(set_ns=-SECOND)

    assert len(host.facts) == 3


def test_clocks_are_read_once_a_second_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 5 * SECOND
    monkeypatch.setattr(time, "monotonic_ns", lambda: now)
    reads: list[int] = []

    def read() -> Reading:
        reads.append(now)
        return START

    watch = ClockWatch(lambda _fact: None, read)
    for _ in range(25):
        now += 100 * MILLISECOND
        watch.look()
    watch.look(now=True)

    assert reads == [5 * SECOND, 6 * SECOND, 7 * SECOND, 7_500_000_000]


def test_readings_of_one_moment_are_taken_together(monkeypatch: pytest.MonkeyPatch) -> None:
    # GIVEN a process that is kept from running for a second between its first readings
    delays = iter([0, SECOND, 0, 0])
    boot = 0

    def boot_ns() -> int:
        nonlocal boot
        boot += next(delays)
        return boot

    monkeypatch.setattr(clock, "boot_ns", boot_ns)

    # THEN these are thrown away
    reading = read_clocks()
    assert reading.boot == SECOND
    assert next(delays, None) is None


def test_nobody_but_this_module_reads_the_boot_clock() -> None:
    # In a time namespace it would be another one than that of the records.
    sources = Path(clock.__file__).parent.rglob("*.py")
    readers = [path.name for path in sources if "time.CLOCK_BOOTTIME" in path.read_text()]

    assert readers == ["clock.py"]


def test_this_hosts_clocks() -> None:
    before = time.clock_gettime_ns(time.CLOCK_BOOTTIME), time.time_ns()
    found = read_clock()
    after = time.clock_gettime_ns(time.CLOCK_BOOTTIME), time.time_ns()

    assert before[0] <= found["boot_ns"] <= after[0]
    assert before[1] <= found["wall_ns"] <= after[1]
