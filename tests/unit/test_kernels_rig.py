"""`make test-kernels`: machines that hang, and checks that fail or never run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kernels import __main__ as rig
from tests.kernels import machine
from tests.kernels.checks import CHECKS
from tests.kernels.checks.result import Result
from tests.kernels.errors import RigError
from tests.kernels.image import Image

Patch = pytest.MonkeyPatch


def boot(monkeypatch: Patch, folder: Path, *scripts: str, limit_s: float = 60) -> list[str]:
    """Boots machines that are shell scripts, one an attempt; what they tell the host."""
    attempts = iter(scripts)
    monkeypatch.setattr(machine, "_command", lambda *_: ["sh", "-c", next(attempts)])
    monkeypatch.setattr(machine, "_BOOT_S", 0.5)
    told: list[str] = []
    image = Image(folder, "6.1.0-1-amd64")
    machine.run(image, folder, folder, folder / "console", limit_s=limit_s, on_progress=told.append)
    return told


def test_a_machine_says_how_far_it_is(monkeypatch: Patch, tmp_path: Path) -> None:
    script = "echo noise; echo 'rtrace: up'; sleep 0.7; printf 'rtrace: do'; sleep 0.1; echo ne"

    assert boot(monkeypatch, tmp_path, script) == ["up", "done"]
    assert (tmp_path / "console").read_text().startswith("noise\n")


def test_a_boot_that_hangs_is_tried_again(monkeypatch: Patch, tmp_path: Path) -> None:
    told = boot(monkeypatch, tmp_path, "exec sleep 60", "echo 'rtrace: up'")

    assert "did not boot" in told[0]
    assert told[1:] == ["up"]


def test_a_machine_that_never_boots(monkeypatch: Patch, tmp_path: Path) -> None:
    with pytest.raises(RigError, match="does not boot"):
        boot(monkeypatch, tmp_path, *["exec sleep 60"] * 3)


def test_a_machine_that_never_ends(monkeypatch: Patch, tmp_path: Path) -> None:
    with pytest.raises(RigError, match="did not end"):
        boot(monkeypatch, tmp_path, "echo 'rtrace: up'; exec sleep 60", limit_s=1)


def test_a_check_that_never_ran(tmp_path: Path) -> None:
    assert rig.judge("doctor", tmp_path / "doctor") == [Result("doctor", False, "did not run")]


def test_a_check_that_failed_inside(tmp_path: Path) -> None:
    (tmp_path / "failed").write_text("Traceback\n  ...\nOSError: no such thing\n")

    (result,) = rig.judge("doctor", tmp_path)

    assert not result.ok
    assert "OSError: no such thing" in result.text


def test_a_check_whose_results_make_no_sense(tmp_path: Path) -> None:
    (tmp_path / "doctor.txt").write_text("what?\n")

    (result,) = rig.judge("doctor", tmp_path)

    assert not result.ok
    assert (tmp_path / "failed").read_text().startswith("Traceback")


def test_a_check_with_a_bad_result(monkeypatch: Patch, tmp_path: Path) -> None:
    class Mixed:
        def run(self, folder: Path) -> None: ...

        def judge(self, folder: Path) -> Iterator[Result]:
            yield Result("good", True, "fine")
            yield Result("bad", False, "wrong")

    monkeypatch.setitem(CHECKS, "mixed", Mixed())

    good, bad = rig.judge("mixed", tmp_path)

    assert (good.ok, bad.ok) == (True, False)
    assert str(tmp_path) in bad.text
    assert rig.sum_up({"6.1": [good], "6.12": [good, bad]}) == 1
    assert rig.sum_up({"6.1": [good], "6.12": [good]}) == 0
