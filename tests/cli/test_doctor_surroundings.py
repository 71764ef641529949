"""`rtrace doctor` on rights, namespaces and limits that this host has not."""

from __future__ import annotations

import os
import resource
from pathlib import Path

import pytest

from tracer import docker_api, privileges, surroundings
from tracer.capabilities import Capability
from tracer.errors import HostError
from tracer.proc_view import INITIAL_PID_NAMESPACE

Patch = pytest.MonkeyPatch
ALL = frozenset(Capability)


@pytest.fixture(autouse=True)
def held(monkeypatch: Patch) -> set[Capability]:
    """The capabilities that rtrace has, in the initial user namespace."""
    given = set(ALL)
    for module in (privileges, surroundings):
        monkeypatch.setattr(module, "capabilities", lambda: frozenset(given))
        monkeypatch.setattr(module, "in_user_namespace", lambda: False)
    monkeypatch.setattr("tracer.shortfalls.capabilities", lambda: frozenset(given))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    return given


@pytest.mark.parametrize(
    ("given", "ok", "fact"),
    [
        (ALL, True, "CAP_SYS_ADMIN (uid 1000)"),
        ({Capability.SYS_ADMIN}, True, "CAP_SYS_ADMIN (uid 1000)"),
        ({Capability.BPF, Capability.PERFMON}, True, "CAP_BPF and CAP_PERFMON (uid 1000)"),
        ({Capability.BPF}, False, "no CAP_PERFMON (uid 1000)"),
        ({Capability.PERFMON}, False, "no CAP_BPF (uid 1000)"),
        (set(), False, "no CAP_BPF and no CAP_PERFMON (uid 1000)"),
    ],
)
def test_privileges(held: set[Capability], given: set[Capability], ok: bool, fact: str) -> None:
    held &= given

    check = surroundings.check_privileges()

    assert (check.ok, check.fact) == (ok, fact)
    assert ("CAP_BPF and CAP_PERFMON" in check.step) == (not ok)


def test_what_is_kept_while_recording(held: set[Capability]) -> None:
    held &= {Capability.BPF, Capability.PERFMON, Capability.SYS_PTRACE}
    fact = "keeps CAP_SYS_PTRACE (read /proc/PID/exe, cwd and root of others)"
    assert surroundings.check_kept().fact == fact
    held.discard(Capability.SYS_PTRACE)
    assert surroundings.check_kept().fact == "keeps no capability"


def test_a_user_namespace(monkeypatch: Patch) -> None:
    monkeypatch.setattr(surroundings, "in_user_namespace", lambda: True)

    assert surroundings.check_privileges().ok is False


@pytest.mark.parametrize(
    ("text", "ok"),
    [
        ("[none] integrity confidentiality\n", True),
        ("none [integrity] confidentiality\n", True),
        ("none integrity [confidentiality]\n", False),
        ("\n", None),
        (None, None),
    ],
)
def test_lockdown(monkeypatch: Patch, tmp_path: Path, text: str | None, ok: bool | None) -> None:
    path = tmp_path / "lockdown"
    if text is not None:
        path.write_text(text)
    monkeypatch.setattr(privileges, "LOCKDOWN_PATH", str(path))

    check = surroundings.check_lockdown()

    assert check.ok is ok
    assert ("may not read its memory" in check.fact) == (ok is False)


def test_namespaces(monkeypatch: Patch) -> None:
    def refuse() -> int:
        raise HostError("cannot tell the kernel's time", "it is hidden", "run it outside")

    def offset() -> int:
        return -90_500_000_000

    found = []
    for inode, boot_offset_ns in (
        (INITIAL_PID_NAMESPACE, lambda: 0),
        (0, lambda: 0),  # no /proc to ask
        (INITIAL_PID_NAMESPACE, offset),
        (INITIAL_PID_NAMESPACE, refuse),
        (4026532000, lambda: 0),
    ):
        monkeypatch.setattr(surroundings, "own_pid_namespace", lambda inode=inode: inode)
        monkeypatch.setattr(surroundings, "boot_offset_ns", boot_offset_ns)
        found.append(surroundings.check_namespaces())

    assert [check.ok for check in found] == [True, True, True, False, None]
    assert "-90.5 s" in found[2].fact
    assert found[3].step == "run it outside"
    assert "a pid namespace of its own" in found[4].fact


def test_proc(monkeypatch: Patch, held: set[Capability]) -> None:
    assert surroundings.check_proc().ok is True
    held.discard(Capability.SYS_PTRACE)
    assert "no CAP_SYS_PTRACE" in surroundings.check_proc().fact
    monkeypatch.setattr(surroundings, "why_hidden", lambda: "it is not mounted here")
    check = surroundings.check_proc()
    assert (check.ok, check.fact) == (None, "does not show all processes: it is not mounted here")


@pytest.mark.parametrize(
    ("given", "uid", "ok"),
    [
        ({Capability.DAC_READ_SEARCH}, 1000, True),
        ({Capability.DAC_OVERRIDE}, 1000, True),
        (set(), 0, True),
        ({Capability.SYS_ADMIN}, 1000, None),
    ],
)
def test_container_files(
    monkeypatch: Patch, held: set[Capability], given: set[Capability], uid: int, ok: bool | None
) -> None:
    held &= given
    monkeypatch.setattr(os, "geteuid", lambda: uid)

    check = surroundings.check_container_files()

    assert check.ok is ok
    assert ("CAP_DAC_READ_SEARCH" in check.fact) == (not ok)


def test_docker_daemon(monkeypatch: Patch, tmp_path: Path) -> None:
    answers = [
        {"Version": "26.1.5"},
        ["odd"],
        PermissionError("denied"),
        OSError("/run/docker.sock did not end its answer to GET /version in 1 s"),
    ]

    def get(_path: str, _resource: str) -> object:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(docker_api, "get", get)
    monkeypatch.setattr(surroundings, "_DOCKER_SOCKET", str(tmp_path / "docker.sock"))
    missing = surroundings.check_docker_socket()
    (tmp_path / "docker.sock").touch()
    found = [surroundings.check_docker_socket() for _ in range(4)]

    assert (missing.ok, [check.ok for check in found]) == (None, [True, True, None, None])
    assert found[0].fact == "26.1.5"
    assert "may not be asked" in found[2].fact
    assert "group docker" in found[2].step
    assert "did not end its answer" in found[3].fact


def test_priority(held: set[Capability]) -> None:
    assert surroundings.check_priority().ok is True
    held.discard(Capability.SYS_NICE)
    assert "no CAP_SYS_NICE" in surroundings.check_priority().fact


@pytest.mark.parametrize(
    ("files", "locked", "old", "ok"),
    [
        (1024, 8 << 20, False, True),
        (resource.RLIM_INFINITY, 8 << 20, False, True),
        (64, 8 << 20, False, False),
        (1024, 8 << 20, True, None),
        (1024, resource.RLIM_INFINITY, True, True),
    ],
)
def test_limits(
    monkeypatch: Patch,
    held: set[Capability],
    files: int,
    locked: int,
    old: bool,
    ok: bool | None,
) -> None:
    held.discard(Capability.SYS_RESOURCE)
    limits = {resource.RLIMIT_NOFILE: files, resource.RLIMIT_MEMLOCK: locked}
    monkeypatch.setattr(resource, "getrlimit", lambda which: (limits[which], limits[which]))
    monkeypatch.setattr(surroundings, "is_memory_lock_counted", lambda: old)

    check = surroundings.check_limits()

    assert check.ok is ok
    assert ("ulimit" in check.step) == (ok is not True)


@pytest.mark.parametrize(("text", "ok"), [("1\n", True), ("2\n", True), ("0\n", None)])
def test_jit(monkeypatch: Patch, tmp_path: Path, text: str, ok: bool | None) -> None:
    path = tmp_path / "bpf_jit_enable"
    monkeypatch.setattr(surroundings, "_JIT_PATH", str(path))
    assert surroundings.check_jit().fact == "not known"
    path.write_text(text)

    check = surroundings.check_jit()

    assert check.ok is ok
    assert ("sysctl net.core.bpf_jit_enable=1" in check.step) == (ok is None)
