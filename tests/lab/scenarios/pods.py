"""A pod, as a kubelet makes them: two containers and the pod's own process under one shim."""

from __future__ import annotations

import re

from tests.lab.cri import RuntimeService
from tests.lab.lab import IMAGE
from tests.lab.scenarios.scenario import scenario
from tests.lab.scene import FOREVER, Scene
from tests.witness import Watched, parent_of

_IMAGES = """\
pause=$(containerd config dump | sed -n 's/.*sandbox_image = "\\(.*\\)"/\\1/p')
docker import -c 'CMD ["/bin/sleep", "100000"]' /srv/busybox.tar "$pause"
for image in "$pause" busybox; do
    docker save -o /srv/image.tar "$image" && ctr -n k8s.io images import /srv/image.tar
done
"""


@scenario("pod", topologies="D")  # its cgroups need a cpu controller, which here is of version 1
def pod(scene: Scene) -> None:
    """Through containerd's CRI, which takes shim v2: one container ends, then the pod does."""
    service = _connect(scene)
    scene.witness.step("RunPodSandbox web")
    sandbox = service.run_pod("web")
    names = {sandbox[0]: "web"}
    for name in ("first", "second"):
        scene.witness.step(f"CreateContainer, StartContainer {name}")
        image = f"docker.io/library/{IMAGE}:latest"
        names[service.start_container(sandbox, name, image, FOREVER)] = name
    first, second, pause = _look_at(scene, names)
    assert {parent_of(one.tgid) for one in (first, second)} == {parent_of(pause.tgid)}
    shim = scene.witness.watch(parent_of(pause.tgid), "shim of the pod", with_descendants=True)
    step = scene.witness.step("StopContainer first")
    service.stop_container(next(one for one, name in names.items() if name == "first"))
    scene.wait_gone(first)
    scene.expect("container-exit", step, shim=shim, container=first)
    scene.witness.step("StopPodSandbox web")
    service.stop_pod(sandbox)
    scene.wait_gone(second, pause)
    scene.linger(0.5)
    service.close()


def _connect(scene: Scene) -> RuntimeService:
    scene.run("sh", "-c", _IMAGES)
    socket = scene.lab.root / "run/containerd/containerd.sock"
    old = scene.lab.setup.suite == "bullseye"
    return RuntimeService(socket, "v1alpha2" if old else "v1")


def _look_at(scene: Scene, names: dict[str, str]) -> list[Watched]:
    """The process 1 of each, by name; the pod's own comes last."""
    listed = scene.ctr("task", "ls", namespace="k8s.io")
    found = {}
    for container, pid in re.findall(r"^([0-9a-f]{64})\s+(\d+)", listed, re.MULTILINE):
        name = names[container]
        tgid = scene.outer_pid(int(pid))
        found[name] = scene.witness.watch(tgid, f"process 1 of {name}")
    return [found[name] for name in ("first", "second", "web")]
