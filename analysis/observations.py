"""What events say directly about who was whose parent at some moment.

Fork, exec, exit, comm, subreaper and stub events carry the subject's real_parent as it was
read then; so do snapshots. A REPARENT is such an observation too, but is kept apart (`hops`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from analysis.columns import int64
from analysis.identity import Codes, Identities
from analysis.table import Table
from tracer.abi import Type

Times = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

PARENT_TYPES = (Type.FORK, Type.EXEC, Type.EXIT, Type.SUBREAPER, Type.COMM, Type.STUB)

# Between reading the clock and reading real_parent a program can be held up (a stolen
# virtual CPU): observations this close to a move may belong to either side of it.
SKEW_NS = 1_000_000

# A process is released up to an RCU grace period after wait(), 15 ms; longer under load.
REAP_LATE_NS = 100_000_000


@dataclass
class Observations:
    """Direct observations, in no order.

    Attributes:
        child, time, parent: ``parent`` was the parent of ``child`` at ``time``.
        snapshot: it comes from a snapshot, not from an event.
    """

    child: Codes
    time: Times
    parent: Codes
    snapshot: Bools

    def __len__(self) -> int:
        return len(self.child)

    def take(self, rows: npt.NDArray[Any]) -> Observations:
        """Some of them: positions or a mask."""
        return Observations(
            self.child[rows], self.time[rows], self.parent[rows], self.snapshot[rows]
        )


def first_parents(table: Table, who: Identities) -> tuple[Codes, Times]:
    """(parent, time) by the fork event of each process; -1, -1 where there is none."""
    parent, time = np.full(len(who), -1, np.int32), np.full(len(who), -1, np.int64)
    child = who.of(Type.FORK)
    parent[child] = who.of(Type.FORK, "parent")
    time[child] = int64(table.of(Type.FORK)["ts_ns"])
    return parent, time


def find_observations(
    table: Table, who: Identities, *, use_snapshots: bool, everything: bool
) -> Observations:
    """Observations of those processes that may have had more than one parent.

    Nearly all processes have one parent, the one that their fork names, and all that is
    observed agrees with it: those are left out, so that a fork storm costs nothing here.

    Args:
        everything: leave nobody out.
    """
    born, _ = first_parents(table, who)
    odd = np.ones(len(who) + 1, bool)  # the last: subject not known
    odd[:-1] = (born < 0) | everything
    odd[who.of(Type.REPARENT)] = True
    for event_type in PARENT_TYPES:
        child, parent = who.of(event_type), who.of(event_type, "parent")
        odd[child[(parent >= 0) & (parent != born[child])]] = True
    if use_snapshots:
        child, parent = who.of("tasks"), who.of("tasks", "parent")
        odd[child[(parent >= 0) & (parent != born[child])]] = True
    odd[-1] = False
    parts: list[Observations] = []
    for event_type in PARENT_TYPES:
        child, parent = who.of(event_type), who.of(event_type, "parent")
        rows = np.flatnonzero(odd[child] & (parent >= 0))
        times = int64(table.of(event_type)["ts_ns"][rows])
        parts.append(Observations(child[rows], times, parent[rows], np.zeros(len(rows), bool)))
    if use_snapshots:
        child, parent = who.of("tasks"), who.of("tasks", "parent")
        rows = np.flatnonzero(odd[child] & (parent >= 0))
        times = table.tasks["ts_ns"].to_numpy()[rows]
        parts.append(Observations(child[rows], times, parent[rows], np.ones(len(rows), bool)))
    return Observations(
        np.concatenate([p.child for p in parts]),
        np.concatenate([p.time for p in parts]),
        np.concatenate([p.parent for p in parts]),
        np.concatenate([p.snapshot for p in parts]),
    )
