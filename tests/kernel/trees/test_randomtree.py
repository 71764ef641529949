"""The random trees themselves, without a tracer: are they adversarial, and does nothing stay?"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.kernel.trees import program
from tests.kernel.trees.comparator import compare
from tests.kernel.trees.log import How, Trait, TreeLog, read_log
from tests.kernel.trees.oracle import find_history

pytestmark = pytest.mark.kernel

ROUNDS = 40
SEED = 3


@pytest.fixture(scope="module")
def binary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return program.build(tmp_path_factory.mktemp("randomtree"))


@pytest.fixture(scope="module")
def log(binary: Path) -> TreeLog:
    return grow(binary, SEED)


def grow(binary: Path, seed: int) -> TreeLog:
    path = binary.with_name("trees.log")
    subprocess.run(program.command(binary, path, seed=seed, rounds=ROUNDS), check=True, timeout=300)
    return read_log(path)


def find_processes_of(binary: Path) -> list[int]:
    found = []
    for folder in Path("/proc").iterdir():
        try:
            if folder.name.isdigit() and (folder / "exe").readlink() == binary:
                found.append(int(folder.name))
        except OSError:
            continue
    return found


SCENARIOS = (
    "born 40 or more levels deep",
    "changes to a subreaper",
    "changes to a subreaper in a nested namespace",
    "changes to the driver",
    "changes to the init of a nested namespace",
    "execs",
    "killed by their creator",
    "leader exits first",
    "snapshots of zombies",
    "thread exits alone",
    *(f"born by {how.name}" for how in How),
    *(f"trait {trait.name}" for trait in Trait),
)


def test_each_scenario_happens(binary: Path, log: TreeLog) -> None:
    assert len(log.rounds) == ROUNDS
    shares = log.shares()
    assert shares["processes"] > 100 * ROUNDS

    # A busy machine lets long chains end before they are as long as was planned: other trees then.
    for seed in range(SEED + 1, SEED + 6):
        if all(shares[what] for what in SCENARIOS):
            break
        shares += grow(binary, seed).shares()

    assert [what for what in SCENARIOS if not shares[what]] == []


def test_the_witnesses_agree(log: TreeLog) -> None:
    processes = log.processes()

    result = compare(processes, find_history(processes), slack_ns=0)

    assert not result.offences, result.summary()
    assert result.reparents_total > 10 * ROUNDS
    assert not any(tree.dropped_records for tree in log.rounds)


def test_nothing_stays(log: TreeLog, binary: Path) -> None:
    assert log.rounds
    assert not find_processes_of(binary)


def test_an_interrupt_leaves_nothing_and_a_readable_log(binary: Path) -> None:
    path = binary.with_name("interrupted.log")
    with subprocess.Popen(program.command(binary, path, rounds=100_000)) as process:
        try:
            process.wait(timeout=1)
        except subprocess.TimeoutExpired:
            process.terminate()
        status = process.wait(timeout=30)

    assert status == 128 + 15
    assert read_log(path).rounds
    assert not find_processes_of(binary)


def test_the_plan_follows_from_the_seed(binary: Path) -> None:
    def planned(seed: int) -> list[int]:
        path = binary.with_name(f"seed{seed}.log")
        subprocess.run(program.command(binary, path, seed=seed, rounds=6), check=True, timeout=60)
        log = read_log(path)
        # Who is born depends on who is killed before; the first ones always are.
        first = [b for b in log.births.values() if b.name.node == 0]
        return [r.planned for r in log.rounds] + [int(b.traits) for b in first]

    assert planned(11) == planned(11)
    assert planned(11) != planned(12)


def test_a_full_disk_is_an_error(binary: Path) -> None:
    if not os.path.exists("/dev/full"):
        pytest.skip("missing: /dev/full")

    done = subprocess.run(
        program.command(binary, Path("/dev/full"), rounds=1), stderr=subprocess.PIPE, text=True
    )

    assert done.returncode == 1
    assert "cannot" in done.stderr
    assert not find_processes_of(binary)
