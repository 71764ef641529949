"""What a recorder shows while it runs: a live line on a terminal, lines with --live."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.kernel.groups import Group
from tests.kernel.recording import Recorder, run_tester, wait_for
from tests.terminal import terminal

pytestmark = pytest.mark.kernel

Build = Callable[[str], Path]
HOSTILE = b"\x1b]0;owned\x07"


def test_one_live_line_on_a_terminal(tmp_path: Path) -> None:
    columns = 60
    environment = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES")}
    with terminal(columns) as screen:
        with Recorder(tmp_path, stderr=screen.slave, env=environment) as recording:
            wait_for(lambda: screen.text.count(b"\r\x1b[K") >= 3, "the status line")
            recording.stop(signal.SIGTERM)
        wait_for(lambda: b"next: rtrace report" in screen.text, "the last words")

    first, _, rest = screen.text.decode().partition("\r\n")
    assert first == "recording until Ctrl-C"
    *updates, last = rest.split("\r\x1b[K")[1:]
    # Rewritten in place, never wider than the screen; nothing of it is left at the end.
    for update in updates:
        assert "\n" not in update
        assert len(update) < columns
    assert re.match(r"0:0\d  [\d,]+ events  [\d,]+/s  [\d,]+ lost  ", updates[0])
    assert last.startswith(f"{recording.path}: ")
    assert recording.capture.whole


@pytest.mark.parametrize(
    ("options", "command", "until"),
    [
        (["--duration=10ms"], [], "recording until 0.01 s have passed, or Ctrl-C"),
        ([], ["true"], "recording until true ends"),
    ],
)
def test_says_what_ends_it(
    tmp_path: Path, options: list[str], command: list[str], until: str
) -> None:
    with terminal() as screen:
        with Recorder(tmp_path, *options, command=command, stderr=screen.slave) as recording:
            recording.stop(None)
        wait_for(lambda: b"next: rtrace report" in screen.text, "the last words")

    assert screen.text.decode().splitlines()[0] == until


def test_a_terminal_that_is_gone_does_not_spoil_the_capture(tmp_path: Path) -> None:
    """As when an ssh connection breaks: SIGHUP, and every write fails."""
    with terminal() as screen, Recorder(tmp_path, stderr=screen.slave) as recording:
        wait_for(lambda: b"\r\x1b[K" in screen.text, "the status line")
        screen.hang_up()
        with recording.window():
            subprocess.run(["sleep", "0.6"], check=True)  # the status line comes twice meanwhile
        assert recording.process.poll() is None
        recording.stop(signal.SIGHUP)

    assert recording.capture.whole


def test_nothing_on_a_pipe_until_the_end(tmp_path: Path) -> None:
    with Recorder(tmp_path) as recording:
        recording.wait_until_recording()
        with recording.window():
            subprocess.run(["sleep", "0.6"], check=True)
        assert recording.stderr_path.read_bytes() == b""
        assert recording.stop().stderr.count("\n") == 2


def test_live_prints_lines_and_no_escape_sequences(
    tmp_path: Path, build: Build, group: Callable[[str], Group]
) -> None:
    # Of a cgroup of its own, since of all that happens at once it prints only so much.
    made = group("v2")
    older = made.popen(["sleep", "68"])
    wait_for(lambda: made.pids() == [older.pid], "the process in its cgroup")
    with Recorder(tmp_path, "--live", f"--cgroup={made.directory}") as recording:
        recording.wait_until_recording()
        process = made.popen(
            [build("family"), "rename", os.fsdecode(HOSTILE)], stdout=subprocess.DEVNULL
        )
        process.wait()
        older.kill()
        older.wait()
        ended = recording.stop()

    assert recording.capture.exec_detail(process.pid).args[-1] == HOSTILE
    lines = ended.stdout.splitlines()
    assert ended.stdout.endswith("\n")
    assert all(line.isprintable() for line in ended.stdout.split("\n"))
    assert all(re.match(r"\d\d:\d\d:\d\d\.\d{6} ", line) for line in lines)
    mine = [line for line in lines if f" {process.pid}:" in line]
    for kind in ("exec", "exit", "args"):
        assert any(line.split()[1] == kind for line in mine), kind
    assert any(r"\x1b]0;owned\x07 exited 0" in line for line in mine)


def test_live_to_a_reader_that_goes_away(tmp_path: Path) -> None:
    read, write = os.pipe()
    with Recorder(tmp_path, "--live", stdout=write) as recording:
        os.close(write)
        recording.wait_until_recording()
        os.close(read)
        with recording.window():
            subprocess.run(["true"], check=True)
        assert recording.process.poll() is None
        ended = recording.stop()

    assert ended.status == 0
    assert recording.capture.whole


def test_live_to_a_full_disk(tmp_path: Path) -> None:
    with (
        Path("/dev/full").open("wb") as full,
        Recorder(tmp_path, "--live", stdout=full) as recording,
    ):
        recording.wait_until_recording()
        with recording.window():
            subprocess.run(["true"], check=True)
        recording.stop()

    assert recording.capture.whole


def test_live_to_a_reader_that_reads_nothing(tmp_path: Path, build: Build) -> None:
    read, write = os.pipe()
    try:
        with Recorder(tmp_path, "--live", stdout=write) as recording:
            os.close(write)
            recording.wait_until_recording()
            # More lines than a pipe takes, over many batches.
            with recording.window() as seen:
                told = run_tester([build("storm"), "fork", "1500"])
            assert recording.process.poll() is None
            ended = recording.stop()
    finally:
        os.close(read)

    assert ended.status == 0
    assert recording.capture.whole
    assert len(seen.descendants(told["pid"])) == told["count"]
