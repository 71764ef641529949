"""`record --live` beside a real docker: a container appears, its shim is killed, it is found."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from demo.privatedocker import PrivateDocker
from tests.kernel.live import Live
from tests.kernel.recording import DEADLINE_S, run_rtrace, wait_for
from tests.terminal import terminal

pytestmark = [pytest.mark.docker, pytest.mark.kernel]


def test_an_incident_on_the_second_screen(private_docker: PrivateDocker, tmp_path: Path) -> None:
    """GIVEN a screen WHEN a container is started and its shim is killed THEN the container is
    there and runs, a finding arises, s saves a capture that tells the same, and q ends it."""
    docker = private_docker
    with terminal(110, 40) as on, Live(tmp_path, on) as recording:
        on.wait_for(lambda: on.shows("as of ", "dockerd"), "the first picture")
        run = ("run", "-d", "--network", "none", "--name", "on-screen", docker.image)
        docker.docker(*run, "sleep", "600")
        on.wait_for(lambda: row(on.lines(), "on-screen")[2:3] == ["running"], "the container")
        init, shim = row(on.lines(), "on-screen")[3:5]
        assert init == docker.docker("inspect", "-f", "{{.State.Pid}}", "on-screen").stdout.strip()

        on.press("/")
        on.press("on-screen\r")  # other programs of the host have findings, too
        os.kill(int(shim), signal.SIGKILL)
        on.wait_for(lambda: on.shows(f"({shim}; shim of on-screen) was killed"), "the finding")
        on.wait_for(lambda: row(on.lines(), "on-screen")[2:3] == ["SIGKILL"], "the container's end")
        on.press("\r")
        on.wait_for(lambda: on.shows("HOW IT CAME TO THAT", "on-screen"), "its story")
        on.press("\x1b")
        on.wait_for(lambda: on.shows("LAST EVENTS"), "the way back")
        on.press("s")
        (saved,) = wait_for(lambda: list(tmp_path.glob("*-saved.rtrace")), "the save")
        on.wait_for(lambda: on.shows("saved"), "the message")
        on.press("q")
        assert recording.process.wait(DEADLINE_S) == 0
    docker.docker("rm", "-f", "on-screen", check=False)

    told = run_rtrace("report", saved, "--container", "on-screen", "--format", "json")
    report = json.loads(told.stdout)
    assert report["containers"][0]["end"]["signal_name"] == "SIGKILL"
    assert "runtime-killed" in {finding["kind"] for finding in report["findings"]}
    assert report["capture"]["complete"]
    assert run_rtrace("why", recording.path, "on-screen").status == 0


def row(lines: list[str], name: str) -> list[str]:
    """Cells of the container's row, without its name; [] while there is none."""
    for line in lines:
        words = line.split()
        if words[:1] == [name]:
            return words
    return []
