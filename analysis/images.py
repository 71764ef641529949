"""Program, arguments and cgroup of each process: its own, or those that it was born with."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.columns import frame, objects
from analysis.execs import birth_times, find_execs, find_forks, take
from analysis.identity import Identities
from analysis.table import Table
from tracer.abi import Type

Array = npt.NDArray[Any]
Rows = npt.NDArray[np.int64]


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
    execs = find_execs(table)
    last = execs.birth.copy()
    last[execs.pos] = np.arange(len(execs.pos))  # the last row of each stays
    v2, v1 = _cgroups(table, who)
    return frame(
        {
            "filename": take(execs.filename, last, None),
            "args": take(execs.args, last, ()),
            "cgroup": v2,
            "cgroup_v1": v1,
        }
    )


def _cgroups(table: Table, who: Identities) -> tuple[Array, Array]:
    details, procs = table.detail_rows, table.procs
    forks, count = find_forks(table, who), len(who)
    parsed = [_proc_cgroup(raw) for raw in procs["cgroup"].tolist()]
    numbers = [number for _, number, _ in parsed if number]
    v1_number = max(set(numbers), key=numbers.count) if numbers else -1
    seen = np.flatnonzero((who.of("procs") >= 0) & ~_are_zombies(table, who))
    seen_by = who.of("procs")[seen].astype(np.int64)
    seen_ns = procs["ts_ns"].to_numpy(np.int64)[seen]
    is_exec, hierarchy, times = details.is_exec, details["hierarchy"], details["ts_ns"]
    result = []
    for number, position, of_exec in ((0, 0, details.cgroup), (v1_number, 2, details.cgroup_v1)):
        moved = ~is_exec & (hierarchy == number)
        rows = np.flatnonzero(is_exec | moved)
        paths = details.cgroup[details.places]
        paths[is_exec] = of_exec[details.places[is_exec]]
        values = np.concatenate(
            [paths[rows], objects([parsed[i][position] for i in seen.tolist()])]
        )
        codes = np.concatenate([who.of("details")[rows].astype(np.int64), seen_by])
        at = np.concatenate([times[rows], seen_ns])
        order = np.lexsort((at, codes))
        _date_back(codes, at, order, len(rows), table, who)
        codes, at = codes[order], at[order]
        last = forks.births(codes, at, count)
        last[codes] = np.arange(len(codes))
        result.append(take(values[order], last, None))
    return result[0], result[1]


def _are_zombies(table: Table, who: Identities) -> npt.NDArray[np.bool_]:
    """Rows of what /proc said of processes that had ended, and were not reaped: exit() takes a
    process out of its v1 cgroups, and its v2 cgroup may be gone."""
    procs = table.procs
    ended = np.zeros(len(who) + 1, bool)  # the last: -1, not known
    ended[who.of(Type.EXIT)] = True
    empty = procs["exe"].isna().to_numpy(bool) & (procs["args"].map(len) == 0).to_numpy(bool)
    return ended[who.of("procs")] & empty if len(procs) else np.zeros(0, bool)


def _date_back(
    codes: Rows, at: Rows, order: Rows, recorded: int, table: Table, who: Identities
) -> None:
    """What /proc said is true from a process's beginning if nothing is known from before: its
    children have it, also those that are older than the snapshot. Changes ``at`` in place.

    Args:
        order: rows by process and time; those from ``recorded`` on are what /proc said.
    """
    first = np.ones(len(order), bool)
    first[1:] = codes[order][1:] != codes[order][:-1]
    heads = order[first]
    heads = heads[heads >= recorded]
    if len(heads):
        at[heads] = birth_times(table, who)[codes[heads]]


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
