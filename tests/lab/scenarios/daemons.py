"""dockerd and containerd stop, are killed, are restarted, while a container runs."""

from __future__ import annotations

from tests.lab.scenarios.scenario import scenario
from tests.lab.scene import Scene


@scenario("containerd-kill")
def containerd_kill(scene: Scene) -> None:
    """kill -9 of containerd. Who starts it again: systemd, or the dockerd that had started it."""
    if scene.has_containerd_service:
        scene.leave_dead("containerd")
    web = scene.docker_run("web")
    step = scene.kill(scene.containerd)
    scene.wait_gone(scene.containerd)
    _watch_on(scene)
    scene.expect("containerd-exit", step, shim=web.shim, container=web.init)


@scenario("containerd-stop", topologies="AD")
def containerd_stop(scene: Scene) -> None:
    """systemctl stop containerd."""
    web = scene.docker_run("web")
    step = scene.systemctl("stop", "containerd")
    scene.wait_gone(scene.containerd)
    _watch_on(scene)
    scene.expect("containerd-exit", step, shim=web.shim, container=web.init)


@scenario("containerd-restart", topologies="AD")
def containerd_restart(scene: Scene) -> None:
    """systemctl restart containerd: does the new one take the shim back?"""
    web = scene.docker_run("web")
    step = scene.systemctl("restart", "containerd")
    scene.wait_gone(scene.containerd)
    _watch_on(scene)
    scene.docker("exec", "web", "true")
    scene.expect("containerd-exit", step, shim=web.shim, container=web.init)


@scenario("dockerd-kill", live_restore=True)
def dockerd_kill(scene: Scene) -> None:
    """kill -9 of dockerd, which stays away. Its own containerd, if it has one, dies with it."""
    scene.leave_dead("docker")
    web = scene.docker_run("web")
    step = scene.kill(scene.dockerd)
    scene.wait_gone(scene.dockerd)
    scene.linger(1.5)  # and docker is not asked: its socket would start it
    scene.expect("dockerd-exit", step, shim=web.shim, container=web.init)


@scenario("dockerd-kill-return", live_restore=True)
def dockerd_kill_return(scene: Scene) -> None:
    """kill -9 of dockerd, which systemd starts again: without live-restore it then ends what it
    finds."""
    web = scene.docker_run("web")
    step = scene.kill(scene.dockerd)
    scene.wait_gone(scene.dockerd)
    scene.wait_for_docker()
    _watch_on(scene)
    scene.expect("dockerd-exit", step, container=web.init)


@scenario("dockerd-stop", live_restore=True)
def dockerd_stop(scene: Scene) -> None:
    """systemctl stop docker: without live-restore it stops its containers first."""
    web = scene.docker_run("web", options=("--stop-timeout", "1"))
    step = scene.systemctl("stop", "docker.socket", "docker.service")
    scene.wait_gone(scene.dockerd)
    scene.linger(1.0)
    scene.expect("dockerd-exit", step, container=web.init)


@scenario("dockerd-restart", live_restore=True)
def dockerd_restart(scene: Scene) -> None:
    """systemctl restart docker."""
    web = scene.docker_run("web", options=("--stop-timeout", "1"))
    step = scene.systemctl("restart", "docker")
    scene.wait_gone(scene.dockerd)
    scene.wait_for_docker()
    _watch_on(scene)
    scene.expect("dockerd-exit", step, container=web.init)


@scenario("both-kill", live_restore=True)
def both_kill(scene: Scene) -> None:
    """kill -9 of dockerd and containerd, which both stay away."""
    scene.leave_dead("docker")
    if scene.has_containerd_service:
        scene.leave_dead("containerd")
    web = scene.docker_run("web")
    step = scene.kill(scene.dockerd)
    if scene.has_containerd_service:  # else it dies with its dockerd
        step = scene.kill(scene.containerd)
    scene.wait_gone(scene.dockerd, scene.containerd)
    scene.linger(1.0)
    scene.expect("containerd-exit", step, shim=web.shim, container=web.init)


@scenario("unit-kill")
def unit_kill(scene: Scene) -> None:
    """The whole unit of the containerd is killed, as with KillMode=control-group: shims too."""
    unit = "containerd" if scene.has_containerd_service else "docker"
    web = scene.docker_run("web")
    scene.systemctl("kill", "--signal=KILL", f"{unit}.service")
    scene.killed.append(web.shim)
    scene.wait_gone(web.shim)
    scene.wait_for_docker()
    scene.linger(3.0)  # whoever starts again may clean up
    scene.ask_docker()


def _watch_on(scene: Scene) -> None:
    """Time for what follows, or must not follow; then what docker says."""
    scene.linger(1.5)
    scene.ask_docker()
