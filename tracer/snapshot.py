"""Who is alive: records of the BPF task iterator, and what only /proc knows.

The iterator gives what the kernel knows exactly (start times, subreapers, namespace pids);
/proc adds executable, arguments and cgroups.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import Any

from tracer import abi

# /proc gives start times in clock ticks of 10 ms (USER_HZ is 100 on every architecture).
_TICK_NS = 10_000_000
_ARGS_LIMIT = abi.ARGS_MAX
_START_FIELD = 19  # of /proc/PID/stat, counted behind the comm


def read_tasks(fd: int) -> bytes:
    """Everything that a task iterator's file gives; closes it."""
    with os.fdopen(fd, "rb", buffering=0) as file:
        return b"".join(iter(lambda: file.read(1 << 16), b""))


def add_missing_parents(records: bytes) -> bytes:
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
        try:
            with open(f"/proc/{tgid}/status", "rb") as file:
                status = dict(line.split(b":\t", 1) for line in file if b":\t" in line)
            with open(f"/proc/{tgid}/stat", "rb") as file:
                ticks = _start_ticks(file.read())
        except OSError:  # it is gone
            continue
        if ticks != start_ns // _TICK_NS:
            continue
        ns_tgid = int(status[b"NSpid"].split()[-1])
        record = abi.Task(
            ts_ns=time.clock_gettime_ns(time.CLOCK_BOOTTIME),
            start_ns=start_ns,
            tgid=tgid,
            ns_tgid=ns_tgid,
            flags=abi.Flag.NS_INIT if ns_tgid == 1 else 0,
            comm=status[b"Name"].rstrip(b"\n")[: abi.COMM_LEN - 1],
        )
        records += bytes(record)
    return records


def _start_ticks(stat: bytes) -> int:
    """Start time in /proc/PID/stat, in clock ticks; the comm may hold spaces and parentheses."""
    return int(stat.rpartition(b")")[2].split()[_START_FIELD])


def decode_tasks(records: bytes) -> list[abi.Task]:
    """The records of ``read_tasks``."""
    return list((abi.Task * (len(records) // abi.TASK_SIZE)).from_buffer_copy(records))


def read_processes(tasks: list[abi.Task], *, no_args: bool = False) -> Iterator[dict[str, Any]]:
    """What /proc knows of each process that is still there; kernel threads are left out.

    Yields: content of a PROC chunk's list (docs/capture-format.md).
    """
    for task in tasks:
        if task.flags & abi.Flag.KTHREAD:
            continue
        try:
            process = _read_process(task, no_args)
        except OSError:  # it is gone
            continue
        if process is not None:
            yield process


def _read_process(task: abi.Task, no_args: bool) -> dict[str, Any] | None:
    directory = f"/proc/{task.tgid}"
    try:
        exe: str | None = os.readlink(f"{directory}/exe")
    except OSError:  # a zombie
        exe = None
    with open(f"{directory}/cgroup", "rb") as file:
        cgroup = file.read()
    arguments = b""
    if not no_args:
        with open(f"{directory}/cmdline", "rb") as file:
            arguments = file.read(_ARGS_LIMIT + 1)
    # Last, so that all that was read belongs to this process and not to one that took its tgid.
    with open(f"{directory}/stat", "rb") as file:
        start_ticks = _start_ticks(file.read())
    if start_ticks != task.start_ns // _TICK_NS:
        return None
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


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "backslashreplace")
