"""From the rings to the capture file, in bulk: no Python runs for a single event.

Records are gathered for up to half a second, so that a quiet host does not fill its capture
with chunk headers; that half second is also the most that kill -9 can cost.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from tracer.capture_format import EVENT_STRIDE, LOSS
from tracer.clock import boot_ns, read_clocks
from tracer.engine import Engine
from tracer.recording_writer import RecordingWriter
from tracer.ring import Ring

_FLUSH_AFTER_S = 0.5
# Read, kept and written at once: more compresses no better, and costs memory (docs/benchmarks.md).
_BATCH_BYTES = 512 << 10
_DETAILS_AT_ONCE = 4096


class Collector:
    """Moves what the rings hold into a capture.

    Args:
        engine: whose rings.
        writer: the capture.
        on_details: gets each batch of details (records as decode_details takes them), before
            the events that they belong to.
        on_events: gets each batch of events, as they lay in the ring.
    """

    def __init__(
        self,
        engine: Engine,
        writer: RecordingWriter,
        on_details: Callable[[bytes], None],
        on_events: Callable[[bytes], None],
    ) -> None:
        self._engine, self._writer = engine, writer
        self._on_details, self._on_events = on_details, on_events
        self._event_ring = Ring(engine.events_fd, engine.events_bytes)
        self._detail_ring = Ring(engine.details_fd, engine.details_bytes)
        # Kept for the whole recording: memory that is new each time costs more than all the rest
        # of reading, since the kernel clears each page of it at its first use.
        self._events = memoryview(bytearray(2 * _BATCH_BYTES))
        self._details: list[bytes] = []
        self._events_bytes = self._details_bytes = self._details_held = 0
        self._flushed_at = time.monotonic()
        self._losses_written: list[tuple[int, int]] = []
        self._losses_passed: list[tuple[int, int]] = []
        self.events = 0
        self.details = 0
        self.ring_peak_bytes = 0

    @property
    def lost(self) -> int:
        """Events and details lost so far, all CPUs."""
        return sum(events + details for events, details in self._engine.read_losses())

    def drain(self) -> bool:
        """Reads what is there; True if there may be more that should not wait.

        Raises:
            CaptureError: the capture cannot be written.
        """
        losses = self._engine.read_losses()
        pending = self._event_ring.pending_bytes()
        self.ring_peak_bytes = max(self.ring_peak_bytes, pending)
        room = self._events[self._events_bytes : self._events_bytes + _BATCH_BYTES]
        # In this order: a detail is in its ring before the event to which it belongs.
        size = self._event_ring.read_fixed(EVENT_STRIDE, room)
        details = self._detail_ring.read_records(_DETAILS_AT_ONCE)
        if size == pending and len(details) < _DETAILS_AT_ONCE:
            self._losses_passed = losses
        if details:
            batch = b"".join(details)
            self._details.append(batch)
            self._details_bytes += len(batch)
            self._details_held += len(details)
            self.details += len(details)
            self._on_details(batch)
        if size:
            self._events_bytes += size
            self.events += size // EVENT_STRIDE
            self._on_events(bytes(room[:size]))
        full = self._events_bytes >= _BATCH_BYTES or self._details_bytes >= _BATCH_BYTES
        if full or time.monotonic() - self._flushed_at >= _FLUSH_AFTER_S:
            self.flush()
        return pending > self._event_ring.size // 8 or len(details) == _DETAILS_AT_ONCE

    def flush(self) -> None:
        """Writes what has been read, and the loss counters if they have changed.

        Raises:
            CaptureError: the capture cannot be written.
        """
        if self._events_bytes:
            self._writer.write_events(self._events[: self._events_bytes])
            self._events_bytes = 0
        if self._details:
            self._writer.write_details(b"".join(self._details), self._details_held)
            self._details.clear()
            self._details_bytes = self._details_held = 0
        losses = self._engine.read_losses()
        if losses != self._losses_written and any(any(cpu) for cpu in losses):
            self._writer.write_json(LOSS, {"ts_ns": boot_ns(), "cpus": losses})
            self._losses_written = losses
        # What was lost up to when the rings were last empty has its place in what is written now.
        self._writer.losses_before = self._losses_passed
        self._flushed_at = time.monotonic()

    def catch_up(self) -> None:
        """Reads what is there, and writes it; what comes meanwhile can wait.

        Raises:
            CaptureError: the capture cannot be written.
        """
        for _ in range(self._event_ring.size // _BATCH_BYTES + 1):
            self.drain()
            if not (self._event_ring.pending_bytes() or self._detail_ring.pending_bytes()):
                break
        self.flush()

    def drain_all(self) -> None:
        """Reads all that is there, at the end, and writes it."""
        while self._event_ring.pending_bytes() or self._detail_ring.pending_bytes():
            if not self.drain() and not self._event_ring.pending_bytes():
                break
        self.flush()

    def totals(self) -> dict[str, Any]:
        """What a trailer says of a capture that ends now."""
        now = read_clocks()
        return {
            "ts_ns": now.boot,
            "wall_ns": now.wall,
            "losses": self._engine.read_losses(),
            "ring_peak_bytes": self.ring_peak_bytes,
            "snapshot_end": True,
        }

    def close(self) -> None:
        """Unmaps the rings."""
        self._event_ring.close()
        self._detail_ring.close()
