"""--pidns and --cgroup: from what the user says to what the BPF programs compare."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from tracer import abi
from tracer.cgroups import Hierarchy, find_hierarchy, read_hierarchies
from tracer.errors import HostError, UsageError


@dataclass(frozen=True, slots=True)
class RecordFilter:
    """What is recorded.

    Attributes:
        description: for the capture's header; None: everything.
        pidns: inode of the pid namespace, which ``namespace_fd`` keeps from being reused.
        cgroup_id: kernfs id of the top cgroup, its inode number.
        controller: whose v1 hierarchy the cgroup is in; NONE: v2.
    """

    description: dict[str, Any] | None = None
    kind: abi.Filter = abi.Filter.NONE
    pidns: int = 0
    namespace_fd: int = -1
    cgroup_id: int = 0
    controller: abi.Controller = abi.Controller.NONE

    def apply(self, config: abi.Config) -> None:
        """Sets the filter in the BPF programs' settings."""
        config.filter = self.kind
        config.pidns = self.pidns
        config.cgroup_id = self.cgroup_id
        config.cgroup_controller = self.controller


def resolve_filter(pidns: int | None, cgroup: str | None) -> RecordFilter:
    """The filter for ``--pidns PID`` or ``--cgroup PATH``, or none.

    Raises:
        UsageError: both are given.
        HostError: no such process or cgroup.
    """
    if pidns is not None and cgroup is not None:
        raise UsageError("cannot filter by --pidns and --cgroup at once", "", "give one of them")
    if pidns is not None:
        return _pidns_filter(pidns)
    if cgroup is not None:
        return _cgroup_filter(cgroup)
    return RecordFilter()


def _pidns_filter(pid: int) -> RecordFilter:
    fact = f"cannot filter by the pid namespace of process {pid}"
    try:
        # Held open while rtrace runs: the kernel gives the inode number of a namespace that is
        # gone to the next one at once, and that one must not be recorded.
        namespace = os.open(f"/proc/{pid}/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
        inode = os.fstat(namespace).st_ino
    except FileNotFoundError:
        raise HostError(
            fact, "there is no such process", "give the pid of a process that is alive"
        ) from None
    except OSError as error:
        raise HostError(fact, os.strerror(error.errno or 0), "run as root") from None
    return RecordFilter(
        description={"kind": "pidns", "pid": pid, "pidns": inode},
        kind=abi.Filter.PIDNS,
        pidns=inode,
        namespace_fd=namespace,
    )


def _cgroup_filter(text: str) -> RecordFilter:
    hierarchies = read_hierarchies()
    fact = f"cannot filter by the cgroup {text}"
    path = _find_cgroup(text, hierarchies)
    if path is None:
        raise HostError(
            fact,
            "there is no such cgroup",
            "give a directory below /sys/fs/cgroup, or a path as in /proc/PID/cgroup",
        )
    hierarchy = find_hierarchy(path, hierarchies)
    if hierarchy is None:
        raise HostError(
            fact, "the directory is in no cgroup hierarchy", "give one below /sys/fs/cgroup"
        )
    if hierarchy.version == 1 and not hierarchy.controllers:
        raise HostError(
            fact,
            f"{hierarchy.mount} is a v1 hierarchy without a controller that rtrace knows",
            "give the same cgroup below a controller, for instance pids or memory",
        )
    controller = hierarchy.controllers[0] if hierarchy.version == 1 else abi.Controller.NONE
    inode = os.stat(path).st_ino
    return RecordFilter(
        description={"kind": "cgroup", "path": os.path.realpath(path), "id": inode},
        kind=abi.Filter.CGROUP,
        cgroup_id=inode,
        controller=controller,
    )


def _find_cgroup(text: str, hierarchies: list[Hierarchy]) -> str | None:
    """The directory that is meant: as given, or below a mounted hierarchy, v2 first."""
    if os.path.isdir(text) and find_hierarchy(text, hierarchies):
        return text
    for hierarchy in sorted(hierarchies, key=lambda h: -h.version):
        if hierarchy.version == 1 and not hierarchy.controllers:
            continue
        path = os.path.join(hierarchy.mount, text.lstrip("/"))
        if text.strip("/") and os.path.isdir(path):
            return path
    return None
