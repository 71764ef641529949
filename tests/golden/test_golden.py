"""What is told of real engines, without root: as expected, and as witnesses saw it."""

from __future__ import annotations

import json
from functools import cache

import pytest

from analysis.compare.latencies import FEW
from tests.found import validator
from tests.golden.captures import EXPECTED, Golden, all_golden, engines, read_expected
from tests.golden.differences import differences
from tests.golden.docker_versions import (
    DOCUMENT,
    README,
    build_document,
    build_essence,
)
from tests.lab.judging import invented_takeovers, misjudged_ends
from tests.witnessed import untold_behaviours, untold_takeovers

GOLDEN = all_golden()
ANEW = "if it is to be so: .venv/bin/python -m tests.golden"


expected_of = cache(read_expected)


@pytest.fixture(params=GOLDEN, ids=lambda golden: golden.name)
def golden(request: pytest.FixtureRequest) -> Golden:
    found: Golden = request.param
    return found


def test_there_are_captures_of_each_shape() -> None:
    assert {golden.name[: len("bullseye-A")] for golden in GOLDEN} >= {
        *("bullseye-A", "bullseye-B", "bullseye-C", "bullseye-D"),
    }
    assert {golden.engine for golden in GOLDEN} >= {"trixie-A", "trixie-B"}
    assert sorted(path.name.split(".")[0] for path in EXPECTED.iterdir()) == engines()


def test_the_report_is_as_expected(golden: Golden) -> None:
    report = golden.report
    validator().validate(report)
    expected = expected_of(golden.engine)[golden.name]
    assert differences(expected, json.loads(json.dumps(report))) == [], ANEW


def test_every_takeover_of_the_witness_is_told_and_none_is_invented(golden: Golden) -> None:
    report = golden.report
    assert report["capture"]["complete"]
    assert report["losses"]["events"] == 0
    assert untold_takeovers(golden.witness, report) == []
    assert invented_takeovers(golden.witness, report) == []


def test_behaviours_are_what_the_witness_saw(golden: Golden) -> None:
    assert untold_behaviours(golden.witness, golden.report) == []


def test_who_ended_is_who_the_witness_saw_end(golden: Golden) -> None:
    assert misjudged_ends(golden.witness, golden.report) == []


def test_a_killed_shims_container_shows_who_killed_it_and_whose_child_it_was() -> None:
    found = [golden for golden in GOLDEN if golden.scenario == "shim-kill"]
    assert found
    for golden in found:
        behaviours = {b["id"]: b for b in golden.report["behaviours"]}
        [occurrence] = behaviours["shim-exit"]["occurrences"]
        container = occurrence["container"]
        assert container["outcome"] == "killed"
        assert container["by"]["role"] == "runc"
        assert container["meanwhile"]["to"]["role"] == "init"
        assert 0 < container["after_ns"] < 10**9
        assert "meanwhile it was a child of systemd" in occurrence["why"]


def test_five_rounds_are_enough_for_latencies() -> None:
    found = [golden for golden in GOLDEN if golden.scenario == "rounds"]
    assert {golden.engine for golden in found} == set(engines())
    for golden in found:
        counts = {name: len(values) for name, values in golden.measured.latencies.items()}
        once = {counts[name] for name in ("run", "shim", "exec", "restart")}
        assert once == {FEW}, golden.name
        # Of the restarted ones too; and a restart is no part of what `docker run` took.
        assert {counts[name] for name in ("create", "start", "adoption")} == {2 * FEW}, golden.name


def test_shape_and_shim_are_those_that_were_set_up(golden: Golden) -> None:
    topology = golden.witness["topology"]
    shape = "docker-18" if topology in "BC" else "docker-19"
    shim = "v1" if topology in "CD" else "v2"
    for behaviour in golden.report["behaviours"]:
        assert (behaviour["shape"], behaviour["shim_version"]) == (shape, shim)


def test_the_document_is_what_the_captures_give() -> None:
    assert DOCUMENT.read_text() == build_document(GOLDEN), ANEW
    assert build_essence(GOLDEN) in README.read_text(), ANEW


def test_the_document_claims_no_engine_that_was_not_run() -> None:
    run = {golden.witness["versions"]["docker"] for golden in GOLDEN}
    text = DOCUMENT.read_text()
    assert all(version in text for version in run)
    assert "No docker 18 or 19 was run" in " ".join(text.split())
