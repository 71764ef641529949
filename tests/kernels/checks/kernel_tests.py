"""The project's own tests of the recorder, those that need neither gcc nor docker nor the desk."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

from tests.kernels.checks.result import Result
from tests.kernels.initramfs import CHECKOUT
from tests.kernels.programs import INSIDE

_TESTS = ("lifecycle", "reparents", "signals", "cgroups_seen", "filters")
_LIMIT_S = 3000


def run(folder: Path) -> None:
    """Their outcome, as JUnit has it."""
    tests = [f"tests/kernel/test_{name}.py" for name in _TESTS]
    pytest = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider"]
    with open(folder / "pytest.txt", "w") as said:
        subprocess.run(
            [*pytest, "--junit-xml", folder / "pytest.xml", *tests],
            cwd=CHECKOUT,
            env={**os.environ, "RTRACE_TESTERS": str(INSIDE), "RTRACE_REQUIRE_KERNEL": "1"},
            stdout=said,
            stderr=subprocess.STDOUT,
            timeout=_LIMIT_S,
        )


def judge(folder: Path) -> Iterator[Result]:
    """None may fail, and none be skipped."""
    suite = ElementTree.parse(folder / "pytest.xml").getroot()[0]
    counts = {key: int(suite.attrib[key]) for key in ("tests", "failures", "errors", "skipped")}
    bad = counts["failures"] + counts["errors"] + counts["skipped"]
    failed = [case.attrib["name"] for case in suite if len(case) and case[0].tag != "system-out"]
    text = f"{counts['tests'] - bad} passed" + (f", {bad} not: {', '.join(failed)}" if bad else "")
    yield Result("the recorder's own tests", not bad and counts["tests"] > 40, text)
