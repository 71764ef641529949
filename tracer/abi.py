"""Mirror of bpf/events.h: the records that the BPF programs write.

The C header is the source of truth; tests/unit/test_abi.py compiles it with the host
compiler and compares every size, offset and enum value with this file.

Units: ``*_ns`` is CLOCK_BOOTTIME nanoseconds; ``tgid`` and ``tid`` are ids in the initial
pid namespace; a process is ``(tgid, start_ns)``.
"""

from __future__ import annotations

import ctypes
import enum
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

SCHEMA = 1
COMM_LEN = 16
FILENAME_MAX = 512
ARGS_MAX = 4096
CGROUP_MAX = 1024
SOCKET_NAME_MAX = 108

u8, u16, u32, u64 = ctypes.c_uint8, ctypes.c_uint16, ctypes.c_uint32, ctypes.c_uint64
i32 = ctypes.c_int32
Comm = ctypes.c_char * COMM_LEN
SocketName = ctypes.c_char * SOCKET_NAME_MAX


class Type(enum.IntEnum):
    """``rtrace_event.type``."""

    FORK = 1
    EXEC = 2
    EXIT = 3
    REPARENT = 4
    REAPER = 5
    SIGNAL = 6
    OOM = 7
    SUBREAPER = 8
    COMM = 9
    REAP = 10
    STUB = 11


class Flag(enum.IntFlag):
    """``rtrace_event.flags`` and ``rtrace_task.flags``, of the subject."""

    SUBREAPER = 1
    NS_INIT = 2
    ZOMBIE = 4
    MORE = 8
    KTHREAD = 16
    SUBREAPER_CHILD = 32


class Reason(enum.IntEnum):
    """Rule of ``find_new_reaper()`` (kernel/exit.c) that chose the new parent."""

    UNKNOWN = 0
    THREAD = 1
    SUBREAPER = 2
    INIT = 3


class Hook(enum.IntEnum):
    """Where the reaper of a ``REAPER`` event was read."""

    NONE = 0
    SIGNAL = 1
    PROC_EXIT_CONNECTOR = 2
    SCHED_SWITCH = 3


class Origin(enum.IntEnum):
    """What the siginfo argument of ``signal_generate`` was."""

    INFO = 0
    NOINFO = 1
    PRIV = 2


class Context(enum.IntFlag):
    """What the task was doing in whose context a signal was made."""

    EXITING = 1
    NS_INIT = 2
    PDEATH = 4
    IDLE = 8
    GROUP_EXIT = 16


class DetailType(enum.IntEnum):
    """``rtrace_detail.type``."""

    EXEC = 1
    ATTACH = 2


class SocketFlag(enum.IntFlag):
    """``rtrace_socket.flags``."""

    PEER_NAME = 1
    PATH = 2
    DELETED = 4
    WAITING = 8
    PEER_CLOSED = 16
    OUTSIDE = 32


class Filter(enum.IntEnum):
    """``rtrace_config.filter``."""

    NONE = 0
    PIDNS = 1
    CGROUP = 2


class Controller(enum.IntEnum):
    """``rtrace_config.cgroup_controller`` and ``v1_controller``: names a v1 hierarchy."""

    NONE = 0
    PIDS = 1
    MEMORY = 2
    DEVICES = 3
    CPU = 4
    CPUACCT = 5
    CPUSET = 6
    BLKIO = 7
    FREEZER = 8


class Fork(ctypes.Structure):
    _fields_ = [
        ("parent_start_ns", u64),
        ("forker_start_ns", u64),
        ("parent_tgid", u32),
        ("forker_tgid", u32),
        ("ns_tgid", u32),
        ("pidns", u32),
        ("comm", Comm),
    ]


class Exec(ctypes.Structure):
    _fields_ = [
        ("parent_start_ns", u64),
        ("cgroup_id", u64),
        ("parent_tgid", u32),
        ("old_tid", u32),
        ("ns_tgid", u32),
        ("pidns", u32),
        ("comm", Comm),
    ]


class Exit(ctypes.Structure):
    _fields_ = [
        ("parent_start_ns", u64),
        ("parent_tgid", u32),
        ("exit_code", i32),
        ("group_exit", u32),
        ("pad", u32),
        ("pad2", u64),
        ("comm", Comm),
    ]


class Reparent(ctypes.Structure):
    _fields_ = [
        ("parent_start_ns", u64),
        ("reaper_start_ns", u64),
        ("parent_tgid", u32),
        ("parent_tid", u32),
        ("reaper_tgid", u32),
        ("reason", u32),
        ("pad", u64 * 2),
    ]


class Reaper(ctypes.Structure):
    _fields_ = [
        ("exit_ns", u64),
        ("reaper_start_ns", u64),
        ("reaper_tgid", u32),
        ("reaper_tid", u32),
        ("reason", u32),
        ("hook", u32),
        ("children", u32),
        ("pad", u32),
        ("pad2", u64),
    ]


class Signal(ctypes.Structure):
    _fields_ = [
        ("sender_start_ns", u64),
        ("sender_tgid", u32),
        ("sender_tid", u32),
        ("si_code", i32),
        ("si_pid", i32),
        ("signal", u16),
        ("group", u8),
        ("result", u8),
        ("origin", u8),
        ("context", u8),
        ("pad", u16),
        ("comm", Comm),
    ]


class Oom(ctypes.Structure):
    _fields_ = [("pad", u64 * 4), ("comm", Comm)]


class CommChange(ctypes.Structure):
    """Payload of ``COMM``, ``SUBREAPER`` and ``STUB`` (``struct rtrace_comm``)."""

    _fields_ = [
        ("parent_start_ns", u64),
        ("parent_tgid", u32),
        ("ns_tgid", u32),
        ("pidns", u32),
        ("pad", u32),
        ("pad2", u64),
        ("comm", Comm),
    ]


class Reap(ctypes.Structure):
    _fields_ = [("exit_code", i32), ("pad", u32), ("pad2", u64 * 5)]


class Payload(ctypes.Union):
    _fields_ = [
        ("fork", Fork),
        ("exec", Exec),
        ("exit", Exit),
        ("reparent", Reparent),
        ("reaper", Reaper),
        ("signal", Signal),
        ("oom", Oom),
        ("comm", CommChange),
        ("reap", Reap),
    ]


class Event(ctypes.Structure):
    """``struct rtrace_event``: one fixed-size record of the main ring."""

    _anonymous_ = ("payload",)
    _fields_ = [
        ("ts_ns", u64),
        ("start_ns", u64),
        ("tgid", u32),
        ("tid", u32),
        ("cpu_lost", u32),
        ("cpu", u16),
        ("type", u8),
        ("flags", u8),
        ("payload", Payload),
    ]


class DetailHeader(ctypes.Structure):
    """``struct rtrace_detail``: the fixed part of a record of the details ring."""

    _fields_ = [
        ("ts_ns", u64),
        ("start_ns", u64),
        ("tgid", u32),
        ("args_total", u32),
        ("type", u16),
        ("filename_len", u16),
        ("args_len", u16),
        ("cgroup_len", u16),
        ("cgroup_v1_len", u16),
        ("hierarchy", u16),
        ("cpu", u16),
        ("pad", u16),
        ("cpu_lost", u32),
        ("pad2", u32),
    ]


class Task(ctypes.Structure):
    """``struct rtrace_task``: one process in a snapshot."""

    _fields_ = [
        ("ts_ns", u64),
        ("start_ns", u64),
        ("parent_start_ns", u64),
        ("cgroup_id", u64),
        ("tgid", u32),
        ("parent_tgid", u32),
        ("ns_tgid", u32),
        ("pidns", u32),
        ("level", u32),
        ("pdeath_signal", u32),
        ("exit_state", u32),
        ("flags", u32),
        ("comm", Comm),
    ]


class Socket(ctypes.Structure):
    """``struct rtrace_socket``: an open file that is a unix socket."""

    _fields_ = [
        ("ts_ns", u64),
        ("start_ns", u64),
        ("inode", u64),
        ("peer_inode", u64),
        ("cred_start_ns", u64),
        ("tgid", u32),
        ("cred_tgid", u32),
        ("fd", u32),
        ("netns", u32),
        ("pending", u32),
        ("type", u16),
        ("state", u8),
        ("flags", u8),
        ("comm", Comm),
        ("name", SocketName),
        ("name_len", u32),
    ]


class Loss(ctypes.Structure):
    """``struct rtrace_loss``: records lost on one CPU since the start."""

    _fields_ = [("events", u64), ("details", u64)]


class Config(ctypes.Structure):
    """``struct rtrace_config``: settings fixed when the programs are loaded."""

    _fields_ = [
        ("cgroup_id", u64),
        ("filter", u32),
        ("pidns", u32),
        ("cgroup_controller", u32),
        ("v1_controller", u32),
        ("no_args", u32),
        ("pad", u32),
    ]


EVENT_SIZE = ctypes.sizeof(Event)
DETAIL_HEADER_SIZE = ctypes.sizeof(DetailHeader)
TASK_SIZE = ctypes.sizeof(Task)
SOCKET_SIZE = ctypes.sizeof(Socket)

PAYLOADS: Mapping[Type, type[ctypes.Structure]] = {
    Type.FORK: Fork,
    Type.EXEC: Exec,
    Type.EXIT: Exit,
    Type.REPARENT: Reparent,
    Type.REAPER: Reaper,
    Type.SIGNAL: Signal,
    Type.OOM: Oom,
    Type.SUBREAPER: CommChange,
    Type.COMM: CommChange,
    Type.REAP: Reap,
    Type.STUB: CommChange,
}

_NUMPY_FORMATS: Mapping[Any, str] = {
    u8: "u1",
    u16: "<u2",
    u32: "<u4",
    u64: "<u8",
    i32: "<i4",
    Comm: f"S{COMM_LEN}",
    SocketName: f"V{SOCKET_NAME_MAX}",
}


def numpy_layout(*structs: tuple[type[ctypes.Structure], int], itemsize: int) -> dict[str, Any]:
    """Layout of structures laid over one record, as ``numpy.dtype`` takes it.

    ``numpy.dtype`` of a ctypes structure would turn comm into an array of ``S1``, and the
    recorder has no numpy: so the layout is given as plain data.

    Args:
        structs: each structure with its offset in the record, in bytes. Nested structures,
            unions, arrays and padding are left out.
        itemsize: size of one record in bytes.
    """
    names: list[str] = []
    formats: list[str] = []
    offsets: list[int] = []
    for struct, base in structs:
        for field in struct._fields_:
            name, ctype = field[0], field[1]
            if ctype in _NUMPY_FORMATS and not name.startswith("pad"):
                names.append(name)
                formats.append(_NUMPY_FORMATS[ctype])
                offsets.append(base + getattr(struct, name).offset)
    return {"names": names, "formats": formats, "offsets": offsets, "itemsize": itemsize}


def event_layout(event_type: Type | None = None) -> dict[str, Any]:
    """numpy layout of events: the common fields, and those of ``event_type`` if given."""
    parts: list[tuple[type[ctypes.Structure], int]] = [(Event, 0)]
    if event_type is not None:
        parts.append((PAYLOADS[event_type], Event.payload.offset))
    return numpy_layout(*parts, itemsize=EVENT_SIZE)


def task_layout() -> dict[str, Any]:
    """numpy layout of snapshot records."""
    return numpy_layout((Task, 0), itemsize=TASK_SIZE)


def socket_layout() -> dict[str, Any]:
    """numpy layout of socket records; a name is plain bytes, for it may hold and end in zeros."""
    return numpy_layout((Socket, 0), itemsize=SOCKET_SIZE)


def layout_description() -> dict[str, Any]:
    """Record layouts for the capture header, so that a reader needs no copy of events.h."""
    return {
        "event": event_layout() | {"payloads": {t.name: event_layout(t) for t in PAYLOADS}},
        "task": task_layout(),
        "socket": socket_layout(),
        "detail": numpy_layout((DetailHeader, 0), itemsize=DETAIL_HEADER_SIZE),
        "types": {t.name: t.value for t in Type},
        "detail_types": {t.name: t.value for t in DetailType},
    }


@dataclass(frozen=True, slots=True)
class Detail:
    """A decoded record of the details ring.

    Attributes:
        args: argv as the process had it at exec, cut at ``ARGS_MAX`` bytes; ``args_total`` is
            what it had, in bytes.
        cgroup: path in the v2 hierarchy (``""``: no v2), from its root. ATTACH: the new path.
        cgroup_v1: path in the v1 pids or memory hierarchy, ``""`` where that is not v1.
        hierarchy: ATTACH only: hierarchy id as in /proc/PID/cgroup, 0 is v2.
    """

    ts_ns: int
    start_ns: int
    tgid: int
    type: DetailType
    filename: bytes
    args: tuple[bytes, ...]
    args_total: int
    args_cut: bool
    cgroup: bytes
    cgroup_v1: bytes
    hierarchy: int
    cpu: int
    cpu_lost: int


def _cgroup_path(names: bytes) -> bytes:
    """Path from a list of kernfs names, innermost first, each ended by a NUL."""
    return b"/" + b"/".join(reversed(names.split(b"\0")[:-1])) if names else b""


def decode_details(records: bytes) -> Iterator[Detail]:
    """Details from back-to-back records, each padded to 8 bytes (content of a DETAILS chunk).

    Stops before a record that does not fit into what is left, and skips unknown types:
    ``records`` may come from a damaged capture.
    """
    offset = 0
    while offset + DETAIL_HEADER_SIZE <= len(records):
        header = DetailHeader.from_buffer_copy(records, offset)
        position = offset + DETAIL_HEADER_SIZE
        parts = []
        for length in (
            header.filename_len,
            header.args_len,
            header.cgroup_len,
            header.cgroup_v1_len,
        ):
            parts.append(records[position : position + length])
            position += length
        if position > len(records):
            return
        offset = position + (-position % 8)
        filename, args, cgroup, cgroup_v1 = parts
        if header.type == DetailType.EXEC:
            cgroup, cgroup_v1 = _cgroup_path(cgroup), _cgroup_path(cgroup_v1)
        elif header.type != DetailType.ATTACH:
            continue
        yield Detail(
            ts_ns=header.ts_ns,
            start_ns=header.start_ns,
            tgid=header.tgid,
            type=DetailType(header.type),
            filename=filename,
            args=tuple(args.removesuffix(b"\0").split(b"\0")) if args else (),
            args_total=header.args_total,
            args_cut=header.args_total > header.args_len,
            cgroup=cgroup,
            cgroup_v1=cgroup_v1,
            hierarchy=header.hierarchy,
            cpu=header.cpu,
            cpu_lost=header.cpu_lost,
        )
