"""Why real processes ended: by what the kernel does of itself, against what the test did."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from analysis.model import Capture, open_capture
from analysis.why.answer import build_why
from tests.kernel.groups import Group
from tests.kernel.recording import Recorder, wait_for

pytestmark = pytest.mark.kernel

# A thread starts a child with PR_SET_PDEATHSIG, and ends, or its whole process does.
PARENT = """
import ctypes, os, sys, threading, time
libc = ctypes.CDLL(None)
def start():
    child = os.fork()
    if not child:
        libc.prctl(1, 15)
        os.write(1, b"%d\\n" % os.getpid())
        time.sleep(60)
        os._exit(0)
    while not os.read(told, 1).endswith(b"\\n"):
        pass
    if sys.argv[1] == "process":
        os._exit(7)
told = 0
thread = threading.Thread(target=start)
thread.start()
thread.join()
try:
    os.wait()
finally:
    time.sleep(0.5)
"""


@pytest.fixture
def record(tmp_path: Path) -> Callable[[Callable[[], Any]], tuple[Capture, Any]]:
    """Records while something is done; gives the capture, and what that gave."""

    def recorded(action: Callable[[], Any]) -> tuple[Capture, Any]:
        with Recorder(tmp_path) as recorder:
            recorder.wait_until_recording()
            result = action()
            recorder.settle()
            recorder.stop()
        return open_capture(recorder.path), result

    return recorded


Record = Callable[[Callable[[], Any]], tuple[Capture, Any]]


def why(capture: Capture, pid: int) -> dict[str, Any]:
    """Of several processes with the pid the first that was born while this was recorded."""
    scene = capture.scene
    born = [pos for pos in range(len(scene.ids)) if scene.tgid[pos] == pid]
    born.sort(key=lambda pos: int(scene.start_ns[pos]))
    return build_why(capture, str(scene.ids[born[0]]))


@pytest.mark.parametrize("what", ["thread", "process"])
def test_parent_death(record: Record, what: str) -> None:
    def run() -> tuple[int, int]:
        parent = subprocess.Popen(
            [sys.executable, "-c", PARENT, what], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert parent.stdin is not None
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        parent.stdin.write(b"\n")
        parent.stdin.close()
        assert parent.wait(60) == (7 if what == "process" else 0)
        wait_for(lambda: not Path(f"/proc/{child}/exe").exists(), "the child's end")
        return parent.pid, child

    capture, (parent, child) = record(run)
    told = why(capture, child)
    answer = told["answer"]["text"]
    assert told["target"]["end"]["exit_signal"] == signal.SIGTERM
    assert "the parent-death signal that it had been given (PR_SET_PDEATHSIG)" in answer
    assert told["lineage"][0]["process"]["tgid"] == parent
    if what == "thread":
        assert f"of python ({parent}) ended while the process lived on" in answer
        assert f"thread {parent} of" not in answer
    else:
        assert f"python ({parent}) ended. python ({parent}) exited 7 by itself" in answer


def test_cgroup_kill(record: Record, group: Callable[[str], Group]) -> None:
    made = group("v2")

    def run() -> tuple[list[int], int]:
        victims = [made.popen(["sleep", "60"]) for _ in range(2)]
        wait_for(lambda: len(made.pids()) == 2, "both in the cgroup")
        command = ["sh", "-c", f"echo 1 >{made.directory}/cgroup.kill; exit 0"]
        writer = subprocess.Popen(command)
        assert writer.wait() == 0
        assert [victim.wait() for victim in victims] == [-signal.SIGKILL] * 2
        return [victim.pid for victim in victims], writer.pid

    capture, (victims, writer) = record(run)
    told = why(capture, victims[0])
    assert f"made by the kernel on behalf of sh ({writer})" in told["answer"]["text"]
    assert "cgroup.kill" in told["answer"]["text"]
    assert told["lineage"][0]["process"]["tgid"] == writer
    assert told["lineage"][1]["process"]["tgid"] == os.getpid()
    assert [p["process"]["tgid"] for p in told["died_with"]] == [victims[1]]


def test_a_pipe_that_nobody_reads(record: Record) -> None:
    def run() -> int:
        writer = subprocess.Popen(["sh", "-c", "exec yes"], stdout=subprocess.PIPE)
        assert writer.stdout is not None
        writer.stdout.readline()
        writer.stdout.close()
        assert writer.wait(60) == -signal.SIGPIPE
        return writer.pid

    capture, writer = record(run)
    answer = why(capture, writer)["answer"]["text"]
    assert "its write to a pipe or socket that nobody reads any more" in answer


def test_the_end_of_a_pid_namespace(record: Record) -> None:
    def run() -> tuple[int, int]:
        outer = subprocess.Popen(
            ["unshare", "--pid", "--fork", "sh", "-c", "sleep 60 & echo $!; read x; exit 0"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert outer.stdout is not None
        outer.stdout.readline()
        children = Path(f"/proc/{outer.pid}/task/{outer.pid}/children")
        init = int(children.read_text())
        member = int(Path(f"/proc/{init}/task/{init}/children").read_text())
        os.kill(init, signal.SIGKILL)
        outer.wait(60)
        return init, member

    capture, (init, member) = record(run)
    told = why(capture, member)
    assert f"sh ({init}), process 1 of its pid namespace, ended" in told["answer"]["text"]
    assert told["lineage"][0]["process"]["tgid"] == os.getpid()
    assert [p["process"]["tgid"] for p in why(capture, init)["died_with"]] == [member]
