"""Containers in bounded recordings: named after everything about their start is gone, and saved
at their end."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from demo.privatedocker import PrivateDocker
from tests.kernel.recording import read_capture

pytestmark = [pytest.mark.docker, pytest.mark.kernel]

RTRACE = Path(sys.executable).with_name("rtrace")
_DEADLINE_S = 120.0


@contextlib.contextmanager
def recording(path: Path, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    command = [RTRACE, "record", "-o", path, *options]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as recorder:
        try:
            wait_for(lambda: list(Path(f"{path}.segments").glob("*.rtrace")), "the first segment")
            yield recorder
        finally:
            if recorder.poll() is None:
                recorder.kill()


def wait_for(find: Any, what: str) -> Any:
    deadline = time.monotonic() + _DEADLINE_S
    while not (found := find()):
        assert time.monotonic() < deadline, f"{what} did not come"
        time.sleep(0.05)
    return found


def wait_until_named(path: Path, container: str) -> None:
    """Else it may be gone before a busy machine lets the recorder read who it is."""

    def named() -> bool:
        segments = Path(f"{path}.segments").glob("*.rtrace")
        return any(read_capture(segment).is_named(container) for segment in segments)

    wait_for(named, f"the name and image of {container}")


def stop(recorder: subprocess.Popen[bytes]) -> list[str]:
    """Ends it; gives what it said."""
    recorder.send_signal(signal.SIGINT)
    _, said = recorder.communicate(timeout=_DEADLINE_S)
    assert recorder.returncode == 0, said
    return said.decode().splitlines()


def report(capture: Path) -> dict[str, Any]:
    command = [RTRACE, "report", capture, "--format", "json"]
    done = subprocess.run(command, check=True, capture_output=True, timeout=_DEADLINE_S)
    built: dict[str, Any] = json.loads(done.stdout)
    return built


def find_container(built: dict[str, Any], name: str) -> dict[str, Any]:
    (found,) = [c for c in built["containers"] if c["name"] == name]
    container: dict[str, Any] = found
    return container


def newest_segment(path: Path) -> int:
    return max(int(segment.stem) for segment in Path(f"{path}.segments").glob("*.rtrace"))


def test_a_container_outlives_what_is_kept_of_its_start(
    private_docker: PrivateDocker, tmp_path: Path
) -> None:
    # GIVEN a container that was started into a bounded recording
    docker, path = private_docker, tmp_path / "x.rtrace"
    run = ("run", "-d", "--network", "none", "--name", "lasting", docker.image, "sleep", "600")
    try:
        with recording(path, "--max-size", "1MiB") as recorder:
            docker.docker(*run)
            wait_until_named(path, "lasting")
            pid = int(docker.docker("inspect", "-f", "{{.State.Pid}}", "lasting").stdout)
            # WHEN all of that is dropped, and then it is killed
            churn = "i=0; while [ $i -lt 500 ]; do (:); i=$((i+1)); done"
            last = newest_segment(path) + 12
            while newest_segment(path) < last:
                subprocess.run(["sh", "-c", churn], check=True)
            killer = subprocess.Popen(["sh", "-c", f"kill -9 {pid}"])
            killer.wait()
            docker.docker("wait", "lasting")
            stop(recorder)
    finally:
        docker.docker("rm", "-f", "lasting", check=False)

    # THEN its name and image are known, and who killed it
    built = report(path)
    container = find_container(built, "lasting")
    assert container["began"] == "before"
    assert container["image"].startswith("rtrace-busybox")
    assert container["runtime"] == "docker"
    assert container["init"]["tgid"] == pid
    assert container["shim"]["role"] in ("shim-v1", "shim-v2")
    assert container["end"]["exit_signal"] == 9
    assert container["end"]["cause"]["sender"]["tgid"] == killer.pid


def test_the_end_of_a_shim_is_saved_with_its_birth(
    private_docker: PrivateDocker, tmp_path: Path
) -> None:
    docker, path = private_docker, tmp_path / "x.rtrace"
    run = ("run", "-d", "--network", "none", "--name", "shot", docker.image, "sleep", "600")
    options = ("--trigger", "shim-exit", "--after", "1s")
    try:
        with recording(path, *options) as recorder:
            docker.docker(*run)
            wait_until_named(path, "shot")
            init = docker.docker("inspect", "-f", "{{.State.Pid}}", "shot").stdout.strip()
            shim = int(Path(f"/proc/{init}/stat").read_text().rpartition(") ")[2].split()[1])
            # WHEN its shim is killed
            killer = subprocess.Popen(["sh", "-c", f"kill -9 {shim}"])
            killer.wait()
            # THEN the time around it is saved, and the recording goes on
            saved = wait_for(lambda: list(tmp_path.glob("x-*-shim-exit.rtrace")), "the save")[0]
            assert recorder.poll() is None
            said = stop(recorder)
    finally:
        docker.docker("rm", "-f", "shot", check=False)

    assert said[0].startswith(f"saved {saved}: ")
    assert "(shim-exit: containerd-shim" in said[0]
    built = report(saved)
    assert built["capture"]["complete"]
    container = find_container(built, "shot")
    assert container["began"] == "recorded"
    assert container["phases"]["shim_ns"] is not None
    assert container["shim"]["tgid"] == shim
    assert container["shim_end"]["exit_signal"] == 9
    assert container["shim_end"]["cause"]["sender"]["tgid"] == killer.pid
    # What followed is in it too: whoever was left was killed by the runtime.
    assert container["end"]["exit_signal"] == 9
    assert find_container(report(path), "shot")["shim"]["tgid"] == shim
