"""`rtrace doctor`: each check on hosts of other kinds than this one."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import click.testing
import pytest

from tracer import checks, core_engine
from tracer.abi import Controller
from tracer.capabilities import Capability
from tracer.cgroups import Hierarchy
from tracer.checks import Check
from tracer.cli.doctor import doctor
from tracer.errors import HostError

Patch = pytest.MonkeyPatch


@pytest.mark.parametrize(
    ("system", "machine", "ok"),
    [("Linux", "x86_64", True), ("Linux", "aarch64", False), ("Darwin", "x86_64", False)],
)
def test_machine(monkeypatch: Patch, system: str, machine: str, ok: bool) -> None:
    monkeypatch.setattr(platform, "system", lambda: system)
    monkeypatch.setattr(platform, "machine", lambda: machine)

    check = checks.check_machine()

    assert (check.ok, check.fact, bool(check.step)) == (ok, f"{system} {machine}", not ok)


@pytest.mark.parametrize(
    ("release", "ok", "known"),
    [
        ("5.8.0", True, "not tested, should work"),
        ("5.7.19-generic", False, "too old"),
        ("4.19.0-27-amd64", False, "too old"),
        ("6.1.0-13-amd64", True, "tested"),
        ("5.10", True, "tested"),
        ("6.18-rc1", True, "tested"),
        ("6.180.1", True, "not tested, should work"),
        ("10.0.0", True, "not tested, should work"),
        ("strange", None, "cannot tell its version"),
        ("5", None, "cannot tell its version"),
    ],
)
def test_kernel(monkeypatch: Patch, release: str, ok: bool | None, known: str) -> None:
    monkeypatch.setattr(platform, "release", lambda: release)

    check = checks.check_kernel()

    assert check.ok is ok
    assert check.fact == f"{release} ({known})"
    assert bool(check.step) == (ok is False)


def test_btf(monkeypatch: Patch, tmp_path: Path) -> None:
    monkeypatch.setattr(checks, "BTF_PATH", str(tmp_path / "vmlinux"))
    missing = checks.check_btf()
    (tmp_path / "vmlinux").touch()

    assert (missing.ok, checks.check_btf().ok) == (None, True)
    assert "vmlinux is missing" in missing.fact
    assert "CONFIG_DEBUG_INFO_BTF" in missing.step


def test_libbpf_and_object(monkeypatch: Patch) -> None:
    def refuse() -> None:
        raise HostError("cannot load it", "it is not there", "install it")

    for name, check in (("library", checks.check_libbpf), ("object_path", checks.check_object)):
        assert check().ok is True
        monkeypatch.setattr(checks, name, refuse)
        assert (check().ok, check().fact, check().step) == (None, "it is not there", "install it")


def test_missing_object(monkeypatch: Patch, tmp_path: Path) -> None:
    monkeypatch.setattr(core_engine, "__file__", str(tmp_path / "core_engine.py"))

    check = checks.check_object()

    assert check.ok is None
    assert "rtrace.bpf.o is missing" in check.fact
    assert "make" in check.step


def test_programs_that_the_kernel_refuses(monkeypatch: Patch) -> None:
    def refuse(_name: str, _settings: object) -> None:
        raise HostError("cannot load the BPF programs", "Operation not permitted", "run as root")

    monkeypatch.setattr(checks, "open_engine", refuse)

    check = checks.check_programs()

    assert (check.ok, check.fact, check.step) == (False, "Operation not permitted", "run as root")


class FakeEngine:
    name = "core"
    confirmation = "kprobe"
    sockets_refused: str | None = None
    closed = 0

    def open_snapshot(self) -> int:
        return os.open("/dev/null", os.O_RDONLY)

    def open_sockets(self) -> int:
        return os.open("/dev/null", os.O_RDONLY)

    def close(self) -> None:
        self.closed += 1


def test_an_iterator_that_the_kernel_refuses(monkeypatch: Patch) -> None:
    class Engine(FakeEngine):
        def open_snapshot(self) -> int:
            raise HostError("cannot attach the iterator", "no such hook", "run another kernel")

    engine = Engine()
    monkeypatch.setattr(checks, "open_engine", lambda _name, _settings: engine)

    assert checks.check_programs().ok is False
    assert engine.closed == 1


@pytest.mark.parametrize("used", ["core", "bcc"])
def test_programs(monkeypatch: Patch, used: str) -> None:
    engine = FakeEngine()
    engine.name = used
    monkeypatch.setattr(checks, "open_engine", lambda _name, _settings: engine)
    monkeypatch.setattr(checks, "choose_engine", lambda: ("core", "this kernel has BTF"))

    check = checks.check_programs()

    assert check.ok is True
    assert check.fact.startswith("load and attach; reparents are confirmed by kprobe")
    assert ("so bcc is used" in check.fact) == (used == "bcc")
    assert engine.closed == 1


def test_a_kernel_whose_sockets_cannot_be_read(monkeypatch: Patch) -> None:
    engine = FakeEngine()
    engine.sockets_refused = "no such hook"
    monkeypatch.setattr(checks, "open_engine", lambda _name, _settings: engine)

    check = checks.check_programs()

    assert check.ok is True
    assert "who talks to whom is not known: no such hook" in check.fact


def test_engine(monkeypatch: Patch) -> None:
    monkeypatch.setattr(checks, "choose_engine", lambda: ("bcc", "this kernel has no BTF"))

    assert checks.check_engine() == Check("engine", None, "bcc: this kernel has no BTF")


def test_bcc(monkeypatch: Patch, tmp_path: Path) -> None:
    def refuse(release: str) -> None:
        raise HostError("cannot compile", f"no headers of {release}", "install them")

    monkeypatch.setattr(checks, "explain_missing_bcc", lambda: None)
    monkeypatch.setattr(checks, "BTF_PATH", str(tmp_path / "vmlinux"))
    monkeypatch.setattr(platform, "release", lambda: "6.1.0")
    monkeypatch.setattr(checks, "require_headers", lambda _release: None)
    assert checks.check_bcc().fact == "ready, with the headers in /lib/modules/6.1.0/build"

    monkeypatch.setattr(checks, "require_headers", refuse)
    assert checks.check_bcc() == Check("bcc engine", None, "no headers of 6.1.0", "install them")

    (tmp_path / "vmlinux").touch()
    assert checks.check_bcc().fact == "ready, with the kernel's types from BTF"

    missing = HostError("cannot use the bcc engine", "it is not visible", "install it")
    monkeypatch.setattr(checks, "explain_missing_bcc", lambda: missing)
    assert checks.check_bcc() == Check("bcc engine", None, "it is not visible", "install it")


@pytest.mark.parametrize("allowed", [True, False])
def test_confirmations(monkeypatch: Patch, allowed: bool) -> None:
    monkeypatch.setattr(checks, "fentry_allowed", lambda: allowed)
    monkeypatch.setattr(checks, "kprobe_allowed", lambda: allowed)
    monkeypatch.setattr(checks, "missing_to_record", list)

    for check in (checks.check_fentry(), checks.check_kprobe()):
        assert check.ok is None
        assert ("allowed" in check.fact) == allowed


def test_fentry_without_the_rights_to_ask(monkeypatch: Patch) -> None:
    monkeypatch.setattr(checks, "missing_to_record", lambda: [Capability.BPF])

    assert checks.check_fentry().fact == "not known without CAP_BPF"


def test_cgroups(monkeypatch: Patch) -> None:
    v1 = Hierarchy("/sys/fs/cgroup/memory", 1, (Controller.MEMORY,), "/")
    v2 = Hierarchy("/sys/fs/cgroup", 2, (), "/")
    facts = []
    for hierarchies in ([], [v2], [v1], [v1, v2]):
        monkeypatch.setattr(checks, "read_hierarchies", lambda found=hierarchies: found)
        facts.append(checks.check_cgroups().fact)

    assert [fact.partition(",")[0] for fact in facts] == ["none", "v2", "v1", "hybrid"]
    assert ["memory" in fact for fact in facts] == [False, False, True, True]


def test_tracefs(monkeypatch: Patch) -> None:
    monkeypatch.setattr(os.path, "isdir", lambda path: path == "/sys/kernel/debug/tracing/events")
    assert checks.check_tracefs().fact == "/sys/kernel/debug/tracing (not needed)"

    monkeypatch.setattr(os.path, "isdir", lambda _path: False)
    assert checks.check_tracefs().fact == "not mounted, and not needed"


def test_runtimes(monkeypatch: Patch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert checks.check_runtimes().fact == "none"

    for name in ("runc", "podman", "other"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    assert checks.check_runtimes().fact == "runc, podman"


def test_what_is_shown(monkeypatch: Patch) -> None:
    found = [
        Check("a", True, "fine"),
        Check("b", None, "so so"),
        Check("c", False, "bad", "mend it"),
    ]
    monkeypatch.setattr(checks, "run_checks", lambda: found)

    bad = click.testing.CliRunner().invoke(doctor, standalone_mode=False)
    monkeypatch.setattr(checks, "run_checks", lambda: found[:2])
    good = click.testing.CliRunner().invoke(doctor, standalone_mode=False)

    assert bad.output == "ok  a: fine\n-   b: so so\nNO  c: bad\n    mend it\n"
    assert (bad.return_value, good.return_value) == (1, 0)


def test_every_check_is_run() -> None:
    named = {name for name in vars(checks) if name.startswith("check_")}

    assert len(checks.run_checks()) == len(named)
