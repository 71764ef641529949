"""Command lines from a capture, harmless to print, and the room that text takes."""

from __future__ import annotations

import shlex
import unicodedata
from collections.abc import Iterable

from tracer.text import printable


def command_line(args: Iterable[str], limit: int = 200) -> str:
    """argv as one would type it, printable, cut behind ``limit`` characters with "..."."""
    words: list[str] = []
    length = 0
    for arg in args:
        shown = printable(arg)
        words.append(shlex.quote(shown) if shown == arg else f'"{shown}"')
        length += len(words[-1]) + 1
        if length > limit:
            return " ".join(words)[: limit - 3] + "..."
    return " ".join(words)


def width(text: str) -> int:
    """Columns that a printable text takes in a terminal."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1
        for c in text
    )
