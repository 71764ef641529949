"""When each process lived, and to whom it left its children."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from analysis.columns import Frame, filled
from analysis.hops import CONFIRMED, Groups
from analysis.identity import Codes, Identities
from analysis.observations import SKEW_NS, Observations, Times
from analysis.table import Table
from analysis.unseen import find_ends
from tracer.abi import Type

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

# Of those above a process that may adopt, so many may be dead; real ones are one or two.
_ADOPTERS = 64


@dataclass
class Lives:
    """One row a process; times in ns, -1 where not known.

    Attributes:
        birth: as in ``df_processes``. exit, reap: likewise, or by when it had exited and was
            released, as `unseen.find_ends` tells.
        began, left: when the first and the last of its threads that had children left them to
            somebody else; its exit if that is all that is known.
        heir, heir_reason: who got them, and by which rule; -1 and 0 not known.
        heir_sure: that was observed, and is the same for all of its threads.
        heir_until: by when it was observed; 0 not known.
        more: the walk at the exit that gave its children away did not list them all.
        short: any walk of one of its threads did not.
        threads: more than one of its threads had children, or exited before it.
        last_birth: latest fork among those that it did list, if there was one walk; 0.
        ns_init, subreaper: bool. pidns: -1 not known.
        parent: last known parent of its own.
    """

    birth: Times
    exit: Times
    reap: Times
    began: Times
    left: Times
    heir: Codes
    heir_reason: npt.NDArray[np.int8]
    heir_sure: Bools
    heir_until: Times
    more: Bools
    short: Bools
    threads: Bools
    last_birth: Times
    ns_init: Bools
    subreaper: Bools
    pidns: Ints
    parent: Codes

    def is_alive(self, process: npt.NDArray[Any], time: Times) -> Bools:
        """Whether it had not exited at that time, as far as is known."""
        end = self.exit[process]
        alive: Bools = (end < 0) | (end > time)
        return alive

    def heir_of(self, process: Codes) -> Codes:
        """Who got, or by the kernel's rule would have got, the children of a process."""
        result = self.heir[process].copy()
        unknown = np.flatnonzero(result < 0)
        if len(unknown):
            result[unknown] = self._by_rule(process[unknown])
        return result

    def _by_rule(self, process: Codes) -> Codes:
        """find_new_reaper() without threads: nearest living subreaper above, else the init."""
        adopters = self._adopters
        result = np.full(len(process), -1, np.int32)
        time, above = self.left[process], adopters[self.parent[process]]
        todo = np.flatnonzero((above >= 0) & (above != process))
        for _ in range(_ADOPTERS):
            if not len(todo):
                break
            found = above[todo]
            takes = self.ns_init[found] | self.is_alive(found, time[todo])
            pidns = self.pidns[found]
            same = takes & (pidns >= 0) & (pidns == self.pidns[process[todo]])
            result[todo[same]] = found[same]
            todo = todo[~takes]
            above[todo] = adopters[self.parent[above[todo]]]
            todo = todo[(above[todo] >= 0) & (above[todo] != process[todo])]
        return result

    @cached_property
    def _adopters(self) -> Codes:
        """Who is nearest among a process itself and those above it, and may adopt: inits and
        subreapers; -1: nobody. By its position; the last is for -1."""
        may = np.append(self.ns_init | self.subreaper, False)
        nearest = np.append(self.parent, np.int32(-1))
        nearest[may] = np.flatnonzero(may)
        # Each round looks twice as far up: a circle of parents ends it, too.
        for _ in range(len(may).bit_length()):
            further = nearest[nearest]
            if np.array_equal(further, nearest):
                break
            nearest = further
        nearest[~may[nearest]] = -1
        return nearest


def _add_unlisted(left: Times, groups: Groups, seen: Observations) -> None:
    """Exits of which only the end is kept, a REAPER event that could read nobody: who is not
    seen as a parent after it was not only one thread of several. Changes ``left`` in place."""
    bare = np.flatnonzero(~groups.listed & (groups.reaper < 0) & (groups.parent >= 0))
    bare = bare[left[groups.parent[bare]] < 0]
    if not len(bare):
        return
    last = np.full(len(left), -1)
    np.maximum.at(last, seen.parent, seen.time)
    bare = bare[last[groups.parent[bare]] <= groups.moved[bare] + SKEW_NS]
    np.maximum.at(left, groups.parent[bare], groups.time[bare])


def find_lives(
    table: Table,
    who: Identities,
    processes: Frame,
    groups: Groups,
    seen: Observations,
    births: Times,
    parent: Codes,
) -> Lives:
    """Gather the above.

    Args:
        seen: what was observed of those that may have had more than one parent.
        births: of each process, -1 if not known.
        parent: last known parent of each process.
    """
    count = len(who)
    exits = filled(processes, "exit_ns")
    gone, released = find_ends(table, who, exits, filled(processes, "reap_ns"))
    heir = np.full(count, -1, np.int32)
    # Zeros that nobody writes to cost no memory: most processes have no children to leave.
    heir_sure, heir_until = np.zeros(count, bool), np.zeros(count, np.int64)
    more, last_birth = np.zeros(count, bool), np.zeros(count, np.int64)
    given = np.flatnonzero(
        (groups.parent >= 0) & (groups.reaper >= 0) & (groups.reaper != groups.parent)
    )
    # The group of the last thread is written last and stays.
    last_tid = np.zeros(count, np.int64)
    last_tid[who.of(Type.EXIT)] = table.of(Type.EXIT)["tid"]
    final = groups.tid[given] == last_tid[groups.parent[given]]
    given = given[np.lexsort((groups.tid[given], groups.time[given], final))]
    old = groups.parent[given]
    heir[old] = groups.reaper[given]
    heir_sure[old] = groups.certainty[given] == CONFIRMED
    differ = (groups.reaper[given] != heir[old]) | (groups.certainty[given] != CONFIRMED)
    heir_sure[old[differ]] = False
    np.maximum.at(heir_until, old, groups.until[given])
    more[old[groups.more[given]]] = True
    short = np.zeros(count, bool)
    short[groups.parent[groups.more & (groups.parent >= 0)]] = True
    np.maximum.at(last_birth, old, groups.last_birth[given])
    # Each thread has a list of its own: one's walk says nothing of another's children.
    walkers, walks = np.unique(old, return_counts=True)
    last_birth[walkers[walks > 1]] = 0
    heir_reason = np.zeros(count, np.int8)
    heir_reason[old] = groups.reason[given]
    threads = np.zeros(count, bool)
    owned = np.flatnonzero(groups.parent >= 0)
    threads[groups.parent[owned[groups.tid[owned] != last_tid[groups.parent[owned]]]]] = True
    # The exit event may be lost; that children were given away says as much.
    sure = np.flatnonzero(groups.certainty[given] == CONFIRMED)
    old, times = old[sure], groups.time[given[sure]]
    left = exits.copy()
    np.maximum.at(left, old, times)
    _add_unlisted(left, groups, seen)
    left = np.where(left >= 0, left, gone)
    began = left.copy() if len(old) else left
    np.minimum.at(began, old, times)
    return Lives(
        birth=births,
        exit=np.where(exits >= 0, exits, gone),
        reap=released,
        left=left,
        began=began,
        heir=heir,
        heir_reason=heir_reason,
        heir_sure=heir_sure,
        heir_until=heir_until,
        more=more,
        short=short,
        threads=threads,
        last_birth=last_birth,
        ns_init=processes["ns_init"].to_numpy(bool),
        subreaper=processes["subreaper_ns"].notna().to_numpy(),
        pidns=filled(processes, "pidns"),
        parent=parent,
    )
