"""A table as Parquet."""

from __future__ import annotations

from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

_ROWS = 131_072


class ParquetFile:
    """Row groups of a table that come one after another, compressed."""

    def __init__(self, file: BinaryIO, schema: pa.Schema) -> None:
        self._file = file
        self._held: list[pa.Table] = []
        try:
            self._writer = pq.ParquetWriter(self._file, schema, compression="zstd")
        except BaseException:
            self._file.close()
            raise

    def write(self, table: pa.Table) -> None:
        """Some more rows: they are written when there are enough for a row group."""
        self._held.append(table)
        if sum(map(len, self._held)) >= _ROWS:
            self._write_held()

    def close(self) -> None:
        """Writes the rest, and the footer, without which no reader takes the file."""
        with self._file:
            self._write_held()
            self._writer.close()

    def _write_held(self) -> None:
        if self._held:
            self._writer.write_table(pa.concat_tables(self._held), row_group_size=_ROWS)
        self._held = []
