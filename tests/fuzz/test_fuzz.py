"""What fuzzing has found once, and a short run of it: the same files each time, on any machine.

`make fuzz` goes on where this ends. Here no coverage guides what is tried, so that a change of the
code changes no file: a finding is one of the commit that it is found at.
"""

from __future__ import annotations

import itertools
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fuzz import targets
from tests.fuzz.mutate import Mutator
from tests.fuzz.parts import decode, encode
from tests.fuzz.seeds import FOUND, donors, seeds
from tests.fuzz.targets import Bench, Finding

_LIMIT = 128 << 10
_CPU_S = 10.0  # the machine may be busy, which costs CPU time too
_FILES, _PORTIONS = 120, 4


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    # This process has grown with the tests before: memory is looked at by `make fuzz`.
    return Bench(tmp_path, memory=None, cpu_s=_CPU_S)


@pytest.mark.parametrize("path", sorted(FOUND.iterdir()), ids=lambda path: path.name)
def test_what_was_found_is_mended(bench: Bench, path: Path) -> None:
    bench.run(path.read_bytes(), everything=True)


@pytest.mark.parametrize("portion", range(_PORTIONS))
def test_a_short_run(bench: Bench, portion: int, tmp_path: Path) -> None:
    given, more = list(seeds()), donors()
    for seed in range(portion, _FILES, _PORTIONS):
        chance = random.Random(seed)
        name, data = chance.choice(given)
        mutator = Mutator(seed, donors=more)
        for _ in range(chance.choice((1, 2, 4))):
            data = mutator.mutate(data, _LIMIT)
        try:
            bench.run(data)
        except Finding as finding:
            kept = tmp_path / f"{name}-{seed}"
            kept.write_bytes(data)
            pytest.fail(f"{finding} (shown by {kept}; see docs/fuzzing.md)")


def test_files_are_taken_apart_without_loss() -> None:
    for name, data in seeds():
        parts = decode(data)
        assert decode(encode(parts)) == parts, name


def test_with_coverage(tmp_path: Path) -> None:
    """The fuzzer itself works: it begins, tries, guides, ends."""
    command = [sys.executable, "-m", "tests.fuzz", "--runs", "25", "--findings", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "25 executions" in done.stdout
    assert list(tmp_path.iterdir()) == []


_COMPARES = """
import os, sys, weakref
import atheris
from tests.fuzz.comparisons import free_results

class Column:
    def __lt__(self, other):
        return Column()

@atheris.instrument_func
def compare(a, b):
    return a < b

def one(data):
    free_results()
    kept = [weakref.ref(compare(Column(), 1)), weakref.ref(compare(Column(), Column()))]
    alive = sum(one() is not None for one in kept)
    print(f"{alive} alive, {compare(1, 2)}, {compare('b', 'a')}, {compare(1, 2.0)}", flush=True)
    os._exit(0)

atheris.Setup(sys.argv, one)
atheris.Fuzz()
"""


def test_nothing_is_left_of_a_comparison() -> None:
    """GIVEN code that Atheris watches, WHEN it compares columns, THEN their result is let go."""
    done = subprocess.run([sys.executable, "-c", _COMPARES], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "0 alive, True, False, True", done.stderr[-2000:]


def test_too_much_memory_is_noticed(tmp_path: Path) -> None:
    """GIVEN a process that had more already, THEN only what a target adds to it counts."""
    bench = Bench(tmp_path, memory=100 << 20)
    had = bytearray(b"x") * (150 << 20)
    bench._run("little", lambda: len(bytearray(b"x") * (50 << 20)))
    with pytest.raises(Finding, match=r"^much: a process would grow to"):
        bench._run("much", lambda: len(bytearray(b"x") * (150 << 20)))
    assert len(had) < bench.costs.peak_bytes


def test_too_much_time_is_noticed(tmp_path: Path) -> None:
    bench = Bench(tmp_path, memory=None, cpu_s=0.01)
    with pytest.raises(Finding, match=r"^long: it took"):
        bench._run("long", lambda: sum(range(3_000_000)))
    with pytest.raises(Finding, match=r"^endless: it took"):
        bench._run("endless", lambda: all(True for _ in itertools.count()))


def test_a_target_that_a_neighbour_made_slow_is_tried_again(tmp_path: Path) -> None:
    bench = Bench(tmp_path, memory=None, cpu_s=0.01)
    work = iter([3_000_000, 3_000_000, 1])
    bench._run("slow twice", lambda: sum(range(next(work))))
    assert bench.costs.slowest["slow twice"] < 0.01


def formula() -> None:
    targets.check_csv('"a"\n"=1+1"\n')


def row_too_long() -> None:
    targets.check_csv('"a"\n"b","c"\n')


def escape() -> None:
    targets.check_lines("x", "a\x1b[2J")


def link() -> None:
    targets.check_markdown("[x](http://evil.example)")


def element() -> None:
    targets.check_html("<html><marquee>")


def handler() -> None:
    targets.check_html("<html onload=hit()>")


def secret() -> None:
    targets.check_no_secret("x", b"--password=Pl4nted!zQ7vX2")


@pytest.mark.parametrize("wrong", [formula, row_too_long, escape, link, element, handler, secret])
def test_what_is_wrong_is_noticed(wrong: Callable[[], None]) -> None:
    with pytest.raises(Finding):
        wrong()
