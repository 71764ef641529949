"""Whose child each process was, when, and how sure that is.

Three steps: `hops` finds the new parent of every REPARENT event, `gaps` the moves that have
none, and this module makes the two frames of it.

A statement is ``confirmed`` only if the new parent was observed by ``until_ns`` and nothing
that is known speaks against its having got the child directly. Between ``ts_ns``, the exit of
the old parent, and ``until_ns`` the kernel moved the child: in between the old parent, or a
reaper that died at that very moment, may still have been its parent.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis import losses
from analysis.columns import Columns, Frame, History, Known, filled, nullable, objects
from analysis.gaps import Lines, Moves, close, contradictions, draw_lines, hop_moves
from analysis.hops import (
    BY_OVERFLOW,
    BY_RULE,
    BY_SIGNAL,
    CERTAINTIES,
    CONFIRMED,
    EVIDENCES,
    INFERRED,
    PREDICTED,
    UNKNOWN,
    resolve,
)
from analysis.identity import Codes, Identities, identify
from analysis.lives import Lives, find_lives
from analysis.observations import SKEW_NS, Observations, Times, find_observations, first_parents
from analysis.table import Table
from tracer.abi import Reason

Array = npt.NDArray[Any]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

REASONS = objects([reason.name.lower() for reason in Reason])
HOWS = objects(["unknown", "fork", "snapshot"])
BY_FORK, BY_START = 1, 2
EVER = np.iinfo(np.int64).max
BLOCK = 1 << 17  # intervals at a time, where there are many columns in between


@dataclass
class _History:
    """All that is known of parents, by process number."""

    who: Identities
    seen: Observations
    lines: Lines
    moves: Moves
    lives: Lives
    windows: pd.DataFrame


def df_reparents(table: Table, processes: Frame, *, use_snapshots: bool = True) -> pd.DataFrame:
    """All columns of `find_reparents`."""
    return find_reparents(table, processes, use_snapshots=use_snapshots).frame()


def find_reparents(table: Table, processes: Frame, *, use_snapshots: bool = True) -> Columns:
    """Every change of a parent, by ts_ns.

    Args:
        processes: of the same table, as `processes.df_processes` gives it.
        use_snapshots: False withholds the parents in the start and end snapshots.

    Columns:
        ts_ns: int64, exit of the old parent (of the thread that had the child).
        until_ns: Int64, by when the new parent was observed; NA: never.
        child, from_, to: ids; to is None if not known.
        from_tid, to_tid: Int64, the exiting thread, and the adopting one; NA if not known.
        reason: thread (from_ == to: getppid() does not change), subreaper, init, unknown.
        certainty: confirmed; predicted (by the kernel's rule at the exit, not observed);
            inferred (from other events); unknown.
        evidence: reaper-signal, reaper-switch, next-parent, event, snapshot, prediction,
            overflow (the parent had more children than its exit lists), rule (predicted, and
            the one predicted was certainly alive).
        child_no, from_no, to_no: int32, row numbers in ``processes``; to_no -1 if not known.
        step: int64, order of the moves of one child.
    """
    history = _trace(table, processes, use_snapshots)
    moves, who = history.moves, history.who
    order = np.lexsort((moves.step, moves.child, moves.time))
    moves = moves.take(order)
    return Columns(
        len(moves),
        {
            "ts_ns": lambda rows: moves.time[rows],
            "until_ns": Known(moves.until),
            "child": lambda rows: who.names(moves.child[rows]),
            "from_": lambda rows: who.names(moves.parent[rows]),
            "to": lambda rows: who.names(moves.to[rows]),
            "from_tid": lambda rows: nullable(moves.from_tid[rows], moves.from_tid[rows] > 0),
            "to_tid": lambda rows: nullable(moves.to_tid[rows], moves.to_tid[rows] > 0),
            "reason": lambda rows: REASONS[moves.reason[rows]],
            "certainty": lambda rows: objects(CERTAINTIES)[moves.certainty[rows]],
            "evidence": lambda rows: objects(EVIDENCES)[moves.evidence[rows]],
            "child_no": lambda rows: moves.child[rows].astype(np.int32),
            "from_no": lambda rows: moves.parent[rows].astype(np.int32),
            "to_no": lambda rows: moves.to[rows].astype(np.int32),
            "step": lambda rows: moves.step[rows],
        },
    )


def df_parents(
    table: Table, processes: Frame, reparents: Frame, *, use_snapshots: bool = True
) -> pd.DataFrame:
    """All columns of `find_parents`."""
    return find_parents(table, processes, reparents, use_snapshots=use_snapshots).frame()


def find_parents(
    table: Table, processes: Frame, reparents: Frame, *, use_snapshots: bool = True
) -> Columns:
    """Whose child each process was over time: one row an interval, by child and time.

    Args:
        reparents: as `find_reparents` gave it; ``use_snapshots`` as then.

    Columns:
        child, parent: ids; parent is None if not known.
        from_ns: int64, birth (or when the parent was first seen), or ts_ns of the move.
        settled_ns: Int64, by when the parent was surely this one: between from_ns and
            settled_ns it may still have been the one before. NA: never observed.
        until_ns: Int64, when the next interval begins, or the child was reaped, or, for a
            zombie, its parent exited (its own exit if that is not clear); NA: open.
        how: fork, snapshot, or the reason of the move (thread, subreaper, init), unknown.
        certainty: as in `find_reparents`, but inferred also where the end is not sure.
        child_no, parent_no: int32, row numbers in ``processes``; -1 if not known.
    """
    history = _trace(table, processes, use_snapshots)
    table.cache.pop(_key(use_snapshots), None)
    who, moves, lives = history.who, history.moves, history.lives
    first = _first(history, table)
    child = np.concatenate([first.child, moves.child])
    count = len(first.child)
    step = np.concatenate([np.full(count, -1), moves.step])
    # Without moves it is sorted as it is; a slice does not copy.
    order = np.lexsort((step, child)) if len(moves) else slice(None)
    child = child[order].astype(np.int32, copy=False)
    parent = np.concatenate([first.parent, moves.to])[order].astype(np.int32, copy=False)
    begin = np.concatenate([first.time, moves.time])[order]
    signal = np.where((moves.evidence == BY_SIGNAL) & (moves.until >= 0), SKEW_NS, 0)
    settled = np.concatenate([first.time, moves.until + signal])[order]
    # Of both, behind those of HOWS the reasons of moves.
    how = np.concatenate([first.how, moves.reason.astype(np.int8) + np.int8(len(HOWS))])[order]
    sure = np.full(count, CONFIRMED, np.int8)
    certainty = np.concatenate([sure, moves.certainty.astype(np.int8)])[order]

    end = np.full(len(child), -1)
    more = np.zeros(len(child), bool)
    more[:-1] = child[1:] == child[:-1]
    following, final = np.flatnonzero(more), np.flatnonzero(~more)
    end[following] = begin[following + 1]
    for start in range(0, len(final), BLOCK):
        at = final[start : start + BLOCK]
        end[at] = _ends(child[at], parent[at], begin[at], lives)
    # Only forged times run backwards: such an interval is empty.
    end = np.where(end >= 0, np.maximum(end, begin), end)
    certainty[parent < 0] = UNKNOWN
    # A move that no exit tells of: of threads without children there are no events, and one of
    # them may have left before the process did.
    vague = np.append(
        np.zeros(count, bool), (moves.from_tid == 0) & (moves.evidence != BY_OVERFLOW)
    )
    ended = following[vague[order][following + 1]]
    certainty[ended] = np.minimum(certainty[ended], INFERRED)
    certainty[_doubtful(history, table, order, child, parent, begin, end)] = INFERRED
    del history, moves, lives, first, order, step
    hows = np.concatenate([HOWS, REASONS])
    return Columns(
        len(child),
        {
            "child": lambda rows: who.names(child[rows]),
            "parent": lambda rows: who.names(parent[rows]),
            "from_ns": lambda rows: begin[rows],
            "settled_ns": Known(settled),
            "until_ns": Known(end),
            "how": lambda rows: hows[how[rows]],
            "certainty": lambda rows: objects(CERTAINTIES)[certainty[rows]],
            "child_no": lambda rows: child[rows],
            "parent_no": lambda rows: parent[rows],
        },
    )


def _key(use_snapshots: bool) -> str:
    return f"parents-{use_snapshots}"


def _trace(table: Table, processes: Frame, use_snapshots: bool) -> _History:
    """Run all steps, once: the table keeps the result until `find_parents` has used it."""
    found = table.cache.get(_key(use_snapshots))
    if isinstance(found, _History):
        return found
    who = identify(table)
    windows = losses.with_cut(table.losses, table.cut_ns)
    born, births = first_parents(table, who)
    exits = filled(processes, "exit_ns")
    seen = find_observations(
        table, who, use_snapshots=use_snapshots, everything=not table.losses.empty
    )
    hops, groups = resolve(table, who, seen, births, exits, windows)
    lines = draw_lines(
        hops, groups, seen, History(hops.child, hops.time).before(seen.child, seen.time)
    )
    parent, since = born, births.copy()
    parent[lines.child], since[lines.child] = lines.after, lines.time
    lives = find_lives(table, who, processes, groups, seen, births, parent.copy())
    own = hop_moves(hops, lines)
    between = contradictions(lines, lives, windows)
    moves = Moves.join([own, between, *close(own, parent, since, lives, windows)])
    by_rule = moves.evidence == BY_RULE  # nobody observed it, whatever was built on it
    moves.certainty[by_rule] = np.minimum(moves.certainty[by_rule], PREDICTED)
    moves.until[by_rule] = -1
    unknown = np.flatnonzero((moves.reason == Reason.UNKNOWN) & (moves.to >= 0))
    moves.reason[unknown] = _reasons(moves, unknown, lives)
    result = _History(who, seen, lines, moves, lives, windows)
    table.cache[_key(use_snapshots)] = result
    return result


def _reasons(moves: Moves, rows: Ints, lives: Lives) -> Ints:
    """The rule that must have been applied, from who the new parent is."""
    old, new = moves.parent[rows], moves.to[rows]
    return np.select(
        [old == new, lives.ns_init[new], lives.subreaper[new]],
        [Reason.THREAD, Reason.INIT, Reason.SUBREAPER],
        Reason.UNKNOWN,
    )


@dataclass
class _First:
    """The first parent known of each process that has one."""

    child: Codes
    parent: Codes
    time: Times
    how: npt.NDArray[np.int8]


def _first(history: _History, table: Table) -> _First:
    born, births = first_parents(table, history.who)
    how = np.where(born >= 0, BY_FORK, 0).astype(np.int8)
    time = births.copy()
    lines = history.lines
    head = np.ones(len(lines.child), bool)
    head[1:] = lines.child[1:] != lines.child[:-1]
    at = np.flatnonzero(head)
    child = lines.child[at]
    born[child] = lines.before[at]
    # The walk of an exiting parent may see a child before the fork event is written.
    earlier = (births[child] < 0) | (lines.time[at] < births[child])
    time[child[earlier]] = lines.time[at][earlier]
    how[child] = np.where(births[child] >= 0, BY_FORK, np.where(lines.snapshot[at], BY_START, 0))
    known = np.flatnonzero(born >= 0)
    return _First(known.astype(np.int32), born[known], time[known], how[known])


def _ends(child: Codes, parent: Codes, begin: Times, lives: Lives) -> Times:
    """End of the last interval of each process, -1: open."""
    reap, end = lives.reap[child], lives.exit[child]
    known = (parent >= 0) & ~lives.ns_init[parent]
    gone = np.where(known, lives.left[parent], -1)
    # A zombie that its parent's exit did not list had been reaped by then: REAP comes late. If
    # that exit did not list all, or there was more than one, it can be said until its own.
    unclear = lives.short[parent] | lives.threads[parent]
    last = np.where(unclear, np.maximum(end, begin), gone)
    reap = np.where(reap >= 0, reap, EVER)
    result = np.where((end >= 0) & (gone >= end) & (lives.began[parent] < reap), last, reap)
    return np.where(result < EVER, result, -1)


def _doubtful(
    history: _History,
    table: Table,
    order: Ints | slice,
    child: Codes,
    parent: Codes,
    begin: Times,
    end: Times,
) -> Bools:
    """Intervals in which a lost event may have been a move that nothing else shows."""
    result = np.zeros(len(child), bool)
    windows = history.windows
    if windows.empty:
        return result
    seen, moves = history.seen, history.moves
    # The last time that it was seen in the interval with this parent.
    rows = np.arange(len(child))
    intervals = History(child, begin)
    last = begin.copy()
    at = intervals.before(seen.child, seen.time)
    fits = np.flatnonzero(at >= 0)
    fits = fits[seen.parent[fits] == parent[at[fits]]]
    np.maximum.at(last, at[fits], seen.time[fits])
    # A REPARENT from this parent is the best of all ends.
    following = np.flatnonzero(child[1:] == child[:-1])
    is_hop = np.append(np.zeros(len(child) - len(moves), bool), moves.from_tid > 0)[order]
    closed = following[is_hop[following + 1]]
    last[closed] = end[closed]
    limit = np.where(end >= 0, end, np.maximum(table.last_ns, last))
    result[rows] = losses.touched(windows, last, limit)
    return result
