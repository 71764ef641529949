"""What each process executed, when, and what /proc showed of it: the rows behind its image.

EXEC events and their details come first: either of the two may be lost. What /proc said adds what
nothing else tells: the image of a process that is older than what is kept, that of an exec whose
detail was lost, or another one than the last exec that is known, where events were lost since.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis import losses
from analysis.columns import History, int64, objects
from analysis.command_lines import CommandLines, Lines
from analysis.identity import Codes, Identities, identify
from analysis.table import Table
from analysis.unseen import find_lost_births
from tracer.abi import Type

Array = npt.NDArray[Any]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

BEFORE = -1  # time of an image that is older than any event

# /proc is read a while after the snapshot that it belongs to.
READ_LATE_NS = 5_000_000_000

# A chain of links this many doublings long has more members than a capture has processes; a
# forged capture may hold circles.
_DOUBLINGS = 40


@dataclass
class Execs:
    """Images over time: one row an exec or a sighting in /proc, by process, then time.

    Attributes:
        pos: number of the process. from_ns: since when it had this image; BEFORE.
        filename: what was exec'd, or /proc/PID/exe; None if not known.
        args: argv; () if not known.
        executed: the exec itself was recorded, at from_ns.
        birth: by process, the row that it was born with (its forker's then); -1: not known.
        last: by process, the row that it ran last; -1: not known.
    """

    pos: Codes
    from_ns: Ints
    filename: Array
    args: CommandLines
    executed: Bools
    birth: Codes
    last: Codes


@dataclass
class Forks:
    """Who forked whom, when: process numbers and boot-time ns. One row a fork seen."""

    child: Codes
    forker: Codes
    fork_ns: Ints

    def births(self, pos: Codes, from_ns: Ints, count: int) -> Codes:
        """Of rows that processes get over time and pass on to what they fork (``pos``, ``from_ns``
        of each): the one that each process was born with, -1: none."""
        found = History(pos, from_ns).before(self.forker, self.fork_ns)
        # Links: a known row r is the end -2 - r; -1 is unknown; else the forker's own birth.
        link = np.full(count, -1, np.int32)
        link[self.child] = np.where(found >= 0, -2 - found, self.forker)
        ends = follow(link)
        return np.where(ends <= -2, -2 - ends, -1)


def find_forks(table: Table, who: Identities) -> Forks:
    child, forker = who.of(Type.FORK), who.of(Type.FORK, "forker")
    known = np.flatnonzero((child >= 0) & (forker >= 0) & (child != forker))
    return Forks(child[known], forker[known], int64(table.of(Type.FORK)["ts_ns"][known]))


def find_execs(table: Table) -> Execs:
    """Rows of all processes (once: the table keeps the result)."""
    found = table.cache.get("execs")
    if not isinstance(found, Execs):
        who = identify(table)
        forks = find_forks(table, who)
        found = _recorded(table, who)
        if len(table.procs):
            found = _with_proc(table, who, found, forks)
        found.birth = forks.births(found.pos, found.from_ns, len(who))
        found.last = found.birth.copy()
        found.last[found.pos] = np.arange(len(found.pos))  # the last row of each stays
        table.cache["execs"] = found
    return found


def birth_times(table: Table, who: Identities) -> Ints:
    """When each process began: its fork; the kernel's start time, if that was lost; else BEFORE."""
    result = np.full(len(who), BEFORE)
    result[who.of(Type.FORK)] = int64(table.of(Type.FORK)["ts_ns"])
    lost = find_lost_births(table, who.start_ns, result >= 0)
    return np.where(lost, who.start_ns, result)


def follow(link: Codes) -> Codes:
    """Ends of chains: ``link[i]`` is the next one, an end links to itself or is -1 - something.

    Takes log2 of the longest chain steps. In a circle the result is some member of it.
    """
    for _ in range(_DOUBLINGS):
        inside = link >= 0
        ahead = link.copy()
        ahead[inside] = link[link[inside]]
        if bool(np.array_equal(ahead, link)):
            break
        link = ahead
    return link


def _recorded(table: Table, who: Identities) -> Execs:
    """EXEC events with their details; a detail whose event was lost stands for itself."""
    events, details = table.of(Type.EXEC), table.detail_rows
    codes, times = who.of(Type.EXEC), int64(events["ts_ns"])
    rows = np.flatnonzero(details.is_exec)
    of_detail = who.of("details")[rows]
    at_detail = details["ts_ns"][rows]
    found = History(of_detail, at_detail).before(codes, times)
    same = found >= 0
    same[same] = at_detail[found[same]] == times[same]
    detail = np.full(len(codes), -1)
    detail[same] = rows[found[same]]
    alone = np.ones(len(rows), bool)
    alone[found[same]] = False
    alone[np.flatnonzero(_is_same_as_next(of_detail, at_detail))] = False
    pos = np.concatenate([codes, of_detail[alone]])
    from_ns = np.concatenate([times, at_detail[alone]])
    detail = np.concatenate([detail, rows[alone]])
    order = np.lexsort((from_ns, pos))
    order = order[pos[order] >= 0]
    program = take(details.programs, detail[order], -1).astype(np.int32, copy=False)
    unknown = np.full(len(who), -1, np.int32)
    return Execs(
        pos=pos[order],
        from_ns=from_ns[order],
        filename=take(details.filename, program, None),
        args=CommandLines(program, details.args.with_seen(table.procs["args"].tolist())),
        executed=np.ones(len(order), bool),
        birth=unknown,
        last=unknown,
    )


def _is_same_as_next(codes: Codes, times: Ints) -> Bools:
    """Two details of one process and time: forged. The last one counts."""
    result = np.zeros(len(codes), bool)
    result[:-1] = (codes[1:] == codes[:-1]) & (times[1:] == times[:-1])
    return result


@dataclass
class _Sightings:
    """What /proc said of processes, by time."""

    pos: Codes
    time: Ints
    exe: Array
    args: CommandLines

    def take(self, rows: npt.NDArray[Any]) -> _Sightings:
        return _Sightings(self.pos[rows], self.time[rows], self.exe[rows], self.args.take(rows))


def _sightings(table: Table, who: Identities, lines: Lines) -> _Sightings:
    procs = table.procs
    late = (procs["phase"] == "end").to_numpy()
    time = procs["ts_ns"].to_numpy(np.int64).copy()
    unknown = np.flatnonzero(time < 0)
    time[unknown] = np.where(late[unknown], table.last_ns, table.kept_from_ns)
    codes = who.of("procs")
    # A zombie has neither: that is no image.
    shown = procs["exe"].notna().to_numpy() | (procs["args"].map(len) > 0).to_numpy(bool)
    order = np.argsort(time, kind="stable")
    order = order[(codes[order] >= 0) & shown[order]]
    numbers = (len(lines) - len(procs) + order).astype(np.int32)  # they are the last ones
    return _Sightings(
        codes[order], time[order], procs["exe"].to_numpy()[order], CommandLines(numbers, lines)
    )


def _with_proc(table: Table, who: Identities, execs: Execs, forks: Forks) -> Execs:
    seen = _sightings(table, who, execs.args.lines)
    history = History(execs.pos, execs.from_ns)
    following = history.after(seen.pos, seen.time)
    seen = seen.take(~_is_of_next(execs, seen, following))
    _fill(execs, seen, history)

    forked = np.zeros(len(who), bool)
    forked[forks.child] = True
    begin = birth_times(table, who)
    # The first sighting of each process with no exec before it: what it ran from its beginning.
    at = np.flatnonzero(history.before(seen.pos, seen.time) < 0)
    at = at[np.unique(seen.pos[at], return_index=True)[1]]
    old = at[~forked[seen.pos[at]]]
    execs = _add(execs, seen.take(old), begin[seen.pos[old]])
    # Of those whose fork was seen only if it is not known what their forkers ran.
    young = at[forked[seen.pos[at]]]
    born = forks.births(execs.pos, execs.from_ns, len(who))
    young = young[born[seen.pos[young]] < 0]
    execs = _add(execs, seen.take(young), begin[seen.pos[young]])
    if table.losses.empty:
        return execs
    return _add_missed(table, execs, seen, forks, begin)


def _is_of_next(execs: Execs, seen: _Sightings, following: Ints) -> Bools:
    """The snapshot is older than an exec, and /proc was read after it."""
    result = np.zeros(len(seen.pos), bool)
    near = np.flatnonzero(following >= 0)
    near = near[execs.from_ns[following[near]] - seen.time[near] < READ_LATE_NS]
    for row in near.tolist():
        result[row] = not _is_other(
            execs.filename[following[row]], execs.args[following[row]], seen, row
        )
    return result


def _is_other(filename: str | None, args: tuple[str, ...], seen: _Sightings, row: int) -> bool:
    """/proc shows another image than this one. A process may rewrite its arguments, and what
    was exec'd may be a link or a script: one of the two alone says nothing."""
    exe = (seen.exe[row] or "").removesuffix(" (deleted)")
    if not exe or filename is None or exe.rpartition("/")[2] == filename.rpartition("/")[2]:
        return False
    return not args or not seen.args[row] or args != seen.args[row]


def _fill(execs: Execs, seen: _Sightings, history: History) -> None:
    """Give execs whose detail was lost what /proc said before the next one."""
    row = history.before(seen.pos, seen.time)
    empty = np.flatnonzero(row >= 0)
    empty = empty[pd.isna(execs.filename[row[empty]])]
    # Written backwards: the earliest sighting stays.
    for at in empty[::-1].tolist():
        execs.filename[row[at]] = seen.exe[at]
        execs.args.numbers[row[at]] = seen.args.numbers[at]


def _add(execs: Execs, seen: _Sightings, from_ns: Ints) -> Execs:
    if not len(seen.pos):
        return execs
    pos = np.concatenate([execs.pos, seen.pos])
    times = np.concatenate([execs.from_ns, from_ns])
    order = np.lexsort((times, pos))
    numbers = np.concatenate([execs.args.numbers, seen.args.numbers])
    executed = np.concatenate([execs.executed, np.zeros(len(seen.pos), bool)])
    return Execs(
        pos=pos[order],
        from_ns=times[order],
        filename=np.concatenate([execs.filename, seen.exe])[order],
        args=CommandLines(numbers[order], execs.args.lines),
        executed=executed[order],
        birth=execs.birth,
        last=execs.last,
    )


def _add_missed(table: Table, execs: Execs, seen: _Sightings, forks: Forks, begin: Ints) -> Execs:
    """Images that nothing but /proc shows, though an older one is known: the exec was lost."""
    history = History(execs.pos, execs.from_ns)
    row = history.before(seen.pos, seen.time)
    born = forks.births(execs.pos, execs.from_ns, len(begin))[seen.pos]
    since = begin[seen.pos]
    since[row >= 0] = execs.from_ns[row[row >= 0]]
    row = np.where(row >= 0, row, born)
    lost = losses.touched(table.losses, since, seen.time)
    missed: list[int] = []
    shown: dict[int, int] = {}  # process: row of the sighting that it was last seen with
    for at in np.flatnonzero((row >= 0) & lost).tolist():
        pos, known = int(seen.pos[at]), int(row[at])
        image = execs.filename[known], execs.args[known]
        before = shown.get(pos)
        if before is not None and seen.time[before] > since[at]:
            image = seen.exe[before], seen.args[before]
        if _is_other(*image, seen, at):
            missed.append(at)
            shown[pos] = at
    rows = np.array(missed, np.int64)
    return _add(execs, seen.take(rows), seen.time[rows])


def take(values: Any, rows: Array, missing: Any) -> Array:
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
