"""A folder with a file a table, as Parquet or CSV: written batch by batch."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, BinaryIO, Protocol

import pyarrow as pa

from analysis.export.csv_file import CsvFile
from analysis.export.event_table import detail_table, event_table
from analysis.export.fields import DETAILS, EVENTS, TEXT
from analysis.export.frame_table import Documented, fields_of, frame_table
from analysis.export.overview import Overview
from analysis.export.parquet_file import ParquetFile
from analysis.export.stream import batches
from tracer.capture_reader import CaptureReader

STREAMED: Mapping[str, pa.Schema] = {"events": EVENTS, "details": DETAILS}
"""Tables that are written while the capture is read, whatever its size."""

CAPTURE = "capture"
"""Name of the table that has what `describe` tells, a row a key."""

Frames = Mapping[str, Sequence[Documented]]


class _File(Protocol):
    def write(self, table: pa.Table) -> None: ...

    def close(self) -> None: ...


_FILES: Mapping[str, Callable[[BinaryIO, pa.Schema], _File]] = {
    "parquet": ParquetFile,
    "csv": CsvFile,
}


class Folder:
    """Writes tables into a folder.

    Args:
        create: makes a new file in it.
        kind: "parquet" or "csv", the ending of the files' names.
        about: what `describe` tells; Parquet files carry it.
    """

    def __init__(
        self, create: Callable[[str], BinaryIO], kind: str, about: Mapping[str, Any]
    ) -> None:
        self._create, self._kind, self._about = create, kind, about

    def write_events(
        self,
        reader: CaptureReader,
        overview: Overview,
        names: Collection[str],
        on_progress: Callable[[float], None] | None = None,
    ) -> None:
        """Those of STREAMED that are asked for; a batch of events is in memory at a time."""
        clocks = overview.clocks
        with contextlib.ExitStack() as stack:
            files = {
                name: stack.enter_context(contextlib.closing(self._open(name, schema)))
                for name, schema in STREAMED.items()
                if name in names
            }
            if not files:
                return
            found = batches(reader, lambda details: detail_table(details, clocks), on_progress)
            for batch in found:
                if "events" in files:
                    files["events"].write(event_table(batch.events, clocks))
                if "details" in files:
                    files["details"].write(batch.details)

    def write_frame(
        self, name: str, rows: Any, columns: Sequence[Documented], overview: Overview
    ) -> None:
        """A frame of `rtrace.Capture`, with the documentation of its columns."""
        self._write(name, frame_table(name, rows, columns, overview.clocks))

    def write_about(self) -> None:
        """The table CAPTURE."""
        keys = list(self._about)
        values = [_plain(value) for value in self._about.values()]
        schema = pa.schema([("key", TEXT), ("value", TEXT)])
        self._write(CAPTURE, pa.table([pa.array(keys, TEXT), pa.array(values, TEXT)], schema))

    def _write(self, name: str, table: pa.Table) -> None:
        with contextlib.closing(self._open(name, table.schema)) as file:
            file.write(table)

    def _open(self, name: str, schema: pa.Schema) -> _File:
        about = json.dumps(self._about, ensure_ascii=True)
        schema = schema.with_metadata({"rtrace": about, "rtrace.table": name})
        return _FILES[self._kind](self._create(f"{name}.{self._kind}"), schema)


def schemas(frames: Frames) -> dict[str, pa.Schema]:
    """Columns of all tables but CAPTURE, by name."""
    found = {
        name: pa.schema([field.arrow for field in fields_of(name, columns)])
        for name, columns in frames.items()
    }
    return {**STREAMED, **found}


def _plain(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value if value is None else value.encode("utf-8", "backslashreplace").decode()
    return json.dumps(value, ensure_ascii=True)
