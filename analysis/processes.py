"""One row a process: who it was, when it lived, how it ended."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.columns import Columns, Known, Rows, int64, nullable, texts
from analysis.identity import Identities, identify
from analysis.images import find_images
from analysis.table import Table
from analysis.unseen import find_ends
from tracer.abi import Flag, Type

Array = npt.NDArray[Any]
Times = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

# Types whose subject has its comm in the record, and where it is looked up.
COMM_TYPES = (Type.STUB, Type.FORK, Type.SUBREAPER, Type.COMM, Type.EXEC)
NAMESPACE_TYPES = (Type.STUB, Type.SUBREAPER, Type.COMM, Type.EXEC, Type.FORK)
LATEST = np.iinfo(np.int64).max


def df_processes(table: Table) -> pd.DataFrame:
    """All columns of `find_processes`."""
    return find_processes(table).frame()


def find_processes(table: Table) -> Columns:
    """Every process that the capture names, those born in it first, by birth.

    The row number is the process number that other frames of this package use inside.

    Index: id, the string "tgid:start_ns" ("0:0": the kernel's idle task, parent of init).

    Columns (integers with NA where not known, unless said otherwise; times in boot-time ns):
        tgid, start_ns: int64, never NA.
        ns_tgid, pidns: process id in its own pid namespace, and that namespace's inode (0:
            the initial one).
        comm: last one known; "" if none is.
        filename, args, cgroup, cgroup_v1: as in `analysis.images.Images`; None or () if
            not known.
        fork_ns: birth; NA if it was born before what is kept, or the event was lost.
        seen_ns: first time that anything was heard of it.
        exit_ns, exit_code, exit_status, exit_signal: NA if it was not seen exiting;
            exit_code is what wait() reports, the others are decoded from it.
        core: bool, dumped core.
        reap_ns: when it was released after wait(); up to ~15 ms late.
        gone_ns: by when it had ended, if its exit was not seen (`unseen.find_ends`).
        forker: id of the process that called clone(), None if not known.
        subreaper_ns: first time it was seen with PR_SET_CHILD_SUBREAPER.
        stub: bool, known only because other events refer to it.
        kthread, ns_init: bool; ns_init: process 1 of a pid namespace.
        execs: int64, number of execs seen.
    """
    who = identify(table)
    count = len(who)
    fork, end, reap = table.of(Type.FORK), table.of(Type.EXIT), table.of(Type.REAP)
    fork_ns = _last(count, who.of(Type.FORK), fork["ts_ns"])
    exit_ns = _last(count, who.of(Type.EXIT), end["ts_ns"])
    reap_ns = _last(count, who.of(Type.REAP), reap["ts_ns"])
    code = np.zeros(count, np.int32)
    for rows, event_type in ((reap, Type.REAP), (end, Type.EXIT)):
        code[who.of(event_type)] = rows["exit_code"]
    ended = (exit_ns >= 0) | (reap_ns >= 0)
    ns_tgid, pidns = _namespace(table, who)
    flags, subreaper_ns = _flags(table, who)
    images = find_images(table, who)
    gone_ns, _ = find_ends(table, who, exit_ns, reap_ns)
    comm, kthread = _comm(table, who, exit_ns >= 0), flags & Flag.KTHREAD != 0
    if who.idle >= 0:
        comm[who.idle], kthread[who.idle] = "swapper/0", True
    seen_ns, stub = _seen(table, who, fork_ns[who.born :]), _stub(table, who)
    ns_init = (flags & Flag.NS_INIT != 0) | (ns_tgid == 1)

    def numbers(rows: Rows) -> Array:
        return np.arange(count)[rows] if isinstance(rows, slice) else rows

    def seen(rows: Rows) -> Times:
        # Of those who were born here, the fork.
        at = numbers(rows)
        found: Times = fork_ns[at].copy()
        late = np.flatnonzero(at >= who.born)
        found[late] = seen_ns[at[late] - who.born]
        return found

    return Columns(
        count,
        {
            "tgid": lambda rows: who.tgid[rows],
            "start_ns": lambda rows: who.start_ns[rows],
            "ns_tgid": lambda rows: nullable(ns_tgid[rows], ns_tgid[rows] > 0, np.int32),
            "pidns": Known(pidns),
            "comm": lambda rows: comm[rows],
            "filename": lambda rows: images.filename(rows),
            "args": lambda rows: images.args(rows),
            "cgroup": lambda rows: images.cgroup.of(rows),
            "cgroup_v1": lambda rows: images.cgroup_v1.of(rows),
            "fork_ns": Known(fork_ns),
            "seen_ns": seen,
            "exit_ns": Known(exit_ns),
            "exit_code": lambda rows: nullable(code[rows], ended[rows], np.int32),
            "exit_status": lambda rows: nullable(code[rows] >> 8 & 0xFF, ended[rows], np.int16),
            "exit_signal": lambda rows: nullable(code[rows] & 0x7F, ended[rows], np.int16),
            "core": lambda rows: code[rows] & 0x80 != 0,
            "reap_ns": Known(reap_ns),
            "gone_ns": Known(gone_ns),
            "forker": lambda rows: who.names(who.forker[rows]),
            "subreaper_ns": lambda rows: nullable(subreaper_ns[rows], subreaper_ns[rows] > 0),
            "stub": lambda rows: stub[rows],
            "kthread": lambda rows: kthread[rows],
            "ns_init": lambda rows: ns_init[rows],
            "execs": lambda rows: np.bincount(who.of(Type.EXEC), minlength=count)[rows],
        },
        lambda rows: pd.Index(who.names(numbers(rows)), dtype=object, name="id"),
    )


def _last(count: int, codes: npt.NDArray[np.int32], times: Array) -> Times:
    """Last time of each process, -1 if there is none. Times are sorted."""
    result = np.full(count, -1, np.int64)
    result[codes] = int64(times)
    return result


def _comm(table: Table, who: Identities, exited: Bools) -> Array:
    result = np.full(len(who), "", object)
    # The exit carries the last one; only for the others must the time decide.
    codes, times, comms = [], [], []
    tasks = table.tasks
    alive = np.flatnonzero(~exited[who.of("tasks")])
    codes.append(who.of("tasks")[alive])
    times.append(tasks["ts_ns"].to_numpy()[alive])
    comms.append(tasks["comm"].to_numpy()[alive])
    for event_type in COMM_TYPES:
        rows, code = table.of(event_type), who.of(event_type)
        wanted = np.flatnonzero(~exited[code])
        codes.append(code[wanted])
        times.append(int64(rows["ts_ns"][wanted]))
        comms.append(texts(rows["comm"][wanted]))
    order = np.argsort(np.concatenate(times), kind="stable")
    result[np.concatenate(codes)[order]] = np.concatenate(comms)[order]
    result[who.of(Type.EXIT)] = texts(table.of(Type.EXIT)["comm"])
    return result


def _namespace(table: Table, who: Identities) -> tuple[npt.NDArray[np.int32], Times]:
    """(ns_tgid, pidns) of each process; 0, -1 where not known."""
    ns_tgid, pidns = np.zeros(len(who), np.int32), np.zeros(len(who), np.int64)
    sources: list[tuple[Any, npt.NDArray[np.int32]]] = [
        (table.of(event_type), who.of(event_type)) for event_type in NAMESPACE_TYPES
    ]
    sources.append((table.tasks, who.of("tasks")))
    for rows, code in sources:
        ns_tgid[code], pidns[code] = np.asarray(rows["ns_tgid"]), np.asarray(rows["pidns"])
    # The first process of all is what it is, also where no event says so.
    ns_tgid[(who.tgid == 1) & (ns_tgid == 0)] = 1
    pidns[ns_tgid <= 0] = -1
    return ns_tgid, pidns


def _flags(table: Table, who: Identities) -> tuple[npt.NDArray[np.int32], Times]:
    """Flags that a process was ever seen with, and when the subreaper flag came (0: never)."""
    flags = np.zeros(len(who), np.int32)
    marks: list[tuple[npt.NDArray[np.int32], Times]] = []
    sources: list[tuple[Any, npt.NDArray[np.int32]]] = [
        (table.of(event_type), who.of(event_type)) for event_type in Type
    ]
    sources.append((table.tasks, who.of("tasks")))
    for rows, code in sources:
        own = np.asarray(rows["flags"])
        any_of = np.flatnonzero(own & (Flag.SUBREAPER | Flag.NS_INIT | Flag.KTHREAD))
        for flag in (Flag.SUBREAPER, Flag.NS_INIT, Flag.KTHREAD):
            marked = any_of[own[any_of] & flag != 0]
            flags[code[marked]] |= flag
            if flag is Flag.SUBREAPER and len(marked):
                marks.append((code[marked], int64(np.asarray(rows["ts_ns"])[marked])))
    # Zeros that nobody writes to cost no memory.
    subreaper_ns = np.zeros(len(who), np.int64)
    if marks:
        codes, times = (np.concatenate(values) for values in zip(*marks, strict=True))
        order = np.argsort(times, kind="stable")[::-1]  # the first one is written last and stays
        subreaper_ns[codes[order]] = times[order]
    return flags, subreaper_ns


def _seen(table: Table, who: Identities, fork_ns: Times) -> Times:
    """First time of each process that is not surely born here: its fork, else the first event or
    snapshot that names it.

    Args:
        fork_ns: of these processes, those from number ``who.born`` on; -1.
    """
    seen = np.where(fork_ns >= 0, fork_ns, LATEST)
    sources: list[tuple[Any, Type | str]] = [
        (table.of(event_type), event_type) for event_type in Type
    ]
    sources += [(table.tasks, "tasks"), (table.detail_rows, "details")]
    for rows, source in sources:
        for role in ("subject", "parent", "forker", "reaper", "sender"):
            code = who.of(source, role)
            wanted = np.flatnonzero(code >= who.born)
            wanted = wanted[fork_ns[code[wanted] - who.born] < 0]
            if len(wanted):
                times = int64(np.asarray(rows["ts_ns"])[wanted])
                np.minimum.at(seen, code[wanted] - who.born, times)
    return np.where(seen < LATEST, seen, table.first_ns)


def _stub(table: Table, who: Identities) -> Bools:
    """Processes of which no event of their own was seen."""
    result = np.ones(len(who), bool)
    for source in (*Type, "tasks", "procs"):
        # A signal's or a stub's subject may be a process outside the filter.
        if source not in (Type.STUB, Type.SIGNAL):
            codes = who.of(source)
            result[codes[codes >= 0]] = False
    return result
