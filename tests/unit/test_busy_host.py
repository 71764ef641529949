"""The captures that `make bench` measures the analysis with are sound, and always the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from analysis.findings.find import find_findings
from analysis.model import Capture, open_capture
from bench.busy_host import write_capture
from tracer.abi import Type

EVENTS = 60_000


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    result = tmp_path_factory.mktemp("busy") / "busy.rtrace"
    write_capture(result, EVENTS, seed=3)
    return result


@pytest.fixture(scope="module")
def capture(path: Path) -> Capture:
    return open_capture(path)


def test_the_same_seed_gives_the_same_bytes(path: Path, tmp_path: Path) -> None:
    again, other = tmp_path / "again.rtrace", tmp_path / "other.rtrace"
    write_capture(again, EVENTS, seed=3)
    write_capture(other, EVENTS, seed=4)
    assert again.read_bytes() == path.read_bytes() != other.read_bytes()


def test_it_has_the_size_that_was_asked_for_and_is_whole(capture: Capture) -> None:
    assert capture.table.complete
    assert EVENTS * 0.8 < capture.table.events < EVENTS * 1.2
    assert {kind for kind in Type if len(capture.table.of(kind))} >= {
        Type.FORK,
        Type.EXEC,
        Type.EXIT,
        Type.REPARENT,
        Type.REAPER,
        Type.REAP,
        Type.SUBREAPER,
        Type.COMM,
    }


def test_its_processes_are_born_once_and_end_once(capture: Capture) -> None:
    fork = capture.table.of(Type.FORK)
    ids = np.stack([fork["tgid"].astype(np.uint64), fork["start_ns"]])
    assert len(np.unique(ids, axis=1).T) == len(fork)
    processes = capture.processes
    known = processes["fork_ns"].notna() & processes["exit_ns"].notna()
    assert (processes["exit_ns"] > processes["fork_ns"])[known].all()
    assert known.mean() > 0.99


def test_every_change_of_a_parent_in_it_is_confirmed(capture: Capture) -> None:
    assert len(capture.reparents)
    assert set(capture.reparents["certainty"]) == {"confirmed"}


def test_its_containers_are_whole(capture: Capture) -> None:
    containers = capture.containers
    assert len(containers) > 3
    assert containers["name"].str.match(r"app-\d{6}").all()
    for part in ("shim", "init", "create", "workload_ns"):
        assert containers[part].notna().all()
    assert set(containers["how"]) <= {"exited", "killed", "running"}


def test_nothing_is_wrong_with_them(capture: Capture) -> None:
    assert {finding.severity for finding in find_findings(capture)} <= {"info"}
