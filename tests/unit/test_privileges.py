"""Why a kernel refuses, from what it says and from what this process may do."""

from __future__ import annotations

import errno
import platform
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from tracer import privileges
from tracer.capabilities import Capability, capabilities
from tracer.privileges import explain_refusal

Patch = pytest.MonkeyPatch


@pytest.fixture(autouse=True)
def _a_host(monkeypatch: Patch) -> None:
    """A host on which nothing is forbidden."""
    monkeypatch.setattr(privileges, "capabilities", lambda: frozenset(Capability))
    monkeypatch.setattr(privileges, "in_user_namespace", lambda: False)
    monkeypatch.setattr(privileges, "lockdown_mode", lambda: "none")
    monkeypatch.setattr(privileges, "_seccomp_mode", lambda: "0")
    monkeypatch.setattr(platform, "release", lambda: "6.1.0")


def refusal(error: int) -> tuple[str, str]:
    found = explain_refusal(error)
    assert found is not None
    return found


def test_capabilities_are_those_that_proc_shows() -> None:
    line = next(
        line for line in Path("/proc/self/status").read_text().splitlines() if "CapEff" in line
    )
    effective = int(line.split()[1], 16)

    assert capabilities() == {c for c in Capability if effective >> c & 1}


def test_lockdown_explains_whatever_the_kernel_says(monkeypatch: Patch) -> None:
    # The verifier calls it an unknown helper: EINVAL.
    monkeypatch.setattr(privileges, "lockdown_mode", lambda: "confidentiality")

    for error in (errno.EINVAL, errno.EPERM, errno.EACCES):
        cause, step = refusal(error)
        assert "confidentiality" in cause
        assert step.startswith("boot without")


def test_no_permission(monkeypatch: Patch) -> None:
    assert explain_refusal(errno.EPERM) is None  # a security module: libbpf's words are shown
    monkeypatch.setattr(privileges, "_seccomp_mode", lambda: "2")
    assert "seccomp" in refusal(errno.EPERM)[0]
    held = frozenset(Capability) - {Capability.SYS_RESOURCE}
    monkeypatch.setattr(privileges, "capabilities", lambda: held)
    assert "seccomp" in refusal(errno.EPERM)[0]
    monkeypatch.setattr(platform, "release", lambda: "5.10.0-28-amd64")
    assert "ulimit -l" in refusal(errno.EPERM)[1]
    monkeypatch.setattr(privileges, "capabilities", lambda: frozenset({Capability.BPF}))
    assert refusal(errno.EPERM)[0].startswith("CAP_PERFMON missing")
    monkeypatch.setattr(privileges, "in_user_namespace", lambda: True)
    assert "user namespace" in refusal(errno.EPERM)[0]


def test_other_refusals(monkeypatch: Patch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _which: (20, 30))

    assert refusal(errno.EMFILE)[0] == "only 30 files may be open"
    assert "--buffer" in refusal(errno.ENOMEM)[1]
    assert explain_refusal(errno.EINVAL) is None


@pytest.mark.parametrize(
    ("release", "counted"),
    [("5.10.0-28-amd64", True), ("5.11.0", False), ("6.18.44", False), ("strange", False)],
)
def test_kernels_that_count_locked_memory(monkeypatch: Patch, release: str, counted: bool) -> None:
    monkeypatch.setattr(platform, "release", lambda: release)

    assert privileges.is_memory_lock_counted() is counted


@pytest.mark.parametrize(
    ("soft", "hard", "after"), [(20, 4000, 128), (20, 64, 64), (500, 4000, 500), (20, 20, 20)]
)
def test_the_limit_of_open_files_is_raised_as_far_as_it_may_be(
    soft: int, hard: int, after: int
) -> None:
    code = (
        "import resource; from tracer.privileges import raise_limits; "
        f"resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard})); raise_limits(); "
        "print(*resource.getrlimit(resource.RLIMIT_NOFILE))"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.split() == [str(after), str(hard)]


def test_missing_btf(tmp_path: Path) -> None:
    path = tmp_path / "kernel/btf/vmlinux"
    assert privileges.explain_missing_btf(str(path))[0] == "/sys is not mounted"
    (tmp_path / "kernel").mkdir()
    assert f"{path} is missing" in privileges.explain_missing_btf(str(path))[0]
