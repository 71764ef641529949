"""Events as Arrow tables: a table a type with the columns that it has, or all in one.

Vectorised: nothing runs in Python for one event.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from analysis.clocks import Clocks
from analysis.columns import distinct_texts, int64
from analysis.details import Details
from analysis.export.fields import DETAILS, EVENTS, TEXT, TEXTS, WALL
from analysis.export.stream import EVENT
from analysis.frames.history import RESULTS, kinds_of
from analysis.signals import name_of
from tracer import abi
from tracer.abi import Type

Array = npt.NDArray[Any]
Ints = npt.NDArray[np.int64]
Columns = dict[str, Any]

_PARENT = (Type.FORK, Type.EXEC, Type.EXIT, Type.REPARENT, Type.SUBREAPER, Type.COMM, Type.STUB)
_COMM = (Type.FORK, Type.EXEC, Type.EXIT, Type.OOM, Type.SUBREAPER, Type.COMM, Type.STUB)
_NAMESPACE = (Type.FORK, Type.EXEC, Type.SUBREAPER, Type.COMM, Type.STUB)


def tables_by_type(events: Array, clocks: Clocks) -> list[tuple[Ints, pa.Table]]:
    """Of each type that there is: rows of its events, and their table.

    Args:
        events: as `stream.Batch` has them.
    """
    kinds = events.view(EVENT)["type"]
    found = []
    for event_type in Type:
        at = np.flatnonzero(kinds == event_type)
        if len(at):
            rows = events[at].view(np.dtype(abi.event_layout(event_type)))  # type: ignore[call-overload]
            found.append((at, _table(event_type, rows, clocks)))
    return found


def event_table(events: Array, clocks: Clocks) -> pa.Table:
    """All columns of EVENT_FIELDS, in the order of the events."""
    found = tables_by_type(events, clocks)
    if not found:
        return EVENTS.empty_table()
    tables = pa.concat_tables(
        [EVENTS.empty_table(), *(t for _, t in found)], promote_options="default"
    )
    place = np.empty(len(events), np.int64)
    place[np.concatenate([at for at, _ in found])] = np.arange(len(events))
    return tables.take(place).combine_chunks()


def detail_table(details: Details, clocks: Clocks) -> pa.Table:
    """All columns of DETAIL_FIELDS."""
    texts = {
        "filename": _taken(details.filename, details.programs, TEXT),
        "args": _taken(details.args.all(), details.programs, TEXTS),
        "cgroup": _taken(details.cgroup, details.places, TEXT),
        "cgroup_v1": _taken(details.cgroup_v1, details.places, TEXT),
    }
    return detail_columns(details, clocks, texts, DETAILS)


def detail_columns(details: Details, clocks: Clocks, texts: Columns, schema: pa.Schema) -> pa.Table:
    """A table of details with these columns of texts."""
    rows, is_exec = details.rows, details.is_exec
    ts_ns = int64(rows["ts_ns"])
    total, length = int64(rows["args_total"]), int64(rows["args_len"])
    columns = {
        "ts_ns": ts_ns,
        "wall": wall_times(clocks, ts_ns),
        "event": _named(["attach", "exec"], is_exec.astype(np.int64)),
        "process": process_ids(rows["tgid"], rows["start_ns"]),
        "tgid": int64(rows["tgid"]),
        "start_ns": int64(rows["start_ns"]),
        "args_total": pa.array(total, mask=~is_exec),
        "args_cut": pa.array(total > length, mask=~is_exec),
        "hierarchy": pa.array(rows["hierarchy"].astype(np.int32), mask=is_exec),
        "cpu": rows["cpu"].astype(np.int32),
        "cpu_lost": int64(rows["cpu_lost"]),
        **{
            name: values if name == "cgroup" else pc.if_else(pa.array(is_exec), values, None)
            for name, values in texts.items()
        },
    }
    return pa.table([columns[name] for name in schema.names], schema=schema)


def wall_times(clocks: Clocks, ts_ns: Ints) -> pa.Array:
    """Wall clock of boot times; null where it is not known."""
    values, known = clocks.wall_times(ts_ns)
    return pa.array(values, mask=~known).cast(WALL)


def process_ids(
    tgid: Array, start_ns: Array, known: npt.NDArray[np.bool_] | None = None
) -> pa.Array:
    """ "tgid:start_ns"; null where neither is known, or ``known`` says so."""
    none = (tgid == 0) & (start_ns == 0)
    none = none if known is None else none | ~known
    numbers = pa.array(int64(tgid), mask=none)
    return pc.binary_join_element_wise(
        numbers.cast(TEXT), pa.array(int64(start_ns)).cast(TEXT), ":"
    )


def _table(event_type: Type, rows: Array, clocks: Clocks) -> pa.Table:
    ts_ns = int64(rows["ts_ns"])
    # The tracepoint of OOM victims has no start before 6.10: no process is called "tgid:0".
    known = rows["start_ns"] != 0 if event_type == Type.OOM else None
    columns: Columns = {
        "ts_ns": ts_ns,
        "wall": wall_times(clocks, ts_ns),
        "event": _named([event_type.name.lower()], np.zeros(len(rows), np.int64)),
        "process": process_ids(rows["tgid"], rows["start_ns"], known),
        "tgid": int64(rows["tgid"]),
        "start_ns": int64(rows["start_ns"]),
        "tid": int64(rows["tid"]),
        "cpu": rows["cpu"].astype(np.int32),
        "cpu_lost": int64(rows["cpu_lost"]),
        "flags": _FLAGS.take(pa.array(rows["flags"] & (len(_FLAGS) - 1))),
    }
    if event_type in _COMM:
        columns["comm"] = _comms(rows["comm"])
    if event_type in _PARENT:
        columns["parent"] = process_ids(rows["parent_tgid"], rows["parent_start_ns"])
    if event_type in _NAMESPACE:
        columns["ns_tgid"] = int64(rows["ns_tgid"])
        columns["pidns"] = int64(rows["pidns"])
    more = _MORE.get(event_type)
    columns |= more(rows) if more is not None else {}
    fields = [field for field in EVENTS if field.name in columns]
    return pa.table([columns[field.name] for field in fields], schema=pa.schema(fields))


def _fork(rows: Array) -> Columns:
    return {"forker": process_ids(rows["forker_tgid"], rows["forker_start_ns"])}


def _exec(rows: Array) -> Columns:
    return {"cgroup_id": int64(rows["cgroup_id"]), "old_tid": int64(rows["old_tid"])}


def _code(rows: Array) -> Columns:
    code = rows["exit_code"].astype(np.int32)
    signal = code & 0x7F
    return {
        "exit_code": code,
        "exit_status": np.where(signal == 0, code >> 8 & 0xFF, 0).astype(np.int32),
        "exit_signal": signal,
        "core": (signal != 0) & (code & 0x80 != 0),
    }


def _exit(rows: Array) -> Columns:
    return {**_code(rows), "group_exit": rows["group_exit"] != 0}


def _reparent(rows: Array) -> Columns:
    return {
        "parent_tid": int64(rows["parent_tid"]),
        "reaper": process_ids(rows["reaper_tgid"], rows["reaper_start_ns"]),
        "reason": _named(_REASONS, rows["reason"]),
    }


def _reaper(rows: Array) -> Columns:
    return {
        "reaper": process_ids(rows["reaper_tgid"], rows["reaper_start_ns"]),
        "reaper_tid": int64(rows["reaper_tid"]),
        "reason": _named(_REASONS, rows["reason"]),
        "hook": _named(_HOOKS, rows["hook"]),
        "exit_ns": int64(rows["exit_ns"]),
        "children": int64(rows["children"]),
    }


def _signal(rows: Array) -> Columns:
    kind = kinds_of(rows)
    sent = np.asarray(kind == "process", bool)
    number = rows["signal"].astype(np.int32)
    distinct, codes = np.unique(number, return_inverse=True)
    return {
        "sender": process_ids(rows["sender_tgid"], rows["sender_start_ns"], sent),
        "context": process_ids(rows["sender_tgid"], rows["sender_start_ns"], ~sent),
        "sender_tid": int64(rows["sender_tid"]),
        "sender_comm": _comms(rows["comm"]),
        "signal": number,
        "signal_name": _named([name_of(n) for n in distinct.tolist()], codes),
        "kind": pa.array(kind, TEXT),
        "result": _named([*RESULTS, "unknown"], rows["result"]),
        "to_process": rows["group"] != 0,
        "si_code": rows["si_code"],
        "si_pid": rows["si_pid"],
        "origin": _named([*_ORIGINS, "unknown"], rows["origin"]),
        "context_flags": _CONTEXTS.take(pa.array(rows["context"] & (len(_CONTEXTS) - 1))),
    }


_MORE: dict[Type, Callable[[Array], Columns]] = {
    Type.FORK: _fork,
    Type.EXEC: _exec,
    Type.EXIT: _exit,
    Type.REAP: _code,
    Type.REPARENT: _reparent,
    Type.REAPER: _reaper,
    Type.SIGNAL: _signal,
}

_REASONS = ["unknown", "thread", "subreaper", "init", "unknown"]
_HOOKS = [*(hook.name.lower() for hook in abi.Hook), "none"]
_ORIGINS = [origin.name.lower() for origin in abi.Origin]


def _sets(flags: Any) -> pa.Array:
    """By number the names of the bits that are set in it."""
    count = 1 << len(flags)
    return pa.array(
        [[flag.name.lower() for flag in flags if number & flag] for number in range(count)], TEXTS
    )


_FLAGS, _CONTEXTS = _sets(abi.Flag), _sets(abi.Context)


def _named(names: Sequence[str], numbers: Array) -> pa.Array:
    """Names by number; the last one is that of all numbers that have none."""
    at = np.minimum(numbers.astype(np.int64), len(names) - 1)
    return pa.array(names, TEXT).take(pa.array(at))


def _comms(comms: Array) -> pa.Array:
    codes, names = distinct_texts(comms)
    return pa.array(names, TEXT).take(pa.array(codes))


def _taken(distinct: Array, codes: Array, kind: pa.DataType) -> pa.Array:
    return pa.array(distinct.tolist(), kind).take(pa.array(codes))
