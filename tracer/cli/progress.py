"""A line on the terminal that says how far a long work is, and goes away.

Nothing is written where stderr is no terminal, and nothing for what is done at once.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from typing import TextIO

from tracer.ending import undone_by
from tracer.text import printable

AFTER_S = 0.5  # shorter work shows nothing
_EVERY_S = 0.1
_ROOM = 20  # columns of the bar
_CLEAR = "\r\x1b[K"


class _Line:
    def __init__(self, out: TextIO) -> None:
        self._out, self._due = out, time.monotonic() + AFTER_S
        self._shown = False

    def show(self, what: str, share: float) -> None:
        """``share``: 0 to 1."""
        now = time.monotonic()
        if now < self._due:
            return
        self._due = now + _EVERY_S
        bar = f"{'#' * int(share * _ROOM):<{_ROOM}}"
        self._write(f"{_CLEAR}[{bar}] {share * 100:3.0f} %  {printable(what)}")
        self._shown = True

    def clear(self) -> None:
        if self._shown:
            self._write(_CLEAR)

    def _write(self, text: str) -> None:
        # A terminal that has gone away is no reason to stop.
        with contextlib.suppress(OSError, ValueError):
            self._out.write(text)
            self._out.flush()


@contextlib.contextmanager
def progress_line() -> Iterator[Callable[[str, float], None] | None]:
    """Gives what to call with words and the share that is done; None where nobody would see it.

    Whatever ends the work, also an error, takes the line away first.
    """
    out = sys.stderr
    if not out.isatty() or os.environ.get("TERM", "dumb") == "dumb":
        yield None
        return
    line = _Line(out)
    with undone_by(line.clear):
        yield line.show
        line.clear()
