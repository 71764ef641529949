"""Progress of long work: a line on a terminal that goes away, nothing anywhere else."""

from __future__ import annotations

import os
import pty
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO
from unittest import mock

import pytest

from analysis.model import open_capture
from analysis.progress import PHASES
from analysis.report import build_report
from tests import lives
from tests.kernel.recording import run_rtrace
from tracer.cli import main, progress


@pytest.fixture
def capture(tmp_path: Path) -> Path:
    return lives.life().stream.write(tmp_path / "x.rtrace")


class Terminal:
    """A pseudo terminal as stderr."""

    def __init__(self) -> None:
        self.ours, theirs = pty.openpty()
        self.stream: TextIO = os.fdopen(theirs, "w")

    def written(self) -> str:
        os.set_blocking(self.ours, False)
        parts = []
        while True:
            try:
                parts.append(os.read(self.ours, 65536))
            except OSError:  # nothing more
                return b"".join(parts).decode()


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Terminal]:
    terminal = Terminal()
    monkeypatch.setenv("TERM", "xterm")
    yield terminal
    terminal.stream.close()
    os.close(terminal.ours)


def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if all work were long."""
    monkeypatch.setattr(progress, "AFTER_S", 0)
    monkeypatch.setattr(progress, "_EVERY_S", 0)


def run(terminal: Terminal, *arguments: object) -> int:
    """Exit status of the command line, in this process."""
    words = ["rtrace", *map(str, arguments)]
    with (
        mock.patch.object(sys, "argv", words),
        mock.patch.object(sys, "stderr", terminal.stream),
        pytest.raises(SystemExit) as ended,
    ):
        main()
    return int(ended.value.code or 0)


@pytest.mark.parametrize("command", [("report",), ("why", "web")])
def test_a_line_that_goes_away(
    command: tuple[str, ...],
    capture: Path,
    terminal: Terminal,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    at_once(monkeypatch)
    assert run(terminal, command[0], capture, *command[1:], "-o", tmp_path / "out") == 0
    written = terminal.written()
    shares = [int(share) for share in re.findall(r"(\d+) %  [a-z]", written)]
    assert shares == sorted(shares)
    assert len(set(shares)) >= 4
    assert "reading" in written
    assert "finding who adopted whom" in written
    # It clears itself, and has never left its line.
    assert written.endswith("\r\x1b[K")
    assert "\n" not in written


def test_short_work_shows_nothing(
    capture: Path, terminal: Terminal, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(progress, "AFTER_S", 3600)
    assert run(terminal, "report", capture, "-o", tmp_path / "out") == 0
    assert terminal.written() == ""


@pytest.mark.parametrize("term", ["dumb", None])
def test_a_terminal_that_cannot_clear_a_line(
    term: str | None,
    capture: Path,
    terminal: Terminal,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    at_once(monkeypatch)
    if term is None:
        monkeypatch.delenv("TERM")
    else:
        monkeypatch.setenv("TERM", term)
    assert run(terminal, "report", capture, "-o", tmp_path / "out") == 0
    assert terminal.written() == ""


def test_nothing_on_a_pipe(capture: Path, tmp_path: Path) -> None:
    ended = run_rtrace("report", str(capture), cwd=tmp_path)
    assert (ended.status, ended.stderr) == (0, "")


def test_an_error_takes_the_line_away_first(
    capture: Path, terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_once(monkeypatch)
    assert run(terminal, "report", capture, "--container", "nobody") == 1
    line = terminal.written().split("\r\x1b[K")[-1]
    assert line.startswith("rtrace: no container 'nobody'")


def test_phases_come_in_their_order_and_end_near_the_whole(capture: Path) -> None:
    seen: list[tuple[str, float]] = []
    opened = open_capture(capture, lambda what, share: seen.append((what, share)))
    build_report(opened)
    names = list(dict.fromkeys(what for what, _ in seen))
    assert names == list(PHASES)
    shares = [share for _, share in seen]
    assert shares == sorted(shares)
    assert 0 <= shares[0] <= shares[-1] <= 1
