"""Program, arguments and cgroup of each process: its own, or those that it was born with."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.columns import History, frame, int64, objects
from analysis.identity import Identities
from analysis.table import Table
from tracer.abi import Type

Array = npt.NDArray[Any]
Rows = npt.NDArray[np.int64]

BEFORE = -1  # time of what /proc said at the start: older than any event
AFTER = np.iinfo(np.int64).max


def df_images(table: Table, who: Identities) -> pd.DataFrame:
    """What each process was last known to run, in the order of process numbers.

    A process that has not called exec has its forker's image and cgroup as they were at the
    fork: that is what the kernel gives it.

    Columns:
        filename: what was exec'd, or /proc/PID/exe; None if not known.
        args: argv, tuple of str; () if not known.
        cgroup: path in the v2 hierarchy, "" if there is none; None if not known.
        cgroup_v1: path in the v1 pids or memory hierarchy, likewise.
    """
    born = _births(table, who)
    program = _programs(table, who, born)
    v2, v1 = _cgroups(table, who, born)
    return frame(program | {"cgroup": v2, "cgroup_v1": v1})


def _births(table: Table, who: Identities) -> tuple[Array, Array, Rows]:
    """(child, forker, time) of the forks seen."""
    child, forker = who.of(Type.FORK), who.of(Type.FORK, "forker")
    known = np.flatnonzero((child >= 0) & (forker >= 0) & (child != forker))
    return child[known], forker[known], int64(table.of(Type.FORK)["ts_ns"])[known]


def _last_rows(count: int, born: tuple[Array, Array, Rows], codes: Array, times: Rows) -> Rows:
    """Last row of each process, or the row in force at its birth in its forker; -1: none."""
    child, forker, fork_ns = born
    history = History(codes, times)
    at_birth = np.full(count, -1)
    at_birth[child] = history.before(forker, fork_ns)
    # A forker without a row of its own at that time has what it was born with: follow the
    # chain of forkers, twice as far in each round (32 rounds reach 2**32 generations).
    ancestor = np.arange(count)
    follow = at_birth[child] < 0
    ancestor[child[follow]] = forker[follow]
    for _ in range(32):
        further = ancestor[ancestor]
        if np.array_equal(further, ancestor):
            break
        ancestor = further
    result = at_birth[ancestor]
    oldest = history.before(ancestor, np.full(count, BEFORE))
    result = np.where(result >= 0, result, oldest)
    result[codes[history.order]] = history.order
    return result


def _programs(table: Table, who: Identities, born: tuple[Array, Array, Rows]) -> dict[str, Array]:
    details, procs = table.details, table.procs
    execs, exec_codes = table.of(Type.EXEC), who.of(Type.EXEC)
    exec_ns = int64(execs["ts_ns"])
    detail = _details_of(table, who, exec_codes, exec_ns)
    filenames = np.concatenate([_take(details["filename"], detail, None), procs["exe"]])
    args = np.concatenate([_take(details["args"], detail, ()), procs["args"]])
    codes = np.concatenate([exec_codes, who.of("procs")])
    times = np.concatenate([exec_ns, np.full(len(procs), BEFORE)])
    rows = _last_rows(len(who), born, codes, times)
    # The detail of the last exec was lost: what /proc said at the end is as good.
    late = np.full(len(who), -1)
    final = np.flatnonzero((procs["phase"] == "end").to_numpy())
    late[who.of("procs")[final]] = len(execs) + final
    filename = _take(filenames, rows, None)
    lost = np.flatnonzero((rows >= 0) & (rows < len(execs)) & pd.isna(filename) & (late >= 0))
    rows[lost] = late[lost]
    return {"filename": _take(filenames, rows, None), "args": _take(args, rows, ())}


def _details_of(table: Table, who: Identities, codes: Array, times: Rows) -> Rows:
    """Detail of each exec: same process, same time; -1 if it was lost."""
    details = table.details
    rows = np.flatnonzero((details["type"] == "EXEC").to_numpy())
    history = History(who.of("details")[rows], details["ts_ns"].to_numpy()[rows])
    found = history.before(codes, times)
    at = rows[found] if len(rows) else found
    same = (found >= 0) & (_take(details["ts_ns"], at, 0) == times)
    return np.where(same, at, -1)


def _cgroups(table: Table, who: Identities, born: tuple[Array, Array, Rows]) -> tuple[Array, Array]:
    details, procs = table.details, table.procs
    parsed = [_proc_cgroup(raw) for raw in procs["cgroup"].tolist()]
    numbers = [number for _, number, _ in parsed if number]
    v1_number = max(set(numbers), key=numbers.count) if numbers else -1
    late = (procs["phase"] == "end").to_numpy()
    proc_times = np.where(late, AFTER, BEFORE)
    is_exec = (details["type"] == "EXEC").to_numpy()
    hierarchy, times = details["hierarchy"].to_numpy(), details["ts_ns"].to_numpy()
    result = []
    for number, position, name in ((0, 0, "cgroup"), (v1_number, 2, "cgroup_v1")):
        moved = ~is_exec & (hierarchy == number)
        rows = np.flatnonzero(is_exec | moved)
        known = np.flatnonzero(who.of("procs") >= 0)
        paths = details["cgroup"].to_numpy().copy()
        paths[is_exec] = details[name].to_numpy()[is_exec]
        values = np.concatenate(
            [paths[rows], objects([parsed[i][position] for i in known.tolist()])]
        )
        codes = np.concatenate([who.of("details")[rows], who.of("procs")[known]])
        at = np.concatenate([times[rows], proc_times[known]])
        result.append(_take(values, _last_rows(len(who), born, codes, at), None))
    return result[0], result[1]


def _proc_cgroup(raw: str) -> tuple[str, int, str]:
    """(v2 path, number of the v1 hierarchy, v1 path) from the text of /proc/PID/cgroup."""
    v2, best = "", (0, 0, "")
    for line in raw.splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        names = controllers.split(",")
        rank = 2 if "pids" in names else 1 if "memory" in names else 0
        if number == "0" and not controllers:
            v2 = path
        elif rank > best[0] and number.isascii() and number.isdigit() and len(number) < 10:
            best = (rank, int(number), path)
    return v2, best[1], best[2]


def _take(values: Any, rows: Rows, missing: Any) -> Array:
    """values[rows], and ``missing`` where the row is -1."""
    known = np.asarray(values)
    if not len(known):
        return (
            objects([missing] * len(rows)) if known.dtype == object else np.full(len(rows), missing)
        )
    result = known[rows]
    absent = np.flatnonzero(rows < 0)
    if len(absent):
        result[absent] = objects([missing] * len(absent)) if known.dtype == object else missing
    return result
