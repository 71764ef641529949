"""Documented columns of what is exported: name, type, unit, what it is, where it comes from."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

TEXT, TEXTS = pa.string(), pa.list_(pa.string())
WALL = pa.timestamp("ns", "UTC")


@dataclass(frozen=True, slots=True)
class Field:
    """One column, as docs/export.md has it."""

    name: str
    type: pa.DataType
    unit: str
    what: str
    source: str

    @property
    def arrow(self) -> pa.Field:
        """With its documentation, which Parquet files carry."""
        about = {"unit": self.unit, "description": self.what, "source": self.source}
        return pa.field(self.name, self.type, metadata=about)


def schema_of(fields: tuple[Field, ...]) -> pa.Schema:
    """Schema of a table of these columns."""
    return pa.schema([field.arrow for field in fields])


_I64, _I32, _FLAG = pa.int64(), pa.int32(), pa.bool_()

EVENT_FIELDS = (
    Field("ts_ns", _I64, "ns", "when, boot time", "all events"),
    Field("wall", WALL, "UTC", "wall clock then; null: not known", "clock readings"),
    Field(
        "event",
        TEXT,
        "token",
        "fork, exec, exit, reparent, reaper, signal, oom, subreaper, comm, reap, stub",
        "type",
    ),
    Field(
        "process",
        TEXT,
        "process",
        "whom it is about; of a fork the child, of a signal the target; null: oom before Linux "
        "6.10 names a tgid alone",
        "all events",
    ),
    Field("tgid", _I64, "id", "of process", "all events"),
    Field("start_ns", _I64, "ns", "of process", "all events"),
    Field("tid", _I64, "id", "thread that it happened to", "all events"),
    Field("cpu", _I32, "number", "where it was recorded", "all events"),
    Field(
        "cpu_lost",
        _I64,
        "count",
        "events lost on that CPU before, since the recording began",
        "all events",
    ),
    Field(
        "flags",
        TEXTS,
        "tokens",
        "subreaper, ns_init, zombie, more, kthread, subreaper_child: of process",
        "all events",
    ),
    Field("comm", TEXT, "text", "name then", "FORK, EXEC, EXIT, OOM, SUBREAPER, COMM, STUB"),
    Field(
        "parent",
        TEXT,
        "process",
        "real parent; of a reparent the old one",
        "FORK, EXEC, EXIT, REPARENT, SUBREAPER, COMM, STUB",
    ),
    Field("forker", TEXT, "process", "who called clone()", "FORK"),
    Field("ns_tgid", _I64, "id", "in its own pid namespace", "FORK, EXEC, SUBREAPER, COMM, STUB"),
    Field(
        "pidns",
        _I64,
        "inode",
        "its pid namespace, 0: the initial one",
        "FORK, EXEC, SUBREAPER, COMM, STUB",
    ),
    Field("cgroup_id", _I64, "inode", "of its v2 cgroup, 0: no v2", "EXEC"),
    Field("old_tid", _I64, "id", "thread that called execve()", "EXEC"),
    Field("exit_code", _I32, "wait status", "what wait() reports", "EXIT, REAP"),
    Field("exit_status", _I32, "number", "of exit(), 0 where a signal ended it", "EXIT, REAP"),
    Field("exit_signal", _I32, "signal", "that ended it; 0: none did", "EXIT, REAP"),
    Field("core", _FLAG, "flag", "it dumped core", "EXIT, REAP"),
    Field("group_exit", _FLAG, "flag", "exit_group() or a signal ended all threads", "EXIT"),
    Field("parent_tid", _I64, "id", "thread of the old parent that exited", "REPARENT"),
    Field(
        "reaper",
        TEXT,
        "process",
        "new parent: of a reparent as predicted by the kernel's rule, of a reaper as observed",
        "REPARENT, REAPER",
    ),
    Field("reaper_tid", _I64, "id", "thread that adopted", "REAPER"),
    Field(
        "reason",
        TEXT,
        "token",
        "rule of find_new_reaper(): unknown, thread, subreaper, init",
        "REPARENT, REAPER",
    ),
    Field(
        "hook",
        TEXT,
        "token",
        "where it was observed: none, signal, proc_exit_connector, sched_switch",
        "REAPER",
    ),
    Field("exit_ns", _I64, "ns", "time of the reparents that it observes", "REAPER"),
    Field("children", _I64, "count", "how many were given away", "REAPER"),
    Field("sender", TEXT, "process", "who sent it; null: the kernel did", "SIGNAL"),
    Field(
        "context",
        TEXT,
        "process",
        "in whose context the kernel made it; null: a process sent it",
        "SIGNAL",
    ),
    Field("sender_tid", _I64, "id", "thread in whose context it was made", "SIGNAL"),
    Field("sender_comm", TEXT, "text", "name of sender or context", "SIGNAL"),
    Field("signal", _I32, "signal", "its number", "SIGNAL"),
    Field("signal_name", TEXT, "text", "SIGKILL and so on", "SIGNAL"),
    Field(
        "kind",
        TEXT,
        "token",
        "process, parent-death, pid-namespace-end, kernel-call, kernel",
        "SIGNAL",
    ),
    Field(
        "result",
        TEXT,
        "token",
        "delivered, ignored, already-pending, queue-full, info-lost, unknown",
        "SIGNAL",
    ),
    Field("to_process", _FLAG, "flag", "to the whole process, not to one thread", "SIGNAL"),
    Field("si_code", _I32, "number", "as siginfo has it", "SIGNAL"),
    Field("si_pid", _I32, "id", "as siginfo has it, in the target's pid namespace", "SIGNAL"),
    Field("origin", TEXT, "token", "what siginfo was: info, noinfo, priv", "SIGNAL"),
    Field(
        "context_flags",
        TEXTS,
        "tokens",
        "exiting, ns_init, pdeath, idle, group_exit: of the task in whose context it was made",
        "SIGNAL",
    ),
)

DETAIL_FIELDS = (
    Field("ts_ns", _I64, "ns", "when; of an exec the same as its event's", "details"),
    Field("wall", WALL, "UTC", "wall clock then; null: not known", "clock readings"),
    Field("event", TEXT, "token", "exec, or attach: it was moved to a cgroup", "type"),
    Field("process", TEXT, "process", "whom it is about", "details"),
    Field("tgid", _I64, "id", "of process", "details"),
    Field("start_ns", _I64, "ns", "of process", "details"),
    Field("filename", TEXT, "path", "as given to execve(), 512 bytes at most", "exec"),
    Field("args", TEXTS, "texts", "argv, 4096 bytes at most; empty: not recorded", "exec"),
    Field("args_total", _I64, "bytes", "of argv in the process", "exec"),
    Field("args_cut", _FLAG, "flag", "there was more argv than is here", "exec"),
    Field(
        "cgroup", TEXT, "path", "in the v2 hierarchy, empty: none; of attach: where to", "details"
    ),
    Field("cgroup_v1", TEXT, "path", "in the v1 pids or memory hierarchy", "exec"),
    Field("hierarchy", _I32, "id", "as in /proc/PID/cgroup, 0: v2", "attach"),
    Field("cpu", _I32, "number", "where it was recorded", "details"),
    Field("cpu_lost", _I64, "count", "details lost on that CPU before", "details"),
)

EVENTS, DETAILS = schema_of(EVENT_FIELDS), schema_of(DETAIL_FIELDS)
