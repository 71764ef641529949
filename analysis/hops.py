"""Who adopted the children of each exiting thread: REPARENT and REAPER events resolved.

The kernel chooses once for all children of an exiting thread (find_new_reaper() in
forget_original_parent(), kernel/exit.c), so the unit is the group of REPARENT events with one
thread and time. Its reaper is what was observed first after the exit, on any of the children:

- REAPER read inside exit_notify(): exact;
- the old parent in the next REPARENT of a child, as that is who it was a child of;
- the parent in the next other event of a child before its next REPARENT;
- REAPER read shortly after exit_notify(); the first reaper may be gone by then, but then its
  own exit gave a REPARENT, which is earlier.

With none of these the reaper is what the kernel's rule predicted at the exit. The rule leaves
no other ("rule") if the whole process was ending and the one predicted lived on well beyond
exit_notify(), or is the namespace's init: a REAPER that could not read anybody says when
exit_notify() was over. It is so with zombies that are released at once. Other rows may build on
that, but nobody observed it: `parents` states it as predicted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis import losses
from analysis.columns import History, factorize_pairs, int64
from analysis.identity import Codes, Identities
from analysis.observations import SKEW_NS, Observations, Times
from analysis.table import Table
from tracer.abi import Flag, Hook, Reason, Type

Array = npt.NDArray[Any]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

# Certainty and evidence as numbers: positions in these tuples.
CERTAINTIES = ("unknown", "inferred", "predicted", "confirmed")
UNKNOWN, INFERRED, PREDICTED, CONFIRMED = range(4)
EVIDENCES = (
    "reaper-signal",
    "next-parent",
    "event",
    "reaper-switch",
    "snapshot",
    "prediction",
    "overflow",
    "rule",
)
BY_SIGNAL, BY_NEXT, BY_EVENT, BY_SWITCH, BY_SNAPSHOT, BY_PREDICTION, BY_OVERFLOW, BY_RULE = range(8)

# From PF_EXITING to the exit tracepoint: microseconds, unless preempted; p99 of the whole of
# do_exit() was 92 ms under load.
EXITING_NS = 200_000_000

# From the exit tracepoint to the end of exit_notify(): 0.1 ms, mostly.
MOVING_NS = 10_000_000

NEVER = np.iinfo(np.int64).max


@dataclass
class Groups:
    """One row an exiting thread with children.

    Attributes:
        parent, tid, time: the process and thread that exited, and when.
        reaper, reaper_tid, reason: who got its children; -1 not known.
        certainty, evidence: of that; numbers of CERTAINTIES and EVIDENCES.
        until: by when that was observed; -1: never.
        moved: when the kernel had surely moved the children (a REAPER event); -1 not known.
        listed: there are REPARENT events of it; without, they are older than what is kept, or lost.
        more: it had more children than REPARENT events.
        last_birth: latest fork among the children listed that were its own from birth; -1.
    """

    parent: Codes
    tid: Ints
    time: Times
    reaper: Codes
    reaper_tid: Ints
    reason: Ints
    certainty: Ints
    evidence: Ints
    until: Times
    moved: Times
    listed: Bools
    more: Bools
    last_birth: Times

    def __len__(self) -> int:
        return len(self.time)


@dataclass
class Hops:
    """One row a REPARENT event, by (child, time). Attributes as those of Groups."""

    child: Codes
    time: Times
    parent: Codes
    tid: Ints
    group: Ints
    predicted: Codes
    to: Codes
    to_tid: Ints
    reason: Ints
    certainty: Ints
    evidence: Ints
    until: Times

    def __len__(self) -> int:
        return len(self.child)


@dataclass
class _Next:
    """The next observation of each hop's child after it; parent -1: none."""

    parent: Codes
    time: Times
    kind: Ints


def resolve(
    table: Table,
    who: Identities,
    seen: Observations,
    births: Times,
    exits: Times,
    windows: pd.DataFrame,
) -> tuple[Hops, Groups]:
    """Find the reaper of every group and the new parent of every hop.

    Args:
        births, exits: of each process, -1 if not known.
        windows: when events were lost, as ``Table.losses``.
    """
    rows = table.of(Type.REPARENT)
    order = np.lexsort((rows["parent_tid"], rows["ts_ns"], who.of(Type.REPARENT)))
    order = order[who.of(Type.REPARENT)[order] >= 0]
    rows = rows[order]
    reapers = table.of(Type.REAPER)
    numbers, first = factorize_pairs(
        np.concatenate([rows["ts_ns"], reapers["exit_ns"]]),
        np.concatenate([rows["parent_tid"], reapers["tid"]]),
    )
    group, reaper_group = numbers[: len(rows)], numbers[len(rows) :]
    count = len(first)
    child, time = who.of(Type.REPARENT)[order], int64(rows["ts_ns"])
    parent = who.of(Type.REPARENT, "parent")[order]
    groups = _empty_groups(count)
    groups.parent[reaper_group] = who.of(Type.REAPER)
    groups.parent[group] = parent
    groups.tid[reaper_group], groups.tid[group] = reapers["tid"], rows["parent_tid"]
    groups.time[reaper_group], groups.time[group] = int64(reapers["exit_ns"]), time
    groups.listed[group] = True
    groups.more[group[rows["flags"] & Flag.MORE != 0]] = True
    groups.more[reaper_group[reapers["flags"] & Flag.MORE != 0]] = True
    own = np.ones(len(rows), bool)
    own[1:] = child[1:] != child[:-1]
    np.maximum.at(groups.last_birth, group[own], births[child[own]])
    groups.moved[reaper_group] = int64(reapers["ts_ns"])

    hops = Hops(
        child=child,
        time=time,
        parent=parent,
        tid=rows["parent_tid"].astype(np.int64),
        group=group,
        predicted=who.of(Type.REPARENT, "reaper")[order],
        to=np.full(len(rows), -1, np.int32),
        to_tid=np.zeros(len(rows), np.int64),
        reason=np.zeros(len(rows), np.int64),
        certainty=np.zeros(len(rows), np.int64),
        evidence=np.full(len(rows), BY_PREDICTION),
        until=np.full(len(rows), -1),
    )
    following = _next_observations(hops, groups, seen)
    reads = _read_reapers(table, who, reaper_group, count)
    _predict(groups, hops, rows)
    _decide(groups, hops, following, reads)
    _apply_rule(groups, exits)
    _settle(groups, hops, following, reads, windows)
    # Who exits between the walk and exit_notify() may be released before it could be moved.
    vanished = (rows["flags"] & Flag.ZOMBIE == 0) & (exits[child] >= 0)
    vanished &= (exits[child] <= hops.until) & (hops.evidence == BY_RULE)
    hops.certainty[vanished] = np.minimum(hops.certainty[vanished], PREDICTED)
    hops.evidence[vanished] = BY_PREDICTION
    return hops, groups


def _empty_groups(count: int) -> Groups:
    def missing() -> Ints:
        return np.full(count, -1)

    return Groups(
        parent=np.full(count, -1, np.int32),
        tid=missing(),
        time=missing(),
        reaper=np.full(count, -1, np.int32),
        reaper_tid=np.zeros(count, np.int64),
        reason=np.zeros(count, np.int64),
        certainty=np.full(count, UNKNOWN),
        evidence=np.full(count, BY_PREDICTION),
        until=missing(),
        moved=missing(),
        listed=np.zeros(count, bool),
        more=np.zeros(count, bool),
        last_birth=missing(),
    )


def _next_observations(hops: Hops, groups: Groups, seen: Observations) -> _Next:
    """What is observed of each hop's child before, or by, its next hop."""
    count = len(hops)
    result = _Next(np.full(count, -1, np.int32), np.full(count, NEVER), np.full(count, BY_NEXT))
    same = np.flatnonzero(hops.child[1:] == hops.child[:-1])
    result.parent[same], result.time[same] = hops.parent[same + 1], hops.time[same + 1]
    history = History(hops.child, hops.time)
    previous = history.before(seen.child, seen.time)
    usable = np.flatnonzero(previous >= 0)
    hop = previous[usable]
    parent, time = seen.parent[usable], seen.time[usable]
    # Still under the old parent: the exit tracepoint was, exit_notify() is to come.
    moved = groups.moved[hops.group[hop]]
    waiting = (parent == hops.parent[hop]) & ~((moved >= 0) & (time > moved + SKEW_NS))
    # Read so late that it shows what the next hop did.
    late = (result.parent[hop] >= 0) & (result.time[hop] - time < SKEW_NS)
    late &= parent != result.parent[hop]
    good = np.flatnonzero(~waiting & ~late)
    # Written from the latest to the earliest: the earliest stays.
    good = good[np.argsort(-time[good], kind="stable")]
    hop, usable = hop[good], usable[good]
    result.parent[hop], result.time[hop] = seen.parent[usable], seen.time[usable]
    result.kind[hop] = np.where(seen.snapshot[usable], BY_SNAPSHOT, BY_EVENT)
    return result


@dataclass
class _Reads:
    """REAPER events by group; reaper -1: none, or nothing could be read."""

    reaper: Codes
    tid: Ints
    time: Times
    reason: Ints
    exact: Bools


def _read_reapers(table: Table, who: Identities, group: Ints, count: int) -> _Reads:
    rows = table.of(Type.REAPER)
    result = _Reads(
        np.full(count, -1, np.int32),
        np.zeros(count, np.int64),
        np.full(count, NEVER),
        np.zeros(count, np.int64),
        np.zeros(count, bool),
    )
    reaper = who.of(Type.REAPER, "reaper")
    good = np.flatnonzero((rows["hook"] != Hook.NONE) & (reaper >= 0))
    # If there is more than one, the exact one stays.
    good = good[np.argsort(rows["hook"][good] == Hook.SIGNAL, kind="stable")]
    at = group[good]
    result.reaper[at], result.tid[at] = reaper[good], rows["reaper_tid"][good]
    result.time[at], result.reason[at] = int64(rows["ts_ns"][good]), _rule(rows["reason"][good])
    result.exact[at] = rows["hook"][good] == Hook.SIGNAL
    return result


def _rule(reasons: Array) -> Array:
    """Reasons, UNKNOWN for those that this version does not know."""
    return np.where(reasons < len(Reason), reasons, Reason.UNKNOWN)


def _predict(groups: Groups, hops: Hops, rows: Array) -> None:
    known = np.flatnonzero(hops.predicted >= 0)
    at = hops.group[known]
    groups.reaper[at], groups.reason[at] = hops.predicted[known], _rule(rows["reason"][known])
    groups.certainty[at] = PREDICTED


def _decide(groups: Groups, hops: Hops, following: _Next, reads: _Reads) -> None:
    """The earliest observation of a group names its reaper."""
    own = np.flatnonzero(following.parent >= 0)
    read = np.flatnonzero(reads.reaper >= 0)
    # A REPARENT from R is proof that the child was R's, also if a REAPER that was read just
    # before it shows R's own reaper: the reading came later than its clock.
    shown = following.time[own] - np.where(following.kind[own] == BY_NEXT, SKEW_NS, 0)
    key = np.concatenate([shown, np.where(reads.exact[read], -1, reads.time[read])])
    group = np.concatenate([hops.group[own], read])
    kind = np.concatenate([following.kind[own], np.where(reads.exact[read], BY_SIGNAL, BY_SWITCH)])
    reaper = np.concatenate([following.parent[own], reads.reaper[read]])
    time = np.concatenate([following.time[own], reads.time[read]])
    order = np.lexsort((reaper, kind, key, group))
    order = order[np.append(True, group[order][1:] != group[order][:-1])[: len(order)]]
    at = group[order]
    changed = groups.reaper[at] != reaper[order]
    groups.reaper_tid[at[changed]] = 0
    groups.reason[at[changed]] = Reason.UNKNOWN
    groups.reaper[at], groups.until[at] = reaper[order], time[order]
    groups.evidence[at], groups.certainty[at] = kind[order], CONFIRMED
    agree = read[reads.reaper[read] == groups.reaper[read]]
    groups.reaper_tid[agree], groups.reason[agree] = reads.tid[agree], reads.reason[agree]
    groups.until[agree] = np.minimum(groups.until[agree], reads.time[agree])


def _apply_rule(groups: Groups, exits: Times) -> None:
    """Groups of which nobody could be read, whose predicted reaper cannot have failed.

    SUBREAPER and INIT are predicted only when no thread of the process is left. The init of
    a namespace stays the reaper while it is exiting, until all others in it are gone.
    """
    end = np.where(groups.reaper >= 0, exits[groups.reaper], 0)
    lived = (end < 0) | (end > groups.moved + EXITING_NS)
    certain = (groups.reason == Reason.SUBREAPER) & lived | (groups.reason == Reason.INIT)
    certain &= (groups.certainty == PREDICTED) & (groups.moved >= 0)
    # What is left is prctl(PR_SET_CHILD_SUBREAPER) by an ancestor in between: keep that short.
    certain &= groups.moved - groups.time < MOVING_NS
    sure = np.flatnonzero(certain)
    groups.certainty[sure], groups.evidence[sure] = CONFIRMED, BY_RULE
    groups.until[sure] = groups.moved[sure]


def _settle(
    groups: Groups, hops: Hops, following: _Next, reads: _Reads, windows: pd.DataFrame
) -> None:
    """Every hop of its group; its own observation first."""
    at = hops.group
    hops.to, hops.to_tid = groups.reaper[at], groups.reaper_tid[at]
    hops.reason, hops.certainty = groups.reason[at], groups.certainty[at].copy()
    hops.until = groups.until[at].copy()
    agrees = (following.parent >= 0) & (following.parent == hops.to)
    read = reads.reaper[at] == hops.to
    hops.evidence = np.where(
        read & reads.exact[at],
        BY_SIGNAL,
        np.where(agrees, following.kind, np.where(read, BY_SWITCH, groups.evidence[at])),
    )
    observed = groups.certainty == CONFIRMED
    # Whatever was lost before the observation may have been a hop in between.
    begin, end = groups.time, np.where(observed, groups.until, groups.time)
    doubt = observed & losses.touched(windows, begin, end)
    doubt &= ~np.isin(groups.evidence, (BY_SIGNAL, BY_SWITCH, BY_RULE))
    groups.certainty[doubt] = INFERRED
    hops.certainty[doubt[at]] = INFERRED
    # The rule was right, so nobody came in between: moved as soon as exit_notify() was over.
    right = (hops.to == hops.predicted) & (hops.until >= 0) & (groups.moved[at] >= 0)
    hops.until[right] = np.minimum(hops.until, groups.moved[at])[right]
    # The one that all children of a group were given to is one of them: forged.
    own = hops.to == hops.child
    hops.to[own], hops.until[own] = -1, -1
    hops.to_tid[own], hops.reason[own] = 0, Reason.UNKNOWN
    hops.certainty[own], hops.evidence[own] = UNKNOWN, BY_PREDICTION
