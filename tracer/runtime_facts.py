"""Which container runtimes this host has, their versions and how they are set up.

A running docker daemon is asked through its socket; what it does not tell is asked from the
programs on PATH. Never is a program run because a process has its name: that could be
anybody's.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import stat
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from tracer import abi, docker_api
from tracer.foreign_files import found
from tracer.proc_view import ProcView, is_init_of

_DOCKERD_NAMES = (b"dockerd",)
_CONTAINERD_NAMES = (b"containerd", b"docker-containerd", b"docker-containe")
_SOCKETS = ("/run/docker.sock", "/var/run/docker.sock")
_TEXT_LIMIT = 4096
_SOCKET_ACTIVATOR = 1  # systemd, which listens for docker.service
# Programs to ask when no daemon has told: name and the arguments that make it say its version.
_PROGRAMS = {
    "docker": ("dockerd", "--version"),
    "containerd": ("containerd", "--version"),
    "runc": ("runc", "--version"),
    "podman": ("podman", "--version"),
    "crun": ("crun", "--version"),
}
_PROGRAM_TIMEOUT_S = 2.0
_VERSION = re.compile(r"\bv?(\d+\.\d+[\w.+~-]*)")


def find_daemons(tasks: Iterable[abi.Task], names: tuple[bytes, ...]) -> list[abi.Task]:
    """Processes with one of these comms."""
    return [task for task in tasks if task.comm in names]


def daemon_ids(tasks: Iterable[abi.Task]) -> frozenset[tuple[int, int]]:
    """tgid and start of the daemons: when they change, so may all that they said."""
    daemons = find_daemons(tasks, _DOCKERD_NAMES + _CONTAINERD_NAMES)
    return frozenset((daemon.tgid, daemon.start_ns) for daemon in daemons)


def read_runtimes(
    tasks: Iterable[abi.Task], view: ProcView, *, ask_programs: bool = True
) -> Iterator[dict[str, Any]]:
    """FACT chunks of the kinds "runtime" and "problem" for the processes of the snapshot.

    Args:
        ask_programs: what no daemon has told may be asked from the programs on this process's PATH.
    """
    told: set[str] = set()
    for daemon in find_daemons(tasks, _DOCKERD_NAMES):
        with view.open(daemon.tgid, daemon.start_ns) as directory:
            for fact in _ask_daemon(daemon, directory, tasks, view):
                if fact["kind"] == "runtime":
                    told.add(fact["name"])
                yield fact
    for name, command in _PROGRAMS.items() if ask_programs else ():
        answer = None if name in told else _ask_program(name, command)
        if answer is not None:
            yield answer


def _ask_daemon(
    daemon: abi.Task, directory: str | None, tasks: Iterable[abi.Task], view: ProcView
) -> Iterator[dict[str, Any]]:
    """What a dockerd tells of itself and its containers; a problem if it does not."""
    name = f"dockerd ({daemon.tgid})"
    if directory is None:
        yield {"kind": "problem", "what": f"{name} is not in /proc: it was not asked"}
        return
    with contextlib.ExitStack() as stack:
        try:
            door = stack.enter_context(_door_of(directory, view))
            if door is None:
                yield {"kind": "problem", "what": f"{name} has no socket to ask"}
                return
            version, info = door.get("/version"), door.get("/info")
        except PermissionError as error:
            path = error.filename or "its socket"
            yield {"kind": "problem", "what": f"{name} was not asked: permission denied for {path}"}
            return
        except OSError as error:
            yield {"kind": "problem", "what": f"{name} did not answer: {error}"}
            return
        yield from _docker_facts(daemon, version, info, tasks)
        yield from _docker_containers(door)


@dataclass(frozen=True, slots=True)
class _Door:
    """Where a daemon is asked.

    Attributes:
        path: the socket as the daemon names it.
        way: path by which it is reached from here.
        listeners: see docker_api.get.
    """

    path: str
    way: str
    listeners: frozenset[int] | None = None

    def get(self, resource: str) -> Any:
        """See docker_api.get."""
        try:
            return docker_api.get(self.way, resource, listeners=self.listeners)
        except PermissionError:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), self.path) from None
        except OSError as error:
            raise OSError(str(error).replace(self.way, self.path)) from None


@contextlib.contextmanager
def _door_of(directory: str, view: ProcView) -> Iterator[_Door | None]:
    """The daemon's unix socket, held open, as seen from its directory in /proc; None: it has none.

    It says itself where that is, and anybody's process may have its name: nothing is asked of a
    socket at which another one listens, but for process 1 (systemd) at the daemon's usual place.

    Raises:
        PermissionError: its files may not be looked at.
    """
    try:
        with open(f"{directory}/cmdline", "rb") as file:
            arguments = file.read(abi.ARGS_MAX).decode("utf-8", "surrogateescape")
        with open(f"{directory}/stat", "rb") as file:
            pid = int(file.read().split()[0])
    except OSError:
        yield None
        return
    paths: tuple[str, ...] = (*re.findall(r"unix://([^\0]+)", arguments), *_SOCKETS)
    with contextlib.ExitStack() as stack:
        for path in paths:
            try:
                fd = stack.enter_context(found(f"{directory}/root", path))
                if not stat.S_ISSOCK(os.fstat(fd).st_mode):
                    continue
            except PermissionError:
                # A member of the group docker may ask it all the same, if the path means the same
                # to both.
                if (way := _same_path(paths, pid)) is None:
                    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path) from None
                yield _Door(way, way)
                return
            except (OSError, ValueError):
                continue
            way = f"/proc/self/fd/{fd}"
            listeners = {pid}
            if path in _SOCKETS and (other := docker_api.listener(way)) is not None:
                listeners |= {other} if is_init_of(f"/proc/{other}", directory) else set()
            yield _Door(path, way, frozenset(listeners) if view.has_own_ids else None)
            return
        yield None


def _same_path(paths: Iterable[str], pid: int) -> str | None:
    mine = (path for path in paths if docker_api.listener(path) in (pid, _SOCKET_ACTIVATOR))
    return next(mine, None)


def _docker_facts(
    daemon: abi.Task, version: Any, info: Any, tasks: Iterable[abi.Task]
) -> Iterator[dict[str, Any]]:
    version = version if isinstance(version, dict) else {}
    info = info if isinstance(info, dict) else {}
    yield {
        "kind": "runtime",
        "name": "docker",
        "version": _text(version.get("Version")),
        "source": "GET /version",
        "tgid": daemon.tgid,
        "start_ns": daemon.start_ns,
        "live_restore": info.get("LiveRestoreEnabled") is True,
        "containerd": _containerd_of(daemon, tasks),
        "default_runtime": _text(info.get("DefaultRuntime")),
        "cgroup_driver": _text(info.get("CgroupDriver")),
        "storage_driver": _text(info.get("Driver")),
    }
    components = version.get("Components")
    for component in components if isinstance(components, list) else []:
        name = component.get("Name") if isinstance(component, dict) else None
        if name in ("containerd", "runc", "docker-init"):
            yield {
                "kind": "runtime",
                "name": name,
                "version": _text(component.get("Version")),
                "source": "GET /version",
                "daemon": f"{daemon.tgid}:{daemon.start_ns}",
            }


def _containerd_of(daemon: abi.Task, tasks: Iterable[abi.Task]) -> str:
    """ "managed": containerd is this daemon's child; "external": it is a service of its own."""
    containerds = find_daemons(tasks, _CONTAINERD_NAMES)
    if any(c.parent_tgid == daemon.tgid for c in containerds):
        return "managed"
    return "external" if containerds else "unknown"


def _docker_containers(door: _Door) -> Iterator[dict[str, Any]]:
    """Running containers as the daemon lists them: for those whose files cannot be found."""
    try:
        listed = door.get("/containers/json")
    except OSError as error:
        yield {"kind": "problem", "what": f"the docker daemon did not list containers: {error}"}
        return
    for entry in listed if isinstance(listed, list) else []:
        if not isinstance(entry, dict) or not isinstance(entry.get("Id"), str):
            continue
        names = entry.get("Names")
        yield {
            "kind": "container",
            "id": _text(entry["Id"]),
            "name": (_text(names[0]) or "").lstrip("/") or None
            if isinstance(names, list) and names
            else None,
            "image": _text(entry.get("Image")),
            "runtime": "docker",
            "namespace": None,
            "source": "GET /containers/json",
        }


def _ask_program(name: str, command: tuple[str, ...]) -> dict[str, Any] | None:
    path = shutil.which(command[0])
    if path is None:
        return None
    try:
        answer = subprocess.run(
            [path, *command[1:]],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_PROGRAM_TIMEOUT_S,
            check=False,
        ).stdout.decode("utf-8", "backslashreplace")
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = _VERSION.search(answer)
    if match is None:
        return None
    return {"kind": "runtime", "name": name, "version": match[1], "source": path}


def _text(value: object) -> str | None:
    return value[:_TEXT_LIMIT] if isinstance(value, str) else None
