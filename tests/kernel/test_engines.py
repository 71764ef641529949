"""Which engine and which hook a recording uses, and that both can be chosen."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from analysis.model import Capture, open_capture
from tests.kernel.recording import assert_failed, read_capture, run_rtrace
from tracer.confirmation import allowed_confirmations, fentry_allowed, kprobe_allowed

pytestmark = pytest.mark.kernel


@pytest.mark.parametrize("engine", ["auto", "core", "bcc"])
def test_the_engine_is_in_the_header(tmp_path: Path, engine: str) -> None:
    path = tmp_path / "x.rtrace"

    ended = run_rtrace("record", "-o", path, f"--engine={engine}", "--duration=1ms")

    assert ended.status == 0, ended.stderr
    header = read_capture(path).header
    assert (header["engine"], header["confirm"]) == (
        "bcc" if engine == "bcc" else "core",
        allowed_confirmations()[0],
    )


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


def test_both_engines_tell_the_same(tmp_path: Path, build: Callable[[str], Path]) -> None:
    # GIVEN a tree of processes that has every reason to be adopted, one step after the other
    family, threads = build("family"), build("threads")
    script = "; ".join(
        [
            f"{family} subreaper",
            f"{family} subreaper-zombie",
            f"{family} many 40",
            f"{family} clone-parent",
            f"{family} vfork",
            f"{threads} child-of-thread",
            f"{threads} leader-first",
            f"unshare --pid --fork {family} orphan",
            "sh -c 'kill -9 $$'",
            "exit 3",
        ]
    )

    # WHEN it is recorded with each engine
    told = {}
    for engine in ("core", "bcc"):
        path = tmp_path / f"{engine}.rtrace"
        ended = run_rtrace("record", f"--engine={engine}", "-o", path, "--", "sh", "-c", script)
        assert ended.status == 3, ended.stderr
        capture = open_capture(path)
        assert capture.table.header["engine"] == engine
        told[engine] = describe_tree(capture)

    # THEN processes, parents and reasons are the same.
    processes, reparents = told["core"]
    assert len(processes) > 55
    assert {reason for *_, reason in reparents} == {"subreaper", "init", "thread"}
    assert told["bcc"] == told["core"]


def describe_tree(capture: Capture) -> tuple[list[object], list[object]]:
    """The recorded command and all below it, by places in the tree instead of ids: processes, and
    who adopted whom, and by which rule.
    """
    processes, reparents = capture.processes, capture.reparents
    born = processes[processes["fork_ns"].notna()].sort_values("fork_ns")
    recorder = f"{capture.table.header['pid']}:"
    (root,) = [
        child
        for child, forker in born["forker"].items()
        if forker.startswith(recorder) and processes.at[child, "comm"] == "sh"
    ]
    names, children = {root: "0"}, dict.fromkeys(processes.index, 0)
    for child, forker in born["forker"].items():
        if forker in names:
            names[child] = f"{names[forker]}.{children[forker]}"
            children[forker] += 1
    columns = ["comm", "args", "exit_code", "execs", "ns_init"]
    described: list[object] = [
        (name, *processes.loc[child, columns].tolist()) for child, name in names.items()
    ]
    moves: list[object] = sorted(
        (names[move.child], names.get(move.from_, "?"), names.get(move.to, "host"), move.reason)
        for move in reparents.itertuples()
        if move.child in names
    )
    return described, moves
