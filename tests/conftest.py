"""Markers, and what happens to a test that this machine cannot run.

A test says by a marker what it needs. Where that is missing it is skipped, with the reason naming
what is missing; with CI=true or RTRACE_REQUIRE_KERNEL=1 it fails instead, so that no CI becomes
green by skipping.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import errno
import functools
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import pytest

from demo import privatedocker
from demo.privatedocker import PrivateDocker

_MAP_CREATE, _MAP_TYPE_RINGBUF = 0, 27
_SYS_BPF = 321  # x86-64


def is_required() -> bool:
    """Whether a test that cannot run here counts as failed."""
    asked = os.environ.get("RTRACE_REQUIRE_KERNEL", "") not in ("", "0")
    return asked or os.environ.get("CI", "").lower() in ("1", "true")


# CI judges a commit, and says the same of it twice; new examples are tried by everybody else.
hypothesis.settings.register_profile("required", derandomize=True)
if is_required():
    hypothesis.settings.load_profile("required")


@functools.cache
def missing_for_kernel() -> tuple[str, ...]:
    """What keeps BPF programs from being loaded here."""
    missing = []
    if os.geteuid() != 0:
        missing.append("root")
    elif (refusal := _refused_ring_buffer()) is not None:
        missing.append(f"a kernel that gives a BPF ring buffer ({refusal})")
    if not Path("/sys/kernel/btf/vmlinux").exists():
        missing.append("/sys/kernel/btf/vmlinux")
    if ctypes.util.find_library("bpf") is None:
        missing.append("libbpf (package python3-bpfcc)")
    return tuple(missing)


@functools.cache
def missing_for_docker() -> tuple[str, ...]:
    """What keeps a private docker from starting here."""
    return tuple(privatedocker.find_missing())


@functools.cache
def missing_for_packaging() -> tuple[str, ...]:
    """What keeps rtrace from being built and installed here."""
    needed = {"clang": "clang", "make": "make"}
    return tuple(f"{name} (package {needed[name]})" for name in needed if not shutil.which(name))


@functools.cache
def missing_for_lab() -> tuple[str, ...]:
    """What keeps labs from being built and booted here."""
    needed = {"mmdebstrap": "mmdebstrap", "unshare": "util-linux", "setpriv": "util-linux"}
    missing = [f"{name} (package {needed[name]})" for name in needed if not shutil.which(name)]
    return tuple(([] if os.geteuid() == 0 else ["root"]) + missing)


@functools.cache
def missing_for_browser() -> tuple[str, ...]:
    """What keeps a page from being opened here."""
    return () if shutil.which("chromium") else ("chromium (package chromium)",)


_MISSING: dict[str, Callable[[], tuple[str, ...]]] = {
    "kernel": missing_for_kernel,
    "docker": missing_for_docker,
    "lab": missing_for_lab,
    "packaging": missing_for_packaging,
    "browser": missing_for_browser,
}


def _refused_ring_buffer() -> str | None:
    """Make a ring buffer, the youngest thing that every recording needs; why not, if not."""
    attributes = (ctypes.c_uint32 * 32)(_MAP_TYPE_RINGBUF, 0, 0, 4096)
    libc = ctypes.CDLL(None, use_errno=True)
    fd = libc.syscall(_SYS_BPF, _MAP_CREATE, ctypes.byref(attributes), ctypes.sizeof(attributes))
    if fd < 0:
        return errno.errorcode.get(ctypes.get_errno(), "refused")
    os.close(fd)
    return None


def pytest_addoption(parser: pytest.Parser) -> None:
    """What `make lab` asks for."""
    parser.addoption(
        "--whole-lab", action="store_true", help="tests/lab: every scenario on every engine"
    )


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip, or fail, a test whose marker asks for something that is not there."""
    asked = [ask for marker, ask in _MISSING.items() if item.get_closest_marker(marker)]
    missing = [what for ask in asked for what in ask()]
    if not missing:
        return
    reason = f"missing: {', '.join(dict.fromkeys(missing))}"
    if is_required():
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def private_docker() -> Iterator[PrivateDocker]:
    """One private docker for all tests that leave its daemons alone (marker `docker`)."""
    with PrivateDocker() as docker:
        yield docker


@pytest.fixture(scope="session")
def checkout() -> Path:
    """The root of the source tree."""
    return Path(__file__).resolve().parents[1]
