"""The project's own tests of the recorder, those that need neither gcc nor docker nor the desk."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

from tests.kernels.checks.result import Result
from tests.kernels.initramfs import CHECKOUT
from tests.kernels.plan import Plan
from tests.kernels.programs import INSIDE

_TESTS = ("lifecycle", "reparents", "signals", "cgroups_seen", "filters", "sockets")
_CHOSEN = "not hostile_names"  # it runs `rtrace report`, which needs pandas
_LIMIT_S = 3000
_V1 = Path("/run/cgroup")
# Debian 13's kernels have this controller for v2 alone.
_MAY_BE_MISSING = "a writable cgroup hierarchy (memory)"


def run(folder: Path) -> None:
    """Their outcome, as JUnit has it; with a hybrid of cgroup versions, which they test too."""
    tests = [f"tests/kernel/test_{name}.py" for name in _TESTS]
    left_out = {"core", "bcc"} - set(Plan.read(folder.parent).test_engines)
    chosen = " and ".join([_CHOSEN, *(f"not {engine}" for engine in left_out)])
    pytest = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-k", chosen]
    with open(folder / "pytest.txt", "w") as said, _mounted_v1("pids", "memory"):
        subprocess.run(
            [*pytest, "--junit-xml", folder / "pytest.xml", *tests],
            cwd=CHECKOUT,
            env={**os.environ, "RTRACE_TESTERS": str(INSIDE), "RTRACE_TEST_DEADLINE_S": "300"},
            stdout=said,
            stderr=subprocess.STDOUT,
            timeout=_LIMIT_S,
        )


def judge(folder: Path) -> Iterator[Result]:
    """None may fail, and none be skipped but for what this kernel lacks."""
    suite = ElementTree.parse(folder / "pytest.xml").getroot()[0]
    outcomes = [_outcome(case) for case in suite.iter("testcase")]
    missing = sum(_MAY_BE_MISSING in outcome for outcome in outcomes)
    bad = [o for o in outcomes if o and _MAY_BE_MISSING not in o]
    text = f"{len(outcomes) - missing - len(bad)} passed"
    if missing:
        text += f", {missing} need what this kernel lacks: {_MAY_BE_MISSING}"
    if bad:
        text += f", {len(bad)} did not: {'; '.join(bad)}"
    yield Result("the recorder's own tests", not bad and len(outcomes) > 50, text)


def _outcome(case: ElementTree.Element) -> str:
    """What is wrong with a test; "" if nothing is."""
    for kind in ("failure", "error", "skipped"):
        for found in case.iter(kind):
            return f"{case.attrib['name']}: {found.attrib['message'][:100]}"
    return ""


@contextlib.contextmanager
def _mounted_v1(*controllers: str) -> Iterator[None]:
    """Takes those that this kernel lets have a v1 hierarchy away from v2."""
    mounted = []
    for controller in controllers:
        directory = _V1 / controller
        directory.mkdir(parents=True, exist_ok=True)
        command = ["mount", "-t", "cgroup", "-o", controller, "cgroup", str(directory)]
        if subprocess.run(command, stderr=subprocess.DEVNULL).returncode == 0:
            mounted.append(directory)
    try:
        yield
    finally:
        for directory in mounted:
            subprocess.run(["umount", directory], check=True)
