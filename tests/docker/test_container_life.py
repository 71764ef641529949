"""A real container's life, recorded and reported: the demo, and what goes wrong in the field."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from demo.privatedocker import PrivateDocker
from tests.kernel.recording import Recorder

pytestmark = [pytest.mark.docker, pytest.mark.kernel]

RTRACE = Path(sys.executable).with_name("rtrace")


def record(docker: PrivateDocker, folder: Path, name: str, *command: str) -> tuple[int, Path]:
    """Record a command that reads a line, which comes when the container's name and image are in
    the capture. Gives its status, and the capture."""
    with Recorder(
        folder, command=command, stdin=subprocess.PIPE, env=docker.environ, cwd=folder
    ) as recorder:
        recorder.wait_until_named(name)
        assert recorder.process.stdin is not None
        with recorder.process.stdin as stdin:
            stdin.write(b"\n")
        return recorder.stop(None).status, recorder.path


def report(capture: Path, *options: str) -> dict[str, Any]:
    done = subprocess.run(
        [RTRACE, "report", capture, "--format", "json", *options],
        check=True,
        capture_output=True,
        timeout=120,
    )
    built: dict[str, Any] = json.loads(done.stdout)
    return built


def find_container(built: dict[str, Any], name: str) -> dict[str, Any]:
    found = [c for c in built["containers"] if c["name"] == name]
    assert len(found) == 1, [c["name"] for c in built["containers"]]
    container: dict[str, Any] = found[0]
    return container


def moves_of(built: dict[str, Any], child: str) -> list[dict[str, Any]]:
    """Changes of a process's parent, without those between threads of one parent."""
    return [r for r in built["reparents"] if r["child"]["id"] == child and r["reason"] != "thread"]


@pytest.fixture(scope="module", params=["managed", "external"])
def docker(request: pytest.FixtureRequest) -> Any:
    with PrivateDocker(request.param) as engine:
        yield engine


@pytest.fixture(scope="module")
def life(docker: PrivateDocker, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("life")
    run = ("docker", "run", "-i", "--rm", "--name", "life", "--network", "none", docker.image)
    status, capture = record(docker, folder, "life", *run, "sh", "-c", "read go; exit 3")
    assert status == 3
    return report(capture)


def test_a_short_lived_container_is_found_by_its_name(life: dict[str, Any]) -> None:
    container = find_container(life, "life")

    assert container["runtime"] == "docker"
    assert container["namespace"] == "moby"
    assert container["image"].startswith("rtrace-busybox")
    assert life["capture"]["complete"]
    assert life["losses"]["events"] == 0


def test_everybody_who_took_part_is_named(life: dict[str, Any], docker: PrivateDocker) -> None:
    container = find_container(life, "life")
    roles = {p["id"]: p["role"] for p in life["processes"]}
    daemons = {p["tgid"]: p["role"] for p in life["processes"]}

    assert daemons[docker.dockerd.pid] == "dockerd"
    expected = "containerd-managed" if docker.topology == "managed" else "containerd"
    assert daemons[docker.containerd.pid] == expected
    assert roles[container["shim"]["id"]] == "shim-v2"
    assert {"create", "start", "delete"} <= {call["verb"] for call in container["calls"]}
    assert {"docker-client", "shim-start", "runc"} <= set(roles.values())


def test_the_shim_adopts_process_1_when_runc_exits(life: dict[str, Any]) -> None:
    container = find_container(life, "life")
    moves = moves_of(life, container["init"]["id"])

    assert [(m["from"]["role"], m["to"]["role"]) for m in moves] == [("runc", "shim-v2")]
    assert moves[0]["to"]["id"] == container["shim"]["id"]
    assert moves[0]["reason"] == "subreaper"
    assert moves[0]["certainty"] == "confirmed"


def test_the_init_adopts_the_shim_when_its_start_exits(life: dict[str, Any]) -> None:
    moves = moves_of(life, find_container(life, "life")["shim"]["id"])

    assert [(m["from"]["role"], m["to"]["role"]) for m in moves] == [("shim-start", "init")]
    assert moves[0]["certainty"] == "confirmed"


def test_the_ends_of_process_1_and_of_the_shim_are_told(life: dict[str, Any]) -> None:
    container = find_container(life, "life")
    processes = {p["id"]: p for p in life["processes"]}

    assert container["end"]["how"] == "exited"
    assert container["end"]["exit_status"] == 3
    assert processes[container["init"]["id"]]["exit_status"] == 3
    assert processes[container["shim"]["id"]]["exit_status"] == 0
    phases = container["phases"]
    order = ["client_ns", "shim_start_ns", "shim_ns", "create_ns", "init_ns", "adoption_ns"]
    order += ["workload_ns", "exit_ns", "shim_exit_ns"]
    times = [phases[name] for name in order]
    assert times == sorted(times)


def test_a_container_whose_shim_is_killed(docker: PrivateDocker, tmp_path: Path) -> None:
    script = (
        f"docker run -d --name victim --network none {docker.image} sleep 60 >/dev/null;"
        "init=$(docker inspect -f '{{.State.Pid}}' victim);"
        "shim=$(ps -o ppid= -p $init); read go; kill -9 $shim; echo $init $shim $$ >seen;"
        "while kill -0 $init 2>/dev/null; do sleep 0.02; done; sleep 0.2"
    )
    status, capture = record(docker, tmp_path, "victim", "sh", "-c", script)
    assert status == 0
    docker.docker("rm", "-f", "victim")
    init, shim, killer = map(int, (tmp_path / "seen").read_text().split())

    built = report(capture)
    container = find_container(built, "victim")
    assert container["init"]["tgid"] == init
    assert container["shim"]["tgid"] == shim
    assert container["shim_end"]["exit_signal"] == 9
    assert container["shim_end"]["cause"]["sender"]["tgid"] == killer
    moves = moves_of(built, container["init"]["id"])
    assert [(m["to"]["role"], m["certainty"]) for m in moves] == [
        ("shim-v2", "confirmed"),
        ("init", "confirmed"),
    ]
    assert container["end"]["exit_signal"] == 9
    assert container["end"]["cause"]["sender"]["role"] in ("runc", "shim-v2")


def test_a_container_that_was_there_before_is_named(docker: PrivateDocker, tmp_path: Path) -> None:
    docker.docker("run", "-d", "--name", "older", "--network", "none", docker.image, "sleep", "60")
    try:
        kill = ("sh", "-c", "read go; exec docker kill older")
        status, capture = record(docker, tmp_path, "older", *kill)
        assert status == 0
    finally:
        docker.docker("rm", "-f", "older")

    container = find_container(report(capture), "older")
    assert container["began"] != "recorded"
    assert container["image"].startswith("rtrace-busybox")
    assert container["end"]["exit_signal"] == 9
