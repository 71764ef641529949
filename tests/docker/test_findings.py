"""Findings on real containers: none above info where all is well, and what was broken where it is.

One recording of one docker each; other programs of the host may have findings of their own, so
that only those about this docker and its containers count.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from analysis.model import open_capture
from analysis.report import build_report
from demo.privatedocker import PrivateDocker
from demo.process import Process
from tests.docker.held import run_held
from tests.found import check
from tests.kernel.recording import Recorder, wait_for

pytestmark = [pytest.mark.docker, pytest.mark.kernel]

POLITE = ("sh", "-c", "trap 'exit 0' TERM; sleep 60 & wait")
DEAF = ("sleep", "60")


Engine = tuple[PrivateDocker, Recorder]


def run(engine: Engine, name: str, *command: str, options: tuple[str, ...] = ()) -> None:
    docker, recorder = engine
    words = ("run", "-d", "--network", "none", "--stop-timeout", "1", "--name", name)
    docker.docker(*words, *options, docker.image, *command)
    recorder.wait_until_named(name)


def init_of(docker: PrivateDocker, name: str) -> int:
    return int(docker.docker("inspect", "-f", "{{.State.Pid}}", name).stdout)


def shim_of(init: int) -> int:
    return int(Path(f"/proc/{init}/stat").read_text().rpartition(")")[2].split()[1])


def reported(path: Path) -> Any:
    capture = open_capture(path)
    report = build_report(capture)
    check(capture, report)
    return report


# --- all is well -------------------------------------------------------------------------------


def live_well(engine: Engine) -> None:
    """run, run --rm, exec, healthchecks, stop, start, restart, pause, kill, rm -f, --init and
    --pid=host."""
    docker, recorder = engine
    words = ("docker", "run", "-i", "--rm", "--network", "none", "--name", "f-rm", docker.image)
    done = run_held(recorder, "f-rm", (*words, "sh", "-c", "read go"), env=docker.environ)
    assert done.returncode == 0, done.stdout
    run(engine, "f-polite", *POLITE)
    docker.docker("exec", "f-polite", "sh", "-c", "sleep 0.1 & exit 3", check=False)
    docker.docker("stop", "f-polite")
    docker.docker("start", "f-polite")
    docker.docker("restart", "-t", "0", "f-polite")
    docker.docker("pause", "f-polite")
    docker.docker("unpause", "f-polite")
    docker.docker("kill", "f-polite")
    run(engine, "f-hosted", "sh", "-c", "sleep 61 & exec sleep 60", options=("--pid", "host"))
    docker.docker("rm", "-f", "f-hosted")
    # --init passes SIGTERM on, and the shell does not handle it: docker-init exits 143.
    checks = ("--health-cmd", "true", "--health-interval", "1s", "--init")
    run(engine, "f-checked", "sh", "-c", "while sleep 1; do :; done", options=checks)
    run(engine, "f-live", *DEAF)
    time.sleep(6)  # longer than what is given to a runtime to clean up


@pytest.fixture(scope="module", params=["managed", "external"])
def well(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Any, PrivateDocker]:
    recorder = Recorder(tmp_path_factory.mktemp("well"))
    try:
        recorder.wait_until_recording()
        with PrivateDocker(request.param) as docker:
            live_well((docker, recorder))
    finally:
        recorder.stop()
    return reported(recorder.path), docker


def about(report: Any, *pids: int) -> list[dict[str, Any]]:
    """Findings on containers of this test, or on these processes."""
    mine = {c["id"] for c in report["containers"] if (c["name"] or "").startswith("f-")}
    ids = {p["id"] for p in report["processes"] if p["tgid"] in pids}
    return [f for f in report["findings"] if f["container"] in mine or ids & set(f["processes"])]


def test_nothing_is_found_where_all_is_well(well: tuple[Any, PrivateDocker]) -> None:
    """GIVEN a docker from its start to its stop."""
    report, docker = well
    assert report["losses"]["events"] == 0
    containers = {c["name"]: c for c in report["containers"]}
    assert set(containers) >= {"f-rm", "f-polite", "f-hosted", "f-checked", "f-live"}
    probes = [c for c in containers["f-checked"]["calls"] if c["verb"] == "exec"]
    assert len(probes) > 3
    # The last one may have been on its way when the container was removed.
    assert {probe["exec_end"]["exit_status"] for probe in probes[:3]} == {0}
    own = descendants(report)
    assert {docker.dockerd.pid, docker.containerd.pid} <= {int(id_.split(":")[0]) for id_ in own}
    found = [*about(report), *(f for f in report["findings"] if own & set(f["processes"]))]
    found += [f for f in report["findings"] if f["kind"] == "losses-touch"]
    # A host that runs many programs uses numbers again meanwhile.
    assert [f for f in found if f["kind"] != "recycled-pid"] == []


def descendants(report: Any) -> set[str]:
    """Processes that this one and those below it have forked, by id."""
    found: set[str] = set()
    for process in sorted(report["processes"], key=lambda p: int(p["start_ns"])):
        if process["tgid"] == os.getpid() or process["forker"] in found:
            found.add(process["id"])
    return found


# --- something is wrong ------------------------------------------------------------------------


def break_things(engine: Engine, told: dict[str, int]) -> None:
    docker, _ = engine
    run(engine, "f-recycled", *DEAF)
    told["recycled"] = init_of(docker, "f-recycled")
    told["shim"] = shim_of(told["recycled"])
    init = Process.of(told["recycled"])
    os.kill(told["shim"], signal.SIGKILL)
    assert init is not None
    assert init.wait_gone(30)

    run(engine, "f-killed", *DEAF)
    told["killed"] = init_of(docker, "f-killed")
    init = Process.of(told["killed"])
    os.kill(told["killed"], signal.SIGKILL)
    assert init is not None
    assert init.wait_gone(30)

    # `sleep` waits for nobody: neither for a child, nor for what an exec leaves to it.
    run(engine, "f-zombies", "sh", "-c", "sleep 0.2 & exec sleep 60")
    docker.docker("exec", "f-zombies", "sh", "-c", "sleep 0.2 & exit 0")
    told["parent"] = init_of(docker, "f-zombies")
    words = ["nsenter", "-t", str(told["parent"]), "-p", "sleep", "60"]
    told["nsenter"] = subprocess.Popen(words).pid
    run(engine, "f-alone", *DEAF)
    told["alone"] = init_of(docker, "f-alone")
    told["alone_shim"] = shim_of(told["alone"])
    containerd = docker.containerd
    containerd.send(signal.SIGKILL)
    docker.reap(containerd)
    told["containerd"] = containerd.pid
    os.kill(told["alone_shim"], signal.SIGKILL)
    wait_for(lambda: shim_of(told["alone"]) != told["alone_shim"], "another parent")
    time.sleep(2)


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, dict[str, int]]:
    told: dict[str, int] = {}
    with PrivateDocker("external") as docker:
        recorder = Recorder(tmp_path_factory.mktemp("broken"))
        try:
            recorder.wait_until_recording()
            break_things((docker, recorder), told)
        finally:
            recorder.stop()
            if "alone" in told:
                os.kill(told["nsenter"], signal.SIGKILL)
                os.waitpid(told["nsenter"], 0)
                os.kill(told["alone"], signal.SIGKILL)
                docker.start_containerd()
    return reported(recorder.path), told


def one(report: Any, kind: str, name: str | None, *pids: int) -> dict[str, Any]:
    """The one finding of a kind on a container (None: on none), which names these processes."""
    names = {c["id"]: c["name"] for c in report["containers"]}
    found = [f for f in about(report, *pids) if f["kind"] == kind]
    found = [f for f in found if names.get(f["container"]) == name]
    assert len(found) == 1, found
    tgids = {int(id_.split(":")[0]) for id_ in found[0]["processes"]}
    assert set(pids) <= tgids
    return found[0]


Broken = tuple[Any, dict[str, int]]


def test_a_container_that_was_recycled(broken: Broken) -> None:
    report, told = broken
    finding = one(report, "container-recycled", "f-recycled", told["shim"], told["recycled"])
    assert (finding["severity"], finding["certainty"]) == ("error", "confirmed")
    killed = one(report, "runtime-killed", "f-recycled", told["shim"], os.getpid())
    assert killed["certainty"] == "confirmed"


def test_a_container_that_the_host_killed(broken: Broken) -> None:
    report, told = broken
    finding = one(report, "container-killed-from-outside", "f-killed", told["killed"], os.getpid())
    assert finding["certainty"] == "confirmed"


def test_zombies_of_a_container_and_of_an_exec(broken: Broken) -> None:
    report, told = broken
    finding = one(report, "zombies", "f-zombies", told["parent"])
    assert finding["text"].startswith("1 zombie in f-zombies: sleep (")
    finding = one(report, "exec-probe-zombies", "f-zombies", told["parent"])
    assert finding["text"].startswith("1 zombie of exec (docker exec, or a probe) in f-zombies")


def test_a_process_that_nsenter_brought_in(broken: Broken) -> None:
    report, told = broken
    one(report, "container-process-outside-shim", "f-zombies", told["nsenter"])


def test_a_container_without_its_shim(broken: Broken) -> None:
    report, told = broken
    pids = (told["alone"], told["alone_shim"])
    finding = one(report, "shim-dead-init-alive", "f-alone", *pids)
    assert (finding["severity"], finding["certainty"]) == ("error", "confirmed")
    one(report, "runtime-killed", None, told["containerd"], os.getpid())
