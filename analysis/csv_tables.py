"""Tables as CSV that a spreadsheet opens without executing what a capture holds.

A cell that begins like a formula is one to a spreadsheet, quoted or not: such text gets an
apostrophe before it, as OWASP's "CSV Injection" advises. Numbers stay numbers.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tracer.text import printable

# Also behind a semicolon, which separates cells where the comma is the decimal point; and in the
# full-width forms that some spreadsheets take for the same.
_FORMULA = re.compile(r"(^|;)(?=[\s\"']*[=+\-@|%\uff1d\uff0b\uff0d\uff20])")


def cell(value: Any) -> str | int | float:
    """A value as it stands in a cell: "" for None, true and false, numbers, harmless text."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return value
    return _FORMULA.sub(r"\1'", printable(str(value)))


def render_csv(columns: Sequence[str], rows: Iterable[Mapping[str, Any] | Sequence[Any]]) -> str:
    """A header line and a line a row, ended by newlines; every text is quoted, one line a cell.

    Args:
        rows: values in the order of ``columns``, or by their names.
    """
    buffer = io.StringIO()
    writer = csv.writer(buffer, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        values = [row.get(name) for name in columns] if isinstance(row, Mapping) else row
        writer.writerow([cell(value) for value in values])
    return buffer.getvalue()
