"""Records a scenario: a fresh lab, the real recorder, and a witness beside it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from tests.kernel.recording import Recorder
from tests.lab.lab import Lab, Setup
from tests.lab.scenarios import Scenario
from tests.lab.scene import Scene
from tests.witness import Witness

# A capture is to tell of the lab and of nothing else: not of this host's name either. The recorder
# ends with the test run.
_WRAPPER = (
    *("setpriv", "--pdeathsig", "TERM", "unshare", "--uts"),
    *("sh", "-c", 'hostname lab && exec "$@"', "sh"),
)
_GRACE_S = 0.3  # reaped processes are told of a little later


@dataclass(frozen=True, slots=True)
class Recorded:
    """A capture, and the log of its witness."""

    capture: Path
    witness: Path


def recorded_name(setup: Setup, scenario: Scenario) -> str:
    """What a recording is called: bullseye-A-dockerd-restart-lr."""
    variant = "-lr" if setup.live_restore else ""
    return f"{setup.suite}-{setup.topology}-{scenario.name}{variant}"


def record(setup: Setup, scenario: Scenario, folder: Path, *, program: str) -> Recorded:
    """Plays a scenario in a lab of its own.

    Args:
        folder: gets the capture and the log; older ones of the same name are replaced.
        program: the rtrace to record with.
    """
    name = recorded_name(setup, scenario)
    result = Recorded(folder / f"{name}.rtrace", folder / f"{name}.witness.json")
    for older in (result.capture, result.witness):
        older.unlink(missing_ok=True)
    with Lab.boot(setup) as lab:
        witness = Witness(
            scenario.name,
            suite=setup.suite,
            topology=setup.topology,
            live_restore=setup.live_restore,
            versions=lab.versions(),
        )
        options = ("--pidns", str(lab.pid))
        with Recorder(
            lab.state, *options, wrapper=_WRAPPER, path=result.capture, program=program
        ) as recorder:
            recorder.wait_until_recording()
            with witness:
                scenario.play(Scene(lab, witness))
                time.sleep(_GRACE_S)
            ended = recorder.stop()
    assert ended.status == 0, ended.stderr
    witness.save(result.witness)
    return result
