"""Facts about this host for the capture's header: kernel, init, cgroups."""

from __future__ import annotations

import os
import platform
from typing import Any

from tracer.cgroups import cgroup_mode, read_hierarchies


def read_host() -> dict[str, Any]:
    """Content of the header's "host" (docs/capture-format.md). What cannot be read is None."""
    uname = platform.uname()
    return {
        "hostname": uname.node,
        "kernel": uname.release,
        "machine": uname.machine,
        "boot_id": _read_line("/proc/sys/kernel/random/boot_id"),
        "cpus": os.cpu_count(),
        "pid_max": int(_read_line("/proc/sys/kernel/pid_max") or 0),
        "os": _os_name(),
        "init": _read_line("/proc/1/comm"),
        "cgroup": cgroup_mode(read_hierarchies()),
    }


def _os_name() -> str | None:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME")
    except OSError:
        return None


def _read_line(path: str) -> str | None:
    try:
        with open(path, errors="backslashreplace") as file:
            return file.readline().strip()
    except OSError:
        return None
