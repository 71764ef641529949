"""Containers of containerd without docker: what `ctr` does in a namespace of its own, and behind
docker's back."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator

import pytest

from demo.leftovers import cgroup_roots
from demo.privatedocker import PrivateDocker
from tests.docker.reported import Reported
from tests.kernel.recording import Recorder
from tests.witness import Json, Watched, Witness, parent_of, wait_for_state
from tests.witnessed import untold_takeovers

pytestmark = [pytest.mark.docker, pytest.mark.kernel]

NAMESPACE = "rtrace-test"


class Ctr:
    """`ctr` against the private docker's containerd, as a witness's steps."""

    def __init__(self, docker: PrivateDocker, witness: Witness) -> None:
        self.docker, self.witness = docker, witness
        self.image = f"docker.io/library/{docker.image}"
        self.people: dict[str, Watched] = {}

    def __call__(self, *words: str, namespace: str = NAMESPACE, check: bool = True) -> str:
        socket = f"{self.docker.folder}/containerd.sock"
        command = ("ctr", "-a", socket, "-n", namespace, *words)
        done = self.witness.run(*command, env=self.docker.environ, check=check)
        return done.stdout

    def watch(self, name: str) -> int:
        """Watch process 1 and the shim of a task; pid of process 1."""
        rows = [line.split() for line in self("tasks", "ls").splitlines()]
        pid = next(int(row[1]) for row in rows if row[:1] == [name])
        self.witness.observe("ctr", f"process 1 of {name}", pid, tgid=pid)
        self.people[name] = self.witness.watch(pid, f"process 1 of {name}")
        self.people[f"shim of {name}"] = self.witness.watch(parent_of(pid), f"shim of {name}")
        return pid

    def remove(self, name: str) -> None:
        self("tasks", "delete", name, check=False)
        self("containers", "delete", name)


def do_everything(ctr: Ctr) -> None:
    witness = ctr.witness
    native = ("--snapshotter", "native")
    ctr("run", "--rm", *native, ctr.image, "c-run", "sh", "-c", "sleep 0.2; exit 3", check=False)

    ctr("containers", "create", *native, ctr.image, "c-made", "sleep", "60")
    ctr("tasks", "start", "-d", "c-made")
    pid = ctr.watch("c-made")
    ctr("tasks", "exec", "--exec-id", "one", "c-made", "sh", "-c", "sleep 0.2; exit 4", check=False)
    ctr("tasks", "pause", "c-made")
    ctr("tasks", "resume", "c-made")
    ctr("tasks", "kill", "-s", "SIGKILL", "c-made")
    wait_for_state(pid, "")
    ctr.remove("c-made")

    ctr("run", "-d", *native, ctr.image, "c-shot", "sleep", "60")
    pid = ctr.watch("c-shot")
    ctr.people["killer"] = kill(witness, pid)
    wait_for_state(pid, "")
    ctr.remove("c-shot")

    ctr("run", "-d", *native, ctr.image, "c-alone", "sleep", "60")
    pid = ctr.watch("c-alone")
    shim = ctr.people["shim of c-alone"]
    kill(witness, shim.tgid)
    wait_for_state(shim.tgid, "")
    wait_for_state(pid, "")
    ctr.remove("c-alone")

    # A container of docker's, in its namespace.
    run = ("run", "-d", "--network", "none", "--name", "c-docker", ctr.docker.image, "sleep", "60")
    name = witness.run("docker", *run, env=ctr.docker.environ).stdout.strip()
    pid = int(ctr.docker.docker("inspect", "-f", "{{.State.Pid}}", "c-docker").stdout)
    ctr.people["c-docker"] = witness.watch(pid, "process 1 of c-docker")
    ctr("tasks", "kill", "-s", "SIGKILL", name, namespace="moby")
    wait_for_state(pid, "")
    witness.run("docker", "rm", "-f", "c-docker", env=ctr.docker.environ)


def kill(witness: Witness, pid: int) -> Watched:
    """A shell kills a process; who that was."""
    words = ["sh", "-c", 'read go; kill -9 "$0"', str(pid)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, text=True) as shell:
        killer = witness.watch(shell.pid, f"killer of {pid}")
        witness.step(" ".join(words))
        shell.communicate("\n")
    return killer


@pytest.fixture(scope="module")
def _no_cgroups_left() -> Iterator[None]:
    """ctr's containers are in cgroups /NAMESPACE/ID, and nobody removes the upper ones."""
    yield
    for root in cgroup_roots():
        for path, _, _ in os.walk(root / NAMESPACE, topdown=False):
            with contextlib.suppress(OSError):
                os.rmdir(path)


@pytest.fixture(scope="module")
def recorded(
    tmp_path_factory: pytest.TempPathFactory, _no_cgroups_left: None
) -> Iterator[tuple[Ctr, Reported, Json]]:
    folder = tmp_path_factory.mktemp("ctr")
    with PrivateDocker("external") as docker:
        saved = folder / "image.tar"
        docker.docker("save", "-o", str(saved), docker.image)
        with Recorder(folder) as recorder, Witness("ctr", topology="A") as witness:
            recorder.wait_until_recording()
            witness.watch(docker.containerd.pid, "containerd", with_descendants=True)
            ctr = Ctr(docker, witness)
            ctr("images", "import", "--snapshotter", "native", str(saved))
            do_everything(ctr)
            recorder.stop()
        witness.save(folder / "witness.json")
        yield ctr, Reported(recorder.path), witness.log()


@pytest.fixture
def ctr(recorded: tuple[Ctr, Reported, Json]) -> Ctr:
    return recorded[0]


@pytest.fixture
def told(recorded: tuple[Ctr, Reported, Json]) -> Reported:
    return recorded[1]


def test_every_takeover_that_was_seen_is_told(recorded: tuple[Ctr, Reported, Json]) -> None:
    _, told, log = recorded
    assert log["takeovers"]
    assert untold_takeovers(log, told.report) == []


@pytest.mark.parametrize("name", ["c-run", "c-made", "c-shot", "c-alone"])
def test_the_containers(name: str, ctr: Ctr, told: Reported) -> None:
    container = told.container(name)

    assert (container["id"], container["runtime"]) == (name, "containerd")
    assert (container["namespace"], container["image"]) == (NAMESPACE, ctr.image)
    assert len(container["runs"]) == 1
    assert told.roles[container["shim"]["id"]] == "shim-v2"
    assert container["manager"]["tgid"] == ctr.docker.containerd.pid
    assert told.roles[container["client"]["id"]] == "ctr"
    assert container["client_named_it"]
    assert container["daemon"] is None
    told.whole_run(container)
    if name in ctr.people:
        seen, shim = ctr.people[name], ctr.people[f"shim of {name}"]
        assert told.process(seen.tgid, seen.start_ns)["id"] == container["init"]["id"]
        assert told.process(shim.tgid, shim.start_ns)["id"] == container["shim"]["id"]
        assert told.role(seen) == "container-init"
        gone = seen.looks[-1]
        assert container["phases"]["exit_ns"] <= gone.until_ns


def test_calls_and_the_exec(told: Reported) -> None:
    calls = told.container("c-made")["calls"]
    verbs = [call["verb"] for call in calls]
    assert verbs[:5] == ["create", "start", "exec", "pause", "resume"]
    assert set(verbs[5:]) == {"kill", "delete"}
    (execed,) = [call for call in calls if call["verb"] == "exec"]
    assert execed["exec_end"]["exit_status"] == 4
    (move,) = told.moves(execed["exec_process"]["id"])
    assert (move["from"]["role"], move["to"]["role"]) == ("runc", "shim-v2")
    assert move["certainty"] == "confirmed"


def test_an_end_by_itself(told: Reported) -> None:
    assert told.container("c-run")["end"]["exit_status"] == 3
    assert "exited 3 by itself" in told.why("c-run")["answer"]["text"]


def test_a_kill_by_ctr(ctr: Ctr, told: Reported) -> None:
    for name in ("c-made", "c-docker"):
        container = told.container(name)
        assert container["end"]["exit_signal"] == 9
        why = told.why(name)
        assert "ctr" in why["answer"]["text"]
        assert "tasks kill -s SIGKILL" in why["answer"]["text"]
        assert told.roles[why["lineage"][0]["process"]["id"]] == "ctr"
    assert told.container("c-docker")["runtime"] == "docker"


def test_a_kill_by_somebody_else(ctr: Ctr, told: Reported) -> None:
    why = told.why("c-shot")
    killer = ctr.people["killer"]
    assert why["lineage"][0]["process"]["tgid"] == killer.tgid
    assert why["answer"]["certainty"] == "confirmed"
    assert told.kinds("c-shot") == ["container-killed-from-outside"]


def test_a_shim_that_is_killed(ctr: Ctr, told: Reported) -> None:
    """ctr's container is cleaned up as docker's is."""
    container = told.container("c-alone")
    moves = told.moves(container["init"]["id"])
    assert [(m["from"]["role"], m["to"]["role"]) for m in moves] == [
        ("runc", "shim-v2"),
        ("shim-v2", "init"),
    ]
    assert container["end"]["exit_signal"] == 9
    assert told.kinds("c-alone") == ["container-recycled", "runtime-killed"]
    assert "cleaned up what was left of c-alone" in told.why("c-alone")["answer"]["text"]


def test_nothing_is_found_where_all_is_well(told: Reported) -> None:
    assert told.findings("c-run", "c-made", "c-docker") == []
