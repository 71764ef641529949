"""Docker versions and topologies under a real systemd: what rtrace tells is what a witness saw.

A chosen part of what `make lab` plays. Each scenario has a lab of its own.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.kernel.recording import RTRACE, run_rtrace
from tests.lab.judging import invented_takeovers, misjudged_ends
from tests.lab.lab import Setup
from tests.lab.recording import record, recorded_name
from tests.lab.roots import BY_HAND, SUITES
from tests.lab.scenarios import SCENARIOS
from tests.witness import TICK_NS
from tests.witnessed import untold_behaviours, untold_takeovers

pytestmark = [pytest.mark.kernel, pytest.mark.lab]

Json = dict[str, Any]

CHOSEN = [
    *(Setup("bullseye", topology) for topology in "ACD"),
    *(Setup("trixie", topology) for topology in "AB"),
]
SCENES = (
    *("start", "restart", "container-exit", "container-kill"),
    *("shim-kill", "containerd-kill", "dockerd-kill", "dockerd-restart"),
)
# With an engine in an engine, no shim of docker's, or one that no topology is about.
OTHER_ENGINES = ("docker-in-docker", "podman", "podman-conmon-kill", "pod")


class Told(NamedTuple):
    """A recorded scenario: what rtrace reports, and what the witness saw."""

    capture: Path
    report: Json
    log: Json


def planned(everything: bool) -> list[tuple[Setup, str]]:
    """Setups and scenarios of this run."""
    if not everything:
        return [(setup, name) for setup in CHOSEN for name in SCENES]
    setups = [
        Setup(suite, topology, live_restore)
        for suite in SUITES
        if suite not in BY_HAND
        for topology in "ABCD"
        for live_restore in (False, True)
    ]
    return [(setup, name) for setup in setups for name, s in SCENARIOS.items() if s.fits(setup)]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """All scenarios with --whole-lab, else the chosen ones."""
    if "told" in metafunc.fixturenames:
        plan = planned(metafunc.config.getoption("whole_lab"))
        ids = [recorded_name(setup, SCENARIOS[name]) for setup, name in plan]
        metafunc.parametrize("told", plan, ids=ids, indirect=True)


@pytest.fixture
def told(request: pytest.FixtureRequest, tmp_path: Path) -> Told:
    setup, name = request.param
    recorded = record(setup, SCENARIOS[name], tmp_path, program=RTRACE)
    ended = run_rtrace("report", recorded.capture, "--format", "json")
    assert ended.status == 0, ended.stderr
    return Told(
        recorded.capture, json.loads(ended.stdout), json.loads(recorded.witness.read_text())
    )


def test_what_the_witness_saw_is_told_and_nothing_is_invented(told: Told) -> None:
    _, report, log = told
    assert report["capture"]["complete"]
    assert report["losses"]["events"] == 0
    assert untold_takeovers(log, report) == []
    assert invented_takeovers(log, report) == []
    assert untold_behaviours(log, report) == []
    assert misjudged_ends(log, report) == []
    if log["scenario"] not in OTHER_ENGINES:
        check_shape(log, report)
    if log["scenario"] == "shim-kill":
        check_why(told)


def check_shape(log: Json, report: Json) -> None:
    """Who started containerd, and which shim it takes, is told by what happened."""
    shape = "docker-18" if log["topology"] in "BC" else "docker-19"
    shim = "v1" if log["topology"] in "CD" else "v2"
    told = {(one["shape"], one["shim_version"]) for one in report["behaviours"]}
    assert told == {(shape, shim)}


def check_why(told: Told) -> None:
    """Who killed a container whose shim has died, and how long it lived under init."""
    capture, report, log = told
    (tgid, start_ns), *_ = {
        (seen["tgid"], seen["start_ns"]): None
        for seen in log["observations"]
        if seen["what"] == "process 1 of web"
    }
    (move,) = [
        move
        for move in report["reparents"]
        if move["child"]["tgid"] == tgid and move["reason"] == "init"
    ]
    assert move["child"]["start_ns"] // TICK_NS * TICK_NS == start_ns
    assert (move["to"]["role"], move["certainty"]) == ("init", "confirmed")

    ended = run_rtrace("why", capture, "web", "--format", "json")
    assert ended.status == 0, ended.stderr
    why = json.loads(ended.stdout)
    end = why["target"]["end"]
    assert why["target"]["process"]["id"] == move["child"]["id"]
    assert (end["how"], end["signal_name"]) == ("killed", "SIGKILL")
    assert end["cause"]["sender"]["role"] in ("runc", "shim-v2")
    assert end["ts_ns"] > move["ts_ns"]
    assert why["answer"]["certainty"] == "confirmed"
    assert re.search(r"was killed by SIGKILL \(9\), sent by kill \(\d+\)", why["answer"]["text"])
    chain = [link["text"] for link in why["chain"]]
    assert any(re.search(r"systemd .* was its parent for [\d.]+ m?s", text) for text in chain)
