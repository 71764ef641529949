"""Triggers against real containers: one recording of all that may happen to them, shown to a
TriggerWatch."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from demo.privatedocker import PrivateDocker
from tests.kernel.recording import Capture, Recorder, wait_for
from tests.watching import show
from tracer.abi import Type
from tracer.triggers import Hit, Trigger, TriggerWatch

pytestmark = [pytest.mark.docker, pytest.mark.kernel]

ALL = tuple(Trigger)
ME = f"{Path('/proc/self/comm').read_text().strip()} ({os.getpid()})"


@dataclass(frozen=True)
class Container:
    """Pids of a running container's shim and process 1."""

    shim: int
    init: int


@dataclass
class Story:
    """What was recorded, and what a watch made of it. Other programs of this host may have
    triggers too: so tests ask for the hits of processes that they know."""

    watch: TriggerWatch = field(default_factory=lambda: TriggerWatch(ALL))
    containers: dict[str, Container] = field(default_factory=dict)
    capture: Capture = field(init=False)
    hits: list[Hit] = field(default_factory=list)
    daemons: list[int] = field(default_factory=list)

    def about(self, tgid: int) -> list[tuple[str, str]]:
        """Triggers of a process in order, and what they say without its tgid."""
        mine = [hit for hit in self.hits if hit.tgid == tgid]
        return [(hit.trigger, hit.what.replace(f" ({tgid})", "")) for hit in mine]

    def remembered(self) -> list[tuple[int, int]]:
        """Descendants that the watch still knows though they are gone."""
        lives = {(task.tgid, task.start_ns) for task in self.capture.tasks("end").values()}
        known = [key for key in self.descendants() if self.watch.processes.find(key)]
        return [key for key in known if key not in lives]

    def descendants(self) -> set[tuple[int, int]]:
        """All that the daemons, or what they started, have forked while recording."""
        started = self.capture.tasks("start")
        above = {(pid, started[pid].start_ns) for pid in self.daemons}
        family = set(above)
        for event in self.capture.events(kind=Type.FORK):
            if (event.fork.forker_tgid, event.fork.forker_start_ns) in family:
                family.add((event.tgid, event.start_ns))
        return family - above


def wait_until_gone(*pids: int) -> None:
    for pid in pids:
        wait_for(lambda pid=pid: not Path(f"/proc/{pid}").exists(), f"the end of {pid}")


def begin_recording(folder: Path, *options: str) -> Recorder:
    recorder = Recorder(folder, *options)
    recorder.wait_until_recording()

    def snapshot() -> bool:
        recorder.capture.read()
        return bool(recorder.capture.of(b"PROC"))

    wait_for(snapshot, "what /proc says of the processes at the start")
    return recorder


def end_recording(recorder: Recorder, story: Story) -> Story:
    ended = recorder.stop()
    assert ended.status == 0, ended.stderr
    story.capture = recorder.capture
    story.hits = show(story.watch, recorder.capture.chunks)
    return story


@pytest.fixture(scope="module", params=["managed", "external"])
def docker(request: pytest.FixtureRequest) -> Iterator[PrivateDocker]:
    with PrivateDocker(request.param) as engine:
        yield engine


def run(docker: PrivateDocker, name: str, script: str, *options: str) -> Container:
    docker.docker(
        *("run", "-d", "--network", "none", "--name", name, *options),
        *(docker.image, "sh", "-c", script),
    )
    init = int(docker.docker("inspect", "-f", "{{.State.Pid}}", name).stdout)
    stat = Path(f"/proc/{init}/stat").read_text()
    return Container(shim=int(stat.rpartition(")")[2].split()[1]), init=init)


def test_without_arguments(docker: PrivateDocker, tmp_path: Path) -> None:
    """First of all: in the story the daemons stop."""
    recorder = begin_recording(tmp_path, "--no-args")
    container = run(docker, "life", "sleep 0.5; exit 3", "--rm")
    wait_until_gone(container.shim, container.init)
    time.sleep(0.2)
    story = Story(daemons=[docker.dockerd.pid, docker.containerd.pid])
    end_recording(recorder, story)

    descendants = story.descendants()
    mine = [hit for hit in story.hits if (hit.tgid, hit.start_ns) in descendants]
    assert [(hit.trigger, hit.tgid) for hit in mine] == [
        ("container-exit!=0", container.init),
        ("shim-exit", container.shim),
    ]
    assert story.remembered() == []


@pytest.fixture(scope="module")
def story(docker: PrivateDocker, tmp_path_factory: pytest.TempPathFactory) -> Story:
    """Containers with pid namespaces of their own and with the host's, begun before and in the
    recording: ends, a kill of process 1, a kill of the shim; and in the end the daemons stop."""
    told = Story(daemons=[docker.dockerd.pid, docker.containerd.pid])
    modes = {"own": (), "host": ("--pid=host",)}
    lasts = "sleep 99; true"

    def begin(when: str) -> None:
        for mode, options in modes.items():
            for what in ("killed", "bereft"):
                name = f"{when}-{mode}-{what}"
                told.containers[name] = run(docker, name, lasts, *options)

    begin("older")
    recorder = begin_recording(tmp_path_factory.mktemp("story"))
    begin("new")
    for mode, options in modes.items():
        for what, script in (("good", "sleep 0.5; true"), ("bad", "sleep 0.5; exit 3")):
            name = f"{mode}-{what}"
            told.containers[name] = run(docker, name, script, "--rm", *options)
        broken = ["--network=none", "--rm", *options, docker.image, "no-such-program"]
        assert docker.docker("run", *broken, check=False).returncode == 127
    for name, container in told.containers.items():
        if name.endswith("killed"):
            assert docker.docker("exec", name, "sh", "-c", "exit 7", check=False).returncode == 7
            docker.docker("kill", name)
        elif name.endswith("bereft"):
            os.kill(container.shim, signal.SIGKILL)
    for container in told.containers.values():
        wait_until_gone(container.init, container.shim)
    docker.docker(
        "rm", "-f", *(name for name in told.containers if "-own-" in name or "-host-" in name)
    )
    docker.end(docker.dockerd)
    if docker.topology == "external":
        docker.end(docker.containerd)
    wait_until_gone(*told.daemons)
    return end_recording(recorder, told)


@pytest.mark.parametrize("mode", ["own", "host"])
def test_ends_of_containers(story: Story, mode: str) -> None:
    good, bad = story.containers[f"{mode}-good"], story.containers[f"{mode}-bad"]
    who = "process 1 of a container, sh,"
    assert story.about(good.init) == [("container-exit", f"{who} exited 0")]
    assert story.about(bad.init) == [("container-exit!=0", f"{who} exited 3")]
    for container in (good, bad):
        assert story.about(container.shim) == [("shim-exit", "containerd-shim-runc-v2 exited 0")]


@pytest.mark.parametrize("mode", ["own", "host"])
@pytest.mark.parametrize("when", ["older", "new"])
def test_docker_kill(story: Story, mode: str, when: str) -> None:
    container = story.containers[f"{when}-{mode}-killed"]
    who = "process 1 of a container, sh,"
    assert story.about(container.init) == [("container-exit!=0", f"{who} was killed by SIGKILL")]
    assert story.about(container.shim) == [("shim-exit", "containerd-shim-runc-v2 exited 0")]


@pytest.mark.parametrize("mode", ["own", "host"])
@pytest.mark.parametrize("when", ["older", "new"])
def test_a_shim_is_killed(story: Story, mode: str, when: str) -> None:
    container = story.containers[f"{when}-{mode}-bereft"]
    who = "process 1 of a container, sh,"
    assert story.about(container.init) == [("container-exit!=0", f"{who} was killed by SIGKILL")]
    assert story.about(container.shim) == [
        ("runtime-kill", f"{ME} sent SIGKILL to containerd-shim-runc-v2"),
        ("shim-exit", "containerd-shim-runc-v2 was killed by SIGKILL"),
    ]


def test_the_daemons_stop(story: Story, docker: PrivateDocker) -> None:
    dockerd, containerd = story.daemons
    assert story.about(dockerd) == [
        ("runtime-kill", f"{ME} sent SIGTERM to dockerd"),
        ("dockerd-exit", "dockerd exited 0"),
    ]
    found = story.about(containerd)
    if docker.topology == "external":
        assert found.pop(0) == ("runtime-kill", f"{ME} sent SIGTERM to containerd")
    # dockerd ends the one that it started: the runtime's own affair.
    assert found == [("containerd-exit", "containerd exited 0")]


def test_nobody_else_is_taken_for_them(story: Story) -> None:
    """Not exec'd processes, not runc and its stages, not the shim's own helpers, not what was
    forked in containers; and nobody is remembered who is gone."""
    known = {c.init for c in story.containers.values()} | {
        c.shim for c in story.containers.values()
    }
    descendants = story.descendants()
    assert len(descendants) > 100
    others = [
        hit
        for hit in story.hits
        if (hit.tgid, hit.start_ns) in descendants and hit.tgid not in known
    ]
    # The programs that do not exist: their shims began, and ended.
    assert {hit.trigger for hit in others} <= {"shim-exit"}, others
    assert story.remembered() == []
