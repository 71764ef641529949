"""Runtimes of a host: what a daemon says, what programs say, and what happens if neither does."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tracer import abi, docker_api, runtime_facts
from tracer.proc_view import TICK_NS, ProcView, start_ticks
from tracer.runtime_facts import find_daemons, read_runtimes

# A process that is there: one that is not in /proc is not asked.
ME = os.getpid()
START_NS = start_ticks(Path("/proc/self/stat").read_bytes()) * TICK_NS
DOCKERD = abi.Task(tgid=ME, start_ns=START_NS, parent_tgid=1, comm=b"dockerd")
SERVICE = abi.Task(tgid=40, start_ns=400, parent_tgid=1, comm=b"containerd")
CHILD = abi.Task(tgid=60, start_ns=600, parent_tgid=ME, comm=b"docker-containe")
VERSION = {
    "Version": "19.03.15",
    "Components": [
        {"Name": "Engine", "Version": "19.03.15"},
        {"Name": "containerd", "Version": "1.3.9"},
        {"Name": "runc", "Version": None},
        "nonsense",
    ],
}
INFO = {
    "LiveRestoreEnabled": True,
    "DefaultRuntime": "runc",
    "CgroupDriver": "cgroupfs",
    "Driver": "overlay2",
}
VIEW = ProcView(list)
CONTAINERS = [
    {"Id": "a" * 64, "Names": ["/web"], "Image": "nginx"},
    {"Id": "b" * 64, "Names": [], "Image": 5},
    {"Id": None},
    "nonsense",
]


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Any]:
    """What the daemon answers, by resource; no programs on PATH."""
    given: dict[str, Any] = {"/version": VERSION, "/info": INFO, "/containers/json": CONTAINERS}

    def get(_path: str, resource: str, listeners: Any = None) -> Any:
        if isinstance(given[resource], Exception):
            raise given[resource]
        return given[resource]

    monkeypatch.setattr(docker_api, "get", get)
    door = runtime_facts._Door("/x/docker.sock", "/x/docker.sock")
    monkeypatch.setattr(runtime_facts, "_door_of", lambda *_: contextlib.nullcontext(door))
    monkeypatch.setenv("PATH", str(tmp_path))
    return given


def program(tmp_path: Path, name: str, script: str) -> None:
    (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
    (tmp_path / name).chmod(0o755)


def test_a_daemon(answers: dict[str, Any]) -> None:
    docker, containerd, runc, web, unnamed = read_runtimes([SERVICE, DOCKERD], VIEW)

    assert docker == {
        "kind": "runtime",
        "name": "docker",
        "version": "19.03.15",
        "source": "GET /version",
        "tgid": ME,
        "start_ns": START_NS,
        "live_restore": True,
        "containerd": "external",
        "default_runtime": "runc",
        "cgroup_driver": "cgroupfs",
        "storage_driver": "overlay2",
    }
    assert (containerd["name"], containerd["version"]) == ("containerd", "1.3.9")
    assert (runc["name"], runc["version"]) == ("runc", None)
    assert (web["id"], web["name"], web["image"]) == ("a" * 64, "web", "nginx")
    assert (web["runtime"], web["source"]) == ("docker", "GET /containers/json")
    assert (unnamed["id"], unnamed["name"], unnamed["image"]) == ("b" * 64, None, None)


@pytest.mark.parametrize(
    ("others", "containerd"),
    [([CHILD], "managed"), ([SERVICE], "external"), ([SERVICE, CHILD], "managed"), ([], "unknown")],
)
def test_whose_containerd_it_is(
    answers: dict[str, Any], others: list[abi.Task], containerd: str
) -> None:
    facts = list(read_runtimes([DOCKERD, *others], VIEW))

    assert facts[0]["containerd"] == containerd


@pytest.mark.parametrize("resource", ["/version", "/info"])
def test_a_daemon_that_does_not_answer(answers: dict[str, Any], resource: str) -> None:
    answers[resource] = TimeoutError("timed out")

    assert list(read_runtimes([DOCKERD], VIEW)) == [
        {"kind": "problem", "what": f"dockerd ({ME}) did not answer: timed out"}
    ]


def test_a_daemon_that_does_not_list(answers: dict[str, Any]) -> None:
    answers["/containers/json"] = OSError("it answered 500")

    *_, last = read_runtimes([DOCKERD], VIEW)

    assert last["kind"] == "problem"
    assert "did not list containers: it answered 500" in last["what"]


@pytest.mark.parametrize("nonsense", [None, [], "x", 5, {}, {"Components": {}, "Version": []}])
def test_a_daemon_that_talks_nonsense(answers: dict[str, Any], nonsense: Any) -> None:
    for resource in answers:
        answers[resource] = nonsense

    facts = list(read_runtimes([DOCKERD], VIEW))

    assert [fact["name"] for fact in facts] == ["docker"]
    assert facts[0]["version"] is None
    assert facts[0]["live_restore"] is False


def test_no_daemon_and_no_programs(answers: dict[str, Any]) -> None:
    assert list(read_runtimes([SERVICE], VIEW)) == []


def test_programs(answers: dict[str, Any], tmp_path: Path) -> None:
    program(tmp_path, "dockerd", "echo Docker version 18.06.3-ce, build d7080c1")
    program(tmp_path, "containerd", "echo containerd github.com/x/containerd v1.6.20~ds1 1.6")
    program(tmp_path, "runc", "echo runc version 1.1.5+ds1; echo spec: 1.0.2-dev")
    assert list(read_runtimes([SERVICE], VIEW, ask_programs=False)) == []
    program(tmp_path, "podman", "exit 1")
    program(tmp_path, "crun", "exec sleep 60")

    found = {fact["name"]: fact["version"] for fact in read_programs()}

    assert found == {"docker": "18.06.3-ce", "containerd": "1.6.20~ds1", "runc": "1.1.5+ds1"}


def read_programs() -> list[dict[str, Any]]:
    facts = list(read_runtimes([], VIEW))
    assert all(fact["kind"] == "runtime" for fact in facts)
    return facts


def test_what_a_daemon_told_is_not_asked_from_programs(
    answers: dict[str, Any], tmp_path: Path
) -> None:
    program(tmp_path, "dockerd", "echo Docker version 1.0.0")
    program(tmp_path, "containerd", "echo containerd 1.0.0")
    program(tmp_path, "podman", "echo podman version 4.3.1")

    facts = [fact for fact in read_runtimes([DOCKERD], VIEW) if fact["kind"] == "runtime"]

    assert [(fact["name"], fact["version"]) for fact in facts] == [
        ("docker", "19.03.15"),
        ("containerd", "1.3.9"),
        ("runc", None),
        ("podman", "4.3.1"),
    ]


def test_a_program_is_never_run_because_a_process_has_its_name(
    answers: dict[str, Any], tmp_path: Path
) -> None:
    asked: list[abi.Task] = [abi.Task(tgid=70, comm=name) for name in (b"runc", b"crun", b"podman")]

    assert list(read_runtimes(asked, VIEW)) == []


def test_a_daemon_without_a_socket(
    answers: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime_facts, "_door_of", lambda *_: contextlib.nullcontext(None))

    assert list(read_runtimes([DOCKERD], VIEW)) == [
        {"kind": "problem", "what": f"dockerd ({ME}) has no socket to ask"}
    ]


@pytest.mark.parametrize("names", [[5], [None], [["x"]], "x", {"0": "x"}, [""]])
def test_a_daemon_that_lists_nonsense(answers: dict[str, Any], names: Any) -> None:
    answers["/containers/json"] = [{"Id": "a" * 5000, "Names": names, "Image": "b" * 5000}]

    *_, last = read_runtimes([DOCKERD], VIEW)

    assert (last["name"], len(last["id"]), len(last["image"])) == (None, 4096, 4096)


@contextlib.contextmanager
def named_dockerd(socket_path: Path) -> Iterator[abi.Task]:
    """Anybody's process, with a socket in its arguments."""
    script = "import sys; print(flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", script, "-H", f"unix://{socket_path}"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    start_ns = start_ticks(Path(f"/proc/{process.pid}/stat").read_bytes()) * TICK_NS
    try:
        yield abi.Task(tgid=process.pid, start_ns=start_ns, comm=b"dockerd")
    finally:
        process.communicate()


def test_a_socket_of_another_process_is_not_asked(tmp_path: Path) -> None:
    # GIVEN a process that calls itself dockerd, and names a socket of somebody else's
    path = tmp_path / "private.sock"
    with socket.socket(socket.AF_UNIX) as listener, named_dockerd(path) as daemon:
        listener.bind(str(path))
        listener.listen()
        (problem,) = read_runtimes([daemon], VIEW, ask_programs=False)

        # THEN that one gets no byte
        listener.settimeout(10)
        connection, _ = listener.accept()
        with connection:
            assert connection.recv(100) == b""
    name = f"dockerd ({daemon.tgid})"
    assert problem["what"] == f"{name} did not answer: process {ME} listens at {path}"


def test_a_link_to_a_socket_is_not_followed(tmp_path: Path) -> None:
    path = tmp_path / "private.sock"
    (tmp_path / "link").symlink_to(path)
    with socket.socket(socket.AF_UNIX) as listener, named_dockerd(tmp_path / "link") as daemon:
        listener.bind(str(path))
        listener.listen()
        listener.setblocking(False)
        list(read_runtimes([daemon], VIEW, ask_programs=False))
        with pytest.raises(BlockingIOError):
            listener.accept()


def test_a_daemon_that_is_gone_or_another_process_by_now_is_not_asked(
    answers: dict[str, Any],
) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    recycled = START_NS - 2 * TICK_NS

    for tgid, start_ns in ((gone.pid, START_NS), (ME, recycled)):
        daemon = abi.Task(tgid=tgid, start_ns=start_ns, comm=b"dockerd")
        assert list(read_runtimes([daemon], VIEW)) == [
            {"kind": "problem", "what": f"dockerd ({tgid}) is not in /proc: it was not asked"}
        ]


def test_names() -> None:
    tasks = [DOCKERD, SERVICE, CHILD]

    assert find_daemons(tasks, (b"dockerd",)) == [DOCKERD]
    assert find_daemons(tasks, (b"containerd", b"docker-containe")) == [SERVICE, CHILD]
