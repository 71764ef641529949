"""`record --live`: what happens, as it happens, in lines.

The one place where Python looks at single events while recording: so it prints only so much at
once, and says how much it left out. The capture has everything. Printing is a thread's work: a
terminal or a pipe that does not take the lines does not hold up the recording.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from typing import TextIO

from tracer import abi
from tracer.capture_format import EVENT_STRIDE, RING_HEADER_SIZE
from tracer.clock import read_clocks
from tracer.errors import HostError
from tracer.event_text import detail_text, event_text
from tracer.threads import start_thread

_LINES_AT_ONCE = 200
_BATCHES_WAITING = 100
_CLOSE_TIMEOUT_S = 1.0
# Not shown: what repeats what another line says.
_QUIET = frozenset({abi.Type.COMM, abi.Type.REAP, abi.Type.STUB})


class LiveView:
    """Prints batches of events and details.

    Args:
        stream: usually stdout.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._batches: queue.Queue[list[str] | None] = queue.Queue(_BATCHES_WAITING)
        self._left_out = 0
        self._thread: threading.Thread | None = None
        self._wall_offset_ns = 0

    def show_events(self, records: bytes) -> None:
        """Events as they lay in the ring."""
        count = len(records) // EVENT_STRIDE
        self._read_wall_clock()
        lines = []
        for index in range(min(count, _LINES_AT_ONCE)):
            event = abi.Event.from_buffer_copy(records, index * EVENT_STRIDE + RING_HEADER_SIZE)
            if event.type not in _QUIET:
                lines.append(f"{self._clock(event.ts_ns)} {event_text(event)}")
        self._print(lines, count - _LINES_AT_ONCE)

    def show_details(self, details: list[abi.Detail]) -> None:
        """Arguments of programs, as they are started."""
        self._read_wall_clock()
        shown = [d for d in details if d.type == abi.DetailType.EXEC]
        lines = [f"{self._clock(d.ts_ns)} {detail_text(d)}" for d in shown[:_LINES_AT_ONCE]]
        self._print(lines, len(shown) - _LINES_AT_ONCE)

    def close(self) -> None:
        """Prints what is waiting, if the stream takes it within a second."""
        if self._thread is not None:
            with contextlib.suppress(queue.Full):
                self._batches.put(None, timeout=_CLOSE_TIMEOUT_S)
                self._thread.join(_CLOSE_TIMEOUT_S)

    def _print(self, lines: list[str], left_out: int) -> None:
        self._left_out += max(left_out, 0)
        if self._left_out:
            lines.append(f"... {self._left_out:,} more (the capture has them)")
        if not lines:
            return
        if self._thread is None:  # the recorder has given up its rights by now
            with contextlib.suppress(HostError):  # no more threads: the next batch tries again
                self._thread = start_thread("live", self._run)
        try:
            self._batches.put_nowait(lines)
            self._left_out = 0
        except queue.Full:
            self._left_out += len(lines) - 1

    def _run(self) -> None:
        with contextlib.suppress(OSError):  # `| head`, or a full disk: the recording goes on
            while lines := self._batches.get():
                self._stream.write("\n".join(lines) + "\n")
                self._stream.flush()

    def _read_wall_clock(self) -> None:
        """For each batch: it may be set at any time."""
        reading = read_clocks()
        self._wall_offset_ns = reading.wall - reading.boot

    def _clock(self, ts_ns: int) -> str:
        wall_ns = ts_ns + self._wall_offset_ns
        whole = time.strftime("%H:%M:%S", time.localtime(wall_ns // 1_000_000_000))
        return f"{whole}.{wall_ns // 1000 % 1_000_000:06}"
