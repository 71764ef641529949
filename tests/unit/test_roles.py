"""Roles: decided by executables, command lines, ancestry and namespaces; never by comm alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from analysis.model import Capture, open_capture
from tests import lives
from tests.lives import CID, Host
from tests.streams import Proc, Stream
from tracer import runtime_args
from tracer.runtime_args import Program, parse


def opened(stream: Stream, tmp_path: Path) -> Capture:
    return open_capture(stream.write(tmp_path / "x.rtrace"))


def roles_of(host: Host, tmp_path: Path, **named: Proc) -> dict[str, str]:
    roles = opened(host.stream, tmp_path).processes["role"]
    return {name: roles[process.id] for name, process in (host.procs | named).items()}


@pytest.mark.parametrize("old_names", [False, True])
@pytest.mark.parametrize("shim", ["v1", "v2"])
@pytest.mark.parametrize("managed", [False, True])
def test_roles_of_a_docker_run(tmp_path: Path, shim: str, managed: bool, old_names: bool) -> None:
    h = lives.life(shim=shim, managed=managed, old_names=old_names)
    found = roles_of(h, tmp_path, init_=h.init, dockerd=h.dockerd, containerd=h.containerd)
    expected = {
        "client": "docker-client",
        "shim": f"shim-{shim}",
        "create": "runc",
        "init": "container-init",
        "init_": "init",
        "dockerd": "dockerd",
        "containerd": "containerd-managed" if managed else "containerd",
    }
    if shim == "v2":
        expected["starter"] = "shim-start"
    assert found == expected


def test_the_stages_of_runc_are_runc_init_and_process_1_only_later(tmp_path: Path) -> None:
    h = lives.life()
    capture = opened(h.stream, tmp_path)
    stages = [p for p in h.stream.processes if p.comm in ("runc:[0:PARENT]", "runc:[1:CHILD]")]
    assert len(stages) == 2
    for stage in stages:
        assert capture.processes.at[stage.id, "role"] == "runc-init"
        assert capture.processes.at[stage.id, "container"] == CID
    pos = int(capture.processes.index.get_loc(h.procs["init"].id))  # type: ignore[arg-type]
    born = int(capture.processes["fork_ns"].iloc[pos])
    assert capture.scene.role_at(pos, born) == "runc-init"
    assert capture.scene.role_at(pos, h.stream.now) == "container-init"


def test_without_arguments_the_family_still_tells(tmp_path: Path) -> None:
    """GIVEN a capture made with --no-args THEN shim and start differ by who forked whom."""
    h = lives.life(args=False)
    found = roles_of(h, tmp_path)
    assert found["starter"] == "shim-start"
    assert found["shim"] == "shim-v2"
    assert found["create"] == "runc"
    assert found["init"] == "container-init"


@pytest.mark.parametrize(
    ("comm", "filename", "args"),
    [
        ("dockerd", "/opt/my/server", "dockerd -H fd://"),
        ("containerd-shim", "/usr/bin/sleep", "containerd-shim-runc-v2 -namespace moby -id x"),
        ("runc:[2:INIT]", "/usr/bin/python3", "runc init"),
        ("systemd", "/usr/bin/true", "/sbin/init"),
    ],
)
def test_a_comm_or_argv0_alone_gives_no_role(
    tmp_path: Path, comm: str, filename: str, args: str
) -> None:
    h = lives.host()
    liar = h.stream.fork(h.shell)
    h.stream.exec(liar, filename, args, comm=comm)
    assert roles_of(h, tmp_path, liar=liar)["liar"] == "other"


def test_a_script_named_like_a_runtime_is_other(tmp_path: Path) -> None:
    """GIVEN podman-docker's /usr/bin/docker, a shell script THEN podman has the role."""
    h = lives.host()
    script = h.stream.fork(h.shell)
    h.stream.exec(script, "/usr/bin/docker", "/bin/sh /usr/bin/docker ps")
    kept = h.stream.fork(h.shell)
    h.stream.exec(kept, "/usr/bin/docker", "/bin/sh /usr/bin/docker ps")
    h.stream.exec(script, "/usr/bin/podman", "podman ps")
    found = roles_of(h, tmp_path, script=script, kept=kept)
    assert found == {"script": "podman", "kept": "other"}


def test_a_program_that_executes_itself_is_what_it_was(tmp_path: Path) -> None:
    """GIVEN /proc/self/exe WHEN argv[0] lies about it THEN the role does not follow it."""
    h = lives.host()
    liar = h.stream.fork(h.shell)
    h.stream.exec(liar, "/proc/self/exe", ["runc", "init"])
    untar = h.stream.fork(h.dockerd)
    h.stream.exec(untar, "/proc/self/exe", ["docker-untar", "/"])
    found = roles_of(h, tmp_path, liar=liar, untar=untar)
    assert found == {"liar": "other", "untar": "other"}


def test_a_daemons_child_before_its_exec_is_no_second_daemon(tmp_path: Path) -> None:
    h = lives.host()
    failed = h.stream.fork(h.dockerd)
    h.stream.die(failed, 127)
    assert roles_of(h, tmp_path, failed=failed) == {"failed": "other"}


def test_processes_of_the_container(tmp_path: Path) -> None:
    h = lives.host()
    p = lives.begin(h)
    worker = h.stream.fork(p["init"])
    entered = lives.run_exec(h, p["shim"], CID, "/bin/sh -c id")
    grandchild = h.stream.fork(entered)
    h.stream.exec(grandchild, "/usr/bin/id", "id")
    bystander = h.stream.fork(h.shell)
    found = roles_of(
        h, tmp_path, worker=worker, entered=entered, grandchild=grandchild, bystander=bystander
    )
    assert found["worker"] == found["entered"] == found["grandchild"] == "container-process"
    assert found["bystander"] == "other"


def test_process_1_without_a_pid_namespace(tmp_path: Path) -> None:
    """GIVEN docker run --pid=host THEN process 1 is known by who made it; an exec is not one."""
    h = lives.host()
    p = lives.begin(h, pidns=0)
    entered = lives.run_exec(h, p["shim"], CID, "/bin/sh -c id", pidns=0)
    found = roles_of(h, tmp_path, entered=entered)
    assert found["init"] == "container-init"
    assert found["entered"] == "container-process"


def test_an_older_container_without_a_pid_namespace(tmp_path: Path) -> None:
    """GIVEN only the start snapshot THEN its shim's eldest child in its cgroup is process 1."""
    h = lives.host(start=False)
    s = h.stream
    line = f"/usr/bin/containerd-shim-runc-v2 -namespace moby -id {CID} -address /run/c.sock"
    shim = s.process("containerd-shim", h.init, exe=line.split()[0], args=line.split())
    inside: dict[str, Any] = {"cgroup": f"/system.slice/docker-{CID}.scope"}
    first = s.process("app", shim, exe="/app", args=["/app"], **inside)
    entered = s.process("sh", shim, exe="/bin/sh", args=["sh"], **inside)
    s.snapshot("start")
    found = roles_of(h, tmp_path, shim=shim, first=first, entered=entered)
    assert found["shim"] == "shim-v2"
    assert found["first"] == "container-init"
    assert found["entered"] == "container-process"


def test_a_pid_namespace_is_not_a_container(tmp_path: Path) -> None:
    """unshare --pid on the host makes an init; inside a container too, and not its process 1."""
    h = lives.host()
    p = lives.begin(h)
    outer = h.stream.fork(h.shell, ns_tgid=1, pidns=4026539999)
    inner = h.stream.fork(p["init"], ns_tgid=1, pidns=4026538888)
    found = roles_of(h, tmp_path, outer=outer, inner=inner)
    assert found["outer"] == found["inner"] == "init"
    assert found["init"] == "container-init"


def test_podman_and_conmon(tmp_path: Path) -> None:
    h = lives.host()
    s = h.stream
    podman = s.fork(h.shell)
    s.exec(podman, "/usr/bin/podman", "podman run --name pod busybox true")
    first = s.fork(podman)
    line = (
        f"/usr/bin/conmon --api-version 1 -c {CID} -u {CID} -r /usr/bin/crun -b /var/lib/x -n pod"
    )
    s.exec(first, "/usr/bin/conmon", f"{line} --exit-command /usr/bin/podman")
    conmon = s.fork(first)
    s.die(first)
    s.subreaper(conmon)
    crun = s.fork(conmon)
    s.exec(crun, "/usr/bin/crun", f"/usr/bin/crun --systemd-cgroup create --bundle /x {CID}")
    init = s.fork(crun, ns_tgid=1, pidns=4026532777)
    s.die(crun)
    s.exec(init, "/bin/true", "true", cgroup=f"/machine.slice/libpod-{CID}.scope/container")
    found = roles_of(h, tmp_path, podman=podman, conmon=conmon, crun=crun, init=init)
    assert found == {
        "podman": "podman",
        "conmon": "conmon",
        "crun": "crun",
        "init": "container-init",
    }
    capture = opened(s, tmp_path)
    row = capture.containers.iloc[0]
    assert (row["name"], row["runtime"]) == ("pod", "podman")
    assert row["shim"] == conmon.id
    assert row["init"] == init.id
    assert row["client"] == podman.id


def test_docker_in_docker(tmp_path: Path) -> None:
    """GIVEN a daemon inside a container THEN what it runs has its own roles and container."""
    h = lives.host()
    p = lives.begin(h, command="/usr/bin/docker-init -- dockerd")
    s = h.stream
    dockerd = s.fork(p["init"])
    s.exec(dockerd, "/usr/bin/dockerd", "dockerd")
    containerd = s.fork(dockerd)
    s.exec(containerd, "/usr/bin/containerd", "containerd --config /x/containerd/containerd.toml")
    inner = s.fork(containerd, ns_tgid=1, pidns=4026537777)
    s.exec(inner, "/bin/sleep", "sleep 9", cgroup=f"/docker/{CID}/docker/{lives.OTHER_CID}")
    capture = opened(s, tmp_path)
    roles, containers = capture.processes["role"], capture.processes["container"]
    assert roles[dockerd.id] == "dockerd"
    assert roles[containerd.id] == "containerd-managed"
    assert roles[inner.id] == "container-init"
    assert containers[containerd.id] == CID
    assert containers[inner.id] == lives.OTHER_CID


@pytest.mark.parametrize(
    ("kind", "line", "expected"),
    [
        (
            "shim-v2",
            "containerd-shim-runc-v2 -namespace moby -id abc -address /a -publish-binary c start",
            Program("shim-start", "start", "abc", "moby"),
        ),
        (
            "shim-v2",
            "containerd-shim-runc-v2 -namespace=k8s.io -id=abc -address=/a",
            Program("shim-v2", None, "abc", "k8s.io"),
        ),
        (
            "shim-v2",
            "containerd-shim-runc-v2 -namespace moby -address /a -id abc -bundle /b delete",
            Program("other", "delete", "abc", "moby"),
        ),
        (
            "shim-v1",
            "docker-containerd-shim -namespace moby -workdir /x/moby/abc -address /a -debug",
            Program("shim-v1", None, "abc", "moby"),
        ),
        (
            "shim-v1",
            "docker-containerd-shim abc /var/run/docker/libcontainerd/abc docker-runc",
            Program("shim-v1", None, "abc", None),
        ),
        (
            "runc",
            "runc --root /run/containerd/runc/k8s.io --log /l --log-format json create "
            "--bundle /b --pid-file /p abc",
            Program("runc", "create", "abc", "k8s.io"),
        ),
        (
            "runc",
            "runc --root=/var/run/docker/runtime-runc/moby exec -d --process /p abc",
            Program("runc", "exec", "abc", "moby"),
        ),
        ("runc", "runc kill --all abc 9", Program("runc", "kill", "abc", argument="9")),
        ("runc", "runc init", Program("runc-init", "init")),
        ("runc", "runc", Program("runc")),
        (
            "conmon",
            "conmon -c abc -n web --exit-command /usr/bin/podman",
            Program("conmon", "create", "abc", name="web", engine="podman"),
        ),
        (
            "docker-client",
            "docker -H unix:///x run --rm --name=web nginx --name other",
            Program("docker-client", "run", name="web"),
        ),
        (
            "docker-client",
            "docker container stop -t 5 web db",
            Program("docker-client", "stop", targets=("web", "db")),
        ),
        (
            "docker-client",
            "docker exec -it -u root web ls other",
            Program("docker-client", "exec", targets=("web",)),
        ),
        ("docker-client", "docker daemon", Program("dockerd")),
        ("docker-client", "docker ps -a", Program("docker-client", "ps")),
        ("docker-client", "docker", Program("docker-client")),
        (
            "podman",
            "podman --root /r --log-level=warn run -d --name web busybox",
            Program("podman", "run", name="web"),
        ),
        ("podman", "podman stop -t 0 web", Program("podman", "stop", targets=("web",))),
        (
            "podman",
            "podman --tmpdir /t container cleanup web",
            Program("podman", "cleanup", targets=("web",)),
        ),
        ("podman", "podman", Program("podman")),
    ],
)
def test_command_lines(kind: str, line: str, expected: Program) -> None:
    assert parse(kind, line.split()) == expected


def test_families() -> None:
    assert runtime_args.family("/usr/bin/containerd-shim-kata-v2") == "shim-v2"
    assert runtime_args.family("/usr/bin/runc (deleted)") == "runc"
    assert runtime_args.family("/usr/bin/docker-containerd") == "containerd"
    assert runtime_args.family("/usr/bin/dockerd-rootless.sh") is None
    assert runtime_args.is_self("/proc/self/fd/6")
    assert not runtime_args.is_self("/proc/self/cwd/x")
