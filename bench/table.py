"""The table: the bars that concern recording, what was measured, and whether they are met."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from bench.stats import Summary


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table.

    Attributes:
        bar: the limit, in ``unit``; None: a figure without one.
        measured: in ``unit``; None: could not be measured, ``note`` says why.
        at_least: the bar is a minimum.
        note: how it was measured.
    """

    what: str
    unit: str
    bar: float | None
    measured: Summary | None
    note: str = ""
    at_least: bool = False
    digits: int = 2

    @property
    def met(self) -> bool | None:
        """By the median; None without a bar or a figure."""
        if self.bar is None or self.measured is None:
            return None
        if self.at_least:
            return self.measured.median >= self.bar
        return self.measured.median <= self.bar

    def as_json(self) -> dict[str, Any]:
        """For the JSON file."""
        return asdict(self) | {"met": self.met}


def render_table(rows: Sequence[Row]) -> str:
    """The bars' table."""
    return render_cells(
        [("what", "bar", "measured", "spread", "", "how"), *(_cells(row) for row in rows)]
    )


def render_cells(cells: Sequence[tuple[str, ...]]) -> str:
    """As Markdown with aligned columns, so that it reads well on a terminal too.

    Args:
        cells: of each line, the titles first.
    """
    widths = [max(len(line[i]) for line in cells) for i in range(len(cells[0]))]
    lines = [
        "| "
        + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        + " |"
        for line in cells
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def _cells(row: Row) -> tuple[str, ...]:
    bar = ""
    if row.bar is not None:
        bar = f"{'>=' if row.at_least else '<='} {_number(row.bar, row.digits)} {row.unit}".strip()
    if row.measured is None:
        return (row.what, bar, "-", "", "", row.note)
    measured, spread = row.measured, ""
    if measured.count > 1:
        low, high = measured.low_quartile, measured.high_quartile
        spread = f"{_number(low, row.digits)} .. {_number(high, row.digits)}"
    met = {True: "met", False: "NOT MET", None: ""}[row.met]
    figure = f"{_number(measured.median, row.digits)} {row.unit}".strip()
    return (row.what, bar, figure, spread, met, row.note)


def _number(value: float, digits: int) -> str:
    return f"{value:,.{digits}f}"
