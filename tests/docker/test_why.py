"""`rtrace why` on the ends of real containers, against what the test did and what docker said."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import referencing

from analysis.model import Capture, open_capture
from analysis.why.answer import build_why
from demo.privatedocker import PrivateDocker
from demo.process import Process
from tests.docker.held import run_held
from tests.kernel.recording import Recorder, boot_ns, run_rtrace, wait_for
from tests.witness import children_of, parent_of

pytestmark = [pytest.mark.docker, pytest.mark.kernel]

# A process 1 that ends when it is asked to, and one that a SIGTERM does not reach.
POLITE = ("sh", "-c", "trap 'exit 0' TERM; sleep 60 & wait")
DEAF = ("sleep", "60")


@dataclass
class Deed:
    """What the test did, who did it, when, and what docker said of it."""

    init: int = 0
    shim: int = 0
    actor: int = 0
    noted_ns: int = field(default_factory=boot_ns)
    since_ns: int = 0
    until_ns: int = 0
    state: dict[str, Any] = field(default_factory=dict)


class Witness:
    """Does things to containers, and writes down what it did."""

    def __init__(self, docker: PrivateDocker, recorder: Recorder) -> None:
        self.docker, self.recorder = docker, recorder
        self.deeds: dict[str, Deed] = {}

    def run(
        self, name: str, *command: str, options: tuple[str, ...] = (), children: int = 0
    ) -> Deed:
        """Start a container, up to when its process 1 has so many children."""
        docker = self.docker
        docker.docker(
            "run", "-d", "--network", "none", "--name", name, *options, docker.image, *command
        )
        self.recorder.wait_until_named(name)
        deed = self.deeds[name] = Deed(init=int(self.inspect(name)["Pid"]))
        deed.shim = parent_of(deed.init)
        wait_for(lambda: len(children_of(deed.init)) == children, f"children in {name}")
        return deed

    def run_held(self, name: str, script: str, options: tuple[str, ...] = ()) -> int:
        """Status of a container in the foreground: see held.py."""
        words = ("docker", "run", "-i", "--network", "none", "--name", name, *options)
        words = (*words, self.docker.image, "sh", "-c", f"read go; {script}")
        return run_held(self.recorder, name, words, env=self.docker.environ).returncode

    def inspect(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(
            self.docker.docker("inspect", "-f", "{{json .State}}", name).stdout
        )
        return found

    def act(self, name: str, action: Callable[[Deed], int | None]) -> Deed:
        """Do something to a container, note by whom and when, and wait for its end."""
        deed = self.deeds[name]
        init = Process.of(deed.init)
        deed.since_ns = boot_ns()
        deed.actor = action(deed) or 0
        assert init is None or init.wait_gone(30), f"{name} did not end"
        deed.until_ns = boot_ns()
        return deed

    def client(self, *words: str) -> int:
        """Pid of a docker client that was run to its end."""
        client = subprocess.Popen(
            ["docker", *words], env=self.docker.environ, stdout=subprocess.DEVNULL
        )
        assert client.wait(60) in (0, 137)  # 137: `docker exec` of what dies with its container
        return client.pid

    def ctr_kill(self, deed: Deed) -> int:
        """Pid of a ctr that killed a container behind docker's back."""
        container = next(
            word
            for path in Path(f"/proc/{deed.init}/cgroup").read_text().split()
            for word in path.split("/")
            if len(word) == 64
        )
        socket = str(self.docker.folder / "containerd.sock")
        words = ["ctr", "-a", socket, "-n", "moby", "tasks", "kill", "-s", "SIGKILL", container]
        ctr = subprocess.Popen(words, env=self.docker.environ)
        assert ctr.wait(60) == 0
        return ctr.pid

    def script(self, text: str) -> int:
        """Pid of a shell that a parent in between has started, as cron does."""
        outer = subprocess.run(
            ["sh", "-c", 'sh -c "$1; exit 0" reaper & echo $!; wait', "cron", text],
            stdout=subprocess.PIPE,
            check=True,
            text=True,
        )
        return int(outer.stdout)


def do_everything(witness: Witness) -> None:
    docker = witness.docker
    witness.run("why-kill", *DEAF)
    witness.act("why-kill", lambda _: witness.client("kill", "why-kill"))
    witness.run("why-stop", *POLITE, children=1)
    witness.act("why-stop", lambda _: witness.client("stop", "why-stop"))
    witness.run("why-restart", *DEAF)
    witness.act("why-restart", lambda _: witness.client("restart", "-t", "0", "why-restart"))
    docker.docker("rm", "-f", "why-restart")
    witness.run("why-victim", "sh", "-c", "sleep 61 & sleep 60; true", children=2)
    witness.act("why-victim", lambda deed: witness.script(f"kill -9 {deed.init}"))
    witness.run("why-exec", *POLITE, children=1)
    witness.act("why-exec", lambda _: witness.client("exec", "why-exec", "sh", "-c", "kill 1"))
    witness.run("why-ctr", *DEAF)
    witness.act("why-ctr", witness.ctr_kill)
    hosted = ("sh", "-c", "sleep 61 & exec sleep 60")
    witness.run("why-hosted", *hosted, options=("--pid", "host"), children=1)
    witness.act("why-hosted", lambda deed: witness.script(f"kill -9 {deed.init}"))
    witness.run("why-recycled", *DEAF)
    witness.act("why-recycled", lambda deed: witness.script(f"kill -9 {deed.shim}"))

    witness.deeds["why-exit"] = Deed(since_ns=boot_ns())
    assert witness.run_held("why-exit", "exit 3") == 3
    hog = "x=a; while :; do x=$x$x; done"
    for name, command in (("why-oom", hog), ("why-oom-child", f"sh -c '{hog}'; exit $?")):
        witness.deeds[name] = Deed()
        witness.run_held(name, command, ("-m", "16m", "--memory-swap", "16m"))
        witness.deeds[name].state = witness.inspect(name)

    daemons(witness)


def daemons(witness: Witness) -> None:
    """containerd and dockerd die and come back."""
    docker = witness.docker
    witness.run("why-calm", *POLITE, children=1)
    witness.run("why-waiting", *DEAF)
    containerd = docker.containerd
    witness.deeds["containerd"] = Deed(init=containerd.pid, since_ns=boot_ns())
    containerd.send(signal.SIGKILL)
    docker.reap(containerd)
    shim = Process.of(witness.deeds["why-waiting"].shim)
    assert shim is not None
    shim.send(signal.SIGKILL)
    assert shim.wait_gone(10)

    def start_containerd(deed: Deed) -> int:
        docker.start_containerd()
        return docker.containerd.pid

    witness.act("why-waiting", start_containerd)

    # dockerd without live-restore: killed and back, then told to end.
    witness.deeds["dockerd"] = Deed(init=docker.dockerd.pid)

    def again(deed: Deed) -> int:
        dead = docker.dockerd
        dead.send(signal.SIGKILL)
        docker.reap(dead)
        docker.start_dockerd()
        return docker.dockerd.pid

    witness.act("why-calm", again)
    witness.run("why-ended", *POLITE, children=1)

    def end(deed: Deed) -> int:
        dead = docker.dockerd
        docker.end(dead)
        return dead.pid

    witness.act("why-ended", end)
    (docker.folder / "daemon.json").write_text('{"live-restore": true}')
    docker.start_dockerd()
    survivor = witness.run("why-survivor", *DEAF)
    survivor.actor = again(survivor)
    time.sleep(0.5)
    assert Process.of(survivor.init) is not None
    assert witness.inspect("why-survivor")["Running"]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Witness, Path]]:
    """One recording of everything, by one docker."""
    with PrivateDocker("external") as docker:
        recorder = Recorder(tmp_path_factory.mktemp("why"))
        witness = Witness(docker, recorder)
        try:
            recorder.wait_until_recording()
            do_everything(witness)
        finally:
            recorder.stop()
        yield witness, recorder.path


class Told:
    def __init__(self, capture: Capture, target: str) -> None:
        self.why = build_why(capture, target)
        _validate(self.why)
        self.answer: str = self.why["answer"]["text"]
        self.culprit: int = self.why["lineage"][0]["process"]["tgid"] if self.why["lineage"] else 0
        self.init: int = self.why["target"]["process"]["tgid"]
        self.died = {p["process"]["tgid"]: p["cause"] for p in self.why["died_with"]}

    def steps(self, kind: str) -> list[dict[str, Any]]:
        return [step for step in self.why["chain"] if step["kind"] == kind]

    def acted_ns(self) -> int:
        """When the first signal of the chain was sent."""
        return int(self.steps("signal")[0]["ts_ns"])


def _validate(answer: Any) -> None:
    def read(name: str) -> Any:
        return json.loads((resources.files("analysis") / "schemas" / name).read_text())

    shared = referencing.Resource.from_contents(read("report.schema.json"))
    registry = referencing.Registry().with_resource("report.schema.json", shared)
    jsonschema.Draft202012Validator(read("why.schema.json"), registry=registry).validate(answer)


@pytest.fixture
def deeds(recorded: tuple[Witness, Path]) -> dict[str, Deed]:
    return recorded[0].deeds


@pytest.fixture(scope="module")
def capture(recorded: tuple[Witness, Path]) -> Capture:
    return open_capture(recorded[1])


@pytest.fixture
def id_of(capture: Capture) -> Callable[[int, Deed], str]:
    """Id of a process by its pid when it was noted: on a busy host it is used again soon."""
    scene = capture.scene
    return lambda pid, deed: str(scene.ids[scene.holder_of(pid, deed.noted_ns)])


@pytest.fixture
def tell(capture: Capture, deeds: dict[str, Deed]) -> Callable[..., tuple[Told, Deed]]:
    def told(name: str, target: str | None = None) -> tuple[Told, Deed]:
        return Told(capture, target or name), deeds[name]

    return told


Tell = Callable[..., tuple[Told, Deed]]
IdOf = Callable[[int, Deed], str]


def test_docker_kill(tell: Tell) -> None:
    told, deed = tell("why-kill")

    assert (told.init, told.culprit) == (deed.init, deed.actor)
    assert deed.since_ns <= told.acted_ns() <= deed.until_ns
    assert told.why["target"]["end"]["exit_signal"] == 9
    assert "docker kill why-kill [inferred]" in told.answer
    assert told.why["lineage"][1]["process"]["tgid"] == os.getpid()
    assert {"runc delete", "shim of why-kill) exited 0"} <= {
        words
        for words in ("runc delete", "shim of why-kill) exited 0")
        if any(words in step["text"] for step in told.steps("after"))
    }


def test_docker_stop_of_a_process_that_handles_it(tell: Tell) -> None:
    told, deed = tell("why-stop")

    assert (told.init, told.culprit) == (deed.init, deed.actor)
    assert told.why["target"]["end"]["exit_status"] == 0
    assert "after it had got SIGTERM (15), sent by runc kill" in told.answer
    assert "docker stop why-stop [inferred]" in told.answer


def test_docker_restart(tell: Tell, deeds: dict[str, Deed], id_of: IdOf) -> None:
    deed = deeds["why-restart"]
    told, _ = tell("why-restart", id_of(deed.init, deed))

    assert told.culprit == deed.actor
    assert "docker restart -t 0 why-restart [inferred]" in told.answer
    last, _ = tell("why-restart")
    assert last.answer.startswith("why-restart (run 2 of 2) ended: ")
    assert "docker rm -f why-restart [inferred]" in last.answer
    assert last.init != deed.init


def test_a_script_kills_process_1(tell: Tell) -> None:
    told, deed = tell("why-victim")

    assert (told.init, told.culprit) == (deed.init, deed.actor)
    assert told.why["answer"]["certainty"] == "confirmed"
    assert deed.since_ns <= told.acted_ns() <= deed.until_ns
    commands = [person["command"] for person in told.why["lineage"][:3]]
    assert f"kill -9 {deed.init}" in commands[0]
    assert commands[1].startswith("sh -c ")
    assert commands[1].endswith(f" cron 'kill -9 {deed.init}'")
    assert told.why["lineage"][2]["process"]["tgid"] == os.getpid()
    assert list(told.died.values()) == ["pid-namespace-end"] * 2


def test_a_kill_by_docker_exec(tell: Tell) -> None:
    told, deed = tell("why-exec")

    assert told.why["target"]["end"]["exit_status"] == 0
    assert "after it had got SIGTERM (15), sent by sh (" in told.answer
    assert "had brought it in" in told.answer
    assert told.culprit == deed.actor


def test_ctr_tasks_kill(tell: Tell) -> None:
    told, deed = tell("why-ctr")

    assert (told.init, told.culprit) == (deed.init, deed.actor)
    assert f"ctr ({deed.actor}) had asked for it" in told.answer


def test_what_lives_on_with_the_hosts_pid_namespace(tell: Tell) -> None:
    """The shim adopts what is left in the container, and then kills it by runc."""
    told, deed = tell("why-hosted")

    assert (told.init, told.culprit) == (deed.init, deed.actor)
    assert told.died == {}
    (left,) = told.why["survived"]
    assert left["adopted_by"]["tgid"] == deed.shim
    assert left["process"]["container"] == told.why["target"]["container"]["id"]


def test_recycled_after_its_shim_was_killed(tell: Tell, id_of: IdOf) -> None:
    told, deed = tell("why-recycled")

    assert (told.init, told.culprit) == (deed.init, deed.actor)
    shim = f"containerd-shim ({deed.shim}; shim of why-recycled)"
    assert f"{shim} was killed by SIGKILL (9), sent by sh ({deed.actor})" in told.answer
    assert "cleaned up what was left of why-recycled" in told.answer
    assert told.why["answer"]["certainty"] == "confirmed"
    (adoption,) = told.steps("adoption")
    assert adoption["certainty"] == "confirmed"
    shim_told, _ = tell("why-recycled", id_of(deed.shim, deed))
    survived = {p["process"]["tgid"]: p for p in shim_told.why["survived"]}
    assert survived[deed.init]["adopted_by"]["role"] == "init"
    assert survived[deed.init]["end"]["exit_signal"] == 9


def test_an_exit_by_itself(tell: Tell) -> None:
    told, _ = tell("why-exit")

    assert told.why["target"]["end"]["exit_status"] == 3
    assert "exited 3 by itself" in told.answer
    assert told.why["answer"]["certainty"] == "confirmed"


def test_oom(tell: Tell) -> None:
    told, deed = tell("why-oom")

    assert deed.state["ExitCode"] == 137
    assert told.why["target"]["end"]["oom"] is True
    assert "was killed by the kernel's OOM killer, as the limit of memory cgroup " in told.answer
    memory = told.why["target"]["end"]["memory"]
    assert (memory["constraint"], memory["limit_bytes"]) == ("memcg", 16 << 20)
    assert memory["cgroup"].endswith(told.why["target"]["container"]["id"])
    assert 15 << 20 < memory["usage_bytes"] <= 16 << 20


def test_a_child_that_was_oom_killed(tell: Tell) -> None:
    """Process 1 exits 137 by itself; docker says OOMKilled or does not, by its version."""
    told, deed = tell("why-oom-child")

    assert deed.state["ExitCode"] == 137
    assert told.why["target"]["end"]["exit_status"] == 137
    assert "128 + 9 is how a shell reports that" in told.answer
    assert "was killed by the kernel's OOM killer, as the limit of memory cgroup " in told.answer
    assert "(16 MiB) was hit" in told.answer


def test_recycled_when_containerd_is_back(tell: Tell) -> None:
    told, deed = tell("why-waiting")

    assert told.init == deed.init
    (daemon,) = told.steps("daemon")
    assert daemon["processes"][0].startswith(f"{deed.actor}:")
    assert told.culprit == os.getpid()
    assert (
        f"containerd-shim ({deed.shim}; shim of why-waiting) was killed by SIGKILL" in told.answer
    )


def test_containerd_is_killed(tell: Tell, deeds: dict[str, Deed], id_of: IdOf) -> None:
    deed = deeds["containerd"]
    told, _ = tell("containerd", id_of(deed.init, deed))

    assert told.culprit == os.getpid()
    assert deed.since_ns <= told.acted_ns()
    survived = {p["process"]["tgid"] for p in told.why["survived"]}
    assert {deeds["why-calm"].init, deeds["why-waiting"].init} <= survived


def test_dockerd_is_back_without_live_restore(tell: Tell, deeds: dict[str, Deed]) -> None:
    told, deed = tell("why-calm")

    assert told.init == deed.init
    assert f"dockerd ({deed.actor}) had started" in told.answer
    assert "without live-restore" in told.answer
    assert told.why["answer"]["certainty"] == "inferred"
    assert told.culprit == os.getpid()
    dead = deeds["dockerd"].init
    assert f"dockerd ({dead}) was killed by SIGKILL (9)" in told.answer


def test_dockerd_is_told_to_end(tell: Tell) -> None:
    told, deed = tell("why-ended")

    assert told.init == deed.init
    assert f"dockerd ({deed.actor}) had been told to end" in told.answer
    assert told.culprit == os.getpid()


def test_a_container_that_live_restore_kept(tell: Tell) -> None:
    told, deed = tell("why-survivor")

    assert told.init == deed.init
    assert told.why["target"]["end"]["how"] == "running"
    assert f"Its parent is containerd-shim ({deed.shim}; shim of why-survivor)" in told.answer


def test_the_command_says_the_same(tell: Tell, recorded: tuple[Witness, Path]) -> None:
    told, _ = tell("why-recycled")
    ended = run_rtrace("why", recorded[1], "why-recycled")

    assert (ended.status, ended.stderr) == (0, "")
    paragraph = ended.stdout.split("\ncertainty: ")[0]
    assert paragraph.replace("\n", " ") == told.answer
