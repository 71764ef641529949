"""`rtrace export` as one runs it: what it writes where, and what it leaves when it fails."""

from __future__ import annotations

import json
import os
import resource
import stat
import subprocess
from pathlib import Path
from typing import BinaryIO

import duckdb
import pandas as pd
import pytest
from perfetto.protos.perfetto.trace.perfetto_trace_pb2 import Trace

import rtrace
from rtrace.capture import FRAMES
from tests import lives
from tests.cli.test_imports import modules_after
from tests.exported import GOLDEN
from tests.kernel.recording import RTRACE, assert_failed, run_rtrace
from tracer.cli.export import _FRAMES, _TABLES, _write_folder

CAPTURE = GOLDEN / "bookworm-A-shim-kill.rtrace"


def export(*arguments: str | Path) -> None:
    ended = run_rtrace("export", CAPTURE, *arguments)
    assert (ended.status, ended.stderr, ended.stdout) == (0, "", "")


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_parquet(tmp_path: Path) -> None:
    export("--to", "parquet", "-o", tmp_path / "made")

    made = tmp_path / "made"
    tables = {"events", "details", *FRAMES, "capture"}
    assert {path.name for path in made.iterdir()} == {f"{name}.parquet" for name in tables}
    assert mode_of(made) == 0o700
    assert {mode_of(path) for path in made.iterdir()} == {0o600}
    with duckdb.connect() as db:
        (count,) = db.sql(f"SELECT count(*) FROM '{made}/events.parquet'").fetchall()[0]
    assert count == rtrace.open_capture(CAPTURE).table.events
    assert os.listdir(tmp_path) == ["made"]


def test_csv_of_one_container_of_a_ticket(tmp_path: Path) -> None:
    archive = tmp_path / "x.zip"
    assert run_rtrace("ticket", CAPTURE, "-o", archive).status == 0

    made = tmp_path / "made"
    ended = run_rtrace(
        *("export", archive, "--to", "csv", "-o", made),
        *("--table", "processes", "--table", "containers", "--container", "web"),
    )

    assert (ended.status, ended.stderr) == (0, "")
    assert {path.name for path in made.iterdir()} == {"processes.csv", "containers.csv"}
    assert pd.read_csv(made / "containers.csv")["name"].tolist() == ["web"]
    people = pd.read_csv(made / "processes.csv")
    assert 0 < len(people) < len(rtrace.open_capture(CAPTURE).processes)
    assert "container-init" in people["role"].tolist()


def test_json_lines_go_into_a_pipe(tmp_path: Path) -> None:
    ended = run_rtrace("export", CAPTURE, "--to", "jsonl", "-o", "-")
    export("--to", "jsonl", "-o", tmp_path / "x.jsonl")

    assert (ended.status, ended.stderr) == (0, "")
    assert ended.stdout == (tmp_path / "x.jsonl").read_text()
    assert mode_of(tmp_path / "x.jsonl") == 0o600
    lines = [json.loads(line) for line in ended.stdout.splitlines()]
    assert (lines[0]["event"], lines[-1]["event"]) == ("capture", "end")


def test_a_reader_that_goes_away_is_no_failure() -> None:
    done = subprocess.run(
        ["bash", "-c", f'set -o pipefail; "{RTRACE}" export {CAPTURE} --to jsonl -o - | head -1'],
        capture_output=True,
        text=True,
    )

    assert json.loads(done.stdout)["event"] == "capture"
    assert done.stderr == ""


@pytest.mark.parametrize("command", [("export", "--to", "jsonl", "-o", "-"), ("report",)])
@pytest.mark.parametrize("where", [">&-", ">/dev/full", ">&- 2>&-", "<&- >&-"])
def test_stdout_that_cannot_be_written_to(command: tuple[str, ...], where: str) -> None:
    name, *more = command
    shell = f'"$0" {name} {CAPTURE} {" ".join(more)} {where}'
    done = subprocess.run(["sh", "-c", shell, RTRACE], capture_output=True, text=True)

    assert done.returncode == 1
    if "2>" not in where:
        (line,) = done.stderr.splitlines()
        assert line.startswith("rtrace: cannot write the output: ")


@pytest.mark.parametrize("path", ["", "/", "folder/"])
def test_what_is_no_name(tmp_path: Path, path: str) -> None:
    (tmp_path / "folder").mkdir()
    for kind in ("jsonl", "csv"):
        ended = run_rtrace("export", CAPTURE, "--to", kind, "-o", path, cwd=tmp_path)
        assert_failed(ended, "exists" if path == "folder/" and kind == "csv" else "it has no name")


def test_perfetto(tmp_path: Path) -> None:
    export("--to", "perfetto", "-o", tmp_path / "x.pftrace")

    trace = Trace.FromString((tmp_path / "x.pftrace").read_bytes())
    names = {packet.track_descriptor.name for packet in trace.packet}
    assert {"timeline", "findings", "losses", "recording"} <= names


@pytest.mark.parametrize("kind", ["parquet", "jsonl"])
def test_nothing_is_overwritten_unless_told(tmp_path: Path, kind: str) -> None:
    made = tmp_path / "made"
    export("--to", kind, "-o", made)
    before = made.stat().st_ctime_ns

    assert_failed(run_rtrace("export", CAPTURE, "--to", kind, "-o", made), "exists", "--force")
    assert made.stat().st_ctime_ns == before

    export("--to", kind, "-o", made, "--force")
    assert made.stat().st_ctime_ns != before
    assert os.listdir(tmp_path) == ["made"]


def test_force_takes_away_no_files_of_others(tmp_path: Path) -> None:
    folder = tmp_path / "made"
    folder.mkdir()
    (folder / "thesis.txt").write_text("mine")
    link = tmp_path / "link"
    link.symlink_to(folder)

    for path, kind in ((folder, "csv"), (link, "csv"), (link, "jsonl"), (folder, "jsonl")):
        ended = run_rtrace("export", CAPTURE, "--to", kind, "-o", path, "--force")
        assert_failed(ended, "give another name")

    assert (folder / "thesis.txt").read_text() == "mine"
    assert sorted(os.listdir(tmp_path)) == ["link", "made"]
    assert os.listdir(folder) == ["thesis.txt"]


@pytest.mark.parametrize("kind", ["perfetto", "parquet", "jsonl", "csv"])
def test_a_full_disk_leaves_nothing(tmp_path: Path, kind: str) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))

    ended = run_rtrace("export", CAPTURE, "--to", kind, "-o", tmp_path / "made", preexec_fn=limit)

    assert_failed(ended, f"cannot write {tmp_path}/made: file too large")
    assert os.listdir(tmp_path) == []


def test_no_capture_no_folder_no_container(tmp_path: Path) -> None:
    missing = run_rtrace("export", tmp_path / "no", "--to", "csv", "-o", tmp_path / "made")
    assert_failed(missing, "no such file")
    nowhere = run_rtrace("export", CAPTURE, "--to", "csv", "-o", tmp_path / "no" / "made")
    assert_failed(nowhere, "there is no directory")
    nobody = run_rtrace(
        "export", CAPTURE, "--to", "jsonl", "-o", tmp_path / "made", "--container", "nobody"
    )
    assert_failed(nobody, "nobody")
    assert os.listdir(tmp_path) == []


def test_wrong_usage(tmp_path: Path) -> None:
    for arguments in (
        ["--to", "jsonl", "-o", "x", "--table", "events"],
        ["--to", "parquet", "-o", "-"],
        ["--to", "xml", "-o", "x"],
        ["--to", "csv"],
        ["--to", "csv", "-o", "x", "--since", "3s", "--until", "2s"],
    ):
        assert run_rtrace("export", CAPTURE, *arguments, cwd=tmp_path).status == 2
    assert os.listdir(tmp_path) == []


def test_a_part_of_the_time(tmp_path: Path) -> None:
    stream = lives.life().stream
    path = stream.write(tmp_path / "x.rtrace")

    ended = run_rtrace("export", path, "--to", "jsonl", "-o", "-", "--since", "1000s")

    lines = [json.loads(line) for line in ended.stdout.splitlines()]
    assert ended.status == 0
    assert lines[0]["filter"]["ticket"] == "everything"
    assert len(lines) < rtrace.open_capture(path).table.events


def test_the_tables_that_it_offers_are_those_of_the_library() -> None:
    assert _FRAMES == FRAMES


def test_nothing_heavy_is_loaded_before_it_is_needed() -> None:
    # pandas looks for pyarrow itself.
    assert not {"pyarrow", "pandas"} & modules_after("import tracer.cli")
    assert not {"perfetto", "google.protobuf", "duckdb"} & modules_after("import rtrace")


def test_progress_goes_from_nothing_to_all(tmp_path: Path) -> None:
    told: list[tuple[str, float]] = []

    def tell(what: str, share: float) -> None:
        told.append((what, share))

    def create(name: str) -> BinaryIO:
        return open(tmp_path / name, "xb")

    _write_folder(str(CAPTURE), create, "parquet", _TABLES, tell)

    shares = [share for _, share in told]
    assert shares == sorted(shares)
    assert {"reading", "writing events", "finding processes"} <= {what for what, _ in told}
    assert shares[-1] <= 1.0
