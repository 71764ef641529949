"""Packets of a Perfetto trace: tracks, slices, instants, flows. By Perfetto's own protobufs.

See https://perfetto.dev/docs/reference/synthetic-track-event.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any, BinaryIO

from perfetto.protos.perfetto.trace.perfetto_trace_pb2 import (
    BUILTIN_CLOCK_BOOTTIME,
    BUILTIN_CLOCK_REALTIME,
    Trace,
    TracePacket,
    TrackDescriptor,
    TrackEvent,
)

from analysis.export.protobuf_columns import Rows, message
from tracer.text import printable

SEQUENCE = 1
_AT_ONCE = 4096  # packets
_MAX = 2**63 - 1


def number_of(*names: str) -> int:
    """Number of a track or flow, the same for the same names: a recycled tgid is another."""
    key = "\0".join(names).encode("utf-8", "backslashreplace")
    return int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "little") or 1


class Packets:
    """Writes packets, a few thousand in memory at a time."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._trace = Trace()
        self._add().sequence_flags = TracePacket.SEQ_INCREMENTAL_STATE_CLEARED

    def clock(self, boot_ns: int, wall_ns: int) -> None:
        """What two clocks showed at one moment."""
        snapshot = self._add().clock_snapshot
        snapshot.primary_trace_clock = BUILTIN_CLOCK_BOOTTIME
        for clock, ns in ((BUILTIN_CLOCK_BOOTTIME, boot_ns), (BUILTIN_CLOCK_REALTIME, wall_ns)):
            snapshot.clocks.add(clock_id=clock, timestamp=ns)

    def track(self, number: int, name: str, *, parent: int = 0, rank: int = 0) -> None:
        """A track. Those of one parent stand in the order of their ranks."""
        track = self._add().track_descriptor
        track.uuid, track.name = number, _text(name)
        track.child_ordering = TrackDescriptor.EXPLICIT
        track.sibling_order_rank = rank
        if parent:
            track.parent_uuid = parent

    def begin(self, track: int, ts_ns: int, name: str, category: str, **more: Any) -> None:
        """A slice begins, in that which has not ended; ``more`` as for `instant`."""
        self._event(TrackEvent.TYPE_SLICE_BEGIN, track, ts_ns, name, category, **more)

    def end(self, track: int, ts_ns: int) -> None:
        """The slice that began last ends."""
        self._event(TrackEvent.TYPE_SLICE_END, track, ts_ns)

    def instant(self, track: int, ts_ns: int, name: str, category: str, **more: Any) -> None:
        """A mark.

        Args:
            args: shown with it; None is left out.
            flows: arrows that begin here or pass; ends: those that end here.
        """
        self._event(TrackEvent.TYPE_INSTANT, track, ts_ns, name, category, **more)

    def write(self, rows: Rows) -> None:
        """Packets of `perfetto_columns`, behind those that were made before."""
        self.close()
        *_, content = message(Trace.DESCRIPTOR, {"packet": rows}).joined().buffers()
        self._file.write(content)

    def close(self) -> None:
        """What is still in memory."""
        self._file.write(self._trace.SerializeToString())
        # Not Clear(): what protobuf took for the packets it gives back with the last of them.
        self._trace = Trace()

    def _event(
        self,
        kind: Any,
        track: int,
        ts_ns: int,
        name: str = "",
        category: str = "",
        args: Mapping[str, Any] | None = None,
        flows: Iterable[int] = (),
        ends: Iterable[int] = (),
    ) -> None:
        packet = self._add()
        packet.timestamp = min(max(ts_ns, 0), _MAX)
        event = packet.track_event
        event.type, event.track_uuid = kind, track
        if name:
            event.name = _text(name)
        if category:
            event.categories.append(category)
        event.flow_ids.extend(flows)
        event.terminating_flow_ids.extend(ends)
        for key, value in (args or {}).items():
            if value is None or value in ("", ()):
                continue
            note = event.debug_annotations.add()
            note.name = key
            if isinstance(value, bool):
                note.bool_value = value
            elif isinstance(value, int):
                note.int_value = min(value, _MAX)
            elif isinstance(value, tuple):
                for item in value:
                    note.array_values.add().string_value = _text(item)
            else:
                note.string_value = _text(value)

    def _add(self) -> Any:
        if len(self._trace.packet) >= _AT_ONCE:
            self.close()
        packet = self._trace.packet.add()
        packet.trusted_packet_sequence_id = SEQUENCE
        return packet


def _text(text: str) -> str:
    """Protobuf takes whole UTF-8 alone, and a name is one line."""
    return printable(text)
