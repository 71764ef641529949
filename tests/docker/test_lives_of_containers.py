"""Orphans, zombies, pauses, restarts and numbers that are used again, in docker's containers of all
kinds of pid namespaces, against what the processes themselves, docker and /proc said."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from demo.privatedocker import PrivateDocker
from demo.process import Process
from tests.docker.reported import Reported
from tests.kernel.recording import Recorder, wait_for
from tests.witness import Json, Watched, Witness, children_of, parent_of, wait_for_state
from tests.witnessed import untold_takeovers

pytestmark = [pytest.mark.docker, pytest.mark.kernel]

# Prints its own pid, and then again and again who is its parent: getppid().
ORPHAN = "echo $$; for i in 1 2 3 4 5 6 7; do cut -d' ' -f4 /proc/$$/stat; sleep 0.1; done"
# Process 1: a shell between it and the orphan ends; it waits for all that ends.
PARENT = 'sh -c \'sh -c "$0" & sleep 0.25\' "$0"; while sleep 0.1; do :; done'
# Process 1 that waits for nobody.
CARELESS = 'sh -c \'sh -c "$0" & sleep 0.25\' "$0"; exec sleep 60'

KINDS: dict[str, tuple[str, ...]] = {
    "l-private": (),
    "l-init": ("--init",),
    "l-hosted": ("--pid", "host"),
}

# clone3() with set_tid (CAP_CHECKPOINT_RESTORE): a process with a number that was another's.
REUSE = """
import ctypes, os, sys
tid = ctypes.c_int(int(sys.argv[1]))
arguments = (ctypes.c_uint64 * 11)()
arguments[4], arguments[8], arguments[9] = 17, ctypes.addressof(tid), 1
pid = ctypes.CDLL(None, use_errno=True).syscall(435, arguments, ctypes.sizeof(arguments))
if pid == 0:
    os.execvp("sleep", ["sleep", "60"])
print(ctypes.get_errno() if pid < 0 else 0, flush=True)
sys.stdin.read()
"""


class Docker:
    """docker's commands as a witness's steps."""

    def __init__(self, engine: PrivateDocker, witness: Witness, recorder: Recorder) -> None:
        self.engine, self.witness, self.recorder = engine, witness, recorder
        self.people: dict[str, Watched] = {}
        self.said: dict[str, list[int]] = {}
        self.state: dict[str, Json] = {}

    def __call__(self, *words: str, status: int = 0) -> str:
        done = self.witness.run("docker", *words, check=False, env=self.engine.environ)
        assert done.returncode == status, done.stdout
        return done.stdout

    def start(self, name: str, *command: str, options: tuple[str, ...] = ()) -> int:
        """Run a container; watch its process 1 and its shim; pid of process 1."""
        head = ("run", "-d", "--network", "none", "--name", name)
        self(*head, *options, self.engine.image, *command)
        self.recorder.wait_until_named(name)
        return self.watch(name)

    def inspect(self, name: str) -> Json:
        state: Json = json.loads(self("inspect", "-f", "{{json .State}}", name))
        self.witness.observe("docker", f"state of {name}", state)
        self.state[name] = state
        return state

    def watch(self, name: str) -> int:
        pid = int(self.inspect(name)["Pid"])
        self.people[name] = self.witness.watch(pid, f"process 1 of {name}")
        shim = parent_of(pid)
        self.people[f"shim of {name}"] = self.witness.watch(shim, f"shim of {name}")
        return pid

    def listen(self, name: str) -> None:
        """What an orphan in a container said: its pid, then its parents."""

        def said() -> list[int]:
            words = self.engine.docker("logs", name).stdout.split()
            return list(map(int, words)) if len(words) == 8 else []

        self.said[name] = wait_for(said, f"what the orphan in {name} says")
        parents = list(dict.fromkeys(self.said[name][1:]))
        self.witness.observe("getppid", f"parents of the orphan in {name}", parents)


def do_everything(docker: Docker) -> None:
    for name, options in KINDS.items():
        docker.start(name, "sh", "-c", PARENT, ORPHAN, options=options)
    docker.start("l-careless", "sh", "-c", CARELESS, ORPHAN)
    for name in (*KINDS, "l-careless"):
        docker.listen(name)
    time.sleep(0.3)
    for name in KINDS:
        docker("stop", "-t", "1", name)
        docker.inspect(name)

    pid = docker.start("l-twice", "sleep", "60")
    docker("restart", "-t", "0", "l-twice")
    assert docker.watch("l-twice") != pid
    docker("kill", "l-twice")

    # Frozen: with the v1 freezer a SIGKILL waits for the end of that.
    pid = docker.start("l-paused", "sleep", "60")
    docker("pause", "l-paused")
    frozen = Process.of(pid)
    assert frozen is not None
    docker.people["killer"] = docker.witness.watch(os.getpid(), "the test")
    docker.witness.step(f"kill -9 {pid}")
    frozen.send(signal.SIGKILL)
    time.sleep(0.5)
    if frozen.is_alive():
        docker("unpause", "l-paused")
    wait_for_state(pid, "")

    pid = docker.start("l-number", "sleep", "60")
    docker("kill", "l-number")
    wait_for_state(pid, "")


@contextlib.contextmanager
def second_holder(docker: Docker) -> Iterator[None]:
    """Another process has the number that process 1 of l-number had."""
    pid = docker.people["l-number"].tgid
    words = [sys.executable, "-c", REUSE, str(pid)]
    docker.witness.step(f"clone3() with set_tid {pid}")
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as maker:
        assert maker.stdout is not None
        failed = int(maker.stdout.readline())
        # On a busy host somebody else may have been given that number: that is as good.
        assert failed in (0, errno.EEXIST), os.strerror(failed)
        docker.people["second"] = docker.witness.watch(pid, "second holder of the number")
        holder = Process.of(pid)
        yield
        if holder is not None and not failed:
            holder.send(signal.SIGKILL)


class Recorded(NamedTuple):
    docker: Docker
    told: Reported
    log: Json
    zombie: Watched


@pytest.fixture(scope="module", params=["managed", "external"])
def recorded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    folder = tmp_path_factory.mktemp("lives")
    with (
        PrivateDocker(request.param) as engine,
        Recorder(folder) as recorder,
        Witness("lives", topology="B" if request.param == "managed" else "A") as witness,
    ):
        recorder.wait_until_recording()
        witness.watch(engine.containerd.pid, "containerd", with_descendants=True)
        docker = Docker(engine, witness, recorder)
        do_everything(docker)
        (orphan,) = children_of(docker.people["l-careless"].tgid)
        zombie = witness.watch(orphan, "orphan in l-careless")
        wait_for_state(orphan, "Z")
        with second_holder(docker):
            time.sleep(1.2)  # so long a parent may take to wait
            log = witness.log()
            recorder.stop()
    witness.save(folder / "witness.json")
    return Recorded(docker, Reported(recorder.path), log, zombie)


def test_every_takeover_that_was_seen_is_told(recorded: Recorded) -> None:
    assert recorded.log["takeovers"]
    assert untold_takeovers(recorded.log, recorded.told.report) == []


@pytest.mark.parametrize("name", [*KINDS, "l-twice", "l-paused", "l-number"])
def test_the_containers(name: str, recorded: Recorded) -> None:
    docker, told = recorded.docker, recorded.told
    container = told.container(name)

    assert (container["runtime"], container["namespace"]) == ("docker", "moby")
    assert container["image"].startswith("rtrace-busybox")
    assert len(container["runs"]) == (2 if name == "l-twice" else 1)
    for run in container["runs"]:
        told.whole_run(run)
        assert told.roles[run["shim"]["id"]] == "shim-v2"
        assert told.roles[run["client"]["id"]] == "docker-client"
        assert run["client_named_it"]
        assert run["daemon"]["tgid"] == docker.engine.dockerd.pid
        assert run["manager"]["tgid"] == docker.engine.containerd.pid
        assert run["shim_end"]["text"] == "exited 0"
    seen, shim = docker.people[name], docker.people[f"shim of {name}"]
    assert told.process(seen.tgid, seen.start_ns)["id"] == container["init"]["id"]
    assert told.process(shim.tgid, shim.start_ns)["id"] == container["shim"]["id"]
    assert told.role(seen) == "container-init"
    assert container["phases"]["exit_ns"] <= seen.looks[-1].until_ns


@pytest.mark.parametrize("name", KINDS)
def test_what_docker_says_of_the_end(name: str, recorded: Recorded) -> None:
    end = recorded.told.container(name)["end"]
    status = end["exit_status"] if end["how"] == "exited" else 128 + end["exit_signal"]
    assert recorded.docker.state[name]["ExitCode"] == status


@pytest.mark.parametrize("name", KINDS)
def test_who_adopts_an_orphan(name: str, recorded: Recorded) -> None:
    """As the orphan itself was told by getppid()."""
    docker, told = recorded.docker, recorded.told
    container = told.container(name)
    own, *parents = docker.said[name]
    number = "tgid" if name == "l-hosted" else "ns_tgid"
    members = [p for p in told.report["processes"] if p["container"] == container["id"]]
    (orphan,) = [p for p in members if p[number] == own]
    (move,) = told.moves(orphan["id"])
    people = {p["id"]: p for p in told.report["processes"]}

    first, then = dict.fromkeys(parents)
    assert people[move["from"]["id"]][number] == first
    assert people[move["to"]["id"]][number] == then
    assert move["certainty"] == "confirmed"
    if name == "l-hosted":
        assert move["to"]["id"] == container["shim"]["id"]
        assert move["reason"] == "subreaper"
    else:
        assert move["to"]["id"] == container["init"]["id"]
        assert move["reason"] == "init"
        assert then == 1
    assert orphan["role"] == "container-process"
    assert orphan["zombie"] is False


def test_an_init_in_the_container(recorded: Recorded) -> None:
    """docker run --init: docker-init is process 1, passes SIGTERM on and tells how its child
    ended."""
    told = recorded.told
    container = told.container("l-init")
    assert container["init"]["name"] in ("docker-init", "tini")
    why = told.why("l-init")
    assert "docker stop -t 1 l-init" in why["answer"]["text"]
    assert told.roles[why["lineage"][0]["process"]["id"]] == "docker-client"


def test_what_was_killed_while_it_was_frozen(recorded: Recorded) -> None:
    docker, told = recorded.docker, recorded.told
    why = told.why("l-paused")
    assert why["target"]["end"]["exit_signal"] == 9
    assert why["answer"]["certainty"] == "confirmed"
    assert why["lineage"][0]["process"]["tgid"] == docker.people["killer"].tgid
    assert told.kinds("l-paused") == ["container-killed-from-outside"]


def test_a_zombie(recorded: Recorded) -> None:
    """The one that /proc showed, below the process 1 that does not wait."""
    told, zombie = recorded.told, recorded.zombie
    found = told.process(zombie.tgid, zombie.start_ns)
    assert found["role"] == "container-process"
    assert found["exit_ns"] is not None
    assert found["reap_ns"] is None
    (finding,) = [f for f in told.findings("l-careless") if f["kind"] == "zombies"]
    careless = told.container("l-careless")["init"]["id"]
    assert finding["processes"] == [careless, found["id"]]


def test_a_number_that_is_used_again(recorded: Recorded) -> None:
    docker, told = recorded.docker, recorded.told
    first, second = docker.people["l-number"], docker.people["second"]
    assert first.tgid == second.tgid
    ids = [told.process(w.tgid, w.start_ns)["id"] for w in (first, second)]
    (finding,) = [f for f in told.findings("l-number") if f["processes"] == ids]
    assert finding["kind"] == "recycled-pid"
    assert "which has it now" in finding["text"]
    # `why` by number means who had it last; by id, whom one means.
    assert told.why(ids[0])["target"]["container"]["name"] == "l-number"
    assert told.container("l-number")["end"]["exit_signal"] == 9


def test_nothing_is_found_where_all_is_well(recorded: Recorded) -> None:
    told = recorded.told
    found = [f for f in told.findings(*KINDS, "l-twice") if f["kind"] != "recycled-pid"]
    assert found == []
