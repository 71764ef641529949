"""Lines, columns and times of text reports."""

from __future__ import annotations

import datetime
from collections.abc import Iterable

from analysis.text_safety import width as columns_of


def seconds(ns: int, *, sign: bool = False, digits: int = 6) -> str:
    """Nanoseconds as seconds: "+1.204318"."""
    scaled = round(abs(ns) / 10 ** (9 - digits)) if digits < 9 else abs(ns)
    whole, part = divmod(scaled, 10**digits)
    lead = "-" if ns < 0 else "+" if sign else ""
    return f"{lead}{whole}.{part:0{digits}d}"


def wrap(text: str, width: int) -> list[str]:
    """Lines of at most ``width`` columns. Spaces inside a line stay as they are."""
    lines: list[str] = []
    line, used = "", 0
    for i, word in enumerate(text.split(" ")):
        piece = word if i == 0 else f" {word}"
        size = columns_of(piece)
        if used + size <= width:
            line, used = line + piece, used + size
            continue
        if line.strip():
            lines.append(line)
            piece = word
        else:
            piece = line + piece
        start, end = 0, _fitting(piece, 0, width)
        while end < len(piece):
            lines.append(piece[start:end])
            start, end = end, _fitting(piece, end, width)
        line = piece[start:]
        used = columns_of(line)
    return [*lines, line]


def _fitting(text: str, start: int, width: int) -> int:
    """Up to where characters fit in a line that begins at ``start``; at least one, so that a loop
    ends."""
    used = 0
    for i in range(start, len(text)):
        used += columns_of(text[i])
        if used > width:
            return max(i, start + 1)
    return len(text)


def table_row(cells: Iterable[str], sizes: list[int]) -> str:
    padded = [c + " " * (n - columns_of(c)) for c, n in zip(cells, sizes, strict=True)]
    return "  ".join(padded).rstrip()


def span(ns: int) -> str:
    """A duration in the unit that suits it: "42 ms"."""
    if ns < 10**6:
        return f"{ns / 1000:.0f} us"
    if ns < 10**9:
        return f"{ns / 1e6:.0f} ms"
    if ns < 120 * 10**9:
        return f"{ns / 1e9:.2f} s"
    return str(datetime.timedelta(seconds=ns // 10**9))


def count(number: int, noun: str, plural: str = "s") -> str:
    """ "1 event", "2,000 events"."""
    return f"{number:,} {noun}{'' if number == 1 else plural}"
