"""How a recording ends: each time with a complete capture, and saying where it is."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.kernel.recording import (
    Ended,
    Recorder,
    assert_failed,
    run_rtrace,
    state,
    wait_for,
)

pytestmark = pytest.mark.kernel


def assert_complete(recording: Recorder, ended: Ended, reason: str) -> None:
    """The capture has its trailer, and stderr is two lines: where it is, and what to do next."""
    capture = recording.capture
    assert capture.whole
    assert capture.trailer is not None
    assert capture.trailer["reason"] == reason
    assert capture.trailer["snapshot_end"]
    assert capture.tasks("end")
    where, following = ended.stderr.splitlines()
    assert where.startswith(f"{recording.path}: ")
    assert f"{capture.count():,} events" in where
    assert following == f"next: rtrace report {recording.path}"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signal(tmp_path: Path, number: signal.Signals) -> None:
    with Recorder(tmp_path) as recording:
        recording.wait_until_recording()
        assert recording.stderr_path.read_text() == ""
        ended = recording.stop(number)

    assert ended.status == 0
    assert ended.stdout == ""
    assert_complete(recording, ended, "signal")


def test_duration(tmp_path: Path) -> None:
    with Recorder(tmp_path, "--duration", "300ms") as recording:
        ended = recording.stop(None)

    assert ended.status == 0
    assert_complete(recording, ended, "duration")
    assert recording.capture.trailer is not None
    recorded = recording.capture.trailer["ts_ns"] - recording.capture.header["clock"]["boot_ns"]
    assert recorded >= 300_000_000


@pytest.mark.parametrize(
    ("script", "status"), [("exit 0", 0), ("exit 3", 3), ("kill -KILL $$", 137), ("exit 125", 125)]
)
def test_status_of_command_is_passed_on(tmp_path: Path, script: str, status: int) -> None:
    with Recorder(tmp_path, command=["sh", "-c", script]) as recording:
        ended = recording.stop(None)

    assert ended.status == status
    assert_complete(recording, ended, "command")
    assert recording.capture.trailer is not None
    assert recording.capture.trailer["command_status"] == status


def test_commands_own_options_and_streams(tmp_path: Path) -> None:
    command = ["sh", "-c", 'echo "$@"; echo error >&2', "--", "-o", "y", "--duration", "--"]
    with Recorder(tmp_path, command=command) as recording:
        ended = recording.stop(None)

    assert ended.status == 0
    assert ended.stdout == "-o y --duration --\n"
    assert ended.stderr.startswith("error\n")
    assert not (tmp_path / "y").exists()


def test_signal_is_given_to_command(tmp_path: Path) -> None:
    with Recorder(tmp_path, command=["sleep", "64"]) as recording:
        recording.wait_until_recording()
        wait_for_command(recording, b"sleep", b"64")
        ended = recording.stop(signal.SIGTERM)

    assert ended.status == 128 + signal.SIGTERM
    assert_complete(recording, ended, "signal")
    assert recording.capture.trailer is not None
    assert recording.capture.trailer["command_status"] == 128 + signal.SIGTERM


def test_ctrl_c_reaches_command_and_recorder(tmp_path: Path) -> None:
    # As a terminal does it: to the whole process group.
    with Recorder(tmp_path, command=["sleep", "65"], start_new_session=True) as recording:
        recording.wait_until_recording()
        wait_for_command(recording, b"sleep", b"65")
        os.killpg(recording.pid, signal.SIGINT)
        ended = recording.stop(None)

    assert ended.status == 128 + signal.SIGINT
    # Whichever the recorder notices first.
    assert recording.capture.trailer is not None
    assert recording.capture.trailer["reason"] in ("signal", "command")
    assert_complete(recording, ended, recording.capture.trailer["reason"])


def test_second_signal_leaves_a_command_that_ignores_the_first(tmp_path: Path) -> None:
    ready, told = tmp_path / "ready", tmp_path / "told"
    script = f"trap 'echo >{told}' TERM; echo $$ >{ready}; while :; do sleep 0.05; done"
    with Recorder(tmp_path, command=["sh", "-c", script]) as recording:
        command = int(wait_for(lambda: ready.exists() and ready.read_text().strip(), "COMMAND"))
        try:
            recording.process.send_signal(signal.SIGTERM)
            wait_for(told.exists, "the first signal in COMMAND")
            assert recording.process.poll() is None
            ended = recording.stop(signal.SIGTERM)
            assert state(command) not in ("", "Z")
        finally:
            os.kill(command, signal.SIGKILL)

    assert ended.status == 128 + signal.SIGTERM
    assert_complete(recording, ended, "signal")
    assert recording.capture.trailer is not None
    assert recording.capture.trailer["command_status"] is None


def test_duration_ends_the_recording_and_not_the_command(tmp_path: Path) -> None:
    capture = tmp_path / "x.rtrace"
    # COMMAND ends with 4 when the capture has its trailer.
    script = f"until grep -aq TAI[L] {capture}; do sleep 0.05; done; exit 4"
    with Recorder(tmp_path, "--duration=100ms", command=["sh", "-c", script]) as recording:
        ended = recording.stop(None)

    assert ended.status == 4
    assert_complete(recording, ended, "duration")
    assert recording.capture.trailer is not None
    assert recording.capture.trailer["command_status"] is None


@pytest.mark.parametrize("command", ["no-such-program", "/no/such/program", "/etc", ""])
def test_command_that_is_not_there(tmp_path: Path, command: str) -> None:
    ended = run_rtrace("record", "-o", tmp_path / "x", "--", command)

    assert_failed(ended, "cannot run", status=125)
    assert not (tmp_path / "x").exists()


def test_command_that_cannot_be_run(tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_bytes(b"\0\0\0\0")
    program.chmod(0o755)

    ended = run_rtrace("record", "-o", tmp_path / "x", "--", program)

    assert ended.status == 125
    assert "cannot run" in ended.stderr.splitlines()[-1]


@pytest.mark.parametrize("options", [["-o", "{exists}"], ["-o", "{missing}/x"], ["--cgroup=/none"]])
def test_own_failure_with_a_command_is_125(tmp_path: Path, options: Sequence[str]) -> None:
    exists, ran = tmp_path / "exists", tmp_path / "ran"
    exists.write_text("kept")
    names = {"exists": exists, "missing": tmp_path / "missing"}
    given = [option.format(**names) for option in options]

    ended = run_rtrace("record", *given, "--", "touch", ran, cwd=tmp_path)

    assert_failed(ended, status=125)
    assert exists.read_text() == "kept"
    assert not ran.exists()


def test_a_name_is_made_up_without_one(tmp_path: Path) -> None:
    ended = run_rtrace("record", "--", "true", cwd=tmp_path)

    assert ended.status == 0
    (made,) = tmp_path.iterdir()
    assert made.name.startswith("rtrace-")
    assert made.suffix == ".rtrace"
    assert f"next: rtrace report {made.name}\n" in ended.stderr
    assert made.stat().st_mode & 0o777 == 0o600


def wait_for_command(recording: Recorder, *args: bytes) -> None:
    """Until COMMAND runs, and not only its fork."""

    def running() -> bool:
        recording.capture.read()
        return any(detail.args == args for detail in recording.capture.details())

    wait_for(running, "COMMAND")


def test_end_of_the_first_child_is_not_the_end_of_a_daemon(tmp_path: Path) -> None:
    """COMMAND may leave processes behind; they are in the last snapshot."""
    left = tmp_path / "left"
    script = f"sleep 66 >/dev/null 2>&1 & echo $! >{left}"
    with Recorder(tmp_path, command=["sh", "-c", script]) as recording:
        ended = recording.stop(None)
    pid = int(left.read_text())
    os.kill(pid, signal.SIGKILL)

    assert ended.status == 0
    assert recording.capture.tasks("end")[pid].comm == b"sleep"
    assert recording.capture.processes("end")[pid]["args"] == ["sleep", "66"]


def test_processes_of_the_last_snapshot_are_those_that_live(tmp_path: Path) -> None:
    sleeper = subprocess.Popen(["sleep", "67"])
    gone = subprocess.Popen(["sleep", "67"])
    try:
        with Recorder(tmp_path) as recording:
            recording.wait_until_recording()
            gone.kill()
            gone.wait()
            recording.stop()
    finally:
        sleeper.kill()
        sleeper.wait()

    start, end = (recording.capture.tasks(phase) for phase in ("start", "end"))
    assert {sleeper.pid, gone.pid, os.getpid(), 1} <= set(start)
    assert {sleeper.pid, os.getpid(), 1} <= set(end)
    assert gone.pid not in end
    assert end[sleeper.pid].start_ns == start[sleeper.pid].start_ns
    assert end[sleeper.pid].parent_tgid == os.getpid()
