"""Behaviours of captures that lack events: none raises, and what is wrong is never sure."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analysis.model import open_capture
from analysis.report import build_report
from tests import lives
from tests.found import SECOND, check
from tests.lives import CID, Host
from tests.unit import test_behaviours as scenes

SEEDS = st.integers(0, 2**32 - 1)
SLOW = settings(
    deadline=None,
    max_examples=20,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


def shim_killed(h: Host, shim: str) -> None:
    p = lives.begin(h, shim=shim)
    lives.run_exec(h, p["shim"], CID, "/bin/sh")
    scenes.kill(h, p["shim"], h.shell)
    scenes.recycle(h)


def exited(h: Host, shim: str) -> None:
    p = lives.begin(h, shim=shim)
    h.stream.die(p["init"], 1)
    scenes.clean_up(h, p["shim"], h.containerd if shim == "v1" else None)


def restarted(h: Host, shim: str) -> None:
    scenes.restart(h, shim=shim)


def dockerd_killed(h: Host, shim: str) -> None:
    p = lives.begin(h, shim=shim)
    managed = h.containerd.parent is h.dockerd
    scenes.kill_dockerd(h, managed=managed)
    scenes.new_dockerd(h, managed=managed)
    scenes.runc_kill(h, p["shim"], p["init"])
    scenes.clean_up(h, p["shim"])


def containerd_killed(h: Host, shim: str) -> None:
    lives.begin(h, shim=shim)
    scenes.kill(h, h.containerd, h.shell)


SCENES: list[Callable[[Host, str], None]] = [
    shim_killed,
    exited,
    restarted,
    dockerd_killed,
    containerd_killed,
]


def play(seed: int, path: Path, lack: float, *, counted: bool = True) -> list[dict[str, Any]]:
    """Behaviours of a scene of which that share of events is not in the capture."""
    chance = random.Random(seed)
    h = lives.host(managed=chance.random() < 0.5)
    s, scene = h.stream, chance.choice(SCENES)
    event = s.event
    losing = random.Random(seed + 1)

    def write(*args: Any, **fields: Any) -> int:
        if losing.random() >= lack:
            return event(*args, **fields)
        totals = [list(lost) for lost in s.lost_totals]
        with s.drop():
            ts_ns = event(*args, **fields)
        if not counted:
            s.lost_totals[:] = totals
        return ts_ns

    s.event = write  # type: ignore[method-assign]
    scene(h, chance.choice(["v1", "v2"]))
    s.event = event  # type: ignore[method-assign]
    s.wait(6 * SECOND)
    s.snapshot("end")
    capture = open_capture(s.write(path))
    report = build_report(capture)
    check(capture, report)
    found: list[dict[str, Any]] = report["behaviours"]
    return found


@SLOW
@given(seed=SEEDS, lack=st.floats(0.01, 0.6))
def test_what_was_lost_makes_nothing_wrong_sure(seed: int, lack: float, tmp_path: Path) -> None:
    whole = play(seed, tmp_path / f"{seed}-{lack}-whole.rtrace", 0)
    rest = play(seed, tmp_path / f"{seed}-{lack}.rtrace", lack)
    for before, after in zip(whole, rest, strict=True):
        if after["verdict"] not in ("not-observed", before["verdict"]):
            assert after["certainty"] != "confirmed", (before, after)


@SLOW
@given(seed=SEEDS, lack=st.floats(0.01, 0.9))
def test_events_that_are_silently_gone(seed: int, lack: float, tmp_path: Path) -> None:
    """A forged capture, or one of a recorder that has a bug."""
    play(seed, tmp_path / f"{seed}-{lack}.rtrace", lack, counted=False)
