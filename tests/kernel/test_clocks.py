"""A wall clock that is set while rtrace records: for real, by little, and set back."""

from __future__ import annotations

import contextlib
import ctypes
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.kernel.conftest import missing
from tests.kernel.recording import Recorder, wait_for

pytestmark = pytest.mark.kernel

# Less than what NTP daemons step by, and more than what the recorder takes for a drift.
_STEP_NS = 30_000_000
_ADJ_SETOFFSET, _ADJ_NANO = 0x0100, 0x2000  # include/uapi/linux/timex.h


class _Timex(ctypes.Structure):
    _fields_ = [
        ("modes", ctypes.c_uint),
        ("longs", ctypes.c_long * 8),  # offset ... tolerance
        ("seconds", ctypes.c_long),
        ("nanoseconds", ctypes.c_long),
        ("rest", ctypes.c_char * 256),
    ]


def step_wall_clock(by_ns: int) -> None:
    """Sets the wall clock by so much, either way.

    Raises:
        PermissionError: no CAP_SYS_TIME.
    """
    seconds, nanoseconds = divmod(by_ns, 1_000_000_000)
    timex = _Timex(modes=_ADJ_SETOFFSET | _ADJ_NANO, seconds=seconds, nanoseconds=nanoseconds)
    if ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.byref(timex)) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


@contextlib.contextmanager
def wall_clock_stepped(by_ns: int) -> Iterator[None]:
    try:
        step_wall_clock(by_ns)
    except PermissionError:
        missing("CAP_SYS_TIME")
    try:
        yield
    finally:
        step_wall_clock(-by_ns)


def wall_offset_ns() -> int:
    return time.clock_gettime_ns(time.CLOCK_REALTIME) - time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def test_a_wall_clock_that_is_set(tmp_path: Path) -> None:
    with Recorder(tmp_path) as recording:
        recording.wait_until_recording()

        def clocks() -> list[dict[str, Any]]:
            recording.capture.read()
            return [f for f in recording.capture.json(b"FACT") if f["kind"] == "clock"]

        before = wall_offset_ns()
        with wall_clock_stepped(_STEP_NS):
            during = wall_offset_ns()
            wait_for(lambda: len(clocks()) == 2, "the clock in the capture")
        assert recording.stop().status == 0

    first, stepped, *back = clocks()
    offsets = [fact["wall_ns"] - fact["boot_ns"] for fact in (first, stepped)]
    tolerance = _STEP_NS // 10
    assert abs(offsets[0] - before) < tolerance
    assert abs(offsets[1] - during) < tolerance
    assert abs(offsets[1] - offsets[0] - _STEP_NS) < tolerance
    # That it was set back is told at the end at the latest.
    assert len(back) == 1
    header = recording.capture.header["clock"]
    assert abs(header["wall_ns"] - header["boot_ns"] - before) < tolerance
