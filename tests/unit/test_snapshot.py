"""What /proc adds to the kernel's snapshot."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tracer import abi
from tracer.proc_view import ProcView
from tracer.snapshot import decode_tasks, read_processes, read_tasks

_TICK_NS = 10_000_000
VIEW = ProcView(list)
ARGUMENTS = ["", "a\nb", "\udcff", "ü"]


def start_ns(pid: int) -> int:
    stat = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    return int(stat[19]) * _TICK_NS + 1234


@pytest.fixture
def child() -> Iterator[int]:
    """A program that has begun, with odd arguments."""
    code = "import sys; print(flush=True); sys.stdin.read()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, *ARGUMENTS], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    process.stdout.readline()
    yield process.pid
    process.communicate()


def test_a_process(child: int) -> None:
    (found,) = read_processes([abi.Task(tgid=child, start_ns=start_ns(child))], VIEW)

    assert found["tgid"] == child
    assert found["start_ns"] == start_ns(child)
    assert found["exe"] == os.path.realpath(sys.executable)
    assert found["args"][0] == sys.executable
    assert found["args"][-4:] == ["", "a\nb", "\\xff", "ü"]
    assert found["args_cut"] is False
    assert found["cgroup"] == Path("/proc/self/cgroup").read_text()


def test_without_arguments(child: int) -> None:
    task = abi.Task(tgid=child, start_ns=start_ns(child))

    (found,) = read_processes([task], VIEW, no_args=True)

    assert found["args"] == []


def test_a_recycled_pid_is_another_process(child: int) -> None:
    older = abi.Task(tgid=child, start_ns=start_ns(child) - 2 * _TICK_NS)

    assert list(read_processes([older], VIEW)) == []


def test_who_is_gone_or_a_kernel_thread_is_left_out(child: int) -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    kthread = abi.Task(tgid=child, start_ns=start_ns(child), flags=abi.Flag.KTHREAD)
    me = abi.Task(tgid=os.getpid(), start_ns=start_ns(os.getpid()))

    found = list(read_processes([abi.Task(tgid=gone.pid), kthread, me], VIEW))

    assert [process["tgid"] for process in found] == [os.getpid()]


def test_a_zombie_has_no_program() -> None:
    zombie = subprocess.Popen(["true"])
    os.waitid(os.P_PID, zombie.pid, os.WEXITED | os.WNOWAIT)
    task = abi.Task(tgid=zombie.pid, start_ns=start_ns(zombie.pid))

    (found,) = read_processes([task], VIEW)
    zombie.wait()

    assert found["exe"] is None
    assert (found["args"], found["args_cut"]) == ([], False)


def test_many_arguments_are_cut() -> None:
    process = subprocess.Popen(
        ["sh", "-c", "echo; read x", "x" * 10_000], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        process.stdout.readline()
        (found,) = read_processes(
            [abi.Task(tgid=process.pid, start_ns=start_ns(process.pid))], VIEW
        )
    finally:
        process.communicate()

    assert found["args_cut"] is True
    assert found["args"][:3] == ["sh", "-c", "echo; read x"]
    assert len("\0".join(found["args"])) == abi.ARGS_MAX


def test_records_of_the_iterator() -> None:
    tasks = [abi.Task(tgid=tgid, start_ns=tgid * 10, comm=b"x") for tgid in range(1, 3000)]
    read, write = os.pipe()
    writer = subprocess.Popen(
        [sys.executable, "-c", "import sys; sys.stdout.buffer.write(sys.stdin.buffer.read())"],
        stdin=subprocess.PIPE,
        stdout=write,
    )
    os.close(write)
    assert writer.stdin is not None
    writer.stdin.write(b"".join(bytes(task) for task in tasks))
    writer.stdin.close()

    decoded = decode_tasks(read_tasks(read))
    writer.wait()

    assert [bytes(task) for task in decoded] == [bytes(task) for task in tasks]
    assert len(decode_tasks(b"")) == 0
