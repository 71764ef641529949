"""Which engine and which hook a recording uses, and that both can be chosen."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.kernel.recording import assert_failed, read_capture, run_rtrace
from tracer.confirmation import allowed_confirmations, fentry_allowed, kprobe_allowed

pytestmark = pytest.mark.kernel


@pytest.mark.parametrize("engine", ["auto", "core"])
def test_the_engine_is_in_the_header(tmp_path: Path, engine: str) -> None:
    path = tmp_path / "x.rtrace"

    ended = run_rtrace("record", "-o", path, f"--engine={engine}", "--duration=1ms")

    assert ended.status == 0, ended.stderr
    header = read_capture(path).header
    assert (header["engine"], header["confirm"]) == ("core", allowed_confirmations()[0])


def test_the_hook_that_is_asked_for_is_used(tmp_path: Path) -> None:
    path = tmp_path / "x.rtrace"

    ended = run_rtrace("record", "-o", path, "--confirm=sched_switch", "--duration=1ms")

    assert ended.status == 0, ended.stderr
    assert read_capture(path).header["confirm"] == "sched_switch"


@pytest.mark.parametrize(
    ("hook", "allowed"), [("fentry", fentry_allowed), ("kprobe", kprobe_allowed)]
)
def test_a_hook_that_this_kernel_has_not(tmp_path: Path, hook: str, allowed: object) -> None:
    path = tmp_path / "x.rtrace"

    ended = run_rtrace("record", "-o", path, f"--confirm={hook}", "--duration=1ms")

    if callable(allowed) and allowed():
        assert ended.status == 0, ended.stderr
        assert read_capture(path).header["confirm"] == hook
    else:
        assert_failed(ended, "cannot ")
        assert not path.exists()
