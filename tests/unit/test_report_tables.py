"""Reports and answers as CSV, read back and compared with their JSON."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import click
import pytest

from analysis.model import open_capture
from analysis.report import build_report
from analysis.report_tables import REPORT_TABLES, WHY_TABLES, render_report_csv, render_why_csv
from analysis.why.answer import build_why
from tests import incidents
from tests.incidents import PAYLOADS
from tests.streams import BOOT_NS
from tracer.cli.report import report as report_command
from tracer.cli.why import why as why_command


def read(text: str) -> list[dict[str, str]]:
    rows = list(csv.DictReader(io.StringIO(text), strict=True))
    assert all(None not in row and None not in row.values() for row in rows)
    return rows


@pytest.fixture
def report(tmp_path: Path) -> Any:
    h = incidents.recycled()
    h.stream.lost(2)
    h.stream.loss()
    return build_report(open_capture(h.stream.write(tmp_path / "x.rtrace")))


def choices(command: click.Command) -> list[str]:
    [found] = [p.type for p in command.params if p.name == "table"]
    assert isinstance(found, click.Choice)
    return list(found.choices)


def test_the_command_line_offers_the_tables() -> None:
    assert choices(report_command) == list(REPORT_TABLES)
    assert choices(why_command) == list(WHY_TABLES)


@pytest.mark.parametrize("name", list(REPORT_TABLES))
def test_every_table_reads_back(name: str, report: Any) -> None:
    text = render_report_csv(report, name)
    [header] = csv.reader([text.splitlines()[0]])
    assert tuple(header) == REPORT_TABLES[name][0]
    # Nobody looked at sockets here: test_control_path has connections.
    assert bool(read(text)) == (name != "connections")


def test_times_are_exact_and_numbers(report: Any) -> None:
    for row, step in zip(
        read(render_report_csv(report, "timeline")), report["timeline"], strict=True
    ):
        assert int(row["ts_ns"]) == step["ts_ns"]
        assert round(float(row["rel_s"]) * 1e9) == step["ts_ns"] - BOOT_NS
        assert row["text"] == step["text"]


def test_who_was_killed_by_whom(report: Any) -> None:
    rows = read(render_report_csv(report, "processes"))
    assert len(rows) == len(report["processes"])
    killed = {row["comm"]: row for row in rows if row["killed_by"] == "process"}
    by_id = {row["id"]: row for row in rows}
    assert by_id[killed["containerd-shim"]["killer"]]["comm"] == "disk-cleanup"
    [first] = [row for row in rows if row["comm"] == "disk-cleanup"]
    assert first["args"] == "cleanup old"


def test_containers_have_a_row_a_run(report: Any) -> None:
    [row] = read(render_report_csv(report, "containers"))
    assert (row["name"], row["run"], row["init_role"]) == ("shop", "1", "container-init")
    assert row["end"].startswith("was killed by SIGKILL (9), sent by runc")


def test_a_why_as_tables(tmp_path: Path) -> None:
    opened = open_capture(incidents.recycled().stream.write(tmp_path / "x.rtrace"))
    why = build_why(opened, "shop")
    for name in WHY_TABLES:
        read(render_why_csv(why, name))
    chain = read(render_why_csv(why, "chain"))
    assert [row["text"] for row in chain] == [step["text"] for step in why["chain"]]
    assert read(render_why_csv(why, "died-with"))[0]["cause"] == "pid-namespace-end"
    assert read(render_why_csv(why, "lineage"))[0]["unit"] == "cleanup.service"


FORMULAS = ("=1+1", "+cmd|' /C calc'!A0", "-1", "@SUM(A1)", "\t=1", "\r\n=1", "a\n=1", '"=1')


@pytest.mark.parametrize("payload", [*FORMULAS, *PAYLOADS])
def test_no_cell_is_a_formula_and_none_breaks_a_line(payload: str, tmp_path: Path) -> None:
    h = incidents.recycled(comm=payload, name=payload, argument=payload, cgroup=payload)
    h.stream.snapshot("end")
    opened = open_capture(h.stream.write(tmp_path / "x.rtrace"))
    report, why = build_report(opened), build_why(opened, h.procs["init"].id)
    texts = [render_report_csv(report, name) for name in REPORT_TABLES]
    texts += [render_why_csv(why, name) for name in WHY_TABLES]
    for text in texts:
        rows = read(text)
        assert text.count("\n") == len(rows) + 1
        for row in rows:
            for cell in row.values():
                is_number = cell.lstrip("-").replace(".", "", 1).replace("e-", "").isdigit()
                assert is_number or not cell.strip().startswith(("=", "+", "-", "@", "|", "%"))
