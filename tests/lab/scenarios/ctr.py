"""ctr, which asks containerd without docker: in a namespace of its own, and in docker's."""

from __future__ import annotations

from tests.lab.scenarios.scenario import scenario
from tests.lab.scene import Container, Scene
from tests.witness import parent_of

_SLEEP = ("/bin/sleep", "100000")


@scenario("ctr-run")
def ctr_run(scene: Scene) -> None:
    """ctr run -d; process 1 is killed. The shim stays until the task is deleted."""
    scene.ctr("run", "-d", *scene.ctr_run_options, "--rootfs", scene.image_root, "web", *_SLEEP)
    web = _look_at(scene, "web")
    scene.ctr("task", "kill", "--signal", "SIGKILL", "web")
    scene.wait_gone(web.init)
    scene.linger(0.5)
    assert parent_of(web.shim.tgid) > 0  # it is there
    scene.ctr("task", "rm", "web", check=False)  # its status is that of the task
    step = scene.witness.steps[-1]
    scene.wait_gone(web.shim)
    scene.ctr("container", "rm", "web")
    scene.expect("container-exit", step, shim=web.shim)


@scenario("ctr-task")
def ctr_task(scene: Scene) -> None:
    """create, start, exec, kill and delete, each asked for by itself."""
    scene.ctr(
        *("container", "create", *scene.shim_options),
        *("--rootfs", scene.image_root, "web", *_SLEEP),
    )
    scene.ctr("task", "start", "-d", "web")
    web = _look_at(scene, "web")
    step = scene.witness.steps[-1]
    _ask_for_parent(scene, "web")
    scene.expect("exec", step, shim=web.shim, container=web.init)
    scene.ctr("task", "kill", "--signal", "SIGKILL", "web")
    scene.wait_gone(web.init)
    scene.ctr("task", "delete", "web", check=False)
    scene.wait_gone(web.shim)
    scene.ctr("container", "delete", "web")


@scenario("ctr-moby")
def ctr_moby(scene: Scene) -> None:
    """A container of docker's: ctr joins it, and kills it behind docker's back."""
    web = scene.docker_run("web")
    full = scene.docker("inspect", "-f", "{{.Id}}", "web").strip()
    step = scene.witness.steps[-1]
    _ask_for_parent(scene, full, "moby")
    scene.expect("exec", step, shim=web.shim, container=web.init)
    scene.ctr("task", "kill", "--signal", "SIGKILL", full, namespace="moby")
    step = scene.witness.steps[-1]
    scene.wait_gone(web.init, web.shim)
    scene.ask_docker()
    scene.expect("container-exit", step, shim=web.shim, container=web.init)


@scenario("ctr-shim-kill")
def ctr_shim_kill(scene: Scene) -> None:
    """kill -9 of the shim of a container that docker knows nothing of."""
    scene.ctr("run", "-d", *scene.ctr_run_options, "--rootfs", scene.image_root, "web", *_SLEEP)
    web = _look_at(scene, "web")
    step = scene.kill(web.shim)
    scene.wait_gone(web.shim)
    scene.linger(2.0)  # with shim v1 nobody may clean up
    scene.expect("shim-exit", step, container=web.init)
    scene.ctr("task", "ls", check=False)
    scene.witness.observe("ctr", "ctr task ls", scene.witness.steps[-1].output.strip())


def _look_at(scene: Scene, name: str) -> Container:
    """A container that `ctr task ls` lists."""
    lines = scene.ctr("task", "ls").splitlines()
    (pid,) = [int(line.split()[1]) for line in lines if line.split()[0] == name]
    scene.witness.observe("ctr", f"pid of {name}", pid)
    return scene.look_at_pid(pid, name)


def _ask_for_parent(scene: Scene, container: str, namespace: str = "default") -> None:
    """What a process of `ctr task exec` says; ctr may lose the output of one that soon ends."""
    command = ("task", "exec", "--exec-id", "one", container, "/bin/sh", "-c", "echo $PPID")
    said = scene.ctr(*command, namespace=namespace).strip()
    scene.witness.observe("getppid", "of a process of ctr task exec, inside", said)
