"""Births and ends that no event tells of: before what is kept, or among lost events.

A process whose exit was not seen had ended by the time that it was reaped, that a snapshot shows
it as a zombie without children, or that a snapshot does not show it any more. The last is only
believed where its exit may have been lost: an iterator may leave a process out.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from analysis import losses
from analysis.columns import int64
from analysis.identity import REFERENCES, Identities
from analysis.table import Table
from tracer.abi import Type

Array = npt.NDArray[Any]
Times = npt.NDArray[np.int64]

EVER = np.iinfo(np.int64).max


def find_lost_births(
    table: Table, starts: Times, forked: npt.NDArray[np.bool_]
) -> npt.NDArray[np.bool_]:
    """Processes whose fork was lost. All others without one are older than what is kept, or than
    the programs on the kernel's hooks.

    Args:
        starts: start_ns of each process; forked: its fork was seen.
    """
    lost = ~forked & (starts >= table.kept_from_ns)
    at = np.flatnonzero(lost)
    lost[at] = losses.touched(table.losses, starts[at], starts[at] + losses.SLACK_NS)
    return lost


def find_ends(table: Table, who: Identities, exits: Times, reaps: Times) -> tuple[Times, Times]:
    """By when each process had exited whose exit was not seen, and been released; -1: not known.
    Found once: the table keeps the result.

    Args:
        exits, reaps: of each process, -1 if not seen.

    Returns:
        the first is -1 where ``exits`` is known; the second is ``reaps`` where that is known.
    """
    found = table.cache.get("ends")
    if not isinstance(found, tuple):
        found = table.cache["ends"] = _find_ends(table, who, exits, reaps)
    gone, released = found
    return gone, released


def _find_ends(table: Table, who: Identities, exits: Times, reaps: Times) -> tuple[Times, Times]:
    unseen = exits < 0
    gone = np.where(unseen, reaps, -1)
    if not unseen.any() or table.tasks.empty:
        return gone, reaps
    zombies = _zombies(table, who, unseen)
    missing = _missing(table, who, unseen & (reaps < 0))
    for process, times in (missing, zombies):  # being a zombie comes first
        gone[process] = times
    if not len(missing[0]):
        return gone, reaps
    released = reaps.copy()
    released[missing[0]] = missing[1]
    return gone, released


def _zombies(table: Table, who: Identities, unseen: npt.NDArray[np.bool_]) -> tuple[Array, Times]:
    """Processes that a snapshot shows as zombies, and when. A leader that exited before other
    threads looks the same: those who are somebody's parent later live on."""
    codes = who.of("tasks")
    rows = np.flatnonzero((table.tasks["exit_state"].to_numpy() != 0) & unseen[codes])
    times = table.tasks["ts_ns"].to_numpy()[rows]
    wanted = np.zeros(len(who), bool)
    wanted[codes[rows]] = True
    acted = _last_sign(table, who, wanted, subjects=False)
    kept = acted[codes[rows]] <= times
    # By time, and written backwards: the first sighting stays.
    return codes[rows[kept]][::-1], times[kept][::-1]


def _missing(table: Table, who: Identities, unseen: npt.NDArray[np.bool_]) -> tuple[Array, Times]:
    """Processes that the first snapshot after their last sign does not show, and when that was
    over; only those whose exit may have been lost."""
    snapshots = table.snapshots
    if not table.complete:
        snapshots = snapshots[:-1]  # the cut may be in the middle of it
    # With a filter, or from within a pid namespace, they do not show all that lives.
    narrow = bool(table.header.get("filter") or table.header.get("pidns"))
    if table.losses.empty or not snapshots or narrow:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    # Those whose own records were seen, but for process 1, which one kernel never shows.
    known = np.zeros(len(who), bool)
    known[who.of("tasks")] = True
    known[: who.born] = True
    known &= unseen & (who.tgid != 1)
    last = _last_sign(table, who, known, subjects=True)
    process = np.flatnonzero(known)
    begins = np.array([s.begin_ns for s in snapshots], np.int64)
    ends = np.array([s.end_ns for s in snapshots], np.int64)
    at = np.searchsorted(begins, last[process], side="right")
    process, at = process[at < len(begins)], at[at < len(begins)]
    lost = losses.touched(table.losses, last[process], ends[at])
    return process[lost], ends[at[lost]]


def _last_sign(
    table: Table, who: Identities, wanted: npt.NDArray[np.bool_], *, subjects: bool
) -> Times:
    """Last time that anything was heard of each process (``subjects`` False: that it was named
    as a parent, forker, sender or reaper); -1: never, or not wanted."""
    result = np.full(len(who), -1)
    if not wanted.any():
        return result
    marked = np.append(wanted, False)  # number -1: not known
    sources: list[tuple[Any, Type | str, tuple[str, ...]]] = [
        (table.of(kind), kind, REFERENCES[kind]) for kind in Type
    ]
    sources += [(table.tasks, "tasks", ("parent",))]
    if subjects:
        sources += [(table.detail_rows, "details", ()), (table.procs, "procs", ())]
    for rows, source, roles in sources:
        for role in (*(("subject",) if subjects else ()), *roles):
            codes = who.of(source, role)
            if not len(codes):
                continue
            at = np.flatnonzero(marked[codes])
            if len(at):
                times = int64(np.asarray(rows["ts_ns"])[at])
                np.maximum.at(result, codes[at], times)
    return result
