"""Who is alive: records of the BPF task iterator, and what only /proc knows.

The iterator gives what the kernel knows exactly (start times, subreapers, namespace pids);
/proc adds executable, arguments and cgroups.
"""

from __future__ import annotations

import ctypes
import itertools
import os
import threading
from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

from tracer import abi
from tracer.clock import boot_ns
from tracer.engine import Engine
from tracer.proc_view import ProcView, expected_ticks, is_process, start_ticks
from tracer.shortfalls import Unseen

Tasks: TypeAlias = "ctypes.Array[abi.Task]"

_ARGS_LIMIT = abi.ARGS_MAX
_HEADS = abi.Flag.SUBREAPER | abi.Flag.NS_INIT
_CGROUP_LIMIT, _STAT_LIMIT = 64 << 10, 4096


class TaskIterator:
    """Passes of an engine's task iterator, one at a time. Any thread may ask for one."""

    def __init__(self, engine: Engine) -> None:
        self._engine, self._lock = engine, threading.Lock()

    def read(self) -> bytes:
        """Records of all processes that are alive and admitted by the filter."""
        with self._lock:
            return read_tasks(self._engine.open_snapshot())


def read_tasks(fd: int) -> bytes:
    """Everything that a task iterator's file gives; closes it."""
    with os.fdopen(fd, "rb", buffering=0) as file:
        return b"".join(iter(lambda: file.read(1 << 16), b""))


def add_missing_parents(records: bytes, view: ProcView) -> bytes:
    """The records, with those of parents that the iterator left out.

    On one kernel (6.18, process 1 of a virtual machine) the iterator does not show process 1.
    What its children's records say of it is exact; its name is /proc's.
    """
    tasks = decode_tasks(records)
    present = {task.tgid for task in tasks}
    missing = {
        task.parent_tgid: task.parent_start_ns
        for task in tasks
        if task.parent_tgid and task.parent_tgid not in present
    }
    for tgid, start_ns in missing.items():
        directory = view.directory(tgid, start_ns)
        if directory is None:
            continue
        try:
            with open(f"{directory}/status", "rb") as file:
                status = dict(line.split(b":\t", 1) for line in file if b":\t" in line)
        except OSError:  # it is gone
            continue
        if not is_process(directory, start_ns):
            continue
        ns_tgid = int(status[b"NSpid"].split()[-1])
        record = abi.Task(
            ts_ns=boot_ns(),
            start_ns=start_ns,
            tgid=tgid,
            ns_tgid=ns_tgid,
            flags=abi.Flag.NS_INIT if ns_tgid == 1 else 0,
            comm=status[b"Name"].rstrip(b"\n")[: abi.COMM_LEN - 1],
        )
        records += bytes(record)
    return records


def decode_tasks(records: bytes) -> Tasks:
    """The records of ``read_tasks``: 80 bytes each, where a list would take 300."""
    return (abi.Task * (len(records) // abi.TASK_SIZE)).from_buffer_copy(records)


def read_processes(
    tasks: Sequence[abi.Task] | Tasks,
    view: ProcView,
    *,
    no_args: bool = False,
    unseen: Unseen | None = None,
) -> Iterator[dict[str, Any]]:
    """What /proc knows of each process that is still there; kernel threads are left out.

    Shims and process 1 of containers come first: a bounded recording may have no room for all.

    Args:
        unseen: counts what could not be read.

    Yields: content of a PROC chunk's list (docs/capture-format.md).
    """
    unseen = unseen or Unseen()
    view.learn(tasks)
    heads = (task for task in tasks if task.flags & _HEADS)
    rest = (task for task in tasks if not task.flags & _HEADS)
    for task in itertools.chain(heads, rest):  # sorted() would make a list of them
        if task.flags & abi.Flag.KTHREAD:
            continue
        unseen.looked_at += 1
        directory = view.directory(task.tgid, task.start_ns)
        if directory is None:
            unseen.processes += 1
            continue
        try:
            process = _read_process(task, directory, no_args, unseen)
        except OSError:  # it is gone, or hidden
            unseen.processes += view.is_alive(directory)
            continue
        if process is not None:
            yield process


def _read_process(
    task: abi.Task, directory: str, no_args: bool, unseen: Unseen
) -> dict[str, Any] | None:
    exe: str | None = None
    denied = False
    try:
        exe = os.readlink(f"{directory}/exe")
    except OSError as error:  # a zombie has none
        denied = isinstance(error, PermissionError) and not task.exit_state
    cgroup = _read(f"{directory}/cgroup", _CGROUP_LIMIT)
    arguments = b"" if no_args else _read(f"{directory}/cmdline", _ARGS_LIMIT + 1)
    # Last, so that all that was read belongs to this process and not to one that took its tgid.
    if start_ticks(_read(f"{directory}/stat", _STAT_LIMIT)) != expected_ticks(task.start_ns):
        return None
    unseen.programs += denied
    cut = len(arguments) > _ARGS_LIMIT
    arguments = arguments[:_ARGS_LIMIT].removesuffix(b"\0")
    return {
        "tgid": task.tgid,
        "start_ns": task.start_ns,
        "exe": exe,
        "args": [_text(part) for part in arguments.split(b"\0")] if arguments else [],
        "args_cut": cut,
        "cgroup": _text(cgroup),
    }


def _read(path: str, limit: int) -> bytes:
    """The beginning of a file of /proc, which gives it in one read.

    Without Python's own files, which take twice as long: a host may have 100,000 processes.
    """
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(fd, limit)
    finally:
        os.close(fd)


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "backslashreplace")
