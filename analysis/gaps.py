"""Moves that no REPARENT tells of, found because something else cannot be true without them.

- Two observations of a process in a row name different parents.
- Its parent exited, and it went on living: more children than the walk at the exit lists (the
  last REPARENT says so), a child that came to the parent after the walk (CLONE_PARENT, or
  adopted in the same microsecond), lost events, or a prediction that fell on a dying process.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis import losses
from analysis.hops import (
    BY_EVENT,
    BY_NEXT,
    BY_OVERFLOW,
    BY_PREDICTION,
    BY_SNAPSHOT,
    CONFIRMED,
    INFERRED,
    PREDICTED,
    UNKNOWN,
    Groups,
    Hops,
)
from analysis.identity import UNKNOWN as UNKNOWN_PROCESS
from analysis.identity import Codes
from analysis.lives import Lives
from analysis.observations import REAP_LATE_NS, SKEW_NS, Observations, Times

Array = npt.NDArray[Any]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

# Chains of dead reapers are short; this ends the walk on forged ones.
ROUNDS = 64


@dataclass
class Moves:
    """Changes of a parent; certainty and evidence as numbers, -1 and 0 where not known.

    ``step`` orders the moves of one child.
    """

    child: Codes
    step: Ints
    time: Times
    until: Times
    parent: Codes
    to: Codes
    from_tid: Ints
    to_tid: Ints
    reason: Ints
    certainty: Ints
    evidence: Ints

    def __len__(self) -> int:
        return len(self.child)

    def take(self, rows: npt.NDArray[Any]) -> Moves:
        """Some of them: positions or a mask."""
        return Moves(**{f.name: getattr(self, f.name)[rows] for f in fields(Moves)})

    @staticmethod
    def join(parts: list[Moves]) -> Moves:
        """All of them together, by (child, step)."""
        columns = {f.name: [getattr(p, f.name) for p in parts] for f in fields(Moves)}
        joined = {name: np.concatenate(values) for name, values in columns.items()}
        return Moves(**joined).take(np.lexsort((joined["step"], joined["child"])))


@dataclass
class Lines:
    """What is known of each process in order: hops and observations, by (child, time).

    Attributes:
        before, after: the parent just before and just after the entry.
        hop: row of the hop, -1: an observation.
        snapshot: the observation comes from a snapshot.
    """

    child: Codes
    time: Times
    before: Codes
    after: Codes
    hop: Ints
    snapshot: Bools

    @property
    def step(self) -> Ints:
        """Number of each entry in ``Moves.step``; gaps before it have the number below."""
        return np.arange(len(self.child)) * 2 + 1


def draw_lines(hops: Hops, groups: Groups, seen: Observations, previous: Ints) -> Lines:
    """Order hops and observations, without those observations that say nothing new.

    Args:
        previous: row of the last hop before each observation, -1: none.
    """
    keep = np.ones(len(seen), bool)
    behind = np.flatnonzero(previous >= 0)
    hop = previous[behind]
    parent, time = seen.parent[behind], seen.time[behind]
    # Between the exit tracepoint and exit_notify() the old parent is still the parent.
    limit = np.maximum(hops.until[hop], groups.moved[hops.group[hop]])
    waiting = (parent == hops.parent[hop]) & ((limit < 0) | (time <= limit + SKEW_NS))
    keep[behind[waiting]] = False
    # Read after the next hop, though the clock was read before it.
    following = np.where(previous >= 0, previous + 1, -1)
    if len(hops):
        first = np.searchsorted(hops.child, seen.child)
        following = np.where(previous >= 0, previous + 1, first)
        inside = np.minimum(following, len(hops) - 1)
        is_next = (following < len(hops)) & (hops.child[inside] == seen.child)
        late = is_next & (hops.time[inside] - seen.time < SKEW_NS)
        keep &= ~(late & (seen.parent == hops.to[inside]) & (seen.parent != hops.parent[inside]))
    rest = seen.take(keep)
    child = np.concatenate([hops.child, rest.child])
    when = np.concatenate([hops.time, rest.time])
    number = np.concatenate([np.arange(len(hops)), np.full(len(rest), -1)])
    before = np.concatenate([hops.parent, rest.parent])
    order = np.lexsort((before, -number, when, child))
    return Lines(
        child=child[order],
        time=when[order],
        before=before[order],
        after=np.concatenate([hops.to, rest.parent])[order],
        hop=number[order],
        snapshot=np.concatenate([np.zeros(len(hops), bool), rest.snapshot])[order],
    )


def hop_moves(hops: Hops, lines: Lines) -> Moves:
    """The hops themselves as moves."""
    entries = np.flatnonzero(lines.hop >= 0)
    row = lines.hop[entries]
    return Moves(
        child=hops.child[row],
        step=lines.step[entries],
        time=hops.time[row],
        until=hops.until[row],
        parent=hops.parent[row],
        to=hops.to[row],
        from_tid=hops.tid[row],
        to_tid=hops.to_tid[row],
        reason=hops.reason[row],
        certainty=hops.certainty[row],
        evidence=hops.evidence[row],
    )


def contradictions(lines: Lines, lives: Lives, windows: pd.DataFrame) -> Moves:
    """A move for each two entries in a row that do not fit: it came in between.

    It is confirmed if the one who must have left did so, and is known to have given its
    children to the one who is seen next; else inferred.
    """
    left, right = lines.after[:-1], lines.before[1:]
    at = np.flatnonzero((lines.child[1:] == lines.child[:-1]) & (left != right) & (left >= 0))
    old, new, child = left[at], right[at], lines.child[at]
    begin, end = lines.time[at], lines.time[at + 1]
    gone = lives.began[old]
    time = np.where(gone >= 0, np.clip(gone, begin, end), begin)
    sure = (gone >= 0) & (gone <= end) & (lives.heir[old] == new) & lives.heir_sure[old]
    sure &= ~losses.touched(windows, begin, end)
    snapshot = lines.snapshot[at + 1]
    kind = np.where(lines.hop[at + 1] >= 0, BY_NEXT, np.where(snapshot, BY_SNAPSHOT, BY_EVENT))
    return Moves(
        child=child,
        step=lines.step[at + 1] - 1,
        time=time,
        until=end,
        parent=old,
        to=new,
        from_tid=np.zeros(len(at), np.int64),
        to_tid=np.zeros(len(at), np.int64),
        reason=np.where(lives.heir[old] == new, lives.heir_reason[old], 0),
        certainty=np.where(sure, CONFIRMED, INFERRED),
        evidence=np.where(lives.more[old], BY_OVERFLOW, kind),
    )


def close(
    moves: Moves, parent: Codes, since: Times, lives: Lives, windows: pd.DataFrame
) -> list[Moves]:
    """Moves of those whose last known parent is gone while they are not.

    Args:
        moves: the hops; one that was only predicted, to a reaper that was dying, is corrected
            in place.
        parent, since: the last known parent of each process, and since when; changed in place.
    """
    found: list[Moves] = []
    count = len(parent)
    last = np.full(count, -1)
    last[moves.child] = np.arange(len(moves))
    step = np.full(count, np.iinfo(np.int64).max // 2)
    for _ in range(ROUNDS):
        old = parent
        gone = np.where(old >= 0, lives.left[old], -1)
        # The end of a pid namespace kills and reaps all children of its process 1.
        at = np.flatnonzero((gone >= 0) & ~lives.ns_init[old] & (old != np.arange(count)))
        at = at[_stayed(at, old[at], gone[at], since[at], lives)]
        if not len(at):
            break
        old, gone = parent[at], gone[at]
        new = lives.heir_of(old)
        new = np.where(new == at, UNKNOWN_PROCESS, new)  # forged: it cannot have adopted itself
        alive = lives.is_alive(at, gone)
        time = np.maximum(np.where(lives.more[old], lives.began[old], gone), since[at])
        row = last[at]
        hop = np.maximum(row, 0)
        # The kernel cannot have chosen it: it was dying already. A walk by the chosen one
        # would have listed the child.
        wrong = (row >= 0) & (moves.certainty[hop] == PREDICTED) if len(moves) else row < -1
        sure = lives.heir_sure[old] & alive & lives.more[old] & (new >= 0) & ~wrong
        sure &= ~losses.touched(windows, since[at], time)
        if bool(np.any(row >= 0)):
            sure &= (row < 0) | (moves.certainty[hop] == CONFIRMED)
        certainty = np.where(new < 0, UNKNOWN, np.where(sure, CONFIRMED, INFERRED))
        fix = np.flatnonzero(wrong)
        if len(fix):
            moves.to[row[fix]], moves.to_tid[row[fix]] = new[fix], 0
            moves.reason[row[fix]] = 0
            moves.certainty[row[fix]] = np.minimum(certainty[fix], INFERRED)
        add = np.flatnonzero(~wrong)
        found.append(
            Moves(
                child=at[add].astype(np.int32),
                step=step[at[add]],
                time=time[add],
                until=_by(lives.heir_until[old[add]], time[add], new[add]),
                parent=old[add],
                to=new[add],
                from_tid=np.zeros(len(add), np.int64),
                to_tid=np.zeros(len(add), np.int64),
                reason=lives.heir_reason[old[add]].astype(np.int64),
                certainty=certainty[add],
                evidence=np.where(lives.more[old[add]], BY_OVERFLOW, BY_PREDICTION),
            )
        )
        step[at[add]] += 1
        last[at[add]] = -1
        parent[at], since[at] = new, time
    return found


def _by(until: Times, time: Times, new: Codes) -> Times:
    """``until``, but not before the move; -1 where the new parent, or the time, is not known."""
    return np.where((new >= 0) & (until > 0), np.maximum(until, time), -1)


def _stayed(child: Ints, old: Codes, gone: Times, since: Times, lives: Lives) -> Bools:
    """Whether a process was still there, as a child of ``old``, when ``old`` left."""
    more, reap, end = lives.more[old], lives.reap[child], lives.exit[child]
    # Who exits and is released while the walk runs is alive by its time, but not listed.
    vanished = (end <= gone + SKEW_NS) & (end >= 0) & (reap >= 0) & (reap < gone + REAP_LATE_NS)
    alive: Bools = lives.is_alive(child, gone) & ~(vanished & ~more)
    # Who came after the walk (CLONE_PARENT) was not listed because of that, and an exiting
    # parent waits for nobody.
    late = since > gone
    alive |= late & ((reap < 0) | (reap > gone))
    # A zombie that the walk did not list had been reaped. Behind the last one listed, the
    # walk did not look: children are listed by birth.
    unseen = more & ((reap < 0) | (reap > lives.began[old]))
    listed = (since == lives.birth[child]) & (since < lives.last_birth[old])
    alive |= unseen & ~listed
    return alive
