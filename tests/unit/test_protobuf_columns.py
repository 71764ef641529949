"""Protobuf messages made by columns: protobuf's own library reads them, and writes the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st
from perfetto.protos.perfetto.trace.perfetto_trace_pb2 import (
    DebugAnnotation,
    TrackDescriptor,
    TrackEvent,
)

from analysis.export.protobuf_columns import Encoded, Only, message, varints

EVENT, NOTE, TRACK = TrackEvent.DESCRIPTOR, DebugAnnotation.DESCRIPTOR, TrackDescriptor.DESCRIPTOR
TEXTS = ["", "a", "\N{SNOWMAN}" * 50, "x" * 127, "x" * 128, "y" * 20_000]


def parsed(kind: Any, rows: Any) -> list[Any]:
    """Messages of the library's, which writes them again byte by byte."""
    made = [kind.FromString(value) for value in rows.joined().to_pylist()]
    assert [each.SerializeToString() for each in made] == rows.joined().to_pylist()
    sizes = np.broadcast_to(rows.sizes, len(made)).tolist()
    assert [each.ByteSize() for each in made] == sizes
    return made


@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=40))
def test_numbers_of_any_size(numbers: list[int]) -> None:
    rows = message(NOTE, {"int_value": np.array(numbers, np.int64)})
    assert [note.int_value for note in parsed(DebugAnnotation, rows)] == numbers


@given(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=40))
def test_unsigned_numbers_varints_and_fixed_ones(numbers: list[int]) -> None:
    values = np.array(numbers, np.uint64)
    fields = {"track_uuid": values, "flow_ids": values}
    events = parsed(TrackEvent, message(EVENT, fields))
    assert [event.track_uuid for event in events] == numbers
    assert [list(event.flow_ids) for event in events] == [[number] for number in numbers]
    again = message(EVENT, {"track_uuid": varints(values), "flow_ids": values})
    assert again.joined() == message(EVENT, fields).joined()


@given(st.lists(st.none() | st.text(st.characters(exclude_categories=["Cs"])), min_size=1))
def test_text_that_is_null_is_no_field(texts: list[str | None]) -> None:
    rows = message(NOTE, {"name": "key", "string_value": pa.array(texts, pa.string())})
    for note, text in zip(parsed(DebugAnnotation, rows), texts, strict=True):
        assert (note.name, note.HasField("string_value")) == ("key", text is not None)
        assert note.string_value == (text or "")


def test_messages_in_messages_of_every_length() -> None:
    texts = pa.array(TEXTS)
    some = np.arange(len(TEXTS)) % 2 == 0
    number = message(NOTE, {"name": "number", "int_value": np.arange(len(TEXTS))})
    notes = [
        message(NOTE, {"name": "text", "string_value": texts}),
        Only(some, number),
        message(NOTE, {"name": "flag", "bool_value": some}),
    ]
    events = parsed(TrackEvent, message(EVENT, {"type": 1, "debug_annotations": notes}))
    for i, (event, text) in enumerate(zip(events, TEXTS, strict=True)):
        assert event.type == TrackEvent.TYPE_SLICE_BEGIN
        first, *middle, last = event.debug_annotations
        assert (first.name, first.string_value) == ("text", text)
        assert [note.int_value for note in middle] == [i] * int(some[i])
        assert last.bool_value == some[i]


def test_repeated_fields_that_are_encoded_already() -> None:
    words = message(NOTE, {"string_value": pa.array(["a", "b" * 300, "c"])})
    encoded = message(NOTE, {"array_values": words}).joined()
    lists = pa.ListArray.from_arrays(pa.array([0, 2, 2, 3], pa.int32()), encoded)
    joined = pc.binary_join(lists, b"")
    notes = parsed(
        DebugAnnotation, message(NOTE, {"name": "args", "array_values": Encoded(joined)})
    )
    found = [[word.string_value for word in note.array_values] for note in notes]
    assert found == [["a", "b" * 300], [], ["c"]]


def test_the_same_in_all_rows() -> None:
    fields = {"uuid": np.arange(3, dtype=np.uint64), "name": "x", "sibling_order_rank": 300}
    tracks = parsed(TrackDescriptor, message(TRACK, fields))
    assert [(t.uuid, t.name, t.sibling_order_rank) for t in tracks] == [
        (n, "x", 300) for n in range(3)
    ]


def test_a_field_that_is_not_there() -> None:
    with pytest.raises(KeyError):
        message(TRACK, {"nobody": 1})
