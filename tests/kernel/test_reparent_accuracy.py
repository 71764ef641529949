"""100,000 adversarial processes: what a capture states of their parents, against what they saw.

The bars of the design: no parent that is stated as confirmed is wrong at any time, each parent
that a process saw is in its history, 99 % of the reparents are confirmed without the help of a
snapshot, and at most 0.05 % are wrong but marked as unsure. docs/reparenting.md has figures.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.kernel.trees import program
from tests.kernel.trees.capture import read_history
from tests.kernel.trees.comparator import Comparison, Fault, compare
from tests.kernel.trees.log import read_log
from tracer.capture_reader import CaptureReader

pytestmark = pytest.mark.kernel

RTRACE = Path(sys.executable).with_name("rtrace")
ROUNDS = int(os.environ.get("RTRACE_TREE_ROUNDS", "640"))
PROCESSES_A_ROUND = 150  # at the least; about 162


BCC_ROUNDS = 40  # the same programs: what could differ shows in fewer


def record_trees(folder: Path, engine: str, rounds: int) -> Comparison:
    """What a capture says of random trees, against what their processes saw."""
    capture, log = folder / "trees.rtrace", folder / "trees.log"
    trees = program.command(program.build(folder), log, seed=20, rounds=rounds, timeout_s=900)
    record = [RTRACE, "record", f"--engine={engine}", "-o", capture, "--", *trees]
    subprocess.run(record, check=True, timeout=1000)
    with CaptureReader(capture) as reader:
        for _chunk in reader.chunks():
            pass
        assert reader.complete
        assert reader.trailer is not None
        assert not any(map(any, reader.trailer["losses"])), json.dumps(reader.trailer)
    return compare(read_log(log).processes(), read_history(capture, use_snapshots=False))


@pytest.fixture(scope="module")
def comparison(tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    return record_trees(tmp_path_factory.mktemp("accuracy"), "core", ROUNDS)


@pytest.mark.timeout(1500)
def test_there_were_enough_adversarial_processes(comparison: Comparison) -> None:
    print(comparison.summary())

    assert comparison.processes >= ROUNDS * PROCESSES_A_ROUND
    assert comparison.changes_seen > comparison.processes // 4
    assert comparison.faults[Fault.MISSING_PROCESS] == 0


def test_no_confirmed_parent_is_wrong(comparison: Comparison) -> None:
    assert comparison.confirmed_wrong == 0, comparison.summary()


def test_each_parent_that_was_seen_is_in_the_history(comparison: Comparison) -> None:
    assert comparison.faults[Fault.MISSING_PARENT] == 0, comparison.summary()
    assert comparison.faults[Fault.MISTIMED_PARENT] == 0, comparison.summary()


def test_nearly_all_reparents_are_confirmed_without_a_snapshot(comparison: Comparison) -> None:
    assert comparison.confirmed_share >= 0.99, comparison.summary()


def test_hardly_any_unsure_parent_is_wrong(comparison: Comparison) -> None:
    assert comparison.unsure_wrong_share <= 0.0005, comparison.summary()


def test_the_bcc_engine_is_as_right(tmp_path: Path) -> None:
    comparison = record_trees(tmp_path, "bcc", BCC_ROUNDS)

    assert comparison.processes >= BCC_ROUNDS * PROCESSES_A_ROUND
    assert comparison.confirmed_wrong == 0, comparison.summary()
    assert comparison.faults[Fault.MISSING_PROCESS] == 0
    assert comparison.faults[Fault.MISSING_PARENT] == 0, comparison.summary()
    assert comparison.faults[Fault.MISTIMED_PARENT] == 0, comparison.summary()
    assert comparison.confirmed_share >= 0.99, comparison.summary()
