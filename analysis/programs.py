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

from analysis.columns import Columns, objects, stretch
from analysis.command_lines import CommandLines
from analysis.execs import find_execs
from analysis.identity import Codes, identify
from analysis.table import Table
from tracer import runtime_args
from tracer.runtime_args import OTHER, Program

Ints = npt.NDArray[np.int64]


@dataclass
class Programs:
    """Programs over time. A process is a position in the processes frame here, a program a row:
    one for each exec, and for what only /proc showed, sorted by process, then time.

    Attributes:
        pos: by row, the process. from_ns: boot time of the exec; -1: before the recording.
        executed: by row, the exec was recorded; else /proc showed the program, from_ns or later.
        filename, args: by row; "" and () where not known.
        role: by row, role of the program alone.
        parsed: by row, what the command line says; only rows of known runtimes.
        birth: by process, row that it was born with (its forker's then); -1 unknown.
        last: by process, row that it ran last; -1 unknown.
        forker: by process, process that forked it; -1 unknown. fork_ns: when; -1 unknown.
    """

    pos: Codes
    from_ns: Ints
    executed: npt.NDArray[np.bool_]
    filename: npt.NDArray[Any]
    args: CommandLines
    role: npt.NDArray[Any]
    birth: Codes
    last: Codes
    forker: Codes
    fork_ns: Ints
    parsed: dict[int, Program] = field(default_factory=dict)

    def __post_init__(self) -> None:
        everybody = np.arange(len(self.birth) + 1, dtype=np.int32)
        self._first: Codes = np.searchsorted(self.pos, everybody).astype(np.int32)
        self._by_forker: Codes = np.lexsort((self.fork_ns, self.forker)).astype(np.int32)
        self._forked = self.forker[self._by_forker]

    def rows(self, pos: int) -> range:
        """Rows that a process executed itself, in order."""
        return range(int(self._first[pos]), int(self._first[pos + 1]))

    def children(self, pos: int) -> list[int]:
        """Processes that a process forked, in order."""
        begin, end = stretch(self._forked, pos)
        found: list[int] = self._by_forker[begin:end].tolist()
        return found

    def row_at(self, pos: int, ts_ns: int) -> int:
        """Row of what a process ran at a time; -1 if not known."""
        own = self.rows(pos)
        found = int(np.searchsorted(self.from_ns[own.start : own.stop], ts_ns, side="right"))
        return own.start + found - 1 if found else int(self.birth[pos])

    def executed_at(self, pos: int, ts_ns: int) -> bool:
        """An exec of a process at that very time was recorded."""
        own = slice(self.rows(pos).start, self.rows(pos).stop)
        return bool((self.executed[own] & (self.from_ns[own] == ts_ns)).any())

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


def find_programs(table: Table, processes: Columns) -> Programs:
    """Programs of all processes.

    Args:
        processes: as `find_processes` gives it.
    """
    execs, who = find_execs(table), identify(table)
    filename = execs.filename.copy()
    filename[pd.isna(filename)] = ""
    programs = Programs(
        pos=execs.pos,
        from_ns=execs.from_ns,
        executed=execs.executed,
        filename=filename,
        args=execs.args,
        role=objects(["other"] * len(execs.pos)),
        birth=execs.birth,
        last=execs.last,
        forker=who.forker,
        fork_ns=processes.filled("fork_ns"),
    )
    _classify(programs)
    return programs


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
