"""Containers of engines that cannot run in the tests: who is who, and that nothing is wrong.

The steps are those of the engines' own sources: CRI-O starts a conmon for each container of a
pod; dockershim and cri-dockerd make pods of docker's containers; BuildKit, in dockerd or in
buildkitd, runs runc itself; nerdctl is a client of containerd.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from analysis.model import open_capture
from tests import lives
from tests.found import findings_of
from tests.lives import CID, OTHER_CID, Host
from tests.streams import Proc, Stream

SECOND = 1_000_000_000


def roles(stream: Stream, tmp_path: Path, *processes: Proc) -> list[str]:
    found = open_capture(stream.write(tmp_path / "roles.rtrace")).processes["role"]
    return [found[process.id] for process in processes]


def containers(stream: Stream, tmp_path: Path) -> dict[str, Any]:
    """Rows of the containers' last runs, by id."""
    frame = open_capture(stream.write(tmp_path / "containers.rtrace")).containers
    return {row["container"]: row for _, row in frame.iterrows()}


def crio_container(h: Host, crio: Proc, cid: str, name: str, pidns: int) -> dict[str, Proc]:
    s, p = h.stream, {}
    p["first"] = s.fork(crio)
    line = (
        f"/usr/bin/conmon -b /run/containers/storage/overlay-containers/{cid}/userdata -c {cid} "
        f"--exit-dir /var/run/crio/exits -l /var/log/pods/{name}.log -n k8s_{name} -r /usr/bin/runc"
    )
    s.exec(p["first"], "/usr/bin/conmon", line)
    p["conmon"] = s.fork(p["first"])
    s.die(p["first"])
    s.subreaper(p["conmon"])
    create = s.fork(p["conmon"])
    s.exec(create, "/usr/bin/runc", f"/usr/bin/runc --root=/run/runc create --bundle /b {cid}")
    cgroup = f"/kubepods.slice/crio-{cid}.scope"
    p["init"] = lives.stages(h, create, cid, pidns=pidns, cgroup=cgroup)
    s.fact("container", id=cid, name=name, image="registry/app:2", runtime="cri")
    s.die(create)
    lives.call(h, crio, f"/usr/bin/runc --root=/run/runc start {cid}")
    s.exec(p["init"], "/pause", "/pause")
    return p


def test_a_pod_of_cri_o(tmp_path: Path) -> None:
    h = lives.host(start=False)
    s = h.stream
    crio = s.process("crio", h.init, exe="/usr/bin/crio", args=["/usr/bin/crio"])
    kubelet = s.process("kubelet", h.init, exe="/usr/bin/kubelet", args=["/usr/bin/kubelet"])
    s.snapshot("start")
    pause = crio_container(h, crio, CID, "POD", 4026532600)
    app = crio_container(h, crio, OTHER_CID, "app", 4026532601)
    for cid, p in ((OTHER_CID, app), (CID, pause)):
        kill = s.fork(crio)
        s.exec(kill, "/usr/bin/runc", f"/usr/bin/runc --root=/run/runc kill {cid} 9")
        s.signal(p["init"], 9, kill)
        s.die(p["init"], signal=9)
        s.die(kill)
        s.die(p["conmon"], 137)
        lives.call(h, crio, f"/usr/bin/runc --root=/run/runc delete {cid}")
    s.wait(6 * SECOND)
    s.snapshot("end")

    assert roles(s, tmp_path, kubelet, crio, app["conmon"], app["init"]) == [
        "kubelet",
        "other",
        "conmon",
        "container-init",
    ]
    found = containers(s, tmp_path)
    assert set(found) == {CID, OTHER_CID}
    for cid, name, p in ((CID, "POD", pause), (OTHER_CID, "app", app)):
        row = found[cid]
        assert (row["name"], row["runtime"], row["image"]) == (name, "cri", "registry/app:2")
        assert (row["shim"], row["init"]) == (p["conmon"].id, p["init"].id)
        assert row["manager"] == crio.id
        assert (row["how"], row["exit_signal"]) == ("killed", 9)
    assert findings_of(s, tmp_path) == {}


@pytest.mark.parametrize(("name", "role"), [("kubelet", "kubelet"), ("cri-dockerd", "cri-dockerd")])
def test_a_pod_of_docker(name: str, role: str, tmp_path: Path) -> None:
    """Of dockershim, in the kubelet, or of cri-dockerd: docker's containers, by docker's shims."""
    h = lives.host(start=False, old_names=True)
    s = h.stream
    adaptor = s.process(name, h.init, exe=f"/usr/bin/{name}", args=[f"/usr/bin/{name}"])
    s.snapshot("start")
    pause = lives.begin(h, name="k8s_POD_web", shim="v1", client=None)
    first = dict(h.procs)
    app = lives.begin(
        h, cid=OTHER_CID, name="k8s_app_web", shim="v1", client=None, pidns=4026532501
    )
    lives.end(h, OTHER_CID, stop=False)
    h.procs = first
    lives.end(h)

    assert roles(s, tmp_path, adaptor) == [role]
    found = containers(s, tmp_path)
    assert {row["name"] for row in found.values()} == {"k8s_POD_web", "k8s_app_web"}
    for cid, p in ((CID, pause), (OTHER_CID, app)):
        assert found[cid]["runtime"] == "docker"
        assert found[cid]["shim"] == p["shim"].id
        assert found[cid]["daemon"] == h.dockerd.id
        assert found[cid]["client"] is None
    assert findings_of(s, tmp_path) == {}


@pytest.mark.parametrize("name", ["dockerd", "buildkitd"])
def test_a_step_of_a_build(name: str, tmp_path: Path) -> None:
    """BuildKit runs runc itself, which stays: no shim is missing, and nothing is left over."""
    h = lives.host(start=False)
    s = h.stream
    builder = h.dockerd
    if name == "buildkitd":
        builder = s.process(name, h.init, exe="/usr/bin/buildkitd", args=["/usr/bin/buildkitd"])
    s.snapshot("start")
    cid = "q3vnq8o2nn3ma1pcgxe6xyzq1"
    runc = s.fork(builder)
    s.exec(runc, "/usr/bin/runc", f"runc --log /x/log.json run --bundle /x --keep {cid}")
    init = lives.stages(h, runc, cid, cgroup=f"/system.slice/buildkit/{cid}")
    s.exec(init, "/bin/sh", ["/bin/sh", "-c", "make"])
    worker = s.fork(init)
    s.exec(worker, "/usr/bin/make", "make")
    s.wait(2 * SECOND)
    s.die(worker)
    s.die(init)
    s.die(runc)
    lives.call(h, builder, f"/usr/bin/runc --log /x/log.json delete {cid}")
    s.wait(6 * SECOND)
    s.snapshot("end")

    assert roles(s, tmp_path, runc, init, worker) == [
        "runc",
        "container-init",
        "container-process",
    ]
    (row,) = containers(s, tmp_path).values()
    assert (row["container"], row["init"], row["how"]) == (cid, init.id, "exited")
    assert row["shim"] is None
    assert findings_of(s, tmp_path) == {}


def test_a_container_of_nerdctl(tmp_path: Path) -> None:
    h = lives.host(managed=False)
    s = h.stream
    nerdctl = s.fork(h.shell)
    s.exec(nerdctl, "/usr/local/bin/nerdctl", "nerdctl run --rm --name web alpine")
    shim = s.fork(h.containerd)
    line = f"/usr/bin/containerd-shim-runc-v2 -namespace default -id {CID} -address /c"
    s.exec(shim, line.split()[0], line)
    s.subreaper(shim)
    create = s.fork(shim)
    s.exec(create, "/usr/bin/runc", f"runc --root /run/containerd/runc/default create {CID}")
    hook = s.fork(create)
    s.exec(hook, "/usr/local/bin/nerdctl", "nerdctl internal oci-hook createRuntime")
    s.die(hook)
    init = lives.stages(h, create, CID, cgroup=f"/system.slice/nerdctl-{CID}.scope")
    s.fact("container", id=CID, name="web", image=None, runtime="containerd", namespace="default")
    s.die(create)
    s.exec(init, "/bin/sh", "/bin/sh")
    s.wait(SECOND)
    kill = s.fork(shim)
    s.exec(kill, "/usr/bin/runc", f"runc --root /run/containerd/runc/default kill {CID} 9")
    s.signal(init, 9, kill)
    s.die(init, signal=9)
    s.die(kill)
    lives.call(h, shim, f"/usr/bin/runc --root /run/containerd/runc/default delete {CID}")
    s.die(shim)
    s.die(nerdctl)
    s.wait(6 * SECOND)
    s.snapshot("end")

    assert roles(s, tmp_path, nerdctl, hook) == ["other", "other"]
    (row,) = containers(s, tmp_path).values()
    assert (row["name"], row["runtime"], row["namespace"]) == ("web", "containerd", "default")
    assert (row["shim"], row["init"], row["manager"]) == (shim.id, init.id, h.containerd.id)
    assert findings_of(s, tmp_path) == {}
