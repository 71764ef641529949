"""Events as JSON lines, in order of time. Lines are put together by Arrow, not by Python.

Of an exec the line has its arguments, which are in another ring: they are found by time and
process in the same window of time.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from analysis.clocks import Clocks
from analysis.details import Details
from analysis.export.event_table import detail_columns, tables_by_type, wall_times
from analysis.export.fields import DETAILS, TEXT, WALL
from analysis.export.overview import Overview
from analysis.export.stream import Batch, batches
from tracer.capture_reader import CaptureReader

Array = npt.NDArray[Any]
Ints = npt.NDArray[np.int64]
Lines = list[tuple[Ints, pa.Array]]

# Of the details these are free text; in a table of `_details` they are JSON already.
_TEXTS = ("filename", "args", "cgroup", "cgroup_v1")
_SCHEMA = pa.schema([f if f.name not in _TEXTS else f.with_type(TEXT) for f in DETAILS])
# The line of an exec has these besides those of its event.
_OF_EXEC = ("filename", "args", "args_total", "args_cut", "cgroup", "cgroup_v1")
_KEYS = ("ts_ns", "tgid", "start_ns")
# `process` has it; numbers beyond 2**53 are what jq before 1.7 rounds.
_LEFT_OUT = frozenset({"start_ns"})
_FREE = frozenset({"comm", "sender_comm"})
_READY = frozenset(_TEXTS)
_quote = json.encoder.encode_basestring_ascii
_NULL = pa.scalar("null")
_SECOND = len("2023-11-14T22:13:20")


def json_lines(
    reader: CaptureReader,
    overview: Overview,
    head: dict[str, Any],
    on_progress: Callable[[float], None] | None = None,
) -> Iterator[memoryview | bytes]:
    """Pieces of the document: a line ``head``, all events and losses, and a line ``end``.

    Args:
        head: what the first line says of the capture.
    """
    clocks = overview.clocks
    yield _line({"event": "capture", **head})
    lost, told = _loss_lines(overview), 0
    for batch in batches(reader, lambda details: _details(details, clocks), on_progress):
        due = int(np.searchsorted(lost[0], batch.until_ns))
        losses = (lost[0][told:due], lost[1].slice(told, due - told))
        told = max(told, due)
        yield from _in_order([*_batch_lines(batch, clocks), losses])
    yield _line(
        {
            "event": "end",
            "events": overview.events,
            "complete": overview.complete,
            "damage": overview.damage,
            "lost_events": int(overview.losses["events"].sum()),
            "lost_details": int(overview.losses["details"].sum()),
        }
    )


def _line(value: dict[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=True, separators=(",", ":")).encode() + b"\n"


def _in_order(found: Lines) -> Iterator[memoryview]:
    """All lines by time, as pieces of memory."""
    ts = np.concatenate([times for times, _ in found])
    lines = pa.concat_arrays([lines for _, lines in found])
    if len(lines):
        lines = lines.take(pa.array(np.argsort(ts, kind="stable")))
        _, _, content = lines.buffers()
        yield memoryview(content)


def _batch_lines(batch: Batch, clocks: Clocks) -> Lines:
    found: Lines = []
    details = batch.details
    used = np.zeros(len(details), bool)
    for _, table in tables_by_type(batch.events, clocks):
        if table["event"][0].as_py() == "exec":
            at = _find(table, details)
            used[at[at >= 0]] = True
            where = pa.array(at, mask=at < 0)
            for name in _OF_EXEC:
                table = table.append_column(name, details[name].take(where))
        found.append((table["ts_ns"].to_numpy(), _render(table)))
    # Arguments whose exec was lost, and moves to cgroups, are lines of their own.
    for event, columns in _ALONE:
        rows = np.flatnonzero(~used & (details["event"].to_numpy() == event))
        if len(rows):
            table = details.take(pa.array(rows)).select(columns)
            if event == "exec":
                names = pa.array(["args"], TEXT).take(pa.array(np.zeros(len(rows), np.int64)))
                table = table.set_column(table.schema.get_field_index("event"), "event", names)
            found.append((table["ts_ns"].to_numpy(), _render(table)))
    return found


_ALONE = (
    ("exec", [name for name in DETAILS.names if name != "hierarchy"]),
    (
        "attach",
        ["ts_ns", "wall", "event", "process", "tgid", "start_ns", "cgroup", "hierarchy", "cpu"],
    ),
)


def _find(execs: pa.Table, details: pa.Table) -> Ints:
    """Row of each exec's detail, -1 if there is none."""
    right = pd.DataFrame({key: details[key].to_numpy() for key in _KEYS})
    right["row"] = np.arange(len(right))
    right = right[details["event"].to_numpy() == "exec"].drop_duplicates(list(_KEYS))
    left = pd.DataFrame({key: execs[key].to_numpy() for key in _KEYS})
    found = left.merge(right, how="left", on=list(_KEYS))["row"]
    return found.fillna(-1).to_numpy(np.int64)


def _details(details: Details, clocks: Clocks) -> pa.Table:
    """`detail_table`, with texts that are JSON: each distinct one is rendered once."""
    texts = {
        "filename": _as_json(details.filename, details.programs),
        "args": _as_json(details.args.all(), details.programs),
        "cgroup": _as_json(details.cgroup, details.places),
        "cgroup_v1": _as_json(details.cgroup_v1, details.places),
    }
    return detail_columns(details, clocks, texts, _SCHEMA)


def _as_json(distinct: Iterable[str | Iterable[str]], codes: Array) -> pa.Array:
    """Texts and lists of texts as JSON, of which each distinct one is rendered once."""
    found = [
        _quote(value) if isinstance(value, str) else f"[{','.join(map(_quote, value))}]"
        for value in distinct
    ]
    return pa.array(found, TEXT).take(pa.array(codes))


def _loss_lines(overview: Overview) -> tuple[Ints, pa.Array]:
    """A line a window, by its begin."""
    found = overview.losses.sort_values("from_ns", kind="stable")
    begin = found["from_ns"].to_numpy(np.int64)
    columns = {
        "ts_ns": begin,
        "wall": wall_times(overview.clocks, begin),
        "event": pa.array(["loss"] * len(found), TEXT),
        "until_ns": found["to_ns"].to_numpy(np.int64),
        "cpu": found["cpu"].to_numpy(np.int64),
        "lost_events": found["events"].to_numpy(np.int64),
        "lost_details": found["details"].to_numpy(np.int64),
    }
    return begin, _render(pa.table(columns))


def _render(table: pa.Table) -> pa.Array:
    """A line a row, with the newline."""
    parts: list[Any] = []
    literal = "{"
    for number, name in enumerate(table.column_names):
        if name in _LEFT_OUT:
            continue
        column = table.column(number).combine_chunks()
        values, begin, end = _values(name, column)
        if column.null_count:
            quoted = pc.binary_join_element_wise(pa.scalar(begin), values, pa.scalar(end), "")
            values, begin, end = pc.coalesce(quoted, _NULL), "", ""
        # What is between two values is one piece: each costs as much as a value.
        parts += [pa.scalar(f'{literal}"{name}":{begin}'), values]
        literal = f"{end},"
    return pc.binary_join_element_wise(*parts, pa.scalar(f"{literal[:-1]}}}\n"), "")


def _values(name: str, column: Any) -> tuple[Any, str, str]:
    """A column as texts, null where it is null, and what stands around them in JSON."""
    kind = column.type
    if name in _READY or pa.types.is_integer(kind) or pa.types.is_boolean(kind):
        return column.cast(TEXT), "", ""
    if name in _FREE:
        coded = column.dictionary_encode()
        return _as_json(coded.dictionary.to_pylist(), coded.indices.to_numpy()), "", ""
    if kind == WALL:
        return _rfc_3339(column), '"', '"'
    if pa.types.is_list(kind):
        # Few sets of flags exist: each is rendered once.
        sets, codes = _distinct_sets(column)
        return _as_json(sets, codes), "", ""
    return column, '"', '"'  # ids and tokens hold nothing that JSON escapes


def _distinct_sets(column: Any) -> tuple[list[list[str]], Ints]:
    coded = pc.binary_join(column, " ").dictionary_encode()
    return [text.split() for text in coded.dictionary.to_pylist()], coded.indices.to_numpy()


def _rfc_3339(column: Any) -> pa.Array:
    """Times as "2023-11-14T22:13:20.000000001Z": each second is rendered once, and digits by
    numpy, in a tenth of the time that Arrow's cast takes."""
    ns = column.cast(pa.int64()).fill_null(0).to_numpy()
    seconds, rest = np.divmod(ns, 1_000_000_000)
    codes, distinct = pd.factorize(seconds)
    texts = np.datetime_as_string(distinct.astype("datetime64[s]")).astype(f"S{_SECOND}")
    chars = np.empty((len(ns), _SECOND + 11), np.uint8)
    chars[:, :_SECOND] = texts.view(np.uint8).reshape(-1, _SECOND)[codes]
    chars[:, _SECOND], chars[:, -1] = ord("."), ord("Z")
    for place in range(_SECOND + 9, _SECOND, -1):
        rest, digit = np.divmod(rest, 10)
        chars[:, place] = digit + ord("0")
    offsets = np.arange(len(ns) + 1, dtype=np.int32) * chars.shape[1]
    texts_of = pa.StringArray.from_buffers(len(ns), pa.py_buffer(offsets), pa.py_buffer(chars))
    return pc.if_else(column.is_valid(), texts_of, None) if column.null_count else texts_of
