"""Markdown that fits into a comment of a ticket: what does not is counted, never cut in silence."""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from dataclasses import dataclass, field

from analysis.text_layout import count

# Of GitHub: characters of one comment.
LIMIT = 65_536
_RESERVE = 200  # for the line that counts the parts that were left out


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a document.

    Attributes:
        head: lines that stand in any case. rows: lines of a list or table, of which the first that
            fit are kept.
        noun: what a row is: "step". more: what has all of them, a command.
        optional: the part may be left out as a whole, and then counts as one ``title``.
    """

    head: Sequence[str]
    rows: Sequence[str] = ()
    noun: str = "row"
    more: str = ""
    optional: bool = False
    title: str = "part"
    _ends: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        total = 0
        for row in self.rows:
            total += len(row) + 1
            self._ends.append(total)

    def lines(self, room: int) -> list[str]:
        """With as many rows as go into so many characters, and a line that counts the others."""
        kept = bisect.bisect_right(self._ends, room)
        lines = [*self.head, *self.rows[:kept]]
        if kept < len(self.rows):
            where = f": {self.more}" if self.more else ""
            lines += ["", f"*{count(len(self.rows) - kept, f'more {self.noun}')}{where}*"]
        return [*lines, ""]


def parts_of(lines: Sequence[str], more: str) -> list[Part]:
    """Parts of a document that is there already: each table is one, with what stands before it."""
    parts: list[Part] = []
    head: list[str] = []
    rows: list[str] = []
    in_table = False
    for line in lines:
        if in_table and line.startswith("|"):
            rows.append(line)
            continue
        if in_table:
            parts.append(Part(head, rows, "row", more))
            head, rows, in_table = [], [], False
            if not line:
                continue  # a part ends with an empty line
        head.append(line)
        in_table = line.startswith("| ---")
    return [*parts, Part(head, rows, "row", more)] if head else parts


def fit(parts: Sequence[Part], limit: int = LIMIT) -> str:
    """The document, ended by a newline and at most ``limit`` characters long.

    All parts get the same room for their rows, as much as fits; small ones keep all of theirs. If
    not even the heads fit, optional parts are left out from the end. What is not optional has to
    be small: its heads are bounded by who makes them.
    """
    sizes = [_size([part], 0) + 1 for part in parts]  # with the empty line before the next one
    total = sum(sizes)
    optional = [i for i, part in enumerate(parts) if part.optional]
    left_out: dict[str, int] = {}
    dropped = set()
    while total > limit - _RESERVE and optional:
        last = optional.pop()
        dropped.add(last)
        total -= sizes[last]
        left_out[parts[last].title] = left_out.get(parts[last].title, 0) + 1
    kept = [part for i, part in enumerate(parts) if i not in dropped]
    low, high = 0, limit
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if _size(kept, middle) <= limit - _RESERVE else (low, middle - 1)
    text = _join(kept, low)
    if left_out:
        what = ", ".join(count(number, f"more {title}") for title, number in left_out.items())
        text += f"\n*Left out, as a comment has no room for it: {what}.*\n"
    return text


def _join(parts: Sequence[Part], room: int) -> str:
    return "\n".join(line for part in parts for line in part.lines(room)).rstrip("\n") + "\n"


def _size(parts: Sequence[Part], room: int) -> int:
    return len(_join(parts, room))
