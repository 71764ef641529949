"""The live line of `rtrace record`."""

from __future__ import annotations

import io
import os
import time

import pytest

from tracer import status
from tracer.status import StatusLine, format_elapsed


class Screen(io.StringIO):
    """A terminal, or not; it may break."""

    def __init__(self, terminal: bool = True) -> None:
        super().__init__()
        self.terminal = terminal
        self.broken = False

    def isatty(self) -> bool:
        return self.terminal

    def write(self, text: str) -> int:
        if self.broken:
            raise OSError(5, "Input/output error")
        return super().write(text)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0:00"),
        (7.9, "0:07"),
        (754, "12:34"),
        (3599, "59:59"),
        (3723, "1:02:03"),
        (90_000, "25:00:00"),
    ],
)
def test_elapsed(seconds: float, text: str) -> None:
    assert format_elapsed(seconds) == text


def test_the_figures(clock: list[float]) -> None:
    screen = Screen()
    line = StatusLine(screen)

    clock[0] += 10
    line.update(12_000, 0, 1 << 20, 2)
    clock[0] += 0.5
    line.update(13_000, 17, 3 << 20, 3)

    assert screen.getvalue() == (
        "\r\x1b[K0:10  12,000 events  1,200/s  0 lost  1.0 MiB  2 containers"
        "\r\x1b[K0:10  13,000 events  2,000/s  17 lost  3.0 MiB  3 containers"
    )


def test_not_too_often(clock: list[float]) -> None:
    screen = Screen()
    line = StatusLine(screen)
    for _ in range(64):
        clock[0] += 1 / 64
        line.update(1, 0, 1, 0)

    assert screen.getvalue().count("\r") == 4


def test_cleared_before_something_else(clock: list[float]) -> None:
    screen = Screen()
    StatusLine(screen).clear()

    assert screen.getvalue() == "\r\x1b[K"


def test_nothing_where_there_is_no_terminal(clock: list[float]) -> None:
    screen = Screen(terminal=False)
    line = StatusLine(screen)
    clock[0] += 10
    line.update(1, 0, 1, 0)
    line.clear()

    assert screen.getvalue() == ""


@pytest.mark.parametrize("columns", [20, 40])
def test_never_wider_than_the_terminal(
    clock: list[float], monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    monkeypatch.setattr(status.os, "get_terminal_size", lambda _fd: os.terminal_size((columns, 24)))
    monkeypatch.setattr(Screen, "fileno", lambda _self: 2)
    screen = Screen()
    line = StatusLine(screen)
    clock[0] += 1
    line.update(10**9, 10**9, 10**12, 10**6)

    assert len(screen.getvalue().removeprefix("\r\x1b[K")) == columns - 1


def test_a_terminal_that_breaks_is_left_alone(clock: list[float]) -> None:
    screen = Screen()
    line = StatusLine(screen)
    screen.broken = True
    clock[0] += 1
    line.update(1, 0, 1, 0)
    screen.broken = False
    clock[0] += 1
    line.update(1, 0, 1, 0)
    line.clear()

    assert screen.getvalue() == ""
