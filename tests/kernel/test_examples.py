"""The examples that record, for real; see tests/examples. Those with docker are in tests/docker."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
from pathlib import Path

import pytest

from tests.examples import pages
from tests.kernel.groups import make_group
from tests.kernel.recording import DEADLINE_S, RTRACE, read_capture, wait_for

pytestmark = pytest.mark.kernel

_BROAD = ("--buffer", "64MiB")  # other work on the machine may keep a recorder from its rings


def examples() -> list[str]:
    """Recordings that are shown, without those of docker, and without mere mentions."""
    found: dict[str, str] = {}
    for command in pages.all_commands():
        calls = list(pages.rtrace_calls(command))
        if pages.why_not_run(command) or not calls or calls[0][0] != "record":
            continue
        if calls[0][-1] not in ("--pidns", "--trigger") and "docker run" not in command:
            found.setdefault(" ".join(calls[0]).replace("EVENT", "shim-exit"), command)
    return list(found.values())


def test_there_are_examples() -> None:
    assert "sudo rtrace record" in examples()


@pytest.mark.parametrize("command", examples())
def test_it_records(tmp_path: Path, command: str) -> None:
    [words] = pages.rtrace_calls(command)
    group = make_group("pids") or make_group("v2")
    assert group is not None
    with group:
        stands_for = {
            "PID": str(os.getpid()),
            "4711": str(os.getpid()),
            "EVENT": "shim-exit",
            "30s": "1s",
            "/sys/fs/cgroup/system.slice/docker.service": str(group.directory),
        }
        words = [stands_for.get(word, word) for word in words]
        itself = "--" in words or "--duration" in words
        recorder = subprocess.Popen(
            [RTRACE, words[0], *_BROAD, *words[1:]],
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        if not itself:
            wait_for(lambda: list(tmp_path.glob("*.rtrace*")), "a capture")
            recorder.send_signal(signal.SIGINT)
        _, said = recorder.communicate(timeout=DEADLINE_S)
    assert recorder.returncode == 0, said
    [path] = tmp_path.glob("*.rtrace")
    assert read_capture(path).whole
    assert f"next: rtrace report {path.name}" in said


def test_snapshots(tmp_path: Path) -> None:
    asked = [command for command in pages.all_commands() if "rtrace snapshot" in command]
    assert len(asked) > 1
    recorder = subprocess.Popen(
        [RTRACE, "record", *_BROAD, "-o", "host.rtrace"], cwd=tmp_path, stderr=subprocess.DEVNULL
    )
    try:
        wait_for((tmp_path / "host.rtrace").exists, "a capture")
        for command in asked:
            words = [w for w in shlex.split(command.removeprefix("sudo "))[1:] if w != "4711"]
            words = [word for word in words if word != "--pid"]  # others may record here, too
            done = subprocess.run(
                [RTRACE, *words, "--pid", str(recorder.pid)],
                cwd=tmp_path,
                capture_output=True,
                text=True,
            )
            assert (done.returncode, done.stderr[:6]) == (0, "next: ")
    finally:
        recorder.terminate()
        recorder.wait()
