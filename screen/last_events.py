"""The newest events, in lines: of a storm only so many, and how many were left out."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from screen.follow import Chunk
from tracer import abi
from tracer.capture_format import DETAILS, EVENT_STRIDE, EVENTS, RING_HEADER_SIZE
from tracer.clock import read_clocks
from tracer.event_text import detail_text, event_text

KEPT = 400
_AT_ONCE = 100
# Arguments lie one behind the other; of more than this the newest are not looked for.
_DETAIL_BYTES = 64 << 10
# Not shown: what repeats what another line says.
_QUIET = frozenset({abi.Type.COMM, abi.Type.REAP, abi.Type.STUB, abi.Type.REAPER})


@dataclass(frozen=True, slots=True)
class Line:
    """One event.

    Attributes:
        text: without its time, harmless to print.
        tgid: whose it is.
    """

    ts_ns: int
    clock: str
    text: str
    tgid: int


class LastEvents:
    """Keeps the last KEPT lines.

    Attributes:
        lines: by time.
    """

    def __init__(self) -> None:
        self.lines: deque[Line] = deque(maxlen=KEPT)

    def add(self, chunks: Iterable[Chunk]) -> bool:
        """Takes what is newest in some chunks; whether there was anything."""
        reading = read_clocks()
        offset_ns = reading.wall - reading.boot
        found: list[Line] = []
        for kind, content in chunks:
            if kind == EVENTS:
                count = len(content) // EVENT_STRIDE
                for index in range(max(count - _AT_ONCE, 0), count):
                    place = index * EVENT_STRIDE + RING_HEADER_SIZE
                    event = abi.Event.from_buffer_copy(content, place)
                    if event.type not in _QUIET:
                        text = event_text(event, _who)
                        found.append(_line(event.ts_ns, offset_ns, text, event.tgid))
            elif kind == DETAILS and len(content) <= _DETAIL_BYTES:
                for detail in abi.decode_details(content):
                    if detail.type == abi.DetailType.EXEC:
                        text = detail_text(detail, _who)
                        found.append(_line(detail.ts_ns, offset_ns, text, detail.tgid))
        found.sort(key=lambda line: line.ts_ns)
        self.lines.extend(found[-KEPT:])
        return bool(found)


def _who(tgid: int, _start_ns: int) -> str:
    return str(tgid)


def _line(ts_ns: int, offset_ns: int, text: str, tgid: int) -> Line:
    return Line(ts_ns, clock_text((ts_ns + offset_ns) / 1e9), text, tgid)


def clock_text(wall_s: float) -> str:
    """Local time to the second."""
    try:
        return time.strftime("%H:%M:%S", time.localtime(wall_s))
    except (OverflowError, ValueError, OSError):
        return "--:--:--"
