"""The shim of a container that runs is killed."""

from __future__ import annotations

from tests.lab.scenarios.scenario import scenario
from tests.lab.scene import Scene
from tests.witness import read_stat


@scenario("shim-kill")
def shim_kill(scene: Scene) -> None:
    """kill -9 of the shim: what becomes of its container, and who does it?"""
    web = scene.docker_run("web")
    step = scene.kill(web.shim)
    scene.wait_gone(web.shim, web.init)
    scene.ask_docker()
    scene.expect("shim-exit", step, container=web.init)


@scenario("shim-term")
def shim_term(scene: Scene) -> None:
    """SIGTERM to the shim, which may ignore it."""
    web = scene.docker_run("web")
    step = scene.kill(web.shim, "TERM")
    scene.linger(1.5)
    scene.ask_docker()
    if read_stat(web.shim.tgid) is None:
        scene.wait_gone(web.init)
        scene.expect("shim-exit", step, container=web.init)


@scenario("shim-kill-containerd-down", topologies="AD")
def shim_kill_containerd_down(scene: Scene) -> None:
    """The same while containerd is stopped; then containerd is started again."""
    web = scene.docker_run("web")
    scene.systemctl("stop", "containerd")
    scene.kill(web.shim)
    scene.wait_gone(web.shim)
    scene.linger(1.0)
    scene.observe_parent(web.init)
    assert read_stat(web.init.tgid) is not None
    step = scene.systemctl("start", "containerd")
    scene.wait_gone(web.init)
    scene.ask_docker()
    scene.expect("shim-exit", step, container=web.init)


@scenario("shim-term-containerd-down", topologies="AD")
def shim_term_containerd_down(scene: Scene) -> None:
    """SIGTERM to the shim while containerd is stopped."""
    web = scene.docker_run("web")
    scene.systemctl("stop", "containerd")
    step = scene.kill(web.shim, "TERM")
    scene.linger(1.0)
    scene.observe_parent(web.init)
    scene.systemctl("start", "containerd")
    scene.linger(1.0)
    scene.ask_docker()
    if read_stat(web.shim.tgid) is None:
        scene.expect("shim-exit", step, container=web.init)
