"""A container's life, while all daemons are well."""

from __future__ import annotations

from tests.lab.scenarios.scenario import scenario
from tests.lab.scene import FOREVER, Scene
from tests.witness import parent_of

_ROUNDS = 5  # below that a comparison says nothing of latencies


@scenario("start")
def start(scene: Scene) -> None:
    """docker run: who adopts process 1 when runc exits, and whose child is the shim?"""
    web = scene.docker_run("web")
    assert parent_of(web.init.tgid) == web.shim.tgid
    scene.observe_parent(web.init)
    scene.observe_parent(web.shim)
    stays = parent_of(web.shim.tgid) == scene.containerd.tgid
    shim = "unaffected" if stays else "reparented"
    scene.witness.expect("start", shim=shim, container="reparented")  # runc had made it


@scenario("exec")
def exec_(scene: Scene) -> None:
    """docker exec: a process joins the container; an orphan of it stays inside."""
    web = scene.docker_run("web")
    step = scene.witness.step("docker exec, twice")
    asked = scene.docker("exec", "web", "sh", "-c", "echo $PPID")
    scene.witness.observe("getppid", "of a process of docker exec, inside", int(asked))
    scene.docker("exec", "-d", "web", *FOREVER)

    def joined() -> list[int]:
        return [tgid for tgid in scene.with_comm("sleep") if tgid != web.init.tgid]

    scene.wait(joined, "the process of docker exec")
    process = scene.witness.watch(joined()[0], "process of docker exec")
    scene.wait(lambda: parent_of(process.tgid) == web.shim.tgid, "its adoption")
    scene.observe_parent(process)
    # runc had made it, and it is the shim's.
    scene.expect("exec", step, shim=web.shim, container=web.init, process="reparented")


@scenario("stop")
def stop(scene: Scene) -> None:
    """docker stop: SIGTERM, which this workload ignores, and SIGKILL after a second."""
    web = scene.docker_run("web")
    scene.docker("stop", "-t", "1", "web")
    step = scene.witness.steps[-1]
    scene.wait_gone(web.init, web.shim)
    scene.ask_docker()
    scene.expect("container-exit", step, shim=web.shim, container=web.init)


@scenario("kill")
def kill(scene: Scene) -> None:
    """docker kill."""
    web = scene.docker_run("web")
    scene.docker("kill", "web")
    step = scene.witness.steps[-1]
    scene.wait_gone(web.init, web.shim)
    scene.ask_docker()
    scene.expect("container-exit", step, shim=web.shim, container=web.init)


@scenario("restart")
def restart(scene: Scene) -> None:
    """docker restart: a new shim and a new process 1?"""
    web = scene.docker_run("web")
    scene.docker("restart", "-t", "1", "web")
    again = scene.look_at("web")
    scene.wait_gone(web.init, web.shim)
    assert again.init.tgid != web.init.tgid
    scene.observe_parent(again.init)
    scene.witness.expect("restart", shim="recreated", container="recreated")


@scenario("container-exit")
def container_exit(scene: Scene) -> None:
    """Process 1 exits by itself: does the shim exit too, and do zombies stay?"""
    scene.run("mkfifo", "/srv/end")  # it ends when it was looked at, however long that takes
    command = ("sh", "-c", "read -r _ </srv/end; exit 3")
    web = scene.docker_run("web", *command, options=("-v", "/srv:/srv:ro"))
    scene.run("sh", "-c", "echo >/srv/end")
    step = scene.witness.steps[-1]
    scene.wait_gone(web.init, web.shim)
    scene.ask_docker()
    scene.expect("container-exit", step, shim=web.shim, container=web.init, ends_itself=True)


@scenario("container-kill")
def container_kill(scene: Scene) -> None:
    """kill -9 of process 1 from outside."""
    web = scene.docker_run("web")
    step = scene.kill(web.init)
    scene.wait_gone(web.init, web.shim)
    scene.ask_docker()
    scene.expect("container-exit", step, shim=web.shim, container=web.init)


@scenario("rounds")
def rounds(scene: Scene) -> None:
    """A container is run, entered, restarted and removed, again and again: how long is each?"""
    for _ in range(_ROUNDS):
        web = scene.docker_run("web")
        scene.docker("exec", "web", "true")
        scene.docker("restart", "-t", "0", "web")
        again = scene.look_at("web")
        scene.docker("rm", "-f", "web")
        scene.wait_gone(web.init, web.shim, again.init, again.shim)
        scene.witness.expect("restart", shim="recreated", container="recreated")
