"""Protobuf messages by the thousand: a column a field, put together by Arrow and not by Python.

The library makes one at a time, and asks for 1 to 15 us of each. Numbers and types of fields are
its own (descriptors); what is here is their encoding, https://protobuf.dev/programming-guides/encoding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from google.protobuf.descriptor import Descriptor, FieldDescriptor

Array = npt.NDArray[Any]
Bools = npt.NDArray[np.bool_]

_BINARY = pa.binary()
_NOTHING = pa.scalar(b"", _BINARY)
_VARINT, _FIXED64, _DELIMITED = 0, 1, 2
# From these on a number takes one byte more, of seven bits each.
_STEPS = np.uint64(1) << np.arange(7, 64, 7, dtype=np.uint64)
_DELIMITED_TYPES = (
    *(FieldDescriptor.TYPE_MESSAGE, FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES),
)


class Rows:
    """Bytes of many rows, each row the same pieces one after another.

    Args:
        pieces: an array of binary, a value a row, or bytes that are the same in all rows.
        sizes: of each row, or of all.
    """

    def __init__(self, pieces: Sequence[Any], sizes: Any) -> None:
        self.pieces, self.sizes = pieces, sizes

    def joined(self) -> Any:
        """As one array; at least one piece is an array."""
        pieces = []
        literal = b""
        for piece in self.pieces:
            if isinstance(piece, bytes):
                literal += piece
                continue
            if literal:
                pieces.append(pa.scalar(literal, _BINARY))
            pieces.append(piece)
            literal = b""
        if literal:
            pieces.append(pa.scalar(literal, _BINARY))
        return pc.binary_join_element_wise(*pieces, _NOTHING) if pieces[1:] else pieces[0]


@dataclass(frozen=True, slots=True)
class Only:
    """A field that some rows have, and others do not."""

    rows: Bools
    value: Any


@dataclass(frozen=True, slots=True)
class Encoded:
    """Fields that are encoded already, tags and all, a binary value a row."""

    values: Any


def message(kind: Descriptor, fields: Mapping[str, Any]) -> Rows:
    """Many messages of a type.

    Args:
        fields: by name what each row has: an array of numbers, or `varints` of them, which may be
            used again; an Arrow array of text (null: the row has no such field); `Rows` of
            messages; or one value that is the same in all rows. A list: several of them.
    """
    pieces: list[Any] = []
    sizes: Any = 0
    known = kind.fields_by_name
    for name in sorted(fields, key=lambda name: known[name].number):
        values = fields[name]
        for value in values if isinstance(values, list) else [values]:
            found = _field(known[name], value)
            pieces += found.pieces
            sizes = sizes + found.sizes
    return Rows(pieces, sizes)


def texts(values: Any) -> Any:
    """Arrow's text, or binary, as binary."""
    return values if values.type == _BINARY else values.view(_BINARY)


def sizes_of(values: Any) -> npt.NDArray[np.int64]:
    """Length of each value, bytes; 0 where it is null."""
    found: npt.NDArray[np.int64] = pc.binary_length(values).fill_null(0).to_numpy().astype(np.int64)
    return found


def varints(numbers: Array) -> Any:
    """Numbers of 64 bits as Arrow's binary; negative ones as int64 has them: ten bytes."""
    values = numbers.astype(np.uint64)
    if values.max(initial=0) < 0x80:  # most lengths
        return _binary(values.astype(np.uint8), np.arange(len(values) + 1))
    sizes = 1 + np.searchsorted(_STEPS, values, side="right")
    widest = int(sizes.max(initial=1))
    shifts = np.arange(0, 7 * widest, 7, dtype=np.uint64)
    parts = (values[:, None] >> shifts).astype(np.uint8) | np.uint8(0x80)
    parts[np.arange(len(values)), sizes - 1] &= 0x7F
    shown = parts if widest == 1 else parts[np.arange(widest) < sizes[:, None]]
    return _binary(shown, np.concatenate([[0], np.cumsum(sizes)]))


def _field(field: FieldDescriptor, value: Any) -> Rows:
    if isinstance(value, Only):
        found = _field(field, value.value)
        if value.rows.all():
            return found
        chosen = pc.if_else(pa.array(value.rows), found.joined(), _NOTHING)
        return Rows([chosen], found.sizes * value.rows)
    if isinstance(value, Encoded):
        return Rows([value.values], sizes_of(value.values))
    if field.type in _DELIMITED_TYPES:
        return _delimited(_tag(field, _DELIMITED), value)
    if field.type == FieldDescriptor.TYPE_FIXED64:
        tag = _tag(field, _FIXED64)
        bounds = np.arange(0, 8 * len(value) + 1, 8)
        return Rows([tag, _binary(value.astype("<u8"), bounds)], len(tag) + 8)
    tag = _tag(field, _VARINT)
    if isinstance(value, int):
        encoded = tag + _varint(value)
        return Rows([encoded], len(encoded))
    if isinstance(value, np.ndarray):
        value = varints(value)
    return Rows([tag, value], len(tag) + sizes_of(value))


def _delimited(tag: bytes, value: Any) -> Rows:
    """Text or a message, behind its tag and its length."""
    if isinstance(value, str):
        content = value.encode()
        encoded = tag + _varint(len(content)) + content
        return Rows([encoded], len(encoded))
    if not isinstance(value, Rows):
        column = texts(value)
        if column.null_count:
            known = Rows([column.fill_null(b"")], sizes_of(column))
            found = _delimited(tag, known)
            chosen = pc.if_else(column.is_valid(), found.joined(), _NOTHING)
            return Rows([chosen], sizes_of(chosen))
        value = Rows([column], sizes_of(column))
    if isinstance(value.sizes, int):
        length: Any = _varint(value.sizes)
        return Rows([tag, length, *value.pieces], len(tag) + len(length) + value.sizes)
    length = varints(value.sizes)
    return Rows([tag, length, *value.pieces], len(tag) + sizes_of(length) + value.sizes)


def _tag(field: FieldDescriptor, wire_type: int) -> bytes:
    return _varint(field.number << 3 | wire_type)


def _varint(number: int) -> bytes:
    found: bytes = varints(np.array([number]))[0].as_py()
    return found


def _binary(content: Array, bounds: Array) -> Any:
    """Arrow's binary of memory, cut at these places."""
    buffers = [None, pa.py_buffer(bounds.astype(np.int32)), pa.py_buffer(content)]
    return pa.Array.from_buffers(_BINARY, len(bounds) - 1, buffers)
