"""`record --live` on a terminal: a screen beside the recording, which never depends on it."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kernel.live import Live, children
from tests.kernel.recording import DEADLINE_S, run_rtrace, wait_for
from tests.terminal import Terminal, terminal
from tracer.capabilities import Capability

pytestmark = pytest.mark.kernel

ALTERNATE, NORMAL = b"\x1b[?1049h", b"\x1b[?1049l"


@contextlib.contextmanager
def live(folder: Path, *options: str) -> Iterator[tuple[Terminal, Live]]:
    """A screen that shows its first picture."""
    with terminal(100, 30) as on, Live(folder, on, *options) as recording:
        on.wait_for(lambda: on.shows("as of ", "CONTAINERS"), "the first picture")
        yield on, recording


def test_from_the_first_picture_to_the_end(tmp_path: Path) -> None:
    """GIVEN a screen WHEN s, a new size, and q THEN there is a save, the screen fits, and the
    recording ends as by Ctrl-C, on a terminal that is as it was."""
    with terminal(100, 30) as on:
        before = on.settings()
        with Live(tmp_path, on) as recording:
            on.wait_for(lambda: on.shows("as of ", "LAST EVENTS", "nothing lost"), "a picture")
            assert on.settings() != before
            assert_modest(recording.screen_pid())
            on.press("s")
            saved = wait_for(lambda: list(tmp_path.glob("*-saved.rtrace")), "the save")
            on.wait_for(lambda: on.shows("saved"), "the message")
            on.resize(80, 24)
            recording.process.send_signal(signal.SIGWINCH)  # as the kernel, but to all
            os.kill(recording.screen_pid(), signal.SIGWINCH)
            on.wait_for(lambda: on.lines()[-1].lstrip().startswith("q "), "the footer's new place")
            on.press("q")
            assert recording.process.wait(DEADLINE_S) == 0
        wait_for(lambda: b"next: rtrace report" in on.text, "the last words")
        assert on.settings() == before

    drawn, _, rest = on.text.rpartition(NORMAL)
    assert drawn.count(ALTERNATE) == 1
    lines = re.sub(rb"\x1b\[\??[\d;<]*[a-z]", b"", rest).decode().split("\r\n")
    assert [line.partition(": ")[0] for line in lines if line] == [
        f"saved {saved[0]}",
        str(recording.path),
        "next",
    ]
    recording.capture.read()
    assert recording.capture.whole
    assert recording.capture.trailer is not None
    assert recording.capture.trailer["reason"] == "signal"
    assert run_rtrace("report", saved[0]).status == 0


def assert_modest(pid: int) -> None:
    """No thread of the screen has the recorder's priority, or rights but that to read."""
    niceness = set()
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            status = dict(
                line.split(":\t", 1) for line in (task / "status").read_text().splitlines()
            )
            assert int(status["CapEff"], 16) & ~(1 << Capability.DAC_READ_SEARCH) == 0
            assert status["NoNewPrivs"] == "1"
            stat = (task / "stat").read_text().rpartition(")")[2].split()
            niceness.add(int(stat[16]))
    assert niceness == {0, 10}


def test_a_screen_that_is_killed(tmp_path: Path) -> None:
    """GIVEN a screen WHEN it is killed THEN the terminal is put right, a line says so, and the
    recording goes on until Ctrl-C."""
    with terminal(100, 30) as on:
        before = on.settings()
        with Live(tmp_path, on) as recording:
            on.wait_for(lambda: on.shows("as of "), "the first picture")
            os.kill(recording.screen_pid(), signal.SIGKILL)
            wait_for(lambda: b"the recording goes on until Ctrl-C" in on.text, "the line")
            assert on.settings() == before
            assert on.text.rindex(NORMAL) > on.text.rindex(ALTERNATE)
            wait_for(lambda: b" events  " in on.text.rpartition(b"Ctrl-C")[2], "the status line")
            with recording.window():
                subprocess.run(["true"], check=True)
            on.press("\x03")  # a signal again
            assert recording.process.wait(DEADLINE_S) == 0
        wait_for(lambda: b"next: rtrace report" in on.text, "the last words")

    assert b"the screen has ended: killed by SIGKILL; " in on.text
    recording.capture.read()
    assert recording.capture.whole


def test_a_recorder_that_is_killed(tmp_path: Path) -> None:
    """GIVEN a screen WHEN the recorder is killed THEN the screen leaves the terminal as it was."""
    with terminal(100, 30) as on:
        before = on.settings()
        # With a shell that stays: when a terminal's session leader ends, all get SIGHUP.
        with Live(tmp_path, on, wrapper=("sh", "-c", '"$@"; read -r _', "sh")) as recording:
            on.wait_for(lambda: on.shows("as of "), "the first picture")
            (recorder,) = children(recording.pid)
            os.kill(recorder, signal.SIGKILL)
            wait_for(lambda: on.settings() == before, "the terminal as it was")
            wait_for(lambda: on.text.rfind(NORMAL) > on.text.rfind(ALTERNATE), "the screen's end")


def test_a_terminal_that_is_gone(tmp_path: Path) -> None:
    with terminal(100, 30) as on, Live(tmp_path, on) as recording:
        on.wait_for(lambda: on.shows("as of "), "the first picture")
        screen = recording.screen_pid()
        on.hang_up()
        status = recording.process.wait(DEADLINE_S)  # by SIGHUP, as without a screen
        wait_for(lambda: not Path(f"/proc/{screen}").exists(), "the screen's end")

    assert status == 0
    recording.capture.read()
    assert recording.capture.whole


def test_the_end_by_a_signal_and_of_a_bounded_recording(tmp_path: Path) -> None:
    with live(tmp_path, "--max-size=2MiB") as (on, recording):
        recording.process.send_signal(signal.SIGTERM)
        assert recording.process.wait(DEADLINE_S) == 0
        wait_for(lambda: b"next: rtrace report" in on.text, "the last words")
    assert run_rtrace("report", recording.path).status == 0


def test_no_colours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    with live(tmp_path) as (on, recording):
        on.press("q")
        assert recording.process.wait(DEADLINE_S) == 0
    codes = {
        code for found in re.findall(rb"\x1b\[([\d;]*)m", on.text) for code in found.split(b";")
    }
    # Attributes, and the default colours.
    assert codes <= {b"", b"0", b"1", b"2", b"4", b"7", b"39", b"49"}


@pytest.mark.parametrize("name", ["dumb", ""])
def test_lines_on_a_terminal_that_cannot_be_drawn_on(tmp_path: Path, name: str) -> None:
    with terminal() as on, Live(tmp_path, on, term=name) as recording:
        wait_for(lambda: b" exec " in on.text, "a line")
        recording.stop()
    assert ALTERNATE not in on.text


def test_a_command_has_the_terminal_and_stdout(tmp_path: Path) -> None:
    """GIVEN a COMMAND THEN --live is lines on stderr, terminal or not."""
    with terminal() as on:
        command = ["sh", "-c", "[ -t 0 ] && echo mine && sleep 0.3"]
        with Live(tmp_path, on, stdout=subprocess.PIPE, command=command) as recording:
            assert recording.process.stdout is not None
            with recording.process.stdout as stdout:
                assert stdout.read() == b"mine\n"
            assert recording.process.wait(DEADLINE_S) == 0
        wait_for(lambda: b"next: rtrace report" in on.text, "the last words")
    assert b" exec " in on.text
    assert ALTERNATE not in on.text
