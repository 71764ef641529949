"""Parts of a text that are to be replaced."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple


class Span(NamedTuple):
    """A part of a text.

    Attributes:
        kind: what it is, a key of `analysis.redaction.vault.KINDS`.
        secret: what it means, where that is not the text itself (it is encoded there); the same
            secret gets the same placeholder, however it is written.
    """

    begin: int
    end: int
    kind: str
    secret: str | None = None


def merged(spans: Iterable[Span]) -> list[Span]:
    """Spans in order, none touching another: of two that overlap the earlier, then the longer
    one gives kind and meaning, and covers both."""
    found = list(spans)
    if not found:
        return found
    result: list[Span] = []
    for span in sorted(found, key=lambda span: (span.begin, -span.end)):
        if result and span.begin < result[-1].end:
            last = result[-1]
            if span.end > last.end:
                result[-1] = Span(last.begin, span.end, last.kind)
        elif span.begin < span.end:
            result.append(span)
    return result
