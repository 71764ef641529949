"""Findings of synthetic captures, checked in every way that holds for all of them."""

from __future__ import annotations

import json
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import jsonschema

from analysis.model import Capture, open_capture
from analysis.render_text import render_text
from analysis.report import build_report
from analysis.text_safety import width as columns_of
from tests.streams import Stream
from tracer.abi import Type

Json = dict[str, Any]

SECOND = 1_000_000_000
MS = 1_000_000


@cache
def validator() -> jsonschema.Draft202012Validator:
    text = (resources.files("analysis") / "schemas" / "report.schema.json").read_text()
    return jsonschema.Draft202012Validator(json.loads(text))


def findings_of(stream: Stream, tmp_path: Path, **options: Any) -> dict[str, Json]:
    """Findings by kind (the first of each): valid, with evidence that is there, and that fit."""
    path = stream.write(tmp_path / "x.rtrace", **options)
    capture = open_capture(path)
    report = build_report(capture)
    check(capture, report)
    found: dict[str, Json] = {}
    for finding in report["findings"]:
        found.setdefault(finding["kind"], finding)
    return found


def check(capture: Capture, report: Json) -> None:
    """What holds for the findings of any capture."""
    validator().validate(report)
    assert json.loads(json.dumps(report, allow_nan=False)) == report
    listed = {process["id"] for process in report["processes"]}
    for finding in report["findings"]:
        assert set(finding["processes"]) <= listed
        assert all(text.isprintable() for text in (finding["text"], finding["next"]))
        for e in finding["evidence"]:
            tgid = int(e["id"].split(":")[0])
            if e["event"] == "SOCK":
                assert e["ts_ns"] in [look.ts_ns for look in capture.control_path.snapshots]
                continue
            rows = capture.table.tasks if e["event"] == "TASK" else None
            rows = capture.table.of(Type[e["event"]]) if rows is None else rows
            assert ((rows["ts_ns"] == e["ts_ns"]) & (rows["tgid"] == tgid)).any(), finding
    for width in (60, 80, 130):
        for line in render_text(report, width=width, color=False).splitlines():
            assert columns_of(line) <= width


def grave(found: dict[str, Json]) -> set[str]:
    """Kinds of what is more than worth knowing."""
    return {kind for kind, finding in found.items() if finding["severity"] != "info"}
