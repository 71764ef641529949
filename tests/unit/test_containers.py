"""Containers: found by arguments, cgroups and facts; their runs, phases, clients and ends."""

from __future__ import annotations

from pathlib import Path

import pytest

from analysis.containers import df_containers
from analysis.model import Capture, open_capture
from analysis.runs import PHASES, Container
from tests import lives
from tests.lives import CID, OTHER_CID, Host
from tests.streams import Stream
from tracer.abi import Context, Origin


def opened(stream: Stream, tmp_path: Path) -> Capture:
    return open_capture(stream.write(tmp_path / "x.rtrace"))


def only(stream: Stream, tmp_path: Path) -> tuple[Capture, Container]:
    capture = opened(stream, tmp_path)
    assert len(capture.container_list) == 1
    return capture, capture.container_list[0]


def test_a_run_from_start_to_end(tmp_path: Path) -> None:
    h = lives.life()
    capture, container = only(h.stream, tmp_path)
    assert (container.id, container.name, container.runtime) == (CID, "web", "docker")
    assert (container.known.namespace, container.known.image) == ("moby", "nginx")
    (row,) = capture.containers.to_dict("records")
    named = {
        key: h.procs[name].id
        for key, name in {
            "client": "client",
            "starter": "starter",
            "shim": "shim",
            "create": "create",
            "init": "init",
        }.items()
    }
    assert {key: row[key] for key in named} == named
    assert row["daemon"] == h.dockerd.id
    assert row["manager"] == h.containerd.id
    assert (row["how"], row["exit_status"]) == ("exited", 0)
    times = [int(row[name]) for name in PHASES if name != "adoption_ns"]
    assert times == sorted(times)
    assert row["adoption_ns"] == row["create_exit_ns"]


def test_calls_and_execs(tmp_path: Path) -> None:
    h = lives.host()
    p = lives.begin(h)
    entered = lives.run_exec(h, p["shim"], CID, "/bin/sh -c id")
    h.stream.die(entered, 3)
    lives.call(h, p["shim"], f"/usr/bin/runc --root /run/runc kill {CID} 15")
    lives.end(h)
    capture, container = only(h.stream, tmp_path)
    (run,) = container.runs
    assert [call.verb for call in run.calls] == ["create", "start", "exec", "kill", "delete"]
    assert run.calls[3].argument == "15"
    (call,) = run.execs
    assert entered.id in [capture.scene.ids[pos] for pos in call.made]


def test_a_container_older_than_the_recording(tmp_path: Path) -> None:
    h = lives.host(start=False)
    p = lives.begin(h)
    young = Stream()
    young.processes = h.stream.processes
    young.snapshot("start")
    h.stream = young
    lives.end(h)
    _, container = only(young, tmp_path)
    (run,) = container.runs
    assert run.before
    assert container.name is None  # no fact in this one
    assert run.client is None or not run.client_sure
    assert run.end.how == "exited"
    assert run.shim is not None
    assert p["init"].pidns


def test_a_container_that_goes_on_living(tmp_path: Path) -> None:
    h = lives.host()
    lives.begin(h)
    h.stream.snapshot("end")
    _, container = only(h.stream, tmp_path)
    assert container.runs[0].end.how == "running"
    shim_end = container.runs[0].shim_end
    assert shim_end is not None
    assert shim_end.how == "running"


def test_without_an_end_snapshot_running_is_not_claimed(tmp_path: Path) -> None:
    h = lives.host()
    lives.begin(h)
    _, container = only(h.stream, tmp_path)
    assert container.runs[0].end.how == "not-seen"


def test_a_second_run_of_the_same_container(tmp_path: Path) -> None:
    h = lives.host()
    first = lives.begin(h, client="docker run -d --name web nginx")
    lives.end(h, stop=False)
    second = lives.begin(h, client="docker start web", pidns=4026532600)
    lives.end(h)
    capture, container = only(h.stream, tmp_path)
    assert len(container.runs) == 2
    ids = capture.scene.ids
    for run, p in zip(container.runs, (first, second), strict=True):
        assert run.init is not None
        assert run.shim is not None
        assert run.client is not None
        assert (ids[run.init], ids[run.shim]) == (p["init"].id, p["shim"].id)
        assert ids[run.client] == p["client"].id
        assert run.client_sure
        assert run.end.how == "exited"
    assert capture.containers["run"].tolist() == [1, 2]


def test_one_shim_for_a_pod(tmp_path: Path) -> None:
    """GIVEN a shim that makes two containers THEN both have it, each its own runs."""
    h = lives.host(managed=False)
    s = h.stream
    p = lives.begin(h, client=None, name="sandbox")
    runc = s.fork(p["shim"])
    s.exec(runc, "/usr/bin/runc", f"runc --root /run/containerd/runc/k8s.io create {OTHER_CID}")
    cgroup = f"/kubepods.slice/cri-containerd-{OTHER_CID}.scope"
    init = lives.stages(h, runc, OTHER_CID, pidns=4026533333, cgroup=cgroup)
    s.die(runc)
    s.exec(init, "/app", "/app")
    capture = opened(s, tmp_path)
    found = {c.id: c for c in capture.container_list}
    assert set(found) == {CID, OTHER_CID}
    for container in found.values():
        (run,) = container.runs
        assert capture.scene.ids[run.shim or 0] == p["shim"].id
    assert found[OTHER_CID].runtime == "cri"


@pytest.mark.parametrize(
    ("socket", "known"), [("/run/containerd/containerd.sock", True), ("/other.sock", False)]
)
def test_two_docker_daemons(socket: str, known: bool, tmp_path: Path) -> None:
    """The one whose containerd is that of the container's shim; else it is not known which."""
    h = lives.host(managed=False, start=False)
    s = h.stream
    args = ["/usr/sbin/dockerd", "--containerd", "/tmp/other/containerd.sock"]
    s.process("dockerd", h.init, exe="/usr/sbin/dockerd", args=args)
    args = ["/usr/sbin/dockerd", f"--containerd={socket}"]
    mine = s.process("dockerd", h.init, exe="/usr/sbin/dockerd", args=args)
    s.snapshot("start")
    s.die(h.dockerd)
    lives.begin(h)
    capture, container = only(s, tmp_path)
    daemon = container.runs[0].daemon
    assert (None if daemon is None else capture.scene.ids[daemon]) == (mine.id if known else None)


def test_a_run_that_fails(tmp_path: Path) -> None:
    """GIVEN docker run of a program that is not there THEN process 1 never got to it."""
    h = lives.host()
    s = h.stream
    shim = s.fork(h.containerd)
    line = f"/usr/bin/containerd-shim-runc-v2 -namespace moby -id {CID} -address /c"
    s.exec(shim, line.split()[0], line)
    s.subreaper(shim)
    create = s.fork(shim)
    s.exec(create, "/usr/bin/runc", f"runc create --bundle /b {CID}")
    init = lives.stages(h, create, CID)
    s.die(init, 1)
    s.die(create, 1)
    capture, container = only(s, tmp_path)
    (run,) = container.runs
    assert run.phases["workload_ns"] is None
    assert capture.scene.roles[run.init or 0] == "runc-init"
    assert run.end.status == 1


def named_fact(h: Host, cid: str, name: str | None) -> None:
    h.stream.fact("container", id=cid, name=name, image=None, runtime="docker")


def test_a_nameless_client_is_matched_only_if_it_is_the_only_one(tmp_path: Path) -> None:
    h = lives.life(client="docker run --rm nginx true", name="happy_hopper")
    capture, container = only(h.stream, tmp_path)
    assert capture.scene.ids[container.runs[0].client or 0] == h.procs["client"].id
    assert not container.runs[0].client_sure

    h = lives.host()
    rival = h.stream.fork(h.shell)
    h.stream.exec(rival, "/usr/bin/docker", "docker run --rm busybox")
    lives.begin(h, client="docker run --rm nginx true", name="happy_hopper")
    _, container = only(h.stream, tmp_path)
    assert container.runs[0].client is None


def test_a_client_of_another_container_is_not_taken(tmp_path: Path) -> None:
    h = lives.life(client="docker run --rm --name db postgres", name="web")
    _, container = only(h.stream, tmp_path)
    assert container.runs[0].client is None
    assert container.clients == []


def test_a_name_used_again(tmp_path: Path) -> None:
    """GIVEN two containers of one name, one after the other THEN each has its own clients."""
    h = lives.host()
    lives.begin(h)
    lives.end(h, stop=False)
    lives.begin(h, cid=OTHER_CID, pidns=4026532600)
    stop = h.stream.fork(h.shell)
    h.stream.exec(stop, "/usr/bin/docker", "docker stop web")
    lives.end(h, cid=OTHER_CID)
    h.stream.die(stop)
    capture = opened(h.stream, tmp_path)
    first, second = capture.container_list
    assert (first.id, second.id) == (CID, OTHER_CID)
    assert len(first.clients) == 1
    assert [capture.scene.ids[pos] for pos in second.clients] == [h.procs["client"].id, stop.id]


def test_facts_alone_make_a_container_without_runs(tmp_path: Path) -> None:
    h = lives.host()
    named_fact(h, CID, "web")
    named_fact(h, CID, None)  # a later fact that knows less takes nothing away
    capture, container = only(h.stream, tmp_path)
    assert container.name == "web"
    assert container.runs == []
    assert len(capture.containers) == 1


@pytest.mark.parametrize(
    ("cgroup", "runtime"),
    [
        (f"/docker/{CID}", "docker"),
        (f"/system.slice/docker-{CID}.scope", "docker"),
        (f"/kubepods.slice/kubepods-pod1.slice/cri-containerd-{CID}.scope", "cri"),
        (f"/kubepods/burstable/pod1/{CID}", "unknown"),
        (f"/system.slice/containerd.service/kubepods-x.slice:cri-containerd:{CID}", "cri"),
        (f"/kubepods.slice/crio-{CID}.scope", "cri"),
        (f"/machine.slice/libpod-{CID}.scope/container", "podman"),
        (f"/docker/{OTHER_CID}/docker/{CID}", "docker"),
        (f"/docker/{CID}/init.scope", "docker"),
    ],
)
def test_cgroup_names(tmp_path: Path, cgroup: str, runtime: str) -> None:
    s = Stream()
    init = s.process("systemd", tgid=1)
    app = s.process("app", init, ns_tgid=1, pidns=7, exe="/app", args=["/app"], cgroup=cgroup)
    s.snapshot("start")
    capture, container = only(s, tmp_path)
    assert (container.id, container.runtime) == (CID, runtime)
    assert capture.processes.at[app.id, "container"] == CID
    assert capture.processes.at[app.id, "role"] == "container-init"


@pytest.mark.parametrize(
    "cgroup",
    [
        "/system.slice/docker.service",
        f"/machine.slice/libpod-conmon-{CID}.scope",
        "/user.slice/" + "a" * 63,
        f"/x/not{CID}",
    ],
)
def test_cgroup_names_that_are_no_containers(tmp_path: Path, cgroup: str) -> None:
    s = Stream()
    init = s.process("systemd", tgid=1)
    s.process("app", init, exe="/app", args=["/app"], cgroup=cgroup)
    s.snapshot("start")
    assert opened(s, tmp_path).container_list == []


@pytest.mark.parametrize(
    ("words", "image"),
    [
        (
            "run --rm docker.io/library/busybox:latest my-app true",
            "docker.io/library/busybox:latest",
        ),
        ("run --rootfs /srv/root my-app true", None),
        ("run --config=spec.json my-app", None),
        ("run -d my-app", None),
    ],
)
def test_ctr_ids_are_any_word(words: str, image: str | None, tmp_path: Path) -> None:
    h = lives.host(managed=False)
    s = h.stream
    line = "/usr/bin/containerd-shim-runc-v2 -namespace default -id my-app -address /c"
    client = s.fork(h.shell)
    s.exec(client, "/usr/bin/ctr", f"ctr {words}")
    # The same id in another namespace is another container's.
    s.exec(s.fork(h.shell), "/usr/bin/ctr", "ctr -n other run docker.io/library/x:1 my-app")
    shim = s.fork(h.containerd)
    s.exec(shim, line.split()[0], line)
    s.subreaper(shim)
    create = s.fork(shim)
    s.exec(create, "/usr/bin/runc", "runc --root /run/containerd/runc/default create my-app")
    init = lives.stages(h, create, "x", cgroup="/default/my-app")
    s.die(create)
    s.exec(init, "/bin/true", "true", cgroup="/default/my-app")
    capture, container = only(s, tmp_path)
    assert (container.id, container.runtime) == ("my-app", "containerd")
    assert container.known.namespace == "default"
    assert container.known.image == image
    (run,) = container.runs
    assert capture.scene.ids[run.init or 0] == init.id
    assert capture.scene.ids[run.client or 0] == client.id


def test_what_a_shim_alone_tells_of_is_still_dockers(tmp_path: Path) -> None:
    """GIVEN the daemon's word, and then that of a shim of which no file could be read."""
    h = lives.life()
    told = {"id": CID, "name": "web", "image": "nginx", "namespace": None, "runtime": "docker"}
    shim = {"id": CID, "name": None, "image": None, "namespace": "moby", "runtime": "containerd"}
    h.stream.fact("container", **told)
    h.stream.fact("container", **shim)
    _, container = only(h.stream, tmp_path)
    assert (container.name, container.known.image, container.runtime) == ("web", "nginx", "docker")


def killed(tmp_path: Path, **how: object) -> tuple[str, str]:
    h = lives.host()
    p = lives.begin(h)
    killer = h.stream.fork(h.shell)
    h.stream.exec(killer, "/usr/bin/kill", "kill -9 1")
    if how.pop("oom", False):
        h.stream.oom(p["init"])
    if how:
        h.stream.signal(p["init"], 9, killer, **how)  # type: ignore[arg-type]
    lives.end(h, signal=9)
    capture, container = only(h.stream, tmp_path)
    end = container.runs[0].end
    assert (end.how, end.signal) == ("killed", 9)
    text = capture.scene.end_text(end).replace(f"kill ({killer.tgid})", "KILLER")
    return (end.by.kind if end.by else "none"), text


def test_killed_by_whom(tmp_path: Path) -> None:
    kind, text = killed(tmp_path, si_code=0)
    assert kind == "process"
    assert text == "was killed by SIGKILL (9), sent by KILLER"


def test_killed_by_the_kernel(tmp_path: Path) -> None:
    """The task in whose context a kernel-made signal arose is not called its sender."""
    kind, text = killed(tmp_path, origin=Origin.PRIV, si_code=128)
    assert (kind, text) == ("kernel", "was killed by SIGKILL (9), made by the kernel")
    kind, text = killed(tmp_path, origin=Origin.NOINFO)
    assert kind == "kernel-call"
    assert "sent by" not in text
    kind, text = killed(tmp_path, origin=Origin.NOINFO, context=Context.EXITING | Context.PDEATH)
    assert kind == "parent-death"
    assert "parent-death signal of KILLER" in text
    _, text = killed(tmp_path, origin=Origin.PRIV, oom=True)
    assert text == "was killed by SIGKILL (9), chosen by the kernel when memory ran out (OOM)"


def test_killed_with_the_signal_lost(tmp_path: Path) -> None:
    kind, text = killed(tmp_path)
    assert (kind, text) == ("none", "was killed by SIGKILL (9), sender not recorded")


def test_an_ignored_signal_is_not_the_cause(tmp_path: Path) -> None:
    kind, _ = killed(tmp_path, si_code=0, result=1)
    assert kind == "none"


def test_the_frame_of_a_capture_without_containers(tmp_path: Path) -> None:
    capture = opened(Stream(), tmp_path)
    assert len(df_containers(capture.scene, capture.container_list)) == 0
    assert str(capture.containers["exit_ns"].dtype) == "Int64"


def test_process_1_that_is_a_zombie_at_the_end(tmp_path: Path) -> None:
    """GIVEN a container older than the recording, and /proc at the end, where a zombie has left its
    cgroup THEN it is still the container's process 1."""
    h = lives.host(start=False)
    init = h.stream.process(
        "sleep", h.init, exe="/bin/sleep", args=["sleep", "9"], ns_tgid=1, pidns=4026532500
    )
    init.cgroup = f"/docker/{CID}"
    h.stream.snapshot("start")
    h.stream.die(init, signal=9, reap=False)
    init.cgroup, init.exe, init.args = "/", None, []
    h.stream.task("end", init)
    h.stream.proc("end", init)
    capture = open_capture(h.stream.write(tmp_path / "x.rtrace"))
    assert capture.processes.at[init.id, "role"] == "container-init"
    assert capture.processes.at[init.id, "container"] == CID


def test_who_came_into_a_containers_pid_namespace_is_in_it(tmp_path: Path) -> None:
    """GIVEN nsenter from the host, which changes no cgroup."""
    h = lives.host()
    lives.begin(h, pidns=4026532500)
    tool = h.stream.fork(h.shell)
    inside = h.stream.fork(tool, ns_tgid=77, pidns=4026532500)
    other = h.stream.fork(tool, ns_tgid=78, pidns=4026532501)
    processes = open_capture(h.stream.write(tmp_path / "x.rtrace")).processes
    assert processes.loc[inside.id, "container"] == CID
    assert processes.loc[other.id, "container"] is None


def test_a_recording_that_begins_within_a_start(tmp_path: Path) -> None:
    # GIVEN runc create and its second stage, which are older than the recording, and a stage
    # whose program nobody has seen
    h = lives.host(start=False)
    s = h.stream
    line = f"runc --root /run/runtime-runc/moby create --bundle /b {CID}".split()
    binary = "/usr/bin/containerd-shim-runc-v2"
    args = [binary, "-namespace", "moby", "-id", CID]
    shim = s.process("containerd-shim", h.init, exe=binary, args=args, subreaper=True)
    create = s.process("runc", shim, exe="/usr/bin/runc", args=line)
    stage = s.process("runc:[1:CHILD]", create, cgroup=f"/docker/{CID}")
    s.snapshot("start", proc=False)
    # WHEN process 1 is made, /proc is read, and it becomes the workload
    init = s.fork(stage, parent=create, comm="runc:[2:INIT]", ns_tgid=1, pidns=4026532500)
    init.exe, init.args = "/memfd:runc_cloned:/proc/self/exe (deleted)", ["runc", "init"]
    s.proc("start", shim, create, init)
    s.die(stage)
    s.die(create)
    s.exec(init, "/bin/sleep", "sleep 9", cgroup=f"/docker/{CID}")
    s.die(init, signal=9)
    # THEN it is the process 1 of that call
    capture = open_capture(s.write(tmp_path / "x.rtrace"))
    assert capture.processes["role"][init.id] == "container-init"
    (container,) = capture.container_list
    (run,) = container.runs
    assert run.init == capture.processes.index.get_loc(init.id)
    assert run.phases["adoption_ns"] is not None
    assert run.end.how == "killed"
