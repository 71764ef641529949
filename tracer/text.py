"""Making strings from the kernel harmless: comm and argv may hold anything but NUL."""

from __future__ import annotations


def printable(raw: bytes | str) -> str:
    """The text with control characters, escapes and invalid UTF-8 made visible.

    Terminals obey escape sequences and some obey invisible or direction-changing characters, so
    all that str.isprintable() refuses is shown as an escape.
    """
    text = raw.decode("utf-8", "backslashreplace") if isinstance(raw, bytes) else raw
    if text.isprintable():
        return text
    return text.translate({ord(c): _escape(c) for c in set(text) if not c.isprintable()})


def _escape(character: str) -> str:
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")
