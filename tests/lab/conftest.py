"""The roots that the tests of a session need are built before the first of them, side by side."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.lab.roots import BY_HAND, SUITES


@pytest.fixture(scope="session", autouse=True)
def roots(request: pytest.FixtureRequest, checkout: Path) -> None:
    """Builds what is missing."""
    suites = ["bullseye", "trixie"]
    if request.config.getoption("whole_lab"):
        suites = [suite for suite in SUITES if suite not in BY_HAND]
    command = [sys.executable, "-m", "tests.lab", "build"]
    builds = [subprocess.Popen([*command, suite], cwd=checkout) for suite in suites]
    assert [build.wait() for build in builds] == [0] * len(builds)
