"""docs/export.md: its columns are the real ones, and its recipes run."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import duckdb
import pytest

from analysis.export import SCHEMA
from tests.export_page import PAGE, blocks, page
from tests.exported import GOLDEN, lines_of, tables_of
from tests.kernel.recording import RTRACE

CAPTURE = GOLDEN / "bookworm-A-shim-kill.rtrace"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Holds the capture x.rtrace and its tables, as the recipes call them."""
    folder = tmp_path_factory.mktemp("recipes")
    shutil.copy(CAPTURE, folder / "x.rtrace")
    tables_of(CAPTURE, folder / "tables", "parquet")
    return folder


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text() == page(), "python -m tests.export_page"
    assert f"**export schema {SCHEMA}**" in PAGE.read_text()


def test_all_keys_of_the_first_and_last_line_are_explained() -> None:
    lines = lines_of(CAPTURE)
    for key in lines[0] | lines[-1]:
        assert f"`{key}`" in PAGE.read_text()


def test_sql_of_duckdb_gives_rows(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    (text,) = [block for block in blocks("sql") if not block.startswith("-- perfetto")]
    with duckdb.connect() as db:
        for statement in filter(str.strip, text.split(";")):
            assert db.sql(statement).fetchall(), statement


def test_python_runs(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    (code,) = blocks("python")
    exec(compile(code, str(PAGE), "exec"), {})


def test_jq_gives_lines(folder: Path) -> None:
    (text,) = blocks("sh")
    for command in text.split("\n\n"):
        done = subprocess.run(
            ["bash", "-c", f"set -o pipefail\n{command}"],
            cwd=folder,
            env={"PATH": f"{Path(RTRACE).parent}:/usr/bin:/bin"},
            capture_output=True,
            text=True,
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.strip()
