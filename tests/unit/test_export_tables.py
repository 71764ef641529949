"""Tables as Parquet and CSV, read back by pandas and DuckDB, against the frames."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pyarrow.parquet as pq
import pytest

import rtrace
from analysis.clocks import Clocks
from analysis.export import parquet_file
from analysis.export import stream as export_stream
from analysis.export.folder import schemas
from rtrace.capture import FRAMES, documentation
from tests.exported import GOLDEN, hostile, lines_of, lossy, tables_of, trace_of
from tests.redacting import redact
from tests.streams import Stream

CAPTURE = GOLDEN / "bookworm-A-shim-kill.rtrace"
SCHEMAS = schemas({name: documentation(name) for name in FRAMES})


@pytest.fixture(scope="module")
def parquet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tables_of(CAPTURE, tmp_path_factory.mktemp("export") / "parquet", "parquet")


@pytest.fixture(scope="module")
def capture() -> rtrace.Capture:
    return rtrace.open_capture(CAPTURE)


def plain(value: Any) -> Any:
    """As all readers give it: None for what is not known, lists for tuples."""
    if isinstance(value, (tuple, list)) or type(value).__name__ == "ndarray":
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return [plain(item) for item in value.values()]
    if value is None or value is pd.NA or value is pd.NaT or value != value:
        return None
    return value.item() if hasattr(value, "item") else value


@pytest.mark.parametrize("frame", FRAMES)
def test_pandas_reads_each_frame_as_it_is(
    parquet: Path, capture: rtrace.Capture, frame: str
) -> None:
    rows = pd.read_parquet(parquet / f"{frame}.parquet", dtype_backend="pyarrow")

    expected = getattr(capture, frame)
    assert len(rows) == len(expected)
    for name in expected.columns:
        found, wanted = rows[name].tolist(), expected[name].tolist()
        assert [plain(v) for v in found] == [plain(v) for v in wanted], name
    if frame == "processes":
        assert rows["id"].tolist() == expected.index.tolist()


@pytest.mark.parametrize("table", SCHEMAS)
def test_duckdb_reads_the_documented_columns(parquet: Path, table: str) -> None:
    with duckdb.connect() as db:
        described = db.sql(f"DESCRIBE FROM '{parquet / table}.parquet'").fetchall()

    kinds = {
        "int64": "BIGINT",
        "int32": "INTEGER",
        "int16": "SMALLINT",
        "bool": "BOOLEAN",
        "string": "VARCHAR",
        "list<item: string>": "VARCHAR[]",
        "list<element: string>": "VARCHAR[]",
    }
    for (name, kind, *_), field in zip(described, SCHEMAS[table], strict=True):
        assert name == field.name
        expected = kinds.get(str(field.type))
        if expected is not None:
            assert kind == expected, name
        elif str(field.type).startswith("timestamp"):
            assert kind.startswith("TIMESTAMP"), name
        else:
            assert kind.startswith("STRUCT"), name


def test_times_keep_their_nanoseconds_and_their_wall_clock(
    parquet: Path, capture: rtrace.Capture
) -> None:
    rows = pd.read_parquet(parquet / "processes.parquet", dtype_backend="pyarrow")
    clocks = Clocks(capture.table)

    for exit_ns, wall in zip(rows["exit_ns"], rows["exit_wall"], strict=True):
        if pd.isna(exit_ns):
            assert pd.isna(wall)
        else:
            assert wall.value == clocks.wall_ns(int(exit_ns))
    assert rows["exit_wall"].notna().any()


def test_events_are_those_of_the_lines(parquet: Path) -> None:
    rows = pq.read_table(parquet / "events.parquet").to_pylist()
    lines = [
        line
        for line in lines_of(CAPTURE)
        if line["event"] not in ("capture", "end", "attach", "args", "loss")
    ]

    assert len(rows) == len(lines)
    for row, line in zip(rows, lines, strict=True):
        for name in row.keys() & line.keys() - {"wall"}:
            assert row[name] == line[name], name
        assert pd.Timestamp(row["wall"]) == pd.Timestamp(line["wall"])
        rest = row.keys() - line.keys() - {"start_ns"}
        assert all(row[name] is None for name in rest)


def test_details_hold_the_arguments(parquet: Path, capture: rtrace.Capture) -> None:
    rows = pq.read_table(parquet / "details.parquet").to_pylist()

    details = capture.table.details
    for name in ("ts_ns", "filename", "args", "args_cut", "cgroup", "cpu_lost"):
        if name in ("filename", "args", "args_cut"):
            wanted = details.loc[details["type"] == "EXEC", name]
            found = [row[name] for row in rows if row["event"] == "exec"]
        else:
            wanted, found = details[name], [row[name] for row in rows]
        assert [plain(v) for v in found] == [plain(v) for v in wanted], name


def test_files_carry_what_they_are(parquet: Path) -> None:
    schema = pq.read_schema(parquet / "events.parquet")

    about = json.loads(schema.metadata[b"rtrace"])
    assert about["export_schema"] == 1
    assert about["host"]["hostname"] == "lab"
    assert schema.field("cpu_lost").metadata[b"unit"] == b"count"
    with duckdb.connect() as db:
        rows = db.sql(f"SELECT key, value FROM '{parquet}/capture.parquet'").fetchall()
    assert dict(rows)["complete"] == "true"


def test_hostile_names_are_text_in_both(tmp_path: Path) -> None:
    path = hostile().write(tmp_path / "x.rtrace")

    made = tables_of(path, tmp_path / "parquet", "parquet")
    flat = tables_of(path, tmp_path / "csv", "csv")

    people = pd.read_parquet(made / "processes.parquet")
    assert set(rtrace.open_capture(path).processes["comm"]) == set(people["comm"])
    for file in flat.iterdir():
        text = file.read_text()
        assert all(c.isprintable() for c in text.replace("\n", ""))
        rows = list(csv.reader(text.splitlines()))
        assert all(len(row) == len(rows[0]) for row in rows), file.name
        for row in rows:
            assert not [cell for cell in row if cell[:1] in "=+@|%" and cell], file.name
            # A number may be below zero; nothing else begins with a minus.
            assert all(cell[1:].isdigit() for cell in row if cell.startswith("-"))


def test_csv_has_the_rows_of_parquet(parquet: Path, tmp_path: Path) -> None:
    flat = tables_of(CAPTURE, tmp_path / "csv", "csv")

    with duckdb.connect() as db:
        for name in SCHEMAS:
            query = "SELECT count(*) FROM '{}'"
            read = query.replace("'{}'", f"read_csv('{flat}/{name}.csv', header=true)")
            assert (
                db.sql(read).fetchall()
                == db.sql(query.format(parquet / f"{name}.parquet")).fetchall()
            ), name
    with open(flat / "processes.csv", newline="") as file:
        rows = {row["id"]: row for row in csv.DictReader(file)}
    capture = rtrace.open_capture(CAPTURE)
    for id_, exit_ns in capture.processes["exit_ns"].items():
        assert rows[id_]["exit_ns"] == ("" if pd.isna(exit_ns) else str(exit_ns))


def test_losses_and_cuts_are_in_the_tables(tmp_path: Path) -> None:
    path = lossy().write(tmp_path / "x.rtrace", complete=False)

    made = tables_of(path, tmp_path / "parquet", "parquet")

    capture = rtrace.open_capture(path)
    assert len(pd.read_parquet(made / "losses.parquet")) == len(capture.losses) > 0
    about = pd.read_parquet(made / "capture.parquet").set_index("key")["value"]
    assert about["complete"] == "false"
    assert about["damage"] == capture.table.damage
    assert int(about["lost_events"]) == capture.losses["events"].sum()


def test_what_was_redacted_stays_so(tmp_path: Path) -> None:
    stream = Stream()
    child = stream.fork(stream.process("systemd", tgid=1))
    stream.exec(child, "/bin/app", ["app", "--password", "correct-horse-battery"])
    path = stream.write(tmp_path / "x.rtrace")
    redacted, _ = redact(path)

    made = tables_of(redacted, tmp_path / "csv", "csv")

    text = "".join(file.read_text() for file in made.iterdir())
    assert "--password" in text
    assert "battery" not in text
    assert "battery" not in str(lines_of(redacted))
    assert b"battery" not in trace_of(redacted)
    assert len(lines_of(redacted)) == len(lines_of(path))


@pytest.mark.parametrize("rows", [1, 7, 100_000])
def test_row_groups_make_no_difference(
    tmp_path: Path, parquet: Path, monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    monkeypatch.setattr(export_stream, "ENOUGH", 10)
    monkeypatch.setattr(parquet_file, "_ROWS", rows)

    made = tables_of(CAPTURE, tmp_path / "parquet", "parquet")

    for name in ("events", "details", "losses"):
        assert pq.read_table(made / f"{name}.parquet") == pq.read_table(parquet / f"{name}.parquet")
    groups = pq.ParquetFile(made / "events.parquet").metadata
    assert groups.num_row_groups >= groups.num_rows // max(rows, 20)
