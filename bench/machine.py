"""The machine that was measured, and how busy others kept it meanwhile."""

from __future__ import annotations

import os
import platform
import sys
import time
from pathlib import Path
from typing import Any

# Fields of the first line of /proc/stat, in ticks (proc(5)).
_IDLE, _IOWAIT, _STEAL = 3, 4, 7


def describe_machine() -> dict[str, Any]:
    """Hardware and software, for the table and the JSON file."""
    return {
        "kernel": platform.release(),
        "cpu": _cpu_model(),
        "cpus": len(os.sched_getaffinity(0)),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "virtual": "hypervisor" in Path("/proc/cpuinfo").read_text(),
        "python": platform.python_version(),
        "os": platform.freedesktop_os_release().get("PRETTY_NAME", ""),
    }


def machine_line(machine: dict[str, Any]) -> str:
    """What ``describe_machine`` gave, for people."""
    return (
        f"{machine['cpu']}, {machine['cpus']} CPUs{', virtual' if machine['virtual'] else ''}, "
        f"kernel {machine['kernel']}, {machine['os']}, Python {machine['python']}"
    )


def last_cpu() -> int:
    """Number of the last CPU that this process may use."""
    return max(os.sched_getaffinity(0))


def others_load(seconds: float) -> float:
    """Share of all CPU time that somebody else uses while nothing is measured, 0 to 1."""
    before = _ticks()
    time.sleep(seconds)
    spent = [now - then for now, then in zip(_ticks(), before, strict=True)]
    total = sum(spent)
    return (total - spent[_IDLE] - spent[_IOWAIT]) / total if total else 0.0


def steal_ticks() -> int:
    """CPU time that the hypervisor gave to others, in ticks since boot."""
    return _ticks()[_STEAL]


def other_recorders() -> int:
    """How many rtrace are running: their programs burden also what is measured "without"."""
    count = 0
    for comm in Path("/proc").glob("[0-9]*/comm"):
        try:
            count += comm.read_text() == "rtrace\n"
        except OSError:
            continue
    return count


def rtrace_command() -> str:
    """The rtrace beside this Python (.venv/bin/rtrace)."""
    return str(Path(sys.executable).with_name("rtrace"))


def _ticks() -> list[int]:
    with open("/proc/stat") as file:
        return [int(field) for field in file.readline().split()[1:9]]


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
