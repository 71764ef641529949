"""The witness sees what happens, and misses nothing that a report leaves out."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from tests.witness import TICK_NS, Witness, start_of, wait_for_state
from tests.witnessed import untold_behaviours, untold_takeovers


def test_it_sees_who_takes_over_an_orphan_that_it_was_not_told_of() -> None:
    # GIVEN a parent whose descendants are watched
    with Witness("orphan") as witness:
        words = ["sh", "-c", "read go; sleep 60 & echo $!; read go"]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        parent = subprocess.Popen(words, text=True, **pipes)  # type: ignore[call-overload]
        witness.watch(parent.pid, "parent", with_descendants=True)
        parent.stdin.write("\n")
        parent.stdin.flush()
        child = int(parent.stdout.readline())
        watched = witness.watch(child, "child")
        # WHEN it ends before its child, and the child after it
        with parent:
            witness.step("end of the parent")
            parent.stdin.write("\n")
        wait_for_state(parent.pid, "")
        os.kill(child, signal.SIGKILL)
        while watched.last.state == "alive":
            time.sleep(0.01)

    # THEN its one takeover is in the log, at the right time
    log = witness.log()
    (takeover,) = [t for t in log["takeovers"] if t["child"]["tgid"] == child]
    assert takeover["child"]["what"] == "child"
    assert takeover["from"]["tgid"] == parent.pid
    assert takeover["to"]["tgid"] not in (0, parent.pid)
    assert takeover["before_ns"] > log["steps"][0]["at_ns"]
    assert takeover["after_ns"] < takeover["before_ns"]
    seen = [o["value"]["state"] for o in log["observations"] if o["tgid"] == child]
    assert seen[0] == "alive"
    assert seen[-1] in ("zombie", "gone")


def test_a_step_has_what_a_command_printed(tmp_path: Path) -> None:
    witness = Witness("steps", suite="bookworm")
    witness.run("echo", "hello")
    witness.run("false", check=False)
    witness.expect("reap", container="exited")
    with pytest.raises(AssertionError, match="status 1: oh"):
        witness.run("sh", "-c", "echo oh >&2; exit 1")
    witness.observe("getppid", "parent of me", os.getppid(), tgid=os.getpid())

    witness.save(tmp_path / "w.json")
    log = json.loads((tmp_path / "w.json").read_text())
    assert [step["output"] for step in log["steps"]] == ["hello\n", "", "oh\n"]
    assert log["expect"] == {"reap": [{"container": "exited"}]}
    (seen,) = log["observations"]
    assert (seen["tgid"], seen["start_ns"]) == (os.getpid(), start_of(os.getpid()))


# --- what a report leaves out ------------------------------------------------------------------

CHILD, OLD, MIDDLE, NEW = (f"{tgid}:{TICK_NS * tgid + 17}" for tgid in (10, 20, 30, 40))


def move(before: str, after: str, ts_ns: int = 1000, **changes: Any) -> Any:
    return {
        "child": {"id": CHILD},
        "from": {"id": before},
        "to": {"id": after},
        "ts_ns": ts_ns,
        "until_ns": ts_ns + 10,
        "reason": "subreaper",
        "certainty": "confirmed",
        **changes,
    }


def untold(*moves: Any) -> list[str]:
    def seen(id_: str) -> Any:
        tgid = int(id_.split(":")[0])
        return {"tgid": tgid, "start_ns": TICK_NS * tgid, "what": "somebody"}

    takeover = {
        "child": seen(CHILD),
        "from": seen(OLD),
        "to": seen(NEW),
        "after_ns": 900,
        "before_ns": 1500,
        "reason": "subreaper",
    }
    return untold_takeovers({"takeovers": [takeover]}, {"reparents": list(moves)})


@pytest.mark.parametrize(
    "moves",
    [
        [move(OLD, NEW)],
        [move(OLD, MIDDLE), move(MIDDLE, NEW, 1100)],
        [move(OLD, OLD, 500, reason="thread"), move(OLD, NEW)],
    ],
)
def test_what_is_told(moves: list[Any]) -> None:
    assert untold(*moves) == []


@pytest.mark.parametrize(
    ("moves", "complaint"),
    [
        ([], "not told"),
        ([move(OLD, MIDDLE)], "not told"),
        ([move(MIDDLE, NEW)], "not told"),
        ([move(OLD, NEW, 1501)], "not told"),
        ([move(OLD, NEW, 500)], "not told"),
        ([move(f"20:{TICK_NS * 21}", NEW)], "not told"),
        ([move(OLD, NEW, child={"id": f"10:{TICK_NS * 9}"})], "not told"),
        ([move(OLD, NEW, certainty="predicted")], "predicted"),
        ([move(OLD, NEW, until_ns=None)], "no latency"),
        ([move(OLD, NEW, reason="init")], "reason init"),
        ([{**move(OLD, NEW), "to": None}], "not told"),
    ],
)
def test_what_is_not_told(moves: list[Any], complaint: str) -> None:
    (said,) = untold(*moves)
    assert said.startswith(complaint)


def outcome(token: str, **more: Any) -> Any:
    return {"outcome": token, "then": None} | more


def unmet(expected: list[Any], *occurrences: Any) -> list[str]:
    report = {"behaviours": [{"id": "restart", "occurrences": list(occurrences)}]}
    return untold_behaviours({"expect": {"restart": expected}}, report)


def test_behaviours_that_are_told() -> None:
    killed = {"container": outcome("killed", by=None, meanwhile=outcome("reparented"))}
    assert unmet([{"container": "killed"}], killed) == []
    assert unmet([{"container": "reparented"}], killed) == []
    by_containerd = {"shim": outcome("killed", by={"role": "containerd-managed"})}
    assert unmet([{"shim": "exited"}], by_containerd) == []


def test_behaviours_that_are_not_told() -> None:
    again = {"container": outcome("recreated"), "shim": None}
    assert unmet([{"container": "recreated"}]) != []
    assert unmet([{"container": "killed"}], again) != []
    assert unmet([{"container": "recreated", "shim": "recreated"}], again) != []


def test_what_is_expected_twice_is_told_twice() -> None:
    twice = [{"container": "recreated"}] * 2
    again = {"container": outcome("recreated")}
    assert len(unmet(twice, again)) == 1
    assert unmet(twice, again, dict(again)) == []


def test_all_that_is_left_has_the_same_fate() -> None:
    def left(**fates: int) -> Any:
        return {"left": {"total": 2, "with_process_1": 0, "by_shim": 0, "zombies": 0} | fates}

    assert unmet([{"left": "by_shim"}], left(by_shim=2)) == []
    assert unmet([{"left": "by_shim"}], left(by_shim=1, with_process_1=1)) != []
    assert unmet([{"left": "total"}], left(by_shim=2)) != []
