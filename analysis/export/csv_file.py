"""A table as CSV that a spreadsheet opens without executing what a capture holds."""

from __future__ import annotations

from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from analysis.csv_tables import cell
from analysis.export.fields import TEXT
from analysis.text_safety import command_line

_OPTIONS = pyarrow.csv.WriteOptions(quoting_style="needed")  # texts are quoted, numbers are not
# What rtrace makes itself of numbers and tokens is no formula.
_SAFE = frozenset({"process", "token"})
_EVER = 1 << 30


class CsvFile:
    """Rows of a table that come one after another, a line each.

    A list is one text: arguments as one would type them, others separated by spaces, evidence as
    EVENT/process/ts_ns.
    """

    def __init__(self, file: BinaryIO, schema: pa.Schema) -> None:
        self._schema = schema
        flat = pa.schema([(f.name, TEXT if pa.types.is_list(f.type) else f.type) for f in schema])
        self._file = file
        try:
            self._writer = pyarrow.csv.CSVWriter(self._file, flat, write_options=_OPTIONS)
        except BaseException:
            self._file.close()
            raise

    def write(self, table: pa.Table) -> None:
        """Some more rows."""
        columns = []
        for number, field in enumerate(self._schema):
            column = table.column(number).combine_chunks()
            columns.append(_flat(column, (field.metadata or {}).get(b"unit", b"").decode()))
        self._writer.write_table(pa.table(columns, names=table.column_names))

    def close(self) -> None:
        """All of it is written."""
        with self._file:
            self._writer.close()


def _flat(column: Any, unit: str) -> Any:
    if unit == "tokens":
        return pc.binary_join(column, " ")
    if pa.types.is_list(column.type):
        join = _evidence if pa.types.is_struct(column.type.value_type) else _words(unit)
        known: dict[tuple[Any, ...], str] = {}
        texts = []
        for value in column.to_pylist():
            key = tuple(tuple(v.values()) if isinstance(v, dict) else v for v in value or ())
            if key not in known:
                known[key] = str(cell(join(key)))
            texts.append(None if value is None else known[key])
        return pa.array(texts, TEXT)
    if column.type == TEXT and unit not in _SAFE:
        coded = column.dictionary_encode()
        harmless = [str(cell(value)) for value in coded.dictionary.to_pylist()]
        return pa.array(harmless, TEXT).take(coded.indices)
    return column


def _evidence(found: tuple[Any, ...]) -> str:
    return " ".join(f"{event}/{process}/{ts_ns}" for event, ts_ns, process in found)


def _words(unit: str) -> Any:
    typed = unit in ("texts", "tuple of text")
    return (lambda words: command_line(words, _EVER)) if typed else " ".join
