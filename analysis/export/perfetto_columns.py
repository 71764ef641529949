"""Packets of a Perfetto trace by the thousand, for what every process has.

`perfetto_packets` makes them one by one, where there are few.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from perfetto.protos.perfetto.trace.perfetto_trace_pb2 import (
    DebugAnnotation,
    TracePacket,
    TrackDescriptor,
    TrackEvent,
)

from analysis.command_lines import Lines
from analysis.export.perfetto_packets import SEQUENCE
from analysis.export.protobuf_columns import Encoded, Only, Rows, message, sizes_of
from tracer.text import printable

Array = npt.NDArray[Any]
Ints = npt.NDArray[np.int64]
Numbers = npt.NDArray[np.uint64]

_PACKET, _EVENT, _TRACK = TracePacket.DESCRIPTOR, TrackEvent.DESCRIPTOR, TrackDescriptor.DESCRIPTOR
_NOTE = DebugAnnotation.DESCRIPTOR


def numbers_of(kind: str, names: Iterable[str]) -> Numbers:
    """`number_of(kind, name)` of many names."""
    begin = kind.encode() + b"\0"
    blake2b = hashlib.blake2b
    made = [blake2b(begin + name.encode(), digest_size=8).digest() for name in names]
    found: Numbers = np.frombuffer(b"".join(made), "<u8").astype(np.uint64)
    found[found == 0] = 1
    return found


def shown(values: Array) -> Any:
    """Objects of str as Arrow's text, harmless to print; each distinct one is looked at once."""
    codes, distinct = pd.factorize(values, use_na_sentinel=True)
    return pa.array([printable(text) for text in distinct.tolist()], pa.string()).take(
        pa.array(codes, mask=codes < 0)
    )


def shown_args(lines: Lines, *numbers: Array) -> list[Encoded]:
    """Command lines (-1: not known) as the arrays that an annotation shows; each one made once."""
    codes, distinct = pd.factorize(np.concatenate(numbers))
    made = _args(lines, distinct.tolist())
    bounds = np.cumsum([0, *map(len, numbers)])
    return [Encoded(made.take(pa.array(codes[begin:end]))) for begin, end in pairwise(bounds)]


def _args(lines: Lines, numbers: list[int]) -> Any:
    found = pa.array([_printable_line(lines, number) for number in numbers], pa.string())
    words = pc.split_pattern(found, "\0")
    if not len(words.values):
        return pa.array([b""] * len(numbers), pa.binary())
    each = message(_NOTE, {"string_value": words.values})
    encoded = message(_NOTE, {"array_values": each}).joined()
    return pc.binary_join(pa.ListArray.from_arrays(words.offsets, encoded), b"")


def _printable_line(lines: Lines, number: int) -> str | None:
    """Arguments with NULs between them; None: there are none."""
    line = lines.recorded(number)
    if line is None:
        argv: Sequence[str] = lines[number]
    elif line.replace("\0", "").isprintable():
        return line
    else:
        argv = line.split("\0")
    return "\0".join(map(printable, argv)) if argv else None


def tracks(numbers: Any, names: Any, parents: Numbers, ranks: Ints) -> Rows:
    """Tracks, as `Packets.track` makes them. Their numbers, here and below: `varints`."""
    track = message(
        _TRACK,
        {
            "uuid": numbers,
            "name": names,
            "parent_uuid": parents,
            "child_ordering": TrackDescriptor.EXPLICIT,
            "sibling_order_rank": ranks,
        },
    )
    return message(_PACKET, {"trusted_packet_sequence_id": SEQUENCE, "track_descriptor": track})


def begins(track: Any, ts_ns: Ints, name: Any, category: str, **more: Any) -> Rows:
    """Slices begin; ``more`` as for `instants`."""
    return _events(TrackEvent.TYPE_SLICE_BEGIN, track, ts_ns, name, category, **more)


def ends(track: Any, ts_ns: Ints) -> Rows:
    """The slices that began last on these tracks end."""
    return _packets(ts_ns, {"type": TrackEvent.TYPE_SLICE_END, "track_uuid": track})


def instants(track: Any, ts_ns: Ints, name: Any, category: str, **more: Any) -> Rows:
    """Marks.

    Args:
        args: columns that are shown with them: text (nothing is shown where it is empty or null),
            numbers, flags, `Only` for some rows, or `shown_args`.
        flows, ends: arrows that begin, and that end here.
    """
    return _events(TrackEvent.TYPE_INSTANT, track, ts_ns, name, category, **more)


def _events(
    kind: int,
    track: Any,
    ts_ns: Ints,
    name: Any,
    category: str,
    args: Mapping[str, Any] | None = None,
    flows: Any = None,
    ends: Any = None,
) -> Rows:
    fields: dict[str, Any] = {"type": kind, "track_uuid": track, "categories": category}
    fields["name"] = name
    fields["debug_annotations"] = [_note(key, value) for key, value in (args or {}).items()]
    if flows is not None:
        fields["flow_ids"] = flows
    if ends is not None:
        fields["terminating_flow_ids"] = ends
    return _packets(ts_ns, fields)


def _packets(ts_ns: Ints, event: Mapping[str, Any]) -> Rows:
    return message(
        _PACKET,
        {
            "timestamp": np.maximum(ts_ns, 0),
            "trusted_packet_sequence_id": SEQUENCE,
            "track_event": message(_EVENT, event),
        },
    )


def _note(name: str, value: Any) -> Any:
    if isinstance(value, Only):
        return Only(value.rows, _note(name, value.value))
    if isinstance(value, Encoded):
        made = message(_NOTE, {"name": name, "array_values": value})
        return Only(sizes_of(value.values) > 0, made)
    if isinstance(value, np.ndarray):
        field = "bool_value" if value.dtype == bool else "int_value"
        return message(_NOTE, {"name": name, field: value})
    if isinstance(value, str):
        return message(_NOTE, {"name": name, "string_value": value})
    there = sizes_of(value) > 0
    text = value if value.null_count == 0 else value.fill_null("")
    return Only(there, message(_NOTE, {"name": name, "string_value": text}))
