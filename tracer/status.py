"""What `rtrace record` shows while it runs: one live line on a terminal, nothing on a pipe."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterator
from typing import TextIO

from tracer.units import format_size

_EVERY_S = 0.25
_COLUMNS = 80  # where the terminal does not say


class StatusLine:
    """One line, written over again and again, if the stream is a terminal.

    Args:
        stream: usually stderr.
        enabled: False shows nothing on a terminal either.
    """

    def __init__(self, stream: TextIO, *, enabled: bool = True) -> None:
        self._stream = stream
        self._enabled = enabled and stream.isatty()
        self._started = self._shown_at = time.monotonic()
        self._events_before = 0
        self._lock = threading.Lock()

    def update(
        self, events: int, lost: int, size_bytes: int, containers: int, dropped: int = 0
    ) -> None:
        """Shows the figures, four times a second at most. ``dropped``: events that had to go."""
        rate = self.take_turn(events)
        if not self._enabled or rate is None:
            return
        elapsed = format_elapsed(self._shown_at - self._started)
        line = (
            f"{elapsed}  {events:,} events  {rate:,.0f}/s  "
            f"{lost:,} lost  {format_kept(size_bytes, dropped)}  {containers} containers"
        )
        with self._lock:
            self._write(f"\r\x1b[K{line[: self._columns() - 1]}")

    def take_turn(self, events: int) -> float | None:
        """Events a second since the last update; None: it is not yet time for another."""
        now = time.monotonic()
        elapsed = now - self._shown_at
        if elapsed < _EVERY_S:
            return None
        rate = (events - self._events_before) / elapsed
        self._shown_at, self._events_before = now, events
        return rate

    @contextlib.contextmanager
    def away(self) -> Iterator[None]:
        """Something else may be printed meanwhile, by any thread."""
        with self._lock:
            self.clear()
            yield

    def clear(self) -> None:
        """Takes the line away, before something else is printed."""
        if self._enabled:
            self._write("\r\x1b[K")

    def _columns(self) -> int:
        try:  # not stdout's, which may be a file
            return os.get_terminal_size(self._stream.fileno()).columns or _COLUMNS
        except (OSError, ValueError):
            return _COLUMNS

    def _write(self, text: str) -> None:
        try:
            self._stream.write(text)
            self._stream.flush()
        except OSError:  # the terminal is gone: no reason to lose the capture's end
            self._enabled = False


def format_kept(size_bytes: int, dropped: int) -> str:
    """ "3.2 MiB", or "3.2 MiB kept, 1,000 events dropped"."""
    size = format_size(size_bytes)
    return f"{size} kept, {dropped:,} events dropped" if dropped else size


def format_elapsed(seconds: float) -> str:
    """ "0:07", "12:34" or "1:02:03"."""
    minutes, whole = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{whole:02}" if hours else f"{minutes}:{whole:02}"
