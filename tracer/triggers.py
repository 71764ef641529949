"""Which events make a bounded recording save itself (`record --trigger`).

Python looks at a few candidates in a batch; what cannot be one is told apart at C speed
(tracer.event_masks).
"""

from __future__ import annotations

import enum
import signal
import struct
import threading
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tracer import abi
from tracer.abi import Flag, Type
from tracer.capture_format import EVENT_STRIDE, RING_HEADER_SIZE
from tracer.errors import UsageError
from tracer.event_masks import FLAGS_AT, START_AT, TYPE_AT, StartFilter, mask, offsets, table
from tracer.event_text import exit_text, signal_name
from tracer.runtime_processes import SHIMS, Key, RuntimeProcess, RuntimeProcesses
from tracer.signal_kind import signal_kind
from tracer.text import printable

# Signals that end a process unless it handles them, without those that runtimes get in passing
# (SIGPIPE, timers) or are asked for reports with (SIGUSR1).
KILLING = frozenset(
    (
        *(signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGILL, signal.SIGTRAP),
        *(signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGKILL, signal.SIGSEGV),
        *(signal.SIGTERM, signal.SIGXCPU, signal.SIGXFSZ, signal.SIGSYS),
    )
)
_DELIVERED = (0, 4)  # TRACE_SIGNAL_DELIVERED, TRACE_SIGNAL_LOSE_INFO
_TARGETS = (*SHIMS, "dockerd", "containerd", "conmon")
_ENDS_REMEMBERED = 64
# Without arguments `dockerd --version` looks like the daemon, but does not live so long.
_DAEMON_NS = 5_000_000_000

_PARENT_START = RING_HEADER_SIZE + abi.Event.payload.offset + abi.Fork.parent_start_ns.offset
_SUBJECT = struct.Struct("<QI")  # start_ns, tgid


class Trigger(enum.StrEnum):
    """What ``--trigger`` takes."""

    SHIM_EXIT = "shim-exit"
    DOCKERD_EXIT = "dockerd-exit"
    CONTAINERD_EXIT = "containerd-exit"
    OOM = "oom"
    CONTAINER_EXIT = "container-exit"
    CONTAINER_FAILED = "container-exit!=0"
    RUNTIME_KILL = "runtime-kill"


def parse_trigger(text: str) -> Trigger:
    """The trigger of that name.

    Raises:
        UsageError: there is none.
    """
    try:
        return Trigger(text)
    except ValueError:
        words = ", ".join(Trigger)
        raise UsageError(
            f"cannot wait for {text}", "no such trigger", f"give one of {words}"
        ) from None


@dataclass(frozen=True, slots=True)
class Hit:
    """An event that a trigger waited for.

    Attributes:
        at_ns: when, CLOCK_BOOTTIME ns.
        tgid, start_ns: the process that ended or was to end; start_ns is 0 where not known.
        what: one sentence.
    """

    trigger: str
    at_ns: int
    tgid: int
    start_ns: int
    what: str


_TELLING = Flag.SUBREAPER | Flag.NS_INIT | Flag.SUBREAPER_CHILD
_IS_TELLING = table(flags for flags in range(256) if flags & _TELLING)
_IS_END = table((Type.EXIT, Type.SIGNAL))
_IS_FORK = table((Type.FORK,))
_IS_REPARENT = table((Type.REPARENT,))
_IS_OOM = table((Type.OOM,))


class TriggerWatch:
    """Finds what triggers wait for. One thread looks at events and details; snapshots may come
    from another.

    Args:
        triggers: which to wait for.

    Attributes:
        processes: those that it keeps an eye on.
    """

    def __init__(self, triggers: Sequence[Trigger]) -> None:
        self._triggers = frozenset(triggers)
        self.processes = RuntimeProcesses()
        self._lock = threading.Lock()
        self._unflagged = StartFilter(START_AT)
        self._parents = StartFilter(_PARENT_START)
        self._ended: deque[tuple[Key, RuntimeProcess]] = deque(maxlen=_ENDS_REMEMBERED)
        self._bereft: set[Key] = set()  # shims that have ended

    def look_at_process(self, process: Mapping[str, Any]) -> None:
        """A process that lives: an entry of a PROC chunk (docs/capture-format.md)."""
        with self._lock:
            self.processes.add_process(process)

    def look_at_details(self, batch: bytes) -> None:
        """Details, as ``decode_details`` takes them, before the events of the same drain."""
        with self._lock:
            self.processes.add_details(batch)

    def look_at_events(self, batch: bytes) -> list[Hit]:
        """Events, as they lie in an EVTS chunk; gives what triggers wait for, in order."""
        count = len(batch) // EVENT_STRIDE
        types, flags = batch[TYPE_AT::EVENT_STRIDE], batch[FLAGS_AT::EVENT_STRIDE]
        with self._lock:
            processes = self.processes
            if processes.parents:
                forks = mask(types, _IS_FORK) & self._parents.mask(batch, processes.parents)
                self._look_at_forks(batch, offsets(forks, count))
            ends = self._unflagged.mask(batch, processes.unflagged)
            if flags != bytes(count):
                ends |= mask(flags, _IS_TELLING)
            if ends:
                ends &= mask(types, _IS_END)
            if Trigger.OOM in self._triggers and Type.OOM in types:
                ends |= mask(types, _IS_OOM)
            found: list[Hit] = []
            for offset in offsets(ends, count):
                found += self._look_at(batch, offset)
            orphans = self._find_orphans(batch, types)
            if orphans:
                ends = mask(types, _IS_END) & StartFilter(START_AT).mask(batch, orphans)
                for offset in offsets(ends, count):
                    found += self._look_at(batch, offset)
                found.sort(key=lambda hit: hit.at_ns)
            return found

    def _look_at_forks(self, batch: bytes, offsets: Iterator[int]) -> None:
        for offset in offsets:
            event = abi.Event.from_buffer_copy(batch, offset + RING_HEADER_SIZE)
            self.processes.add_fork(
                (event.tgid, event.start_ns),
                (event.fork.parent_tgid, event.fork.parent_start_ns),
                ns_init=bool(event.flags & Flag.NS_INIT),
            )

    def _look_at(self, batch: bytes, offset: int) -> Iterator[Hit]:
        start_ns, tgid = _SUBJECT.unpack_from(batch, offset + START_AT)
        process = self.processes.find((tgid, start_ns))
        kind, flags = batch[offset + TYPE_AT], batch[offset + FLAGS_AT]
        if process is None and kind != Type.OOM and not flags & Flag.NS_INIT:
            return
        event = abi.Event.from_buffer_copy(batch, offset + RING_HEADER_SIZE)
        if kind == Type.OOM:
            yield self._hit(
                Trigger.OOM, event, f"the OOM killer chose {_name(event.oom.comm, tgid)}"
            )
        elif kind == Type.SIGNAL:
            if process is not None and Trigger.RUNTIME_KILL in self._triggers:
                yield from self._look_at_signal(event, process)
        else:
            yield from self._look_at_exit(event, process)
            if process is not None:
                self._end((tgid, start_ns), process)

    def _look_at_exit(self, event: abi.Event, process: RuntimeProcess | None) -> Iterator[Hit]:
        code = event.exit.exit_code
        how = f"was {exit_text(code)}" if code & 0x7F else exit_text(code)
        trigger = self._exit_trigger(event, process) if process is not None else None
        if trigger in self._triggers and trigger is not None:
            assert process is not None
            yield self._hit(trigger, event, f"{process.name} ({event.tgid}) {how}")
        if self._is_container_init(event, process):
            who = f"process 1 of a container, {_name(event.exit.comm, event.tgid)},"
            if code and Trigger.CONTAINER_FAILED in self._triggers:
                yield self._hit(Trigger.CONTAINER_FAILED, event, f"{who} {how}")
            elif Trigger.CONTAINER_EXIT in self._triggers:
                yield self._hit(Trigger.CONTAINER_EXIT, event, f"{who} {how}")

    def _exit_trigger(self, event: abi.Event, process: RuntimeProcess) -> Trigger | None:
        """What the end of a runtime's process is, by its role."""
        if process.role in SHIMS:
            if process.role == "shim-v2" and not process.args_known:
                # Its `start` and `delete` are children of containerd, a shim never is.
                parent = self._find((event.exit.parent_tgid, event.exit.parent_start_ns))
                if parent is not None and parent.role == "containerd":
                    return None
            return Trigger.SHIM_EXIT
        if process.role in ("dockerd", "containerd"):
            if not process.args_known and event.ts_ns - event.start_ns < _DAEMON_NS:
                return None
            return Trigger.DOCKERD_EXIT if process.role == "dockerd" else Trigger.CONTAINERD_EXIT
        return None

    def _is_container_init(self, event: abi.Event, process: RuntimeProcess | None) -> bool:
        if event.exit.comm.startswith(b"runc:["):
            return False  # it never came to run the container's program
        parent_key = (event.exit.parent_tgid, event.exit.parent_start_ns)
        if process is not None:
            if process.container is not None:
                return True
            if process.maker is not None:
                return process.maker != parent_key
        if not event.flags & Flag.NS_INIT:
            return False
        # How it was made is not known: its beginning was lost, or arguments are not recorded.
        if any(key == (event.tgid, event.start_ns) for key, _ in self._ended):
            return False  # its second exit event
        parent = self._find(parent_key)
        if parent is None:
            return False
        makes = parent.program is not None and parent.program.verb != "exec"
        return parent.role in SHIMS or (parent.role == "conmon" and makes)

    def _look_at_signal(self, event: abi.Event, target: RuntimeProcess) -> Iterator[Hit]:
        sent = event.signal
        if sent.signal not in KILLING or sent.result not in _DELIVERED:
            return
        if target.role not in _TARGETS:
            return
        kind = signal_kind(sent.origin, sent.si_code, sent.context)
        sender_key = (sent.sender_tgid, sent.sender_start_ns)
        sender = self._find(sender_key)
        of_runtime = sender is not None and sender.program is not None
        if of_runtime and kind in ("process", "parent-death", "kernel-call"):
            return
        name = _name(sent.comm, sent.sender_tgid)
        by = {
            "process": name,
            "kernel-call": f"{name}, by a call of the kernel,",
            "parent-death": f"the kernel, at the death of its parent {name},",
            "pid-namespace-end": f"the kernel, at the end of the pid namespace of {name},",
            "kernel": "the kernel",
        }[kind]
        what = f"{by} sent {signal_name(sent.signal)} to {target.name} ({event.tgid})"
        yield self._hit(Trigger.RUNTIME_KILL, event, what)

    def _find(self, key: Key) -> RuntimeProcess | None:
        """A process that lives or has ended lately."""
        found = self.processes.find(key)
        if found is None:
            found = next((process for ended, process in self._ended if ended == key), None)
        return found

    def _end(self, key: Key, process: RuntimeProcess) -> None:
        self.processes.forget(key)
        self._ended.append((key, process))
        if process.role in SHIMS or process.role == "conmon":
            self._bereft.add(key)

    def _find_orphans(self, batch: bytes, types: bytes) -> set[Key]:
        """Processes 1 of containers whose shim has just ended: they are no subreaper's children
        any more, so flags may not show their end."""
        orphans: set[Key] = set()
        if self._bereft:
            for offset in offsets(mask(types, _IS_REPARENT), len(types)):
                event = abi.Event.from_buffer_copy(batch, offset + RING_HEADER_SIZE)
                key = (event.tgid, event.start_ns)
                parent = (event.reparent.parent_tgid, event.reparent.parent_start_ns)
                if parent in self._bereft and self.processes.orphaned(key):
                    orphans.add(key)
            self._bereft.clear()
        return orphans

    @staticmethod
    def _hit(trigger: Trigger, event: abi.Event, what: str) -> Hit:
        return Hit(trigger.value, event.ts_ns, event.tgid, event.start_ns, what)


def _name(comm: bytes, tgid: int) -> str:
    return f"{printable(comm) or '-'} ({tgid})"
