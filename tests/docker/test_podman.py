"""Containers of podman, whose monitor is conmon, and whose runtime is runc or crun."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Sequence
from typing import Any, NamedTuple

import pytest

from demo.process import Process
from tests.conftest import is_required
from tests.docker.held import run_held
from tests.docker.podman import PrivatePodman, find_missing
from tests.docker.reported import Reported
from tests.kernel.recording import Recorder
from tests.witness import Json, Watched, Witness, parent_of, wait_for_state
from tests.witnessed import untold_takeovers

pytestmark = [pytest.mark.docker, pytest.mark.kernel]


class Podman:
    """podman's commands as a witness's steps."""

    def __init__(self, engine: PrivatePodman, witness: Witness, recorder: Recorder) -> None:
        self.engine, self.witness, self.recorder = engine, witness, recorder
        self.people: dict[str, Watched] = {}
        self.pids: dict[str, int] = {}
        self.restarted: str | None = None

    def __call__(self, *words: str, status: int = 0) -> str:
        done = self.witness.run(*self._command(words), check=False)
        assert done.returncode == status, done.stdout
        return done.stdout

    def run_held(self, name: str, script: str) -> int:
        """Status of a container in the foreground: see held.py."""
        image = (self.engine.image, "sh", "-c", f"read go; {script}")
        words = self._command(("run", "-i", "--rm", "--name", name, *image))
        step = self.witness.step(" ".join(words))
        done = run_held(self.recorder, name, words)
        step.output = done.stdout
        return done.returncode

    def command(self, *words: str) -> int:
        """Pid of a podman that did its work."""
        client = self._run(words)
        assert client.returncode == 0
        return client.pid

    def restart(self, name: str) -> bool:
        """Whether podman could do it; if not, the container is removed."""
        client = self._run(("restart", "-t", "0", name))
        if client.returncode != 0:
            self("rm", "-f", "-t", "0", name)
            return False
        self.pids["restart"], self.restarted = client.pid, name
        self.watch(name)
        return True

    def _command(self, words: Sequence[str]) -> list[str]:
        options = self.engine.run_options if words[0] == "run" else ()
        return [*self.engine.command, words[0], *options, *words[1:]]

    def _run(self, words: Sequence[str]) -> subprocess.Popen[str]:
        step = self.witness.step(f"podman {' '.join(words)}")
        command = [*self.engine.command, *words]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as client:
            step.output = client.communicate(timeout=60)[0]
        return client

    def start(self, name: str, *command: str) -> int:
        """Run a container; watch its process 1 and its conmon; pid of process 1."""
        self("run", "-d", "--name", name, self.engine.image, *command)
        self.recorder.wait_until_named(name)
        return self.watch(name)

    def watch(self, name: str) -> int:
        state: dict[str, Any] = json.loads(self("inspect", "-f", "{{json .State}}", name))
        pid = int(state["Pid"])
        self.witness.observe("podman", f"process 1 of {name}", pid, tgid=pid)
        self.people[name] = self.witness.watch(pid, f"process 1 of {name}")
        monitor = parent_of(pid)
        self.people[f"conmon of {name}"] = self.witness.watch(monitor, f"conmon of {name}")
        return pid


def do_everything(podman: Podman) -> None:
    assert podman.run_held("p-rm", "exit 3") == 3

    podman.start("p-life", "sleep", "60")
    podman("exec", "p-life", "sh", "-c", "sleep 0.2; exit 4", status=4)
    podman("pause", "p-life")
    podman("unpause", "p-life")
    podman.pids["stop"] = stopped(podman, "p-life")

    # podman 4.3 sometimes starts it before the runtime has let go of it ("already exists"); with
    # crun mostly, so there it is not tried.
    if podman.engine.runtime == "runc":
        for name in ("p-again", "p-again-2", "p-again-3", "p-again-4", "p-again-5"):
            podman.start(name, "sleep", "60")
            if podman.restart(name):
                break
        assert podman.restarted is not None
        stopped(podman, podman.restarted)

    pid = podman.start("p-kill", "sleep", "60")
    podman.pids["kill"] = podman.command("kill", "p-kill")
    wait_for_state(pid, "")
    wait_for_state(podman.people["conmon of p-kill"].tgid, "")
    podman("rm", "p-kill")

    # An orphan inside goes to process 1, a shell, which waits for it.
    script = "sh -c 'sleep 0.4 & exit 0'; while sleep 0.1; do :; done"
    podman.start("p-orphan", "sh", "-c", f"sleep 0.5; {script}")
    podman.witness.watch(podman.people["p-orphan"].tgid, "process 1", with_descendants=True)
    podman("exec", "p-orphan", "sleep", "1.5")
    podman.pids["force"] = podman.command("rm", "-f", "-t", "0", "p-orphan")

    pid = podman.start("p-shot", "sleep", "60")
    shot(podman, pid)
    wait_for_state(pid, "")
    wait_for_state(podman.people["conmon of p-shot"].tgid, "")
    podman("rm", "p-shot")

    podman.start("p-alone", "sleep", "60")
    conmon = podman.people["conmon of p-alone"]
    shot(podman, conmon.tgid)
    wait_for_state(conmon.tgid, "")
    podman.witness.observe("podman", "p-alone", podman("ps", "--format", "{{.Names}} {{.Status}}"))
    podman("exec", "p-alone", "sleep", "2")


def stopped(podman: Podman, name: str) -> int:
    """Pid of the podman that stopped it; then it is removed."""
    pid = podman.command("stop", "-t", "0", name)
    wait_for_state(podman.people[name].tgid, "")
    podman("rm", name)
    return pid


def shot(podman: Podman, pid: int) -> None:
    process = Process.of(pid)
    assert process is not None
    podman.witness.step(f"kill -9 {pid}")
    process.send(signal.SIGKILL)


class Recorded(NamedTuple):
    podman: Podman
    told: Reported
    log: Json


@pytest.fixture(scope="module", params=["runc", "crun"])
def recorded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    if missing := find_missing(request.param):
        reason = f"missing: {', '.join(missing)}"
        pytest.fail(reason, pytrace=False) if is_required() else pytest.skip(reason)
    folder = tmp_path_factory.mktemp("podman")
    with (
        PrivatePodman(request.param) as engine,
        Recorder(folder) as recorder,
        Witness("podman", versions={"runtime": request.param}) as witness,
    ):
        recorder.wait_until_recording()
        podman = Podman(engine, witness, recorder)
        do_everything(podman)
        recorder.stop()
    witness.save(folder / "witness.json")
    return Recorded(podman, Reported(recorder.path), witness.log())


def test_every_takeover_that_was_seen_is_told(recorded: Recorded) -> None:
    told = [t for t in recorded.log["takeovers"] if t["reason"] == "init"]
    assert told, recorded.log["takeovers"]
    assert untold_takeovers(recorded.log, recorded.told.report) == []


@pytest.mark.parametrize("name", ["p-rm", "p-life", "p-again", "p-kill", "p-orphan", "p-shot"])
def test_the_containers(name: str, recorded: Recorded) -> None:
    podman, told = recorded.podman, recorded.told
    if name == "p-again":
        if podman.engine.runtime == "crun":
            assert podman.restarted is None
            return
        name = str(podman.restarted)
    container = told.container(name)

    assert (container["runtime"], container["namespace"]) == ("podman", None)
    assert container["image"] == podman.engine.image
    assert len(container["runs"]) == (2 if name == podman.restarted else 1)
    for run in container["runs"]:
        told.whole_run(run)
        assert told.roles[run["shim"]["id"]] == "conmon"
        assert told.roles[run["client"]["id"]] == "podman"
        assert run["client_named_it"]
        # `podman restart` kills the old conmon, as it may not have closed its files yet.
        killed = run["shim_end"]["how"] == "killed"
        if killed:
            assert run["run"] < len(container["runs"])
            killer = run["shim_end"]["cause"]["sender"]["tgid"]
            assert killer == podman.pids["restart"]
        assert killed or run["shim_end"]["how"] == "exited"
        callers = {told.roles[call["process"]["id"]] for call in run["calls"]}
        assert callers == {podman.engine.runtime}
    if name in podman.people:
        seen, conmon = podman.people[name], podman.people[f"conmon of {name}"]
        assert told.process(seen.tgid, seen.start_ns)["id"] == container["init"]["id"]
        assert told.process(conmon.tgid, conmon.start_ns)["id"] == container["shim"]["id"]
        assert container["phases"]["exit_ns"] <= seen.looks[-1].until_ns


def test_calls_and_the_exec(recorded: Recorded) -> None:
    first = recorded.told.container("p-life")["runs"][0]
    verbs = [call["verb"] for call in first["calls"]]
    assert verbs == ["create", "start", "exec", "pause", "resume", "kill", "delete"]
    (execed,) = [call for call in first["calls"] if call["verb"] == "exec"]
    assert execed["exec_end"]["exit_status"] == 4
    moves = recorded.told.moves(execed["exec_process"]["id"])
    assert moves[-1]["to"]["role"] == "conmon"
    assert moves[-1]["certainty"] == "confirmed"


@pytest.mark.parametrize(
    ("name", "deed", "words"),
    [
        ("p-life", "stop", "stop -t 0 p-life"),
        ("p-kill", "kill", "kill p-kill"),
        ("p-orphan", "force", "rm -f -t 0 p-orphan"),
    ],
)
def test_what_podman_was_asked_for(name: str, deed: str, words: str, recorded: Recorded) -> None:
    why = recorded.told.why(name)
    assert why["target"]["end"]["exit_signal"] == 9
    assert why["lineage"][0]["process"]["tgid"] == recorded.podman.pids[deed]
    assert why["answer"]["text"].endswith(f"{words}.")
    assert why["answer"]["certainty"] == "confirmed"


def test_an_end_by_itself(recorded: Recorded) -> None:
    assert recorded.told.container("p-rm")["end"]["exit_status"] == 3
    assert "exited 3 by itself" in recorded.told.why("p-rm")["answer"]["text"]


def test_the_hosts_kill(recorded: Recorded) -> None:
    assert recorded.told.kinds("p-shot") == ["container-killed-from-outside"]


def test_a_container_without_its_conmon(recorded: Recorded) -> None:
    """It lives on, and podman calls it running."""
    told = recorded.told
    (listed,) = [o for o in recorded.log["observations"] if o["what"] == "p-alone"]
    assert "p-alone Up" in listed["value"]
    container = told.container("p-alone")
    assert container["end"]["how"] == "running"
    moves = told.moves(container["init"]["id"])
    assert [(m["from"]["role"], m["to"]["role"]) for m in moves] == [
        (recorded.podman.engine.runtime, "conmon"),
        ("conmon", "init"),
    ]
    assert told.kinds("p-alone") == ["runtime-killed", "shim-dead-init-alive"]


def test_nothing_is_found_where_all_is_well(recorded: Recorded) -> None:
    found = recorded.told.findings("p-rm", "p-life", "p-kill", "p-orphan")
    # A busy host gives numbers again, which is worth a line and no fault.
    assert [f for f in found if f["kind"] != "recycled-pid"] == []
