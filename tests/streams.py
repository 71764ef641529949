"""Builds synthetic captures on a fake clock, for tests of readers and of the analysis.

    s = Stream()
    init = s.process("systemd", tgid=1)                # older than the recording
    shim = s.process("containerd-shim", init, subreaper=True)
    s.snapshot("start")                                # TASK + PROC of all that live
    runc = s.fork(shim)
    s.exec(runc, "/usr/bin/runc", "runc create abc", cgroup="/docker/abc")
    child = s.fork(runc)
    s.die(runc)                                        # REPARENT, EXIT, REAPER, as the kernel does
    assert child.parent is shim
    path = s.write(tmp_path / "x.rtrace")              # real bytes, by the real writer

Every method that makes an event advances the clock by ``step`` ns, first, and gives the event's
``ts_ns`` (``fork`` gives the child). All take ``at=`` (an absolute time in place of the clock),
``cpu=``, ``flags=`` and any field of the event's structure in tracer/abi.py by its name, which
wins over what the model would put there: ``s.reaper(t, shim, reason=Reason.INIT, hook=0)``.

``die`` follows the kernel's rules. To build what is incomplete or odd, leave it and call
``reparent``, ``exit``, ``reaper`` and ``reap`` yourself: those report only what you say, and of
the model they change what the event says: ``reparent`` nothing, ``reaper`` the children's parent,
``exit`` marks the process dead. ``s.drop()`` swallows events as a full ring would.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shlex
import struct
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tracer import abi
from tracer.abi import Context, DetailType, Flag, Hook, Origin, Reason, Type
from tracer.capture_format import (
    DETAILS,
    EVENT_STRIDE,
    EVENTS,
    FACT,
    LOSS,
    PHASES,
    PROCESSES,
    TASK_PHASE,
    TASKS,
    dump_json,
)
from tracer.capture_writer import CaptureWriter

BOOT_NS = 1_000_000_000_000
WALL_NS = 1_700_000_000_000_000_000


@dataclass(eq=False)
class Proc:
    """A process of the model.

    Attributes:
        ns_tgid: pid in its own pid namespace; pidns: inode of that, 0: the initial one.
        children: living or zombie children, in the order of birth.
    """

    tgid: int
    start_ns: int
    parent: Proc | None
    comm: str
    ns_tgid: int
    pidns: int = 0
    subreaper: bool = False
    exe: str | None = None
    args: list[str] = field(default_factory=list)
    cgroup: str = "/"
    exit_code: int | None = None
    children: list[Proc] = field(default_factory=list)

    @property
    def id(self) -> str:
        """The process's name everywhere in the analysis."""
        return f"{self.tgid}:{self.start_ns}"

    @property
    def alive(self) -> bool:
        return self.exit_code is None

    @property
    def flags(self) -> Flag:
        flags = Flag.SUBREAPER if self.subreaper else Flag(0)
        if self.ns_tgid == 1:
            flags |= Flag.NS_INIT
        return flags if self.alive else flags | Flag.ZOMBIE


class Stream:
    """A capture in the making. ``now`` is the fake clock, CLOCK_BOOTTIME ns; set it at will."""

    def __init__(self, *, start_ns: int = BOOT_NS, step: int = 1000, cpus: int = 2) -> None:
        self.start_ns = self.now = start_ns
        self.step = step
        self.cpus = cpus
        self.cpu = 0
        self.header: dict[str, Any] = _header(start_ns, cpus)
        self.trailer: dict[str, Any] = {}
        self.processes: list[Proc] = []
        self.events = 0
        self.details = 0
        self.lost_totals = [[0, 0] for _ in range(cpus)]
        self._items: list[tuple[bytes, bytes]] = []
        self._next_tgid = 1000
        self._dropping = False
        self._began_ns, self._segment, self._dropped = start_ns, 1, 0
        self._set_ns = self._suspended_ns = 0

    # --- processes -----------------------------------------------------------------------------

    def process(
        self, comm: str = "old", parent: Proc | None = None, *, tgid: int = 0, **attributes: Any
    ) -> Proc:
        """A process older than the recording. Nothing is written: see ``snapshot``."""
        born = self.start_ns - 10**9 + len(self.processes)
        return self._new(comm, parent, tgid, attributes.pop("start_ns", born), **attributes)

    def fork(
        self,
        forker: Proc,
        comm: str | None = None,
        *,
        parent: Proc | None = None,
        tgid: int = 0,
        ns_tgid: int = 0,
        pidns: int | None = None,
        **fields: Any,
    ) -> Proc:
        """FORK. ``parent`` differs from the forker with CLONE_PARENT; ``ns_tgid=1, pidns=...``
        begins a pid namespace. The child starts 500 ns before the event, as start_boottime is
        taken earlier."""
        parent = parent or forker
        ts_ns = self._tick(fields)
        child = self._new(
            comm or forker.comm,
            parent,
            tgid,
            fields.pop("start_ns", ts_ns - 500),
            ns_tgid=ns_tgid,
            pidns=forker.pidns if pidns is None else pidns,
            exe=forker.exe,
            args=list(forker.args),
            cgroup=forker.cgroup,
        )
        values = {
            "parent_tgid": parent.tgid,
            "parent_start_ns": parent.start_ns,
            "forker_tgid": forker.tgid,
            "forker_start_ns": forker.start_ns,
            "ns_tgid": child.ns_tgid,
            "pidns": child.pidns,
            "comm": child.comm,
        }
        self.event(Type.FORK, child, **values | fields | {"at": ts_ns})
        return child

    def exec(
        self,
        process: Proc,
        filename: str,
        args: str | Sequence[str] | None = None,
        *,
        cgroup: str | None = None,
        cgroup_v1: str = "",
        args_total: int | None = None,
        old_tid: int | None = None,
        detail: bool = True,
        **fields: Any,
    ) -> int:
        """COMM (if the comm changes), EXEC and its detail. ``args`` given as one string are split
        as by a shell. ``detail=False``: as if the detail had been lost."""
        argv = shlex.split(args) if isinstance(args, str) else list(args or [filename])
        process.exe, process.args = filename, argv
        process.cgroup = process.cgroup if cgroup is None else cgroup
        comm = _text(fields.get("comm", os.path.basename(filename)))
        if comm != process.comm:
            before = {"at": fields["at"]} if "at" in fields else {}
            self.comm(process, comm, **before)
        ts_ns = self._tick(fields)
        values = {
            **_parent(process),
            "cgroup_id": _cgroup_id(process.cgroup),
            "old_tid": old_tid or process.tgid,
            "ns_tgid": process.ns_tgid,
            "pidns": process.pidns,
            "comm": process.comm,
        }
        self.event(Type.EXEC, process, **values | fields | {"at": ts_ns})
        if detail:
            packed = b"".join(_bytes(arg) + b"\0" for arg in argv)
            self.detail(
                DetailType.EXEC,
                process,
                ts_ns,
                filename=filename,
                args=packed[: abi.ARGS_MAX],
                args_total=len(packed) if args_total is None else args_total,
                cgroup=_names(process.cgroup),
                cgroup_v1=_names(cgroup_v1),
            )
        return ts_ns

    def comm(self, process: Proc, comm: str, **fields: Any) -> int:
        """COMM: the leader's comm changed."""
        process.comm = comm
        return self.event(Type.COMM, process, **_comm(process) | fields)

    def subreaper(self, process: Proc, **fields: Any) -> int:
        """SUBREAPER: from now on the process adopts orphans below it."""
        process.subreaper = True
        return self.event(Type.SUBREAPER, process, **_comm(process) | fields)

    def stub(self, process: Proc, **fields: Any) -> int:
        """STUB: a process outside the filter that other events refer to."""
        return self.event(Type.STUB, process, **_comm(process) | fields)

    def attach(self, process: Proc, cgroup: str, *, hierarchy: int = 0) -> int:
        """The process was moved to a cgroup (a detail without an event)."""
        process.cgroup = cgroup
        ts_ns = self._tick({})
        self.detail(DetailType.ATTACH, process, ts_ns, cgroup=cgroup, hierarchy=hierarchy)
        return ts_ns

    # --- the end of processes ------------------------------------------------------------------

    def exit(self, process: Proc, status: int = 0, *, signal: int = 0, **fields: Any) -> int:
        """EXIT alone: by ``exit(status)`` or by ``signal``. ``tid`` is the last thread's."""
        process.exit_code = fields.get("exit_code", signal or status << 8)
        flags = process.flags & ~Flag.ZOMBIE
        if process.parent is not None and process.parent.subreaper:
            flags |= Flag.SUBREAPER_CHILD
        values = {
            **_parent(process),
            "exit_code": process.exit_code,
            "group_exit": 1,
            "comm": process.comm,
            "flags": flags,
        }
        return self.event(Type.EXIT, process, **values | fields)

    def reparent(
        self,
        child: Proc,
        predicted: Proc | None = None,
        *,
        parent: Proc | None = None,
        reason: Reason | None = None,
        tid: int = 0,
        **fields: Any,
    ) -> int:
        """REPARENT alone: thread ``tid`` of ``parent`` (default: the child's) is exiting, and the
        kernel's rule gives the child to ``predicted`` (default: what the model says; the same
        process with ``reason=Reason.THREAD``)."""
        parent = parent or child.parent
        assert parent is not None
        rule_reaper, rule = self.find_reaper(parent)
        predicted = predicted or (parent if reason == Reason.THREAD else rule_reaper)
        values = {
            **_parent(child, parent),
            "parent_tid": tid or parent.tgid,
            "reaper_tgid": predicted.tgid if predicted else 0,
            "reaper_start_ns": predicted.start_ns if predicted else 0,
            "reason": rule if reason is None else reason,
        }
        return self.event(Type.REPARENT, child, **values | fields)

    def reaper(
        self,
        parent: Proc,
        reaper: Proc | None,
        exit_ns: int,
        *,
        reason: Reason | None = None,
        hook: Hook = Hook.SIGNAL,
        tid: int = 0,
        children: Sequence[Proc] | None = None,
        **fields: Any,
    ) -> int:
        """REAPER alone, for the REPARENTs with ``ts_ns == exit_ns``: ``children`` of thread
        ``tid`` of ``parent`` (default: all that the model has) are seen under ``reaper``. None:
        not observed (``Hook.NONE``), and the model leaves them where they are."""
        moved = list(parent.children if children is None else children)
        rule = self.find_reaper(parent)[1] if reaper is not parent else Reason.THREAD
        if reaper is None:
            rule, hook = Reason.UNKNOWN, Hook.NONE
        values = {
            "exit_ns": exit_ns,
            "reaper_tgid": reaper.tgid if reaper else 0,
            "reaper_start_ns": reaper.start_ns if reaper else 0,
            "reaper_tid": reaper.tgid if reaper else 0,
            "reason": rule if reason is None else reason,
            "hook": hook,
            "children": len(moved),
            "tid": tid or parent.tgid,
        }
        ts_ns = self.event(Type.REAPER, parent, **values | fields)
        if reaper is not None and reaper is not parent:
            for child in moved:
                parent.children.remove(child)
                reaper.children.append(child)
                child.parent = reaper
        return ts_ns

    def reap(self, process: Proc, **fields: Any) -> int:
        """REAP: the parent waited for it."""
        self.reap_unseen(process)
        return self.event(Type.REAP, process, **{"exit_code": process.exit_code or 0} | fields)

    def reap_unseen(self, process: Proc) -> None:
        """The parent waited for it, and the kernel ran no BPF as it was released."""
        if process.parent is not None and process in process.parent.children:
            process.parent.children.remove(process)

    def die(
        self,
        process: Proc,
        status: int = 0,
        *,
        signal: int = 0,
        reap: bool = True,
        hook: Hook = Hook.SIGNAL,
    ) -> int:
        """The whole end of a single-threaded process as the kernel would report it: a REPARENT
        for each child and the EXIT at one time, REAPER a step later, then REAP. The end of a pid
        namespace kills and reaps all that is in it first, and gives no REPARENT.

        Returns:
            ts_ns of the exit.
        """
        if process.ns_tgid == 1 and process.pidns:
            return self._die_with_namespace(process, status, signal, reap)
        exit_ns = self._tick({})
        heirs = list(process.children)
        for child in heirs:
            self.reparent(child, at=exit_ns)
        self.exit(process, status, signal=signal, at=exit_ns)
        if heirs:
            reaper, _ = self.find_reaper(process)
            self.reaper(process, reaper, exit_ns, hook=hook)
        if reap:
            self.reap(process)
        return exit_ns

    def find_reaper(self, process: Proc) -> tuple[Proc | None, Reason]:
        """Who gets the children of a process without other threads: find_new_reaper(). None if
        the model has no process 1 of the namespace."""
        above = process.parent
        while above is not None and above.pidns == process.pidns:
            if above.ns_tgid == 1:
                break
            if above.subreaper and above.alive:
                return above, Reason.SUBREAPER
            above = above.parent
        for other in self.processes:
            if other.ns_tgid == 1 and other.pidns == process.pidns and other is not process:
                return other, Reason.INIT
        return None, Reason.UNKNOWN

    # --- signals -------------------------------------------------------------------------------

    def signal(
        self,
        target: Proc,
        number: int,
        sender: Proc | None = None,
        *,
        si_code: int = 0,
        origin: Origin = Origin.INFO,
        context: int = 0,
        **fields: Any,
    ) -> int:
        """SIGNAL, by default kill(2) by ``sender``. A kernel-made one has another ``origin``;
        ``sender`` is then the task in whose context it was made."""
        values = {
            "sender_tgid": sender.tgid if sender else 0,
            "sender_start_ns": sender.start_ns if sender else 0,
            "sender_tid": sender.tgid if sender else 0,
            "si_code": si_code,
            "si_pid": sender.ns_tgid if sender and origin == Origin.INFO else 0,
            "signal": number,
            "group": 1,
            "origin": origin,
            "context": context,
            "comm": sender.comm if sender else "",
        }
        return self.event(Type.SIGNAL, target, **values | fields)

    def oom(self, victim: Proc, **fields: Any) -> int:
        """OOM: the kernel chose this victim."""
        return self.event(Type.OOM, victim, **{"comm": victim.comm} | fields)

    # --- other chunks --------------------------------------------------------------------------

    def snapshot(self, phase: str = "start", *, tasks: bool = True, proc: bool = True) -> None:
        """TASK and PROC for every process of the model that has not been reaped."""
        present = [p for p in self.processes if p.alive or self._is_zombie(p)]
        if tasks:
            self.task(phase, *present)
        if proc:
            self.proc(phase, *(p for p in present if p.alive))

    def task(self, phase: str, *processes: Proc, **fields: Any) -> None:
        """One TASK chunk. ``fields`` (of ``abi.Task``) apply to all its records."""
        records = bytearray(TASK_PHASE.pack(PHASES.index(phase)))
        for process in processes:
            values = {
                "ts_ns": self._tick(fields),
                "start_ns": process.start_ns,
                "tgid": process.tgid,
                **_parent(process),
                "cgroup_id": _cgroup_id(process.cgroup),
                "ns_tgid": process.ns_tgid,
                "pidns": process.pidns,
                "level": int(process.pidns != 0),
                "exit_state": 0 if process.alive else 32,
                "flags": process.flags,
                "comm": process.comm,
            }
            records += bytes(_fill(abi.Task(), values | fields))
        self._items.append((TASKS, bytes(records)))

    def proc(self, phase: str, *processes: Proc) -> None:
        """One PROC chunk: what /proc says."""
        entries = [
            {
                "tgid": p.tgid,
                "start_ns": p.start_ns,
                "exe": p.exe,
                "args": p.args,
                "args_cut": False,
                "cgroup": f"0::{p.cgroup}\n",
            }
            for p in processes
        ]
        self.json(PROCESSES, {"phase": phase, "processes": entries})

    def fact(self, kind: str, **values: Any) -> None:
        """FACT, e.g. ``s.fact("container", id=..., name="web", image=None, runtime="docker")``."""
        self.json(FACT, {"kind": kind, "ts_ns": self._tick(values)} | values)

    def clock(self, *, set_by: int = 0, suspended: int = 0) -> int:
        """FACT of the clocks, after the wall clock was set by so many ns (negative: back) and the
        host was suspended for so many."""
        self.now += suspended
        self._set_ns += set_by
        self._suspended_ns += suspended
        ts_ns = self._tick({})
        self.fact("clock", ts_ns=ts_ns, boot_ns=ts_ns, **self._other_clocks(ts_ns))
        return ts_ns

    def trigger(self, trigger: str, process: Proc, what: str, at_ns: int | None = None) -> None:
        """FACT: an event of this process made the recorder save."""
        at_ns = self.now if at_ns is None else at_ns
        named = {"tgid": process.tgid, "start_ns": process.start_ns}
        self.fact("trigger", trigger=trigger, at_ns=at_ns, what=what, **named)

    def rotate(self, *, drop: bool = False, snapshot: bool = True) -> None:
        """A bounded recording begins a new segment, with a snapshot; ``drop``: and all segments
        before it go."""
        self._segment += 1
        if drop:
            self._dropped += self.events
            self._items.clear()
            self.events = self.details = 0
            self.header |= {
                "clock": {"boot_ns": self.now, **self._other_clocks(self.now)},
                "segment": {
                    "number": self._segment,
                    "began_ns": self._began_ns,
                    "events_before": self._dropped,
                },
                "losses": [list(totals) for totals in self.lost_totals],
            }
        else:
            self.flush()
        if snapshot:
            self.snapshot("start")

    def _other_clocks(self, boot_ns: int) -> dict[str, int]:
        since = boot_ns - self.start_ns
        return {
            "wall_ns": WALL_NS + since + self._set_ns,
            "monotonic_ns": boot_ns - self._suspended_ns,
        }

    def lost(self, events: int = 1, details: int = 0, *, cpu: int | None = None) -> None:
        """Counts records as lost on a CPU: the next ones there say so in ``cpu_lost``."""
        totals = self.lost_totals[self.cpu if cpu is None else cpu]
        totals[0] += events
        totals[1] += details

    def loss(self) -> None:
        """LOSS chunk with the totals so far."""
        self.json(LOSS, {"ts_ns": self._tick({}), "cpus": [list(t) for t in self.lost_totals]})

    @contextlib.contextmanager
    def drop(self) -> Iterator[None]:
        """Events and details made inside are counted as lost, not written; the model goes on."""
        self._dropping = True
        try:
            yield
        finally:
            self._dropping = False

    def json(self, chunk_type: bytes, value: dict[str, Any]) -> None:
        """Any JSON chunk."""
        self._items.append((chunk_type, dump_json(value)))

    def chunk(self, chunk_type: bytes, content: bytes) -> None:
        """Any chunk, also of an unknown type."""
        self._items.append((chunk_type, content))

    def wait(self, ns: int) -> None:
        """Lets time pass."""
        self.now += ns

    # --- records -------------------------------------------------------------------------------

    def event(self, event_type: Type | int, subject: Proc, **fields: Any) -> int:
        """Any event; fields not given are 0. The base of all of the above."""
        ts_ns = self._tick(fields)
        fields.pop("at", None)
        cpu = fields.pop("cpu", self.cpu)
        if self._dropping:
            self.lost(1, cpu=cpu)
            return ts_ns
        common: dict[str, Any] = {
            "ts_ns": ts_ns,
            "start_ns": subject.start_ns,
            "tgid": subject.tgid,
            "tid": subject.tgid,
            "cpu_lost": self.lost_totals[cpu][0],
            "cpu": cpu,
            "type": event_type,
            "flags": subject.flags & ~(0 if event_type == Type.REPARENT else Flag.ZOMBIE),
        }
        event = abi.Event()
        _fill(event, common | {k: fields.pop(k) for k in list(fields) if k in common})
        if fields:
            record = abi.PAYLOADS[Type(event_type)]()
            _fill(record, fields)
            ctypes.memmove(
                ctypes.addressof(event) + abi.Event.payload.offset,
                ctypes.addressof(record),
                ctypes.sizeof(record),
            )
        self.events += 1
        # As the kernel's ring buffer lays it: length, page offset, record.
        head = struct.pack("<II", abi.EVENT_SIZE, self.events * EVENT_STRIDE >> 12)
        self._items.append((EVENTS, head + bytes(event)))
        return ts_ns

    def detail(
        self,
        detail_type: DetailType,
        subject: Proc,
        ts_ns: int,
        *,
        filename: str | bytes = b"",
        args: bytes = b"",
        args_total: int = 0,
        cgroup: str | bytes = b"",
        cgroup_v1: bytes = b"",
        hierarchy: int = 0,
    ) -> None:
        """A record of the details ring."""
        if self._dropping:
            self.lost(0, 1)
            return
        parts = [_bytes(filename), args, _bytes(cgroup), cgroup_v1]
        header = abi.DetailHeader(
            ts_ns=ts_ns,
            start_ns=subject.start_ns,
            tgid=subject.tgid,
            args_total=args_total,
            type=detail_type,
            filename_len=len(parts[0]),
            args_len=len(parts[1]),
            cgroup_len=len(parts[2]),
            cgroup_v1_len=len(parts[3]),
            hierarchy=hierarchy,
            cpu=self.cpu,
            cpu_lost=self.lost_totals[self.cpu][1],
        )
        record = bytes(header) + b"".join(parts)
        self.details += 1
        self._items.append((DETAILS, record + bytes(-len(record) % 8)))

    # --- the file ------------------------------------------------------------------------------

    def chunks(self) -> Iterator[tuple[bytes, bytes]]:
        """Chunks between HEAD and TAIL. Events that follow each other share a chunk, and so do
        details; the details of a run of events come after it."""
        events, details = bytearray(), bytearray()
        for chunk_type, content in [*self._items, (b"", b"")]:
            if chunk_type == EVENTS:
                events += content
            elif chunk_type == DETAILS:
                details += content
            else:
                if events:
                    yield EVENTS, bytes(events)
                if details:
                    yield DETAILS, bytes(details)
                events, details = bytearray(), bytearray()
                if chunk_type:
                    yield chunk_type, content

    def flush(self) -> None:
        """Begins a new chunk for what comes next."""
        self._items = list(self.chunks())

    def write(self, path: str | os.PathLike[str], *, complete: bool = True) -> Path:
        """Writes the capture; without its trailer if not ``complete``. May be called again."""
        writer = CaptureWriter(path, self.header, force=True)
        for chunk_type, content in self.chunks():
            writer.write(chunk_type, content)
        if not complete:
            writer.abandon()
            return Path(path)
        now = self.now + self.step
        trailer = {
            "ts_ns": now,
            "wall_ns": WALL_NS + now - self.start_ns,
            "reason": "signal",
            "command_status": None,
            "events": self.events,
            "details": self.details,
            "losses": self.lost_totals,
            "snapshot_end": any(t == TASKS and c[0] for t, c in self._items),
        }
        writer.close(trailer | self.trailer)
        return Path(path)

    def to_bytes(self, *, complete: bool = True) -> bytes:
        """The capture's bytes."""
        with tempfile.TemporaryDirectory() as directory:
            return self.write(Path(directory) / "x.rtrace", complete=complete).read_bytes()

    # --- inside --------------------------------------------------------------------------------

    def _tick(self, fields: dict[str, Any]) -> int:
        at = fields.get("at", fields.get("ts_ns"))
        if at is not None:
            self.now = max(self.now, at)
            return int(at)
        self.now += self.step
        return self.now

    def _new(
        self,
        comm: str,
        parent: Proc | None,
        tgid: int,
        start_ns: int,
        *,
        ns_tgid: int = 0,
        **attributes: Any,
    ) -> Proc:
        if not tgid:
            tgid, self._next_tgid = self._next_tgid, self._next_tgid + 1
        process = Proc(tgid, start_ns, parent, comm, ns_tgid or tgid, **attributes)
        self.processes.append(process)
        if parent is not None:
            parent.children.append(process)
        return process

    def _is_zombie(self, process: Proc) -> bool:
        return process.parent is not None and process in process.parent.children

    def _die_with_namespace(self, process: Proc, status: int, signal: int, reap: bool) -> int:
        exit_ns = self.exit(process, status, signal=signal)
        inside = [p for p in self.processes if p.pidns == process.pidns and p is not process]
        alive = [p for p in inside if p.alive]
        for member in alive:
            context = Context.EXITING | Context.NS_INIT | Context.GROUP_EXIT
            self.signal(member, 9, process, origin=Origin.PRIV, context=context, si_code=128)
        for member in alive:
            # Each one's children go to process 1 first, which is exiting but still the reaper.
            self.die(member, signal=9)
        for member in [p for p in inside if not p.alive and self._is_zombie(p)]:
            self.reap(member)
        if reap:
            self.reap(process)
        return exit_ns


def _header(start_ns: int, cpus: int) -> dict[str, Any]:
    return {
        "schema": abi.SCHEMA,
        "rtrace": "0.0.0",
        "clock": {"boot_ns": start_ns, "wall_ns": WALL_NS},
        "host": {
            "hostname": "test",
            "kernel": "6.1.0-test",
            "machine": "x86_64",
            "boot_id": "00000000-0000-0000-0000-000000000000",
            "cpus": cpus,
            "pid_max": 4194304,
            "os": "Test 1",
            "init": "systemd",
            "cgroup": "v2",
        },
        "engine": "core",
        "confirm": "kprobe",
        "argv": ["rtrace", "record"],
        "filter": None,
        "buffer_bytes": 16 << 20,
        "no_args": False,
        "pid": 999,
        "layout": abi.layout_description(),
    }


def _parent(process: Proc, parent: Proc | None = None) -> dict[str, int]:
    parent = parent or process.parent
    if parent is None:
        return {"parent_tgid": 0, "parent_start_ns": 0}
    return {"parent_tgid": parent.tgid, "parent_start_ns": parent.start_ns}


def _comm(process: Proc) -> dict[str, Any]:
    return {
        **_parent(process),
        "ns_tgid": process.ns_tgid,
        "pidns": process.pidns,
        "comm": process.comm,
    }


def _fill(record: Any, values: dict[str, Any]) -> Any:
    for name, value in values.items():
        if name == "at":
            continue
        if not hasattr(record, name):
            raise TypeError(f"{type(record).__name__} has no field {name}")
        if name == "comm":
            value = _bytes(value)[: abi.COMM_LEN - 1]
        setattr(record, name, value)
    return record


def _bytes(value: str | bytes) -> bytes:
    return value if isinstance(value, bytes) else os.fsencode(value)


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else os.fsdecode(value)


def _names(path: str) -> bytes:
    """Cgroup path as the BPF program writes it: names, innermost first, each ended by a NUL."""
    return b"".join(_bytes(name) + b"\0" for name in reversed(path.split("/")) if name)


def _cgroup_id(path: str) -> int:
    """Any number that is the same for the same path."""
    return 1 + zlib.crc32(path.encode())
