"""Everything that is known of a capture's processes, in one place for those who tell a story of it.

A process is a position here: its row in the processes frame.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from analysis.at_end import AtEnd
from analysis.columns import Columns, int64, stretch
from analysis.identity import Codes, Identities, identify
from analysis.membership import Membership, find_membership
from analysis.memory import OutOfMemory, find_out_of_memory
from analysis.programs import Programs, find_programs
from analysis.records import Records
from analysis.roles import find_roles, role_at
from analysis.signals import SIGKILL, Signal, Signals, name_of
from analysis.table import Table
from analysis.unseen import find_lost_births
from tracer.abi import COMM_LEN, Type
from tracer.runtime_args import Program, base_name
from tracer.text import printable

Ints = npt.NDArray[np.int64]
_NAME_LIMIT = 32


@dataclass(frozen=True, slots=True)
class End:
    """How a process ended, and why as far as its signals tell.

    Attributes:
        how: "exited", "killed", "running" (alive in the snapshot at the end), "not-seen" (no
            end was seen, and no snapshot shows it alive).
        ts_ns: when; None if it did not end, or only its reaping was seen.
        gone_ns: by when it had ended, where the end itself was not seen; None: not known.
        status: of exit(); None if killed. signal: that killed it; None if it exited.
        by: the fatal signal, None if it was not recorded.
        oom: the kernel had chosen it as an OOM victim. memory: why, if its log was read.
    """

    how: str
    ts_ns: int | None = None
    status: int | None = None
    signal: int | None = None
    core: bool = False
    by: Signal | None = None
    oom: bool = False
    memory: OutOfMemory | None = None
    gone_ns: int | None = None


@dataclass(frozen=True, slots=True)
class Adoption:
    """One reparent."""

    row: int
    ts_ns: int
    child: int
    old: int
    new: int
    reason: str
    certainty: str


class Scene:
    """Processes with their programs, roles, containers, parents and signals."""

    def __init__(
        self,
        table: Table,
        processes: Columns,
        reparents: Columns,
        parents: Columns,
    ) -> None:
        self.table, self.processes = table, processes
        self.reparents, self.parents = reparents, parents
        self.ids = Ids(identify(table))
        self.comm: npt.NDArray[Any] = processes["comm"].to_numpy(object)
        self.tgid: Ints = processes["tgid"].to_numpy(np.int64)
        self.start_ns: Ints = processes["start_ns"].to_numpy(np.int64)
        self.fork_ns = processes.filled("fork_ns")
        self.exit_ns = processes.filled("exit_ns")
        self.reap_ns = processes.filled("reap_ns")
        self.gone_ns = processes.filled("gone_ns")
        self._exit_code = processes["exit_code"].to_numpy(np.int32, na_value=-1)
        self.pidns = processes.filled("pidns")
        self._index_parents()
        self.programs: Programs = find_programs(table, processes)
        first = self.first_parent
        self.membership: Membership = find_membership(table, processes, self.programs, first)
        self.roles = find_roles(processes, self.programs, self.membership, first)
        self.signals = Signals(table)

    @cached_property
    def at_end(self) -> AtEnd:
        """Who lived, and who was a zombie, when the recording ended."""
        return AtEnd(self)

    # --- parents -------------------------------------------------------------------------------

    def _index_parents(self) -> None:
        count, reparents, parents = len(self.processes), self.reparents, self.parents
        self._child, self._old, self._new = (
            reparents[name].to_numpy(np.int32) for name in ("child_no", "from_no", "to_no")
        )
        self._by_child = _Groups(self._child, self._reparent_ns, count)
        self._by_old = _Groups(self._old, self._reparent_ns, count)
        self._interval_from: Ints = parents["from_ns"].to_numpy(np.int64)
        self._interval_parent: Codes = parents["parent_no"].to_numpy(np.int32)
        child = parents["child_no"].to_numpy(np.int32)
        # They are sorted by child and time.
        bounds = np.searchsorted(child, np.arange(count + 1, dtype=np.int32))
        self._intervals: Codes = bounds.astype(np.int32)
        self.first_parent: Codes = np.full(count, -1, np.int32)
        self.last_parent: Codes = np.full(count, -1, np.int32)
        # Written backwards, so that the first interval of a process is the one that stays.
        self.first_parent[child[::-1]] = self._interval_parent[::-1]
        self.last_parent[child] = self._interval_parent

    def parent_at(self, pos: int, ts_ns: int) -> int:
        """Parent of a process at a time; -1 if not known."""
        found = -1
        for row in self.intervals_of(pos):
            if self._interval_from[row] > ts_ns:
                break
            found = int(self._interval_parent[row])
        return found

    def intervals_of(self, pos: int) -> list[int]:
        """Rows of the parents frame of a process, in order."""
        return list(range(*self._intervals[pos : pos + 2].tolist())) if pos >= 0 else []

    def adopted(self, children: Iterable[int]) -> list[int]:
        """Those of some processes that were reparented: few, mostly."""
        found = np.fromiter(children, np.int64)
        adopted: list[int] = found[self._by_child.has[found]].tolist()
        return adopted

    def parents_of(self, pos: int) -> list[int]:
        """Parents that a process had, in order; -1 where one is not known."""
        found: list[int] = self._interval_parent[self.intervals_of(pos)].tolist()
        return found

    def adoptions_of(self, child: int) -> list[Adoption]:
        """Reparents of a process, in order."""
        return [self.adoption(row) for row in self._by_child.rows(child)]

    def adoptions_from(self, old: int) -> list[Adoption]:
        """Reparents of a process's children, in order."""
        return [self.adoption(row) for row in self._by_old.rows(old)]

    def adoption(self, row: int) -> Adoption:
        """A reparent by its row."""
        return Adoption(
            row=row,
            ts_ns=int(self._reparent_ns[row]),
            child=int(self._child[row]),
            old=int(self._old[row]),
            new=int(self._new[row]),
            reason=str(self._reason[row]),
            certainty=str(self._certainty[row]),
        )

    @cached_property
    def _reparent_ns(self) -> Ints:
        return self.reparents.filled("ts_ns")

    @cached_property
    def _reason(self) -> npt.NDArray[Any]:
        return self.reparents["reason"].to_numpy(object)

    @cached_property
    def _certainty(self) -> npt.NDArray[Any]:
        return self.reparents["certainty"].to_numpy(object)

    @property
    def adoptions(self) -> tuple[Codes, Codes, Codes]:
        """(child, old parent, new parent) of every reparent, by row."""
        return self._child, self._old, self._new

    # --- one process ---------------------------------------------------------------------------

    def label(self, pos: int) -> str:
        """ "comm (tgid)", harmless to print."""
        if pos < 0:
            return "a process not known"
        return f"{printable(self.name(pos)) or '?'} ({self.tgid[pos]})"

    def name(self, pos: int) -> str:
        """comm; the executable's name where comm is that name cut to its 15 bytes.

        docker-containerd and docker-containerd-shim share one comm. A v2 shim stays what
        its comm says, containerd-shim: containerd-shim-runc-v2 is its version, not its name.
        """
        comm: str = self.comm[pos]
        if not comm and self.tgid[pos] == 1:
            return self._init_name
        if len(comm) != COMM_LEN - 1 or self.programs.last[pos] < 0:
            return comm
        base = base_name(self.programs.filename[self.programs.last[pos]])
        if not base.startswith(comm) or base.startswith("containerd-shim-"):
            return comm
        return base if len(base) <= _NAME_LIMIT else comm

    @cached_property
    def _init_name(self) -> str:
        """What the recorder found as process 1 of the host, where no event has its comm."""
        host = self.table.header.get("host")
        name = host.get("init") if isinstance(host, dict) else None
        return name if isinstance(name, str) else ""

    def program(self, pos: int) -> Program:
        """What a process ran last."""
        return self.programs.of(pos)

    def role_at(self, pos: int, ts_ns: int) -> str:
        return role_at(self.programs, self.roles, pos, ts_ns)

    def exec_ns(self, pos: int) -> int | None:
        """Time of a process's last exec; None if none was recorded."""
        row = int(self.programs.last[pos])
        if row not in self.programs.rows(pos) or not self.programs.executed[row]:
            return None
        return int(self.programs.from_ns[row])

    def args(self, pos: int) -> tuple[str, ...]:
        row = int(self.programs.last[pos])
        found: tuple[str, ...] = self.programs.args[row] if row >= 0 else ()
        return found

    def born_ns(self, pos: int) -> int | None:
        """Fork, None if it was not recorded."""
        found = int(self.fork_ns[pos])
        return found if found >= 0 else None

    def is_older(self, pos: int) -> bool:
        """It began before what is kept."""
        return self.fork_ns[pos] < 0 and not self._lost_birth[pos]

    @cached_property
    def _lost_birth(self) -> npt.NDArray[np.bool_]:
        return find_lost_births(self.table, self.start_ns, self.fork_ns >= 0)

    def alive_at(self, pos: int, ts_ns: int) -> bool:
        """Alive as far as is known: nothing says that it was not yet born or had ended."""
        begin, end = self.life_of(pos)
        return begin <= ts_ns and (end < 0 or end >= ts_ns)

    def were_alive(self, positions: npt.NDArray[np.int64], ts_ns: int) -> npt.NDArray[np.bool_]:
        """`alive_at` of many."""
        begin, end = self.fork_ns[positions], self.exit_ns[positions]
        lost = (begin < 0) & self._lost_birth[positions]
        begin = np.where(lost, self.start_ns[positions], begin)
        end = np.where(end < 0, self.gone_ns[positions], end)
        there: npt.NDArray[np.bool_] = (begin <= ts_ns) & ((end < 0) | (end >= ts_ns))
        return there

    def life_of(self, pos: int) -> tuple[int, int]:
        """From when, and until when; -1 each where not known."""
        begin, end = int(self.fork_ns[pos]), int(self.exit_ns[pos])
        begin = int(self.start_ns[pos]) if begin < 0 and self._lost_birth[pos] else begin
        end = int(self.gone_ns[pos]) if end < 0 else end
        return begin, end

    def positions(self, *roles: str) -> list[int]:
        """Processes with one of these roles by birth, those older than the recording first."""
        found = [pos for role in roles for pos in self._by_role.get(role, ())]
        return sorted(found, key=lambda pos: (self.fork_ns[pos], pos))

    @cached_property
    def _by_role(self) -> dict[str, list[int]]:
        common = ("other", "container-process")
        found: dict[str, list[int]] = {}
        for pos in np.flatnonzero(~np.isin(self.roles, common)).tolist():
            found.setdefault(self.roles[pos], []).append(pos)
        return found

    @cached_property
    def _alive_at_end(self) -> frozenset[int]:
        tasks = self.table.tasks
        rows = (tasks["phase"].to_numpy(object) == "end") & (tasks["exit_state"].to_numpy() == 0)
        return frozenset(identify(self.table).of("tasks")[rows].tolist() if len(tasks) else ())

    @cached_property
    def oom_ns(self) -> dict[int, int]:
        """When the kernel chose a process as an OOM victim, by position.

        Before Linux 6.10 mark_victim gives the number alone: it was of the process that had it.
        """
        rows, who = self.table.of(Type.OOM), identify(self.table).of(Type.OOM)
        found: dict[int, int] = {}
        for i, ts_ns in enumerate(int64(rows["ts_ns"]).tolist()):
            pos = int(who[i])
            if rows["start_ns"][i] == 0:
                pos = self.holder_of(int(rows["tgid"][i]), ts_ns)
            if pos >= 0:
                found.setdefault(pos, ts_ns)
        return found

    @cached_property
    def out_of_memory(self) -> dict[int, OutOfMemory]:
        """Which limit was hit for the OOM victims of whom the kernel's log was read."""
        return find_out_of_memory(self.table, self.tgid, self.oom_ns)

    def holder_of(self, tgid: int, ts_ns: int) -> int:
        """Process that had a number at a time; -1 if none is known."""
        held = np.flatnonzero((self.tgid == tgid) & (self.start_ns <= ts_ns))
        held = held[(self.exit_ns[held] < 0) | (self.exit_ns[held] >= ts_ns)]
        return int(held[np.argmax(self.start_ns[held])]) if len(held) else -1

    def holds(self, event: str, ts_ns: int, pos: int) -> bool:
        """The capture holds a record of a process, see `records.Records.has`."""
        return self._records.has(event, ts_ns, pos)

    @cached_property
    def _records(self) -> Records:
        once = {"FORK": self.fork_ns, "EXIT": self.exit_ns, "REAP": self.reap_ns}
        return Records(self.table, self.programs, once)

    def end_of(self, pos: int) -> End:
        """How a process ended."""
        code = int(self._exit_code[pos])
        ts_ns = int(self.exit_ns[pos]) if self.exit_ns[pos] >= 0 else None
        if code < 0:
            gone_ns = int(self.gone_ns[pos]) if self.gone_ns[pos] >= 0 else None
            return End("running" if pos in self._alive_at_end else "not-seen", gone_ns=gone_ns)
        number = code & 0x7F
        if not number:
            return End("exited", ts_ns, status=code >> 8 & 0xFF)
        by = self.signals.fatal(pos, number, ts_ns if ts_ns is not None else 2**63 - 1)
        oom = number == SIGKILL and pos in self.oom_ns
        memory = self.out_of_memory.get(pos) if oom else None
        core = bool(code & 0x80)
        return End("killed", ts_ns, signal=number, core=core, by=by, oom=oom, memory=memory)

    @property
    def killed(self) -> npt.NDArray[np.bool_]:
        """By position: it was seen to end by a signal."""
        found: npt.NDArray[np.bool_] = self._exit_code & 0x7F != 0
        found &= self._exit_code >= 0
        return found

    def end_text(self, end: End) -> str:
        """How it ended in words: "exited 0", "was killed by SIGKILL (9), sent by sh (812)"."""
        if end.how == "exited":
            return f"exited {end.status}"
        if end.how == "running":
            return "still running at the end"
        if end.how == "not-seen":
            return "its end was not seen" if end.gone_ns is None else "had ended, unseen"
        assert end.signal is not None
        core = ", core dumped" if end.core else ""
        text = f"was killed by {name_of(end.signal)} ({end.signal}){core}"
        return f"{text}, {self.cause_text(end)}"

    def cause_text(self, end: End) -> str:
        """Where the signal that killed a process came from."""
        by = end.by
        if end.oom and end.memory is not None:
            return f"chosen by the kernel (OOM), as {end.memory.text()}"
        if end.oom:
            return "chosen by the kernel when memory ran out (OOM)"
        if by is None:
            return "sender not recorded"
        return self.origin_text(by)

    def origin_text(self, found: Signal) -> str:
        """Where a signal came from."""
        who = self.label(found.sender)
        if found.kind == "process":
            return f"sent by {self.call_label(found.sender)}"
        if found.kind == "parent-death":
            return f"the parent-death signal of {who}"
        if found.kind == "pid-namespace-end":
            return f"as its pid namespace ended with {who}"
        if found.kind == "kernel-call":
            return f"made by the kernel on behalf of {who}"
        return "made by the kernel"

    def call_label(self, pos: int) -> str:
        """Label with what it was told to do: "runc kill (4711)"."""
        if pos < 0:
            return self.label(pos)
        verb = self.program(pos).verb
        shim = self.program(pos).namespace is not None and verb in ("start", "delete")
        if verb and (shim or self.roles[pos] in ("runc", "crun")):
            return f"{printable(self.name(pos))} {printable(verb)} ({self.tgid[pos]})"
        return self.label(pos)


class Ids:
    """Ids "tgid:start_ns" of the processes by position, made when they are asked for."""

    def __init__(self, who: Identities) -> None:
        self._who = who
        self._made: dict[int, str] = {}  # a report names one process again and again

    def __len__(self) -> int:
        return len(self._who)

    def __getitem__(self, pos: int) -> str:
        found = self._made.get(pos)
        if found is None:
            found = self._made[pos] = self._who.id(pos)
        return found

    def find(self, id_: str) -> int:
        """Position of a process; -1: the capture does not name it."""
        return self._who.find(id_)

    def of(self, positions: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Of many; None where a position is -1."""
        return self._who.names(positions)

    def tolist(self) -> list[str]:
        """All of them."""
        found: list[str] = self._who.ids.tolist()
        return found


class _Groups:
    """Rows of a frame by process, in order of time."""

    def __init__(self, owner: Codes, times: Ints, count: int) -> None:
        self._order: Ints = np.lexsort((times, owner)).astype(np.int64)
        self._owner = owner[self._order]
        # Most processes have none; asking for one's must cost nothing.
        self.has = np.zeros(count, bool)
        self.has[owner[owner >= 0]] = True

    def rows(self, pos: int) -> list[int]:
        if pos < 0 or not self.has[pos]:
            return []
        found: list[int] = self._order[slice(*stretch(self._owner, pos))].tolist()
        return found
