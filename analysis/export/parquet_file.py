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
        try:
            self._writer = pq.ParquetWriter(self._file, schema, compression="zstd")
        except BaseException:
            self._file.close()
            raise

    def write(self, table: pa.Table) -> None:
        """Some more rows."""
        if len(table):
            self._writer.write_table(table, row_group_size=_ROWS)

    def close(self) -> None:
        """Writes the footer, without which no reader takes the file."""
        with self._file:
            self._writer.close()
