"""Frames of `rtrace.Capture` as Arrow tables, with the types that their documentation tells.

Boot times get a column of wall times beside them: ``wall`` beside ``ts_ns``, ``exit_wall`` beside
``exit_ns``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import numpy as np
import pandas as pd
import pyarrow as pa

from analysis.clocks import Clocks
from analysis.export.fields import TEXT, TEXTS, WALL, Field

_REFERENCE = pa.struct([("event", TEXT), ("ts_ns", pa.int64()), ("process", TEXT)])
_NUMBERS = {
    "bool": pa.bool_(),
    **{name: pa.int64() for name in ("int64", "Int64")},
    **{name: pa.int32() for name in ("int32", "Int32")},
    "Int16": pa.int16(),
    "datetime64[ns, UTC]": WALL,
}
# Stretches of time, not moments.
_DURATIONS = frozenset({"lifetime_ns"})


class Documented(Protocol):
    """A column as `rtrace.columns.Column` tells of it."""

    @property
    def name(self) -> str: ...

    @property
    def dtype(self) -> str: ...

    @property
    def unit(self) -> str: ...

    @property
    def what(self) -> str: ...

    @property
    def source(self) -> str: ...


ID = Field("id", TEXT, "process", 'the process: "tgid:start_ns"', "tgid, start_ns")


def fields_of(frame: str, columns: Sequence[Documented]) -> tuple[Field, ...]:
    """Columns of the table of a frame."""
    found = [ID] if frame == "processes" else []
    names = {column.name for column in columns}
    for column in columns:
        found.append(Field(column.name, _type(column), column.unit, column.what, column.source))
        wall = wall_name(column)
        if wall is not None and wall not in names:
            what = f"wall clock at {column.name}; null: not known"
            found.append(Field(wall, WALL, "UTC", what, "clock readings"))
    return tuple(found)


def wall_name(column: Documented) -> str | None:
    """Name of the column of wall times that belongs to a column; None: it is no moment."""
    if column.unit != "ns" or column.name in _DURATIONS:
        return None
    return "wall" if column.name == "ts_ns" else f"{column.name.removesuffix('_ns')}_wall"


def _type(column: Documented) -> pa.DataType:
    if column.dtype in _NUMBERS:
        return _NUMBERS[column.dtype]
    if column.unit == "tuple of references":
        return pa.list_(_REFERENCE)
    return TEXTS if column.unit.startswith("tuple") else TEXT


def frame_table(
    frame: str, rows: pd.DataFrame, columns: Sequence[Documented], clocks: Clocks
) -> pa.Table:
    """A frame with the columns of `fields_of`."""
    found: dict[str, Any] = {}
    if frame == "processes":
        found[ID.name] = _texts(rows.index)
    for column in columns:
        values = rows[column.name]
        found[column.name] = _array(values, _type(column))
        wall = wall_name(column)
        if wall is not None and wall not in rows.columns:
            found[wall] = _walls(values, clocks)
    fields = fields_of(frame, columns)
    schema = pa.schema([field.arrow for field in fields])
    return pa.table([found[field.name] for field in fields], schema=schema)


def _array(values: pd.Series[Any], kind: pa.DataType) -> pa.Array:
    if kind == TEXT:
        return _texts(values)
    if kind == TEXTS:
        return _guarded(values.tolist(), kind)
    if pa.types.is_list(kind):
        names = [field.name for field in kind.value_type]
        lists = [[dict(zip(names, item, strict=True)) for item in row] for row in values]
        return _guarded(lists, kind)
    if kind == WALL:
        return pa.array(values.to_numpy("datetime64[ns]"), pa.timestamp("ns")).cast(WALL)
    if isinstance(values.dtype, pd.api.extensions.ExtensionDtype):
        missing = values.isna().to_numpy(bool)
        return pa.array(values.fillna(0).to_numpy(kind.to_pandas_dtype()), kind, mask=missing)
    return pa.array(values.to_numpy(), kind)


def _texts(values: Iterable[Any]) -> pa.Array:
    return _guarded([None if v is None or v is pd.NA else v for v in values], TEXT)


def _guarded(values: list[Any], kind: pa.DataType) -> pa.Array:
    """Arrow's texts are UTF-8; JSON in a capture may hold half a surrogate pair."""
    try:
        return pa.array(values, kind)
    except UnicodeEncodeError:
        return pa.array([_whole(value) for value in values], kind)


def _whole(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, (list, tuple)):
        return [_whole(item) for item in value]
    if isinstance(value, dict):
        return {key: _whole(item) for key, item in value.items()}
    return value


def _walls(values: pd.Series[Any], clocks: Clocks) -> pa.Array:
    missing = values.isna().to_numpy(bool)
    walls, known = clocks.wall_times(values.fillna(0).to_numpy(np.int64))
    return pa.array(walls, mask=missing | ~known).cast(WALL)
