"""What README and docs/tutorial.md show of recordings with docker; see tests/examples."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from demo.privatedocker import PrivateDocker
from tests.examples import pages
from tests.kernel.recording import RTRACE, wait_for
from tracer.capture_format import PROCESSES
from tracer.capture_reader import CaptureReader
from tracer.errors import CaptureError

pytestmark = [pytest.mark.docker, pytest.mark.kernel]


def shape(line: str) -> str:
    """A line without what differs from run to run."""
    return re.sub(r"[\d,]+", "N", line.partition(" (runtime-kill")[0])


def sample(beginning: str) -> list[str]:
    [block] = [block for block in pages.read_blocks()[0] if block.text.startswith(beginning)]
    return block.text.rstrip("\n").split("\n")


def test_the_tutorials_recording(private_docker: PrivateDocker, tmp_path: Path) -> None:
    """GIVEN the recorder of the tutorial WHEN somebody kills a shim THEN it says what the tutorial
    says, and `rtrace why` of the save knows who it was."""
    [command] = [line for line in pages.all_commands() if "-o host.rtrace" in line]
    docker, name = private_docker.docker, "rtrace-tutorial"
    run = ("run", "-d", "--network", "none", "--name", name, private_docker.image)
    docker(*run, "sleep", "600")
    said = tmp_path / "said"
    words = shlex.split(command.removeprefix("sudo "))[1:]
    with said.open("w") as file:
        # Other dockers of this host may have triggers, too.
        options = ("--after", "1s", "--apart", "1s", "--buffer", "64MiB")
        recorder = subprocess.Popen([RTRACE, *words, *options], cwd=tmp_path, stderr=file)
    try:
        wait_for(lambda: knows_who_lives(tmp_path / "host.rtrace.segments"), "the recording")
        init = docker("inspect", "-f", "{{.State.Pid}}", name).stdout.strip()
        shim = int(Path(f"/proc/{init}/stat").read_text().rpartition(")")[2].split()[1])
        os.kill(shim, signal.SIGKILL)

        def save() -> str | None:
            for line in said.read_text().splitlines():
                path = line.removeprefix("saved ").partition(":")[0]
                if line.startswith("saved ") and f"({os.getpid()})" in why(tmp_path / path, shim):
                    return line
            return None

        line = wait_for(save, "the save that tells of it")
    finally:
        recorder.terminate()
        recorder.wait()
        docker("rm", "-f", name)
    assert shape(line) == shape(sample("saved host-")[0])


def knows_who_lives(recording: Path) -> bool:
    """Whether the recorder has read /proc: until then it takes no process for a shim."""
    try:
        with CaptureReader(recording) as reader:
            return any(kind == PROCESSES for kind, _ in reader.chunks())
    except CaptureError:
        return False  # it has just begun


def why(path: Path, pid: int) -> str:
    """What `rtrace why` says of a process; nothing if the capture does not have it."""
    words = [RTRACE, "why", path, str(pid)]
    return subprocess.run(words, capture_output=True, text=True).stdout


def test_the_demo_prints_what_the_readme_shows(checkout: Path) -> None:
    demo = subprocess.run(
        [sys.executable, "-m", "demo"], cwd=checkout, capture_output=True, text=True, check=True
    )
    printed = demo.stdout.split("\n")
    at = 0
    for line in sample("vm, kernel "):
        # The words that a line begins with; how lines are wrapped depends on the length of numbers.
        if title := re.match(r"[A-Z][A-Z ]{4,}|  [a-z]+  +|  [a-z-]+: holds", line):
            at = next((i for i in range(at, len(printed)) if printed[i].startswith(title[0])), -1)
            assert at >= 0, line
    steps = [line for line in printed if "adopted sh (" in line and "nearest subreaper" in line]
    assert steps or "nearest subreaper, confirmed" in demo.stdout


@pytest.mark.parametrize(
    "command", [line for line in pages.all_commands() if "record" in line and "docker run" in line]
)
def test_records_while_docker_runs(
    private_docker: PrivateDocker, tmp_path: Path, command: str
) -> None:
    words = shlex.split(command.removeprefix("sudo "))[1:]
    if words[-1] == "...":
        words[-1:] = ["--rm", "alpine", "true"]
    words = [private_docker.image if word == "alpine" else word for word in words]
    done = subprocess.run(
        [RTRACE, *words],
        cwd=tmp_path,
        env=dict(private_docker.environ),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    [path] = tmp_path.glob("*.rtrace")
    assert f"next: rtrace report {path.name}" in done.stderr
