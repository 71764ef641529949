"""Documentation of columns, read from docstrings."""

from __future__ import annotations

import inspect
import re
from typing import NamedTuple

_LINE = re.compile(r"(?P<name>\w+) \((?P<dtype>[^;]+); (?P<unit>[^)]+)\): (?P<rest>.*)")
_REST = re.compile(r"(?P<what>.*?) \[(?P<source>[^\]]+)\]")


class Column(NamedTuple):
    """One column: unit of its values, where they come from."""

    name: str
    dtype: str
    unit: str
    what: str
    source: str


def read_columns(docstring: str) -> list[Column]:
    """Columns that a docstring lists.

    Raises:
        ValueError: a line is not of the form ``name (dtype; unit): what [source]``.
    """
    _, _, listed = inspect.cleandoc(docstring).partition("\nColumns:\n")
    paragraphs: list[str] = []
    for line in inspect.cleandoc("\n" + listed).splitlines():
        if line.startswith(" "):
            paragraphs[-1] += f" {line.strip()}"
        else:
            paragraphs.append(line)
    return [_column(paragraph) for paragraph in paragraphs]


def _column(text: str) -> Column:
    head = _LINE.fullmatch(text)
    rest = _REST.fullmatch(head["rest"]) if head else None
    if head is None or rest is None:
        raise ValueError(f"not documented as a column: {text}")
    return Column(head["name"], head["dtype"], head["unit"], rest["what"], rest["source"])
