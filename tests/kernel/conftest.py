"""Tester programs, recorders, cgroups and namespaces for the tests on a real kernel."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import is_required
from tests.kernel.groups import Group, make_group
from tests.kernel.recording import Recorder

# PROC_PID_INIT_INO: events name processes by their ids there, and so must the tests.
_INITIAL_PIDNS = 0xEFFFFFFC


def missing(what: str) -> None:
    """Skips the test, or fails it where nothing may be missing."""
    if is_required():
        pytest.fail(f"missing: {what}", pytrace=False)
    pytest.skip(f"missing: {what}")


@pytest.fixture(scope="session", autouse=True)
def _initial_pid_namespace() -> None:
    if os.stat("/proc/self/ns/pid").st_ino != _INITIAL_PIDNS:
        missing("the initial pid namespace")


@pytest.fixture(scope="session")
def build(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Gives the tester program made from NAME.c of this folder.

    RTRACE_TESTERS names a folder that has them already, for machines without gcc.
    """
    if testers := os.environ.get("RTRACE_TESTERS"):
        return Path(testers).joinpath
    folder = tmp_path_factory.mktemp("testers")
    folder.chmod(0o755)

    def make(name: str) -> Path:
        program = folder / name
        if not program.exists():
            if shutil.which("gcc") is None:
                missing("gcc (package gcc)")
            source = Path(__file__).with_name(f"{name}.c")
            command = ["gcc", "-O1", "-Wall", "-Werror", "-pthread", "-o", program, source]
            subprocess.run(command, check=True)
        return program

    return make


@pytest.fixture(scope="module", params=["core", "bcc"])
def engine(request: pytest.FixtureRequest) -> str:
    """Both engines, one after the other: what is recorded does not depend on it."""
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def recorder(engine: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Recorder]:
    """One recording of the whole host for all tests of a module: see ``Recorder.window``."""
    with Recorder(tmp_path_factory.mktemp("recorder"), f"--engine={engine}") as running:
        running.wait_until_recording()
        yield running
        ended = running.stop()
        assert ended.status == 0, ended.stderr
        assert running.capture.whole


@pytest.fixture
def group() -> Iterator[Callable[[str], Group]]:
    """Makes a cgroup in the hierarchy of a v1 controller, or in "v2"; removed at the end."""
    with contextlib.ExitStack() as stack:

        def make(hierarchy: str) -> Group:
            made = make_group(hierarchy)
            if made is None:
                missing(f"a writable cgroup hierarchy ({hierarchy})")
            return stack.enter_context(made)

        yield make
