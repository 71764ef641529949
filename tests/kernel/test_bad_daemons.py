"""Docker daemons that hang, drip or babble: a problem in the capture, and not in the way."""

from __future__ import annotations

import contextlib
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.kernel.recording import Recorder, run_rtrace, wait_for

pytestmark = pytest.mark.kernel

Build = Callable[[str], Path]


# What is bad about a daemon, and what the capture says of it.
BAD = {
    "deaf": "did not end its answer",
    "full": "takes no more connections",
    "drip": "did not end its answer",
    "flood": "gave no end of an answer|did not end its answer",  # where the host is busy
    "hangup": "broke off before it answered",
    "garbage": "gave no valid answer",
}


@contextlib.contextmanager
def bad_dockerd(build: Build, folder: Path, how: str) -> Iterator[int]:
    """A process that is called dockerd, and its pid."""
    program, socket = folder / "dockerd", folder / "docker.sock"
    shutil.copy(build("daemon"), program)
    daemon = subprocess.Popen(
        [program, "-H", f"unix://{socket}"], stdout=subprocess.PIPE, env={"DAEMON": how}
    )
    assert daemon.stdout is not None
    try:
        with daemon.stdout:
            assert daemon.stdout.readline() == f"pid {daemon.pid}\n".encode()
        yield daemon.pid
    finally:
        daemon.kill()
        daemon.wait()


def problems_about(recording: Recorder, pid: int) -> list[dict[str, Any]]:
    facts = recording.capture.json(b"FACT")
    return [f for f in facts if f["kind"] == "problem" and f"({pid})" in f["what"]]


@pytest.mark.parametrize("how", BAD)
def test_a_bad_daemon_is_a_problem_and_not_in_the_way(
    tmp_path: Path, build: Build, how: str
) -> None:
    with bad_dockerd(build, tmp_path, how) as pid, Recorder(tmp_path) as recording:
        # Recording has begun before the daemon was given up.
        recording.wait_until_recording()
        kinds = [kind for kind, _ in recording.capture.chunks if kind != b"FACT"]

        def problem() -> list[dict[str, Any]]:
            recording.capture.read()
            return problems_about(recording, pid)

        (fact,) = wait_for(problem, "the problem in the capture")
        # What happens meanwhile is recorded.
        recording.settle()
        ended = recording.stop()

    assert ended.status == 0
    assert kinds[0] == b"TASK"
    assert fact["what"].startswith(f"dockerd ({pid}) did not answer: {tmp_path}/docker.sock ")
    assert re.search(BAD[how], fact["what"])
    snapshot_ns = max(task.ts_ns for task in recording.capture.tasks("start").values())
    assert fact["ts_ns"] > snapshot_ns
    assert recording.capture.whole
    report = run_rtrace("report", recording.path)
    assert f"while recording: dockerd ({pid}) did not answer" in report.stdout


@pytest.mark.parametrize("how", ["deaf", "drip", "flood"])
def test_a_bad_daemon_does_not_keep_a_recording_from_its_end(
    tmp_path: Path, build: Build, how: str
) -> None:
    with (
        bad_dockerd(build, tmp_path, how),
        Recorder(tmp_path, "--duration=1ms") as recording,
    ):
        ended = recording.stop(None)

    assert ended.status == 0
    assert recording.capture.whole
    facts = recording.capture.json(b"FACT")
    assert [fact for fact in facts if fact["kind"] == "problem"]


def test_bad_daemons_on_one_host_do_not_add_up(tmp_path: Path, build: Build) -> None:
    # Each is given a second, one after the other; the recording waits for one second, in all.
    with contextlib.ExitStack() as stack:
        for number in range(5):
            folder = tmp_path / str(number)
            folder.mkdir()
            stack.enter_context(bad_dockerd(build, folder, "deaf"))
        with Recorder(tmp_path, "--duration=1ms") as recording:
            ended = recording.stop(None)

    assert ended.status == 0
    facts = [f["what"] for f in recording.capture.json(b"FACT") if f["kind"] == "problem"]
    assert "some facts took too long to find" in facts
    assert sum("did not answer" in what for what in facts) < 5
