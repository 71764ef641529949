"""Orphans and zombies inside a container: who adopts and reaps them depends on its pid namespace.

An orphan asks for its parent itself; its own process 1 may hide that from everybody else.
"""

from __future__ import annotations

from pathlib import Path

from tests.lab.scenarios.scenario import scenario
from tests.lab.scene import Container, Scene
from tests.witness import Watched, parent_of, read_stat

# In the background: goes on when its parent, the shell, has ended.
_ORPHANED = (
    'until read -r _ _ _ parent _ </proc/self/stat; [ "$parent" != $$ ]; do sleep 0.05; done'
)
# It writes down who its parent is then, and stays; or it ends.
_STAYS = f"({_ORPHANED}; echo $parent >/tmp/parent; exec sleep 54321) & sleep 0.2"
_ENDS = f"({_ORPHANED}) & sleep 0.2"


@scenario("orphans-private")
def orphans_private(scene: Scene) -> None:
    """A private pid namespace: process 1 adopts, and here never reaps."""
    web = scene.docker_run("web")
    orphan = _make_orphan(scene, web)
    assert parent_of(orphan.tgid) == web.init.tgid
    zombie = _make_zombie(scene, web)
    step = scene.kill(web.init)
    scene.wait_gone(web.init, orphan, zombie, web.shim)
    scene.expect("container-exit", step, shim=web.shim, container=web.init)
    scene.witness.expect("reap", left="with_process_1")  # the zombie had ended before


@scenario("orphans-host")
def orphans_host(scene: Scene) -> None:
    """The lab's pid namespace: the shim adopts and reaps, also when process 1 has ended."""
    web = scene.docker_run("web", options=("--pid", "host"))
    orphan = _make_orphan(scene, web)
    assert parent_of(orphan.tgid) == web.shim.tgid
    scene.docker("exec", "web", "sh", "-c", _ENDS)
    scene.linger(0.5)
    step = scene.kill(web.init)
    scene.wait_gone(web.init, orphan)
    scene.ask_docker()
    scene.expect("container-exit", step, container=web.init)
    scene.witness.expect("reap", left="by_shim")


@scenario("orphans-init")
def orphans_init(scene: Scene) -> None:
    """docker run --init: docker-init adopts and reaps."""
    web = scene.docker_run("web", options=("--init",))
    orphan = _make_orphan(scene, web)
    assert parent_of(orphan.tgid) == web.init.tgid
    scene.docker("exec", "web", "sh", "-c", _ENDS)
    scene.linger(0.5)
    scene.docker("stop", "-t", "1", "web")
    step = scene.witness.steps[-1]
    scene.wait_gone(web.init, orphan, web.shim)
    scene.expect("container-exit", step, shim=web.shim)
    scene.witness.expect("reap", left="with_process_1")


def _make_orphan(scene: Scene, web: Container) -> Watched:
    """A process of docker exec whose parent ends before it does."""
    scene.docker("exec", "web", "sh", "-c", _STAYS)

    def wrote() -> bool:
        return scene.lab.run("docker", "exec", "web", "cat", "/tmp/parent").returncode == 0

    scene.wait(wrote, "the orphan's word")
    parent = int(scene.docker("exec", "web", "cat", "/tmp/parent"))
    (tgid,) = [t for t in scene.with_comm("sleep") if b"54321" in _command_line(t)]
    orphan = scene.witness.watch(tgid, "orphan")
    scene.witness.observe("getppid", "the orphan's parent, inside", parent, tgid=tgid)
    return orphan


def _make_zombie(scene: Scene, web: Container) -> Watched:
    """A process that has ended, and that process 1 does not reap."""
    scene.docker("exec", "web", "sh", "-c", _ENDS)
    children = Path(f"/proc/{web.init.tgid}/task/{web.init.tgid}/children")

    def zombies() -> list[int]:
        found = map(int, children.read_text().split())
        return [tgid for tgid in found if (stat := read_stat(tgid)) and stat[0] == b"Z"]

    scene.wait(zombies, "the zombie")
    (tgid,) = zombies()
    zombie = scene.witness.watch(tgid, "orphan that ended")
    scene.observe_parent(zombie)
    return zombie


def _command_line(tgid: int) -> bytes:
    with open(f"/proc/{tgid}/cmdline", "rb") as file:
        return file.read()
