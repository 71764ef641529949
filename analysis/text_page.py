"""Paragraphs of a text report, wrapped and coloured. Everything goes through `Page.put`."""

from __future__ import annotations

from analysis.text_layout import seconds, wrap
from analysis.text_safety import width as columns_of

INDENT = "  "
BOLD, DIM, RED, YELLOW, GREEN = "1", "2", "31", "33", "32"

MIN_WIDTH = 60
MAX_WIDTH = 160  # longer lines are hard to follow
WIDE = 100  # from here on there is room for wall-clock times
CLOCK = len("12:34:56.789  ")


def bounded_width(width: int) -> int:
    """Columns to use of a terminal's: neither too few to be read nor too many."""
    return min(max(width, MIN_WIDTH), MAX_WIDTH)


class Page:
    """Lines in the making.

    Args:
        boot_ns: times are told from here.
        width: columns.
        color: with terminal colours.
    """

    def __init__(self, boot_ns: int, width: int, color: bool) -> None:
        self.boot_ns, self.width, self.color = boot_ns, width, color
        self.lines: list[str] = []

    def paint(self, text: str, *codes: str) -> str:
        if not self.color or not codes or not text:
            return text
        return f"\x1b[{';'.join(codes)}m{text}\x1b[0m"

    def put(
        self, text: str, *codes: str, first: str = "", rest: str | None = None, dim: bool = False
    ) -> None:
        """A paragraph, wrapped; ``first`` stands before its first line, ``rest`` before others."""
        rest = " " * columns_of(first) if rest is None else rest
        for i, line in enumerate(wrap(text, self.width - columns_of(rest))):
            lead = first if i == 0 else rest
            self.lines.append((self.paint(lead, DIM) if dim else lead) + self.paint(line, *codes))

    def title(self, text: str) -> None:
        self.lines.append("")
        self.put(text, BOLD)

    def field(self, name: str, text: str, *codes: str) -> None:
        self.put(text, *codes, first=f"{INDENT}{name:<10} ")

    def since(self, ts_ns: int) -> str:
        return seconds(ts_ns - self.boot_ns, sign=True)

    def text(self) -> str:
        """All of it, ended by a newline."""
        return "\n".join(line.rstrip() for line in self.lines) + "\n"
