"""Random adversarial process trees, with each hook that can confirm reparents forced in turn.

As tests/kernel/test_reparent_accuracy.py, in fewer rounds: emulated CPUs interrupt processes in
other places than real ones, which is welcome here.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tests.kernels.checks.result import Result
from tests.kernels.plan import Plan
from tests.kernels.programs import INSIDE
from tests.kernels.recording import record
from tracer.confirmation import Confirmation

_PROCESSES_A_ROUND = 60  # at the least: more end before their time where all is slow
_LIMIT_S = 1800


def run(folder: Path) -> None:
    """Another seed for each, so that the kernels together see more."""
    from tests.kernel.trees.program import command

    for seed, hook in enumerate(Confirmation, start=30):
        trees = command(
            INSIDE / "randomtree",
            folder / f"{hook.value}.log",
            seed=seed,
            rounds=Plan.read(folder.parent).rounds,
            timeout_s=_LIMIT_S - 60,
        )
        options = ["--engine", "core", "--confirm", hook.value]
        record(folder / f"{hook.value}.rtrace", options, trees, limit_s=_LIMIT_S)


def judge(folder: Path) -> Iterator[Result]:
    """No parent that is stated as confirmed may be wrong, and none that was seen may be missing."""
    from tests.kernel.trees.capture import read_history
    from tests.kernel.trees.comparator import Fault, compare
    from tests.kernel.trees.log import read_log
    from tracer.capture_reader import CaptureReader

    minimum = Plan.read(folder.parent).rounds * _PROCESSES_A_ROUND
    for hook in Confirmation:
        capture = folder / f"{hook.value}.rtrace"
        with CaptureReader(capture) as reader:
            for _chunk in reader.chunks():
                pass
            losses = reader.trailer["losses"] if reader.trailer else [[-1, -1]]
            confirmed_by = reader.header["confirm"]
        log = read_log(folder / f"{hook.value}.log")
        history = read_history(capture, use_snapshots=False)
        comparison = compare(log.processes(), history)
        faults = [
            comparison.faults[fault]
            for fault in (Fault.MISSING_PROCESS, Fault.MISSING_PARENT, Fault.MISTIMED_PARENT)
        ]
        ok = (
            confirmed_by == hook.value
            and comparison.processes >= minimum
            and not any(map(any, losses))
            and comparison.confirmed_wrong == 0
            and not any(faults)
            and comparison.confirmed_share >= 0.99
        )
        (folder / f"{hook.value}.txt").write_text(comparison.summary(worst=50))
        yield Result(
            f"reparents confirmed by {hook.value}",
            ok,
            f"{comparison.processes:,} processes, {comparison.reparents_total:,} reparents: "
            f"{comparison.confirmed_share:.2%} confirmed, {comparison.confirmed_wrong} of them "
            f"wrong; {sum(faults)} missing",
        )
