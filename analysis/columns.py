"""Columns of numbers and texts: conversions that are exact, fast, and never raise.

A capture may come from a stranger: any number can be any value, any text any bytes.
Boot-time nanoseconds pass 2**53 after 104 days, so that no time may ever become a float.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

Array = npt.NDArray[Any]
Rows = slice | npt.NDArray[np.int64]

# Another one each time: whoever knew it could forge pairs that all fall on one number.
_ODD = np.uint64(secrets.randbits(64) | 1)

# 146 years: no host was ever up that long, and what is added to a time does not overflow.
MAX = 2**62


def as_int(value: object) -> int:
    """An int from JSON, clamped to 0 .. 2**62; 0 if it is something else."""
    if isinstance(value, bool) or not isinstance(value, int):
        return 0
    return min(max(value, 0), MAX)


def int64(values: Array) -> npt.NDArray[np.int64]:
    """Unsigned numbers as int64, which does not mix with Int64 to float as uint64 does.

    Forged ones become the largest number. The result may be the same memory: nobody writes to it.
    """
    if values.dtype == np.uint64:
        values = np.ascontiguousarray(values)
        if values.max(initial=0) > MAX:
            values = np.minimum(values, np.uint64(MAX))
        return values.view(np.int64)
    return values.astype(np.int64, copy=False)


def objects(values: Iterable[Any]) -> Array:
    """Array of Python objects; tuples stay tuples, and pandas guesses no type."""
    # numpy.array would look into every text and tuple for more dimensions.
    return np.fromiter(values, object)


def frame(data: Mapping[str, Any], index: pd.Index | None = None) -> pd.DataFrame:
    """DataFrame of columns; objects stay objects (pandas 3 would make them ``str`` with NaN)."""
    if index is None:
        index = pd.RangeIndex(len(next(iter(data.values()))))
    columns = {
        name: pd.Series(values, index=index, dtype=object, copy=False)
        if values.dtype == object
        else values
        for name, values in data.items()
    }
    return pd.DataFrame(columns, index=index, copy=False)


@dataclass(frozen=True, slots=True)
class Known:
    """What makes a column (Int64) of numbers of which none is below 0: those are not known."""

    values: Array

    def __call__(self, rows: Rows) -> pd.arrays.IntegerArray:
        values = int64(self.values[rows])
        return nullable(values, values >= 0)


class Columns:
    """A DataFrame of which only those columns and rows are made that somebody asks for.

    Of millions of processes a report looks at few, and objects take most of the time and memory.

    Args:
        count: how many rows there are.
        makers: by name, what gives the values of some rows.
        index: likewise, the index; None: row numbers.
    """

    def __init__(
        self,
        count: int,
        makers: Mapping[str, Callable[[Rows], Any]],
        index: Callable[[Rows], pd.Index[Any]] | None = None,
    ) -> None:
        self._count, self._makers, self._index = count, makers, index
        self._made: dict[str, pd.Series[Any]] = {}

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, name: str) -> pd.Series[Any]:
        """A column of all rows, indexed by row number."""
        found = self._made.get(name)
        if found is None:
            values = self._makers[name](slice(None))
            dtype = object if values.dtype == object else None
            found = self._made[name] = pd.Series(values, dtype=dtype, copy=False)
        return found

    def filled(self, name: str) -> npt.NDArray[np.int64]:
        """A column of integers, -1 where NA. If it is kept in that form it is no copy."""
        maker = self._makers[name]
        if not isinstance(maker, Known):
            return self[name].to_numpy(np.int64, na_value=-1)
        values = int64(maker.values).view()
        values.flags.writeable = False
        return values

    def frame(self, rows: Rows = slice(None)) -> pd.DataFrame:
        """All columns of some rows."""
        index = None if self._index is None else self._index(rows)
        return frame({name: make(rows) for name, make in self._makers.items()}, index)


# What has columns by name.
Frame = pd.DataFrame | Columns


def filled(frame: Frame, name: str) -> npt.NDArray[np.int64]:
    """A column of integers, -1 where NA: not to be written to."""
    if isinstance(frame, Columns):
        return frame.filled(name)
    return frame[name].to_numpy(np.int64, na_value=-1)


def nullable(
    values: Array, known: npt.NDArray[np.bool_], dtype: type[np.signedinteger[Any]] = np.int64
) -> pd.arrays.IntegerArray:
    """Column of integers (Int64 by default), NA where not known."""
    return pd.arrays.IntegerArray(values.astype(dtype, copy=False), ~known)


def text(raw: bytes) -> str:
    """Bytes of a process (comm, argv, a path) as text; what is not UTF-8 shows as \\xNN."""
    return raw.decode("utf-8", "backslashreplace")


def texts(comms: Array) -> Array:
    """comm fields (S16) as objects of str, each distinct one decoded once."""
    codes, names = distinct_texts(comms)
    return objects(names)[codes] if names else np.empty(0, object)


def distinct_texts(comms: Array) -> tuple[npt.NDArray[np.int64], list[str]]:
    """comm fields (S16) as numbers of distinct texts, and those."""
    if not len(comms):
        return np.empty(0, np.int64), []
    halves = np.ascontiguousarray(comms).view(np.uint64).reshape(-1, 2)
    codes, first = factorize_pairs(halves[:, 0], halves[:, 1])
    # Behind the first NUL there may be rests of an older name.
    return codes, [text(comms[i].split(b"\0", 1)[0]) for i in first.tolist()]


def mixed(high: npt.NDArray[Any], low: npt.NDArray[Any]) -> npt.NDArray[np.uint64]:
    """One number for each pair of numbers; equal pairs give equal numbers."""
    with np.errstate(over="ignore"):
        result = high.astype(np.uint64) * _ODD
        result ^= result >> np.uint64(32)
        result += low.astype(np.uint64, copy=False)
        result *= np.uint64(0xC2B2AE3D27D4EB4F)
        result ^= result >> np.uint64(29)
    return result


def factorize_pairs(
    high: npt.NDArray[Any], low: npt.NDArray[Any]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Number the distinct pairs in the order of their first appearance.

    Returns:
        the number of each pair, and the position where each number appears first.
    """
    codes, uniques = pd.factorize(mixed(high, low))
    first = np.zeros(len(uniques), np.int64)
    # Written backwards, so that the first position is the one that stays.
    first[codes[::-1]] = np.arange(len(codes) - 1, -1, -1)
    at = first[codes]
    if bool(np.all(high[at] == high)) and bool(np.all(low[at] == low)):
        return codes.astype(np.int64, copy=False), first
    # Two pairs share a number: one chance in 2**64, or forged (0 and 2**63 do so with any factor).
    return _factorize_sorted(high, low)


def _factorize_sorted(
    high: npt.NDArray[Any], low: npt.NDArray[Any]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The same by sorting: slower, but nobody can make it go wrong."""
    order = np.lexsort((low, high))
    begins = np.ones(len(order), bool)
    begins[1:] = (np.diff(high[order]) != 0) | (np.diff(low[order]) != 0)
    first = order[begins]
    rank = np.empty(len(first), np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    codes = np.empty(len(order), np.int64)
    codes[order] = rank[np.cumsum(begins) - 1]
    return codes, np.sort(first)


def put_in_order(rows: Array, *ties: str) -> npt.NDArray[np.int64]:
    """Sort records by ts_ns, then by these fields, in place.

    Records are nearly in order, and two of one time are rare: a stable sort takes little more than
    a look at each, and only those are moved that have to be.

    Returns:
        the position that each had before.
    """
    ts = np.ascontiguousarray(rows["ts_ns"])
    order = np.argsort(ts, kind="stable")
    ts = ts[order]
    same = np.zeros(len(ts), bool)
    same[1:] = ts[1:] == ts[:-1]
    same[:-1] |= same[1:]
    at = np.flatnonzero(same)
    if len(at):
        tied = rows[order[at]]
        inner = np.lexsort([tied[name] for name in (*reversed(ties), "ts_ns")])
        order[at] = order[at][inner]
    moved = np.flatnonzero(order != np.arange(len(order)))
    # As plain bytes: taking structured rows goes field by field and is ten times slower.
    plain = rows.view(f"V{rows.dtype.itemsize}")
    plain[moved] = plain[order[moved]]
    return order


def sort_keys(
    groups: npt.NDArray[Any], times: npt.NDArray[np.int64], marks: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """Numbers that sort as (group, time) does; ``marks`` are the sorted times to compare with."""
    rank = np.searchsorted(marks, times, side="right")
    return (groups.astype(np.int64) << 32) | rank


def stretch(values: Array, number: int) -> tuple[int, int]:
    """Where a number begins and ends in sorted ones."""
    # Of another type than theirs numpy would convert all of them.
    begin, end = np.searchsorted(values, np.array((number, number + 1), values.dtype)).tolist()
    return begin, end


def rows_of(frame: pd.DataFrame, names: tuple[str, ...]) -> list[tuple[Any, ...]]:
    """Rows as tuples of plain Python values; NA becomes None."""
    columns = []
    for name in names:
        column = frame[name]
        if isinstance(column.dtype, pd.Int64Dtype):
            # By way of objects: a float would lose nanoseconds.
            missing = column.isna().to_numpy(bool).tolist()
            numbers = column.fillna(0).to_numpy(np.int64).tolist()
            columns.append([None if m else n for m, n in zip(missing, numbers, strict=True)])
        else:
            values = column.tolist()
            columns.append([None if v is None or v is pd.NA or v != v else v for v in values])
    return list(zip(*columns, strict=True))


class History:
    """Rows of many processes over time, to find the last or next one of a process at a time.

    Args:
        groups: number of the process of each row.
        times: time of each row, ns. Rows at the same time keep their order.
    """

    def __init__(self, groups: npt.NDArray[Any], times: npt.NDArray[np.int64]) -> None:
        self._marks = np.sort(times)
        keys = sort_keys(groups, times, self._marks)
        self.order: npt.NDArray[np.int64] = np.argsort(keys, kind="stable")
        self._keys = keys[self.order]

    def before(
        self, groups: npt.NDArray[Any], times: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.int64]:
        """Row of the process with the latest time <= ``times``, or -1."""
        return self._row(
            np.searchsorted(self._keys, sort_keys(groups, times, self._marks), side="right") - 1,
            groups,
        )

    def after(
        self, groups: npt.NDArray[Any], times: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.int64]:
        """Row of the process with the earliest time > ``times``, or -1."""
        return self._row(
            np.searchsorted(self._keys, sort_keys(groups, times, self._marks), side="right"),
            groups,
        )

    def _row(
        self, position: npt.NDArray[np.int64], groups: npt.NDArray[Any]
    ) -> npt.NDArray[np.int64]:
        if not len(self._keys):
            return np.full(len(position), -1)
        inside = (position >= 0) & (position < len(self._keys))
        position = np.where(inside, position, 0)
        same = inside & (groups >= 0) & (self._keys[position] >> 32 == groups)
        return np.where(same, self.order[position], -1)
