"""The report's JSON: valid, complete, true also when the capture is not."""

from __future__ import annotations

import contextlib
import json
import random
import re
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import rtrace
from analysis.model import open_capture
from analysis.report import build_report
from tests import lives
from tests.lives import CID, OTHER_CID
from tests.streams import BOOT_NS, Stream
from tracer.capture_format import FACT
from tracer.errors import CaptureError


@cache
def validator() -> jsonschema.Draft202012Validator:
    text = (resources.files("analysis") / "schemas" / "report.schema.json").read_text()
    schema = json.loads(text)
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def report_of(stream: Stream, tmp_path: Path, *, complete: bool = True, **options: Any) -> Any:
    path = stream.write(tmp_path / "x.rtrace", complete=complete)
    report = build_report(open_capture(path), **options)
    validator().validate(report)
    # It is JSON, and survives it: no NaN, no numpy numbers, no keys that are not text.
    assert json.loads(json.dumps(report, allow_nan=False)) == report
    return report


def test_the_keys_of_the_contract(tmp_path: Path) -> None:
    h = lives.life()
    h.stream.fact("runtime", name="docker", version="20.10.24", source="x", containerd="managed")
    h.stream.fact("problem", what="docker did not answer")
    report = report_of(h.stream, tmp_path)
    assert report["schema"] == 1
    capture = report["capture"]
    assert capture["kernel"] == "6.1.0-test"
    assert capture["runtimes"][0]["version"] == "20.10.24"
    assert capture["problems"] == ["docker did not answer"]
    assert capture["events"] == h.stream.events
    assert capture["complete"] is True
    assert capture["damage"] is None
    assert capture["started"]["utc"] == "2023-11-14T22:13:20.000000Z"
    assert capture["duration_ns"] == h.stream.now + h.stream.step - BOOT_NS
    assert report["losses"] == {"events": 0, "details": 0, "windows": []}
    assert [b["id"] for b in report["behaviours"]][:2] == ["start", "dockerd-exit"]


def test_the_adoption_of_process_1(tmp_path: Path) -> None:
    h = lives.life()
    report = report_of(h.stream, tmp_path)
    p = h.procs
    (found,) = [r for r in report["reparents"] if r["child"]["id"] == p["init"].id]
    assert found["from"]["id"] == p["create"].id
    assert found["to"]["id"] == p["shim"].id
    assert (found["reason"], found["certainty"]) == ("subreaper", "confirmed")
    assert (found["from"]["role"], found["to"]["role"]) == ("runc", "shim-v2")
    assert (found["child"]["role"], found["child"]["role_then"]) == ("container-init", "runc-init")
    assert found["child"]["container"] == CID
    (container,) = report["containers"]
    assert container["init"]["id"] == p["init"].id
    assert container["phases"]["adoption_ns"] == found["ts_ns"]
    assert container["end"]["text"] == "exited 0"
    assert container["shim_end"]["how"] == "exited"
    assert container["runs"][0]["calls"][0]["verb"] == "create"
    assert report["timeline"][0]["rel_ns"] == report["timeline"][0]["ts_ns"] - BOOT_NS


def test_every_process_that_is_named_is_listed(tmp_path: Path) -> None:
    h = lives.life()
    for options in ({}, {"container": "web"}, {"until_ns": BOOT_NS + 30_000_000}):
        report = report_of(h.stream, tmp_path, **options)
        known = {p["id"] for p in report["processes"]}
        named = {id_ for entry in report["timeline"] for id_ in entry["processes"]}
        for reparent in report["reparents"]:
            named |= {reparent[key]["id"] for key in ("child", "from", "to") if reparent[key]}
        for container in report["containers"]:
            keys = ("client", "daemon", "manager", "shim_start", "shim", "init")
            named |= {container[key]["id"] for key in keys if container[key]}
        assert named <= known


def test_boot_times_beyond_2_to_the_53_stay_exact(tmp_path: Path) -> None:
    start = 2**53 * 3 + 1
    s = Stream(start_ns=start)
    init = s.process("systemd", tgid=1)
    child = s.fork(init, at=start + 7)
    s.die(child)
    s.snapshot("end")
    report = report_of(s, tmp_path)
    (found,) = [p for p in report["processes"] if p["id"] == child.id]
    assert found["fork_ns"] == start + 7
    assert found["start_ns"] == child.start_ns


def test_a_process_tells_when_it_executed_and_what_killed_it(tmp_path: Path) -> None:
    s = Stream()
    init = s.process("systemd", tgid=1)
    cron, child, other = s.fork(init), s.fork(init), s.fork(init)
    execs = [s.exec(child, "/bin/sh", "sh -c x"), s.exec(child, "/bin/sleep", "sleep 9")]
    sent = s.signal(child, 9, cron)
    s.die(child, signal=9)
    s.die(other, 3)
    s.snapshot("end")
    report = report_of(s, tmp_path)
    by_id = {p["id"]: p for p in report["processes"]}
    assert by_id[child.id]["exec_ns"] == execs
    killed_by = by_id[child.id]["killed_by"]
    assert (killed_by["kind"], killed_by["ts_ns"]) == ("process", sent)
    assert killed_by["sender"]["id"] == cron.id
    assert by_id[other.id]["killed_by"] is None
    assert by_id[other.id]["exec_ns"] == []


# --- what is asked for -------------------------------------------------------------------------


@pytest.fixture
def two(tmp_path: Path) -> Path:
    h = lives.host()
    lives.begin(h)
    lives.end(h, stop=False)
    lives.begin(
        h, cid=OTHER_CID, name="db", client="docker run --name db postgres", pidns=4026532600
    )
    lives.end(h, cid=OTHER_CID)
    return h.stream.write(tmp_path / "two.rtrace")


@pytest.mark.parametrize("wanted", ["web", CID, CID[:12], CID[:2]])
def test_one_container(two: Path, wanted: str) -> None:
    report = build_report(open_capture(two), container=wanted)
    validator().validate(report)
    assert [c["id"] for c in report["containers"]] == [CID]
    assert {e["container"] for e in report["timeline"]} == {CID}
    assert {r["child"]["container"] for r in report["reparents"]} == {CID}
    assert OTHER_CID not in {p["container"] for p in report["processes"]}
    assert report["selection"]["container"] == CID


def test_an_unknown_container(two: Path) -> None:
    capture = open_capture(two)
    with pytest.raises(CaptureError, match=r"no container 'wob': .*did you mean web \(2f1c"):
        build_report(capture, container="wob")
    with pytest.raises(CaptureError, match=r"there are web .*, db "):
        build_report(capture, container="zzzzzzz")
    with pytest.raises(CaptureError, match=r"'\\x1b\[31m'"):
        build_report(capture, container="\x1b[31m")


def test_an_ambiguous_container(tmp_path: Path) -> None:
    h = lives.host()
    lives.begin(h, cid="ab1" + "0" * 61)
    lives.begin(h, cid="ab2" + "0" * 61, pidns=4026532600)
    capture = open_capture(h.stream.write(tmp_path / "x.rtrace"))
    for wanted in ("ab", "web"):
        with pytest.raises(CaptureError, match=r"it fits 2: web .*, web .*; give more of the id"):
            build_report(capture, container=wanted)


def test_a_container_where_there_is_none(tmp_path: Path) -> None:
    capture = open_capture(lives.host().stream.write(tmp_path / "x.rtrace"))
    with pytest.raises(CaptureError, match="the capture holds no container"):
        build_report(capture, container="web")


def test_a_window(two: Path) -> None:
    capture = open_capture(two)
    whole = build_report(capture)
    middle = [e["ts_ns"] for e in whole["timeline"] if e["container"] == CID][-1]
    early = build_report(capture, until_ns=middle)
    late = build_report(capture, since_ns=middle + 1)
    for report in (early, late):
        validator().validate(report)
    assert early["timeline"] + late["timeline"] == whole["timeline"]
    assert early["reparents"] + late["reparents"] == whole["reparents"]
    assert [c["name"] for c in early["containers"]] == ["web"]
    nothing = build_report(capture, since_ns=2**62)
    validator().validate(nothing)
    assert nothing["containers"] == nothing["timeline"] == nothing["reparents"] == []


# --- captures that are not whole ---------------------------------------------------------------


def test_losses_and_cuts_are_reported(tmp_path: Path) -> None:
    h = lives.host()
    h.stream.lost(5, cpu=0)
    lives.begin(h)
    report = report_of(h.stream, tmp_path, complete=False)
    assert report["losses"]["events"] == 5
    assert report["losses"]["windows"]
    assert report["capture"]["complete"] is False
    assert report["containers"][0]["end"]["how"] == "not-seen"


def test_captures_without_anything(tmp_path: Path) -> None:
    s = Stream()
    report = report_of(s, tmp_path)
    for key in ("processes", "reparents", "containers", "timeline"):
        assert report[key] == []


@pytest.mark.parametrize("seed", range(25))
def test_whatever_is_missing_nothing_raises(tmp_path: Path, seed: int) -> None:
    """GIVEN a life from which any events are gone THEN a valid report comes of the rest."""
    chance = random.Random(seed)
    h = lives.host(managed=chance.random() < 0.5)
    p = lives.begin(h, shim=chance.choice(["v1", "v2"]))
    lives.run_exec(h, p["shim"], CID, "/bin/sh")
    h.stream.signal(p["init"], 9, h.shell)
    lives.end(h, signal=9)
    share = chance.choice([0.02, 0.2, 0.6])
    h.stream._items = [item for item in h.stream._items if chance.random() > share]
    report_of(h.stream, tmp_path, complete=chance.random() < 0.5)


@pytest.mark.parametrize(
    "fact",
    [
        {},
        {"kind": "container"},
        {"kind": "container", "id": 7, "name": "x"},
        {"kind": "container", "id": CID, "name": ["x"], "image": 3, "runtime": "x\x1b[m"},
        {"kind": "container", "id": CID, "labels": {"a": {"b": 1}}, "namespace": None},
        {"kind": "runtime", "name": None, "version": {}},
        {"kind": "runtime", "name": "docker", "version": [1], "tgid": "x"},
        {"kind": "problem"},
    ],
)
def test_forged_facts(tmp_path: Path, fact: dict[str, Any]) -> None:
    h = lives.life(fact=False)
    h.stream.json(FACT, fact)
    report = report_of(h.stream, tmp_path)
    assert report["containers"][0]["runtime"] == "docker"


@pytest.mark.parametrize(
    "header",
    [
        {"clock": 5},
        {"clock": {"boot_ns": -1, "wall_ns": 2**80}},
        {"clock": {"boot_ns": 0, "wall_ns": 2**63 - 1}},
        {"host": [1], "argv": "x", "filter": "x", "engine": 1},
        {"host": {"kernel": 5, "x": {"y": 1}, "init": 3}, "argv": [1, None]},
    ],
)
def test_forged_headers(tmp_path: Path, header: dict[str, Any]) -> None:
    """Refused in one line, or reported: never a traceback."""
    h = lives.life()
    h.stream.header |= header
    with contextlib.suppress(CaptureError):
        report_of(h.stream, tmp_path)


def test_open_capture_is_what_notebooks_import(tmp_path: Path) -> None:
    h = lives.life()
    capture = rtrace.open_capture(h.stream.write(tmp_path / "x.rtrace"))
    assert isinstance(capture, rtrace.Capture)
    assert capture.processes.at[h.procs["init"].id, "role"] == "container-init"
    assert len(capture.reparents) == 2
    assert len(capture.containers) == 1
    assert {"child", "parent"} <= set(capture.parents.columns)


def test_every_key_is_documented() -> None:
    """docs/report-json.md names every key and every token of the schema."""
    text = (Path(__file__).parents[2] / "docs" / "report-json.md").read_text()
    words = set(re.findall(r"`\"?([\w-]+)\"?", text)) | set(re.findall(r"\.([\w_]+)`", text))
    missing = {word for word in _words(validator().schema) if word not in words}
    assert missing == set()


def _words(schema: Any) -> set[str]:
    found: set[str] = set()
    if isinstance(schema, dict):
        found |= set(schema.get("properties", {}))
        found |= {str(word) for word in schema.get("enum", [])}
        for value in schema.values():
            found |= _words(value)
    elif isinstance(schema, list):
        for value in schema:
            found |= _words(value)
    return found
