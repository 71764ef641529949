"""Docker in docker: the inner engine's container has two pid namespaces above its own."""

from __future__ import annotations

from tests.lab.lab import IMAGE
from tests.lab.scenarios.scenario import scenario
from tests.lab.scene import FOREVER, Scene
from tests.witness import parent_of

# The lab's own programs, in a container that may do everything.
_OPTIONS = (
    *("--privileged", "--tmpfs", "/run", "-v", "inner:/var/lib/docker"),
    *("-v", "/usr:/usr:ro", "-v", "/lib:/lib:ro", "-v", "/lib64:/lib64:ro", "-v", "/srv:/srv:ro"),
    *("-e", "PATH=/usr/sbin:/usr/bin:/sbin:/bin"),
)
_DOCKERD = ("dockerd", "--iptables=false", "--bridge=none")


# With cgroup v1 it would need more mounts; older engines insist on capabilities that may lack.
@scenario("docker-in-docker", suites=("trixie", "sid"), topologies="AB")
def docker_in_docker(scene: Scene) -> None:
    """A dockerd as process 1 of a container, which starts its own containerd and a container."""
    outer = scene.docker_run("outer", *_DOCKERD, options=_OPTIONS)
    inner = ("exec", "outer", "docker")

    def answers() -> bool:
        return scene.lab.run("docker", *inner, "version").returncode == 0

    scene.wait(answers, "the inner dockerd")
    scene.docker(*inner, "import", "/srv/busybox.tar", IMAGE)
    scene.docker(*inner, "run", "-d", "--name", "web", "--network", "none", IMAGE, *FOREVER)
    asked = scene.docker(*inner, "inspect", "-f", "{{.State.Pid}}", "web")
    scene.witness.observe("docker", "State.Pid of web, in the outer container", int(asked))
    tgid = scene.outer_pid(int(asked), depth=2)
    web = scene.witness.watch(tgid, "process 1 of web")
    shim = scene.witness.watch(parent_of(tgid), "shim of web")
    scene.observe_parent(shim)
    scene.docker(*inner, "kill", "web")
    step = scene.witness.steps[-1]
    scene.wait_gone(web)
    scene.wait_for_end(shim, "zombie")  # whose parent is a dockerd, which reaps no strangers
    scene.observe_parent(shim)
    scene.expect("container-exit", step, shim=shim, container=web)
    scene.docker("rm", "-f", "outer")
    scene.wait_gone(outer.init, outer.shim)
