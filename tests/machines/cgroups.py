"""Cgroups of a machine: one below this process's own in every hierarchy that the host has."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path


def cgroup_paths(name: str) -> list[Path]:
    """Where a machine's cgroups of this name are to be: one a hierarchy of /sys/fs/cgroup."""
    return [top / name for top in _own_cgroups()]


def make_cgroup(cgroup: Path) -> None:
    """A cgroup that processes can enter."""
    top = cgroup.parent
    cgroup.mkdir()
    for file in ("cpuset.cpus", "cpuset.mems"):  # a v1 cpuset is empty at first
        if (top / file).exists() and not (cgroup / "cgroup.controllers").exists():
            (cgroup / file).write_text((top / file).read_text())
    if (clone := cgroup / "cgroup.clone_children").exists():  # those below it get them too
        clone.write_text("1")


def remove_cgroup(cgroup: Path) -> bool:
    """Removes a cgroup and those in it. False: something still ended in it; try again."""
    for folder, _, _ in os.walk(cgroup, topdown=False):
        with contextlib.suppress(OSError):
            os.rmdir(folder)
    if cgroup.exists():
        for pids in [*cgroup.rglob("cgroup.procs")]:
            with contextlib.suppress(OSError):
                for pid in filter(None, map(int, pids.read_text().split())):  # 0: no pid here
                    os.kill(pid, signal.SIGKILL)
    return not cgroup.exists()


def _own_cgroups() -> Iterator[Path]:
    """This process's cgroup in every hierarchy that is mounted below /sys/fs/cgroup."""
    paths = {}
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        paths[controllers.removeprefix("name=")] = path
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, where, kind, *_ = line.split()
        if kind == "cgroup2" and where.startswith("/sys/fs/cgroup"):
            yield Path(where)
        elif kind == "cgroup" and where.startswith("/sys/fs/cgroup/"):
            name = where.rpartition("/")[2]
            path = next(p for c, p in paths.items() if name in (c, *c.split(",")))
            yield Path(where + path)
