"""podman, which has no daemon: conmon is what a shim is elsewhere, crun what runc is."""

from __future__ import annotations

from tests.lab.lab import IMAGE
from tests.lab.scenarios.scenario import scenario
from tests.lab.scene import FOREVER, Container, Scene
from tests.witness import parent_of, read_stat


# Where crun may not raise limits (no CAP_SYS_RESOURCE) it needs cgroups of version 1.
@scenario("podman", suites=("bookworm",), topologies="D")
def podman(scene: Scene) -> None:
    """podman run, exec and stop."""
    web = _run(scene)
    asked = scene.run("podman", "exec", "web", "sh", "-c", "echo $PPID")
    scene.witness.observe("getppid", "of a process of podman exec, inside", int(asked))
    scene.run("podman", "stop", "-t", "1", "web")
    scene.wait_gone(web.init, web.shim)
    _ask(scene)


@scenario("podman-conmon-kill", suites=("bookworm",), topologies="D")
def podman_conmon_kill(scene: Scene) -> None:
    """kill -9 of conmon: the container goes on, and podman may say that all is well."""
    web = _run(scene)
    scene.kill(web.shim)
    scene.wait_gone(web.shim)
    scene.linger(1.0)
    assert read_stat(web.init.tgid) is not None
    scene.observe_parent(web.init)
    _ask(scene)


def _run(scene: Scene) -> Container:
    scene.run("podman", "import", "/srv/busybox.tar", IMAGE)
    scene.run("podman", "run", "-d", "--name", "web", "--network", "none", IMAGE, *FOREVER)
    asked = scene.run("podman", "inspect", "-f", "{{.State.Pid}} {{.State.ConmonPid}}", "web")
    pid, conmon = map(int, asked.split())
    scene.witness.observe("podman", "pids of web and its conmon", [pid, conmon])
    init = scene.witness.watch(scene.outer_pid(pid), "process 1 of web")
    assert scene.inner_pid(parent_of(init.tgid)) == conmon
    return Container("web", init, scene.witness.watch(parent_of(init.tgid), "conmon of web"))


def _ask(scene: Scene) -> None:
    shown = scene.run("podman", "ps", "-a", "--format", "{{.Names}} {{.State}}")
    scene.witness.observe("podman", "podman ps -a", shown.strip())
