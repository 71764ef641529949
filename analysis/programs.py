"""Which program each process ran, when: its execs, and what it inherited at birth.

Looks at no comm: comm is 15 bytes that any process may write. Vectorised over processes and
execs; only command lines of known runtimes are read one by one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.columns import History, objects
from analysis.identity import identify
from analysis.table import Table
from tracer import abi, runtime_args
from tracer.runtime_args import OTHER, Program

Ints = npt.NDArray[np.int64]

# A chain of links this many doublings long has more members than a capture has processes; a
# forged capture may hold circles.
_DOUBLINGS = 40
_COLUMNS = ["pos", "from_ns", "filename", "args"]


@dataclass
class Programs:
    """Programs over time. A process is a position in the processes frame here, a program a row:
    one for each exec and each process of the start snapshot, sorted by process, then time.

    Attributes:
        pos: by row, the process. from_ns: boot time of the exec; -1: before the recording.
        filename, args: by row; "" and () where not known.
        role: by row, role of the program alone.
        parsed: by row, what the command line says; only rows of known runtimes.
        birth: by process, row that it was born with (its forker's then); -1 unknown.
        last: by process, row that it ran last; -1 unknown.
        forker: by process, process that forked it; -1 unknown. fork_ns: when; -1 unknown.
    """

    pos: Ints
    from_ns: Ints
    filename: npt.NDArray[Any]
    args: npt.NDArray[Any]
    role: npt.NDArray[Any]
    birth: Ints
    last: Ints
    forker: Ints
    fork_ns: Ints
    parsed: dict[int, Program] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._first = np.searchsorted(self.pos, np.arange(len(self.birth) + 1))
        self._by_forker = np.lexsort((self.fork_ns, self.forker))
        self._forked = self.forker[self._by_forker]

    def rows(self, pos: int) -> range:
        """Rows that a process executed itself, in order."""
        return range(int(self._first[pos]), int(self._first[pos + 1]))

    def children(self, pos: int) -> list[int]:
        """Processes that a process forked, in order."""
        begin, end = np.searchsorted(self._forked, [pos, pos + 1]).tolist()
        found: list[int] = self._by_forker[begin:end].tolist()
        return found

    def row_at(self, pos: int, ts_ns: int) -> int:
        """Row of what a process ran at a time; -1 if not known."""
        own = self.rows(pos)
        found = int(np.searchsorted(self.from_ns[own.start : own.stop], ts_ns, side="right"))
        return own.start + found - 1 if found else int(self.birth[pos])

    def of_row(self, row: int) -> Program:
        return self.parsed.get(row, OTHER)

    def of(self, pos: int) -> Program:
        """What a process ran last."""
        return self.parsed.get(int(self.last[pos]), OTHER)

    def at(self, pos: int, ts_ns: int) -> Program:
        return self.parsed.get(self.row_at(pos, ts_ns), OTHER)

    def positions(self, *roles: str) -> Ints:
        """Processes whose last program has one of these roles."""
        wanted = np.isin(self.role, roles)
        known = self.last >= 0
        result = np.zeros(len(self.last), bool)
        result[known] = wanted[self.last[known]]
        return np.flatnonzero(result).astype(np.int64)


def follow(link: Ints) -> Ints:
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


def find_programs(table: Table, processes: pd.DataFrame) -> Programs:
    """Programs of all processes.

    Args:
        processes: as `df_processes` gives it (index id; tgid, start_ns, fork_ns, forker).
    """
    frame = _frame(table)
    forker = processes.index.get_indexer(pd.Index(processes["forker"])).astype(np.int64)
    forker[processes["forker"].isna().to_numpy(bool)] = -1
    pos, from_ns = frame["pos"].to_numpy(np.int64), frame["from_ns"].to_numpy(np.int64)
    fork_ns = processes["fork_ns"].fillna(-1).to_numpy(np.int64).astype(np.int64)
    birth = _birth(pos, from_ns, forker, fork_ns)
    last = birth.copy()
    last[pos] = np.arange(len(frame))  # the last assignment of a position stays
    programs = Programs(
        pos=pos,
        from_ns=from_ns,
        filename=frame["filename"].to_numpy(object),
        args=frame["args"].to_numpy(object),
        role=objects(["other"] * len(frame)),
        birth=birth,
        last=last,
        forker=forker,
        fork_ns=fork_ns,
    )
    _classify(programs)
    return programs


def _frame(table: Table) -> pd.DataFrame:
    who = identify(table)
    events = table.of(abi.Type.EXEC)
    execs = pd.DataFrame(
        {"pos": who.of(abi.Type.EXEC).astype(np.int64), "from_ns": events["ts_ns"].astype(np.int64)}
    )
    details = table.details.rename(columns={"ts_ns": "from_ns"})
    details = details.assign(pos=who.of("details").astype(np.int64) if len(details) else 0)
    details = details[details["type"].to_numpy(object) == "EXEC"][_COLUMNS]
    # Outer: of an exec either the event or its detail may be lost.
    execs = execs.merge(details.drop_duplicates(["pos", "from_ns"]), "outer", ["pos", "from_ns"])
    procs = table.procs.rename(columns={"exe": "filename"})
    procs = procs.assign(pos=who.of("procs").astype(np.int64) if len(procs) else 0, from_ns=-1)
    phase = procs["phase"].to_numpy(object)
    start, end = procs[phase == "start"][_COLUMNS], procs[phase == "end"]
    # The end snapshot tells what a process ran only where nothing else does: its exec was lost.
    known = np.concatenate([start["pos"].to_numpy(np.int64), execs["pos"].to_numpy(np.int64)])
    end = end[~end["pos"].isin(known)].assign(from_ns=lambda rows: rows["start_ns"])[_COLUMNS]
    parts = [part for part in (start.drop_duplicates("pos"), execs, end) if len(part)]
    found = pd.concat(parts, ignore_index=True) if parts else start
    found = found[found["pos"] >= 0].sort_values(["pos", "from_ns"], kind="stable")
    names, args = found["filename"].to_numpy(object), found["args"].to_numpy(object)
    return pd.DataFrame(
        {
            "pos": found["pos"].to_numpy(np.int64),
            "from_ns": found["from_ns"].to_numpy(np.int64),
            "filename": objects([name if isinstance(name, str) else "" for name in names]),
            "args": objects([value if isinstance(value, tuple) else () for value in args]),
        }
    )


def _birth(pos: Ints, from_ns: Ints, forker: Ints, fork_ns: Ints) -> Ints:
    """Row that each process was born with: what its forker ran at the fork, which may itself
    have been born with it."""
    asked = np.flatnonzero((forker >= 0) & (fork_ns >= 0))
    found = History(pos, from_ns).before(forker[asked], fork_ns[asked])
    # Links: a known row r is the end -2 - r; -1 is unknown; else the forker's own birth.
    link = np.full(len(forker), -1, np.int64)
    link[asked] = np.where(found >= 0, -2 - found, forker[asked])
    ends = follow(link)
    return np.where(ends <= -2, -2 - ends, -1)


def _classify(programs: Programs) -> None:
    codes, uniques = pd.factorize(programs.filename)
    kinds = [runtime_args.family(name) for name in uniques]
    selves = [runtime_args.is_self(name) for name in uniques]
    wanted = np.array([k is not None or s for k, s in zip(kinds, selves, strict=True)], bool)
    rows = np.flatnonzero(wanted[codes]) if len(codes) else np.empty(0, np.int64)
    families: dict[int, str] = {}
    # In order of time: what executed itself is what ran before.
    for row in rows[np.argsort(programs.from_ns[rows], kind="stable")].tolist():
        args = programs.args[row]
        kind = kinds[codes[row]]
        if selves[codes[row]]:
            kind = _family_of_self(programs, families, row)
        if kind is None or runtime_args.is_script(programs.filename[row], args):
            continue
        families[row] = kind
        program = runtime_args.parse(kind, args)
        if not args[1:] and kind == "runc" and selves[codes[row]]:
            program = Program("runc-init")  # runc executes itself for nothing else
        programs.parsed[row] = program
        programs.role[row] = program.role
    _find_starts(programs)


def _family_of_self(programs: Programs, families: dict[int, str], row: int) -> str | None:
    """Family of a program that executed itself: what ran before it, if argv[0] agrees."""
    pos, args = int(programs.pos[row]), programs.args[row]
    before = row - 1 if row > programs.rows(pos).start else int(programs.birth[pos])
    claimed = runtime_args.family(args[0]) if args else None
    if before < 0:
        return claimed
    ran = families.get(before)
    unnamed = not args or runtime_args.is_self(args[0])
    return ran if unnamed or claimed == ran else None


def _find_starts(programs: Programs) -> None:
    """Without arguments, a v2 shim that forked another v2 shim is the `start` one."""
    for row, program in list(programs.parsed.items()):
        if program.role != "shim-v2" or programs.args[row][1:]:
            continue
        born = int(programs.birth[programs.pos[row]])
        above = programs.parsed.get(born)
        if above is not None and above.role == "shim-v2" and not programs.args[born][1:]:
            programs.parsed[born] = Program("shim-start", "start")
            programs.role[born] = "shim-start"
