"""What the kernel's log says of an OOM kill, from lines as kernels write them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tracer import kernel_log
from tracer.kernel_log import KernelLog

USAGE = "memory: usage 16384kB, limit 16384kB, failcnt 24"
SWAP = "memory+swap: usage 16384kB, limit 32768kB, failcnt 0"
KILL = (
    "oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=/,mems_allowed=0,"
    "oom_memcg=/docker/2f1c,task_memcg=/docker/2f1c/x,task=a,pid=5,uid=0,pid=4711,uid=0"
)
GLOBAL = (
    "oom-kill:constraint=CONSTRAINT_NONE,nodemask=(null),cpuset=/,mems_allowed=0,global_oom,"
    "task_memcg=/docker/2f1c,task=sh,pid=4711,uid=0"
)


@pytest.fixture
def found() -> list[dict[str, Any]]:
    return []


@pytest.fixture
def log() -> KernelLog:
    return KernelLog()


def feed(log: KernelLog, *lines: str, prefix: str = "6,339,5140900,-;") -> list[dict[str, Any]]:
    """As read() of /dev/kmsg gives records, one at a time; gives what is told."""
    told = (log._look_at(f"{prefix}{line}\n SUBSYSTEM=x\n".encode()) for line in lines)
    return [fact for fact in told if fact is not None]


def test_a_limit_of_a_cgroup(log: KernelLog) -> None:
    found = feed(log, "sh invoked oom-killer: order=0", USAGE, SWAP, "Tasks state:", KILL)
    assert found == [
        {
            "kind": "oom",
            "tgid": 4711,  # the comm, "a,pid=5,uid=0", says something else
            "constraint": "memcg",
            "cgroup": "/docker/2f1c",
            "usage_bytes": 16 << 20,
            "limit_bytes": 16 << 20,
        }
    ]


def test_the_whole_host(log: KernelLog) -> None:
    found = feed(log, USAGE, KILL, GLOBAL)
    assert [(f["constraint"], f["cgroup"], f["limit_bytes"]) for f in found] == [
        ("memcg", "/docker/2f1c", 16 << 20),
        ("none", None, None),
    ]


def test_with_a_filter_no_cgroup_is_named() -> None:
    found = feed(KernelLog(with_groups=False), USAGE, KILL)
    assert found[0]["cgroup"] is None
    assert found[0]["limit_bytes"] == 16 << 20


@pytest.mark.parametrize("prefix", ["14,339,5140900,-;", "x;", "", "\xff,1;"])
def test_who_may_write_to_the_log_is_not_believed(prefix: str, log: KernelLog) -> None:
    found = feed(log, USAGE, KILL, prefix=prefix)
    assert found == []


@pytest.mark.parametrize("cut", [20, 60, len(KILL) - 8])
def test_a_line_that_is_cut(cut: int, log: KernelLog) -> None:
    found = feed(log, USAGE, KILL[:cut])
    assert found == []


def test_a_log_that_cannot_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, found: list[dict[str, Any]]
) -> None:
    for path in (tmp_path / "none", tmp_path):
        monkeypatch.setattr(kernel_log, "PATH", str(path))
        log = KernelLog()
        log.look(found.append)
        log.close()
    assert found == []


def test_it_reads_on_and_never_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, found: list[dict[str, Any]]
) -> None:
    """GIVEN a file instead of the log THEN what was there at the beginning is not told."""
    path = tmp_path / "kmsg"
    path.write_bytes(f"6,1,1,-;{USAGE}\n6,1,1,-;{KILL}\n".encode())
    monkeypatch.setattr(kernel_log, "PATH", str(path))
    log = KernelLog()
    log.look(found.append)
    for line in (USAGE, KILL):
        with path.open("ab") as file:
            file.write(f"6,1,1,-;{line}\n".encode())
        log.look(found.append)
    assert len(found) == 1
    log.close()
    log.look(found.append)
