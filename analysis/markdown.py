"""Markdown (GitHub's) in which text from a capture is nothing but text.

A comm or a container's name may hold markup, HTML, a link, or the name of somebody whom a ticket
would notify. All text goes through `escape`, or through `code` where it is quoted.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from tracer.text import printable

_MARKUP = re.compile(r"[\\`*_\[\]<>|~&$]")
# What is markup at the beginning of a line alone.
_LEADING = re.compile(r"^(\s*)([#+\-=]|\d+(?=[.)]))")
# Links without markup: URLs by their scheme or www.
_LINK = re.compile(r"(?i)(?<=[a-z])(?=://)|(?<=mailto)(?=:)|(?<=xmpp)(?=:)|(?<=www)(?=\.)")
# GitHub looks for people and issues in what has been rendered, where no backslash is left. A
# zero-width space behind the character is not seen, and breaks the name.
_MENTION = re.compile(r"(@(?=\w)|#(?=\d))")
_BREAK = "\u200b"


def escape(text: str) -> str:
    """One line of text, in which nothing is markup, link or mention."""
    shown = _MARKUP.sub(r"\\\g<0>", printable(text))
    shown = _LEADING.sub(_escape_leading, shown)
    shown = _LINK.sub(r"\\", shown)
    return _MENTION.sub(rf"\1{_BREAK}", shown)


def _escape_leading(found: re.Match[str]) -> str:
    space, mark = found.groups()
    return f"{space}{mark}\\" if mark.isdigit() else f"{space}\\{mark}"


def code(text: str) -> str:
    """Text as code, also in a cell of a table. There is nothing but text in it, and no mention."""
    shown = printable(text).replace("|", "\\|")
    if not shown.strip():
        return "` `"
    longest = max((len(run) for run in re.findall("`+", shown)), default=0)
    fence = "`" * (longest + 1)
    pad = " " if shown[0] in "` " or shown[-1] in "` " else ""
    return f"{fence}{pad}{shown}{pad}{fence}"


def table(heads: Sequence[str], rows: Iterable[Sequence[str]], align: str = "") -> list[str]:
    """Lines of a table.

    Args:
        heads, rows: cells that are Markdown already: escaped, of one line.
        align: "l" or "r" a column; left where it says nothing.
    """
    rule = ["---:" if align[i : i + 1] == "r" else "---" for i in range(len(heads))]
    return [f"| {' | '.join(cells)} |" for cells in ([*heads], rule, *(map(list, rows)))]
