"""Which container runtimes this host has, their versions and how they are set up.

A running docker daemon is asked through its socket; what it does not tell is asked from the
programs on PATH. Never is a program run because a process has its name: that could be
anybody's.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any

from tracer import abi, docker_api

_DOCKERD_NAMES = (b"dockerd",)
_CONTAINERD_NAMES = (b"containerd", b"docker-containerd", b"docker-containe")
_SOCKETS = ("/run/docker.sock", "/var/run/docker.sock")
_SUN_PATH_LIMIT = 107
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


def find_daemons(tasks: list[abi.Task], names: tuple[bytes, ...]) -> list[abi.Task]:
    """Processes with one of these comms."""
    return [task for task in tasks if task.comm in names]


def daemon_ids(tasks: list[abi.Task]) -> frozenset[tuple[int, int]]:
    """tgid and start of the daemons: when they change, so may all that they said."""
    daemons = find_daemons(tasks, _DOCKERD_NAMES + _CONTAINERD_NAMES)
    return frozenset((daemon.tgid, daemon.start_ns) for daemon in daemons)


def read_runtimes(tasks: list[abi.Task]) -> Iterator[dict[str, Any]]:
    """FACT chunks of the kinds "runtime" and "problem" for the processes of the snapshot."""
    told: set[str] = set()
    for daemon in find_daemons(tasks, _DOCKERD_NAMES):
        socket_path = _socket_of(daemon)
        if socket_path is None:
            yield {"kind": "problem", "what": f"dockerd ({daemon.tgid}) has no socket to ask"}
            continue
        try:
            version = docker_api.get(socket_path, "/version")
            info = docker_api.get(socket_path, "/info")
        except OSError as error:
            what = f"dockerd ({daemon.tgid}) did not answer: {error}"
            yield {"kind": "problem", "what": what}
            continue
        for fact in _docker_facts(daemon, version, info, tasks):
            told.add(fact["name"])
            yield fact
        yield from _docker_containers(socket_path)
    for name, command in _PROGRAMS.items():
        answer = None if name in told else _ask_program(name, command)
        if answer is not None:
            yield answer


def _socket_of(daemon: abi.Task) -> str | None:
    """The daemon's unix socket, as seen from here."""
    root = f"/proc/{daemon.tgid}/root"
    try:
        with open(f"/proc/{daemon.tgid}/cmdline", "rb") as file:
            arguments = file.read(abi.ARGS_MAX).decode("utf-8", "surrogateescape")
    except OSError:
        return None
    given = re.findall(r"unix://([^\0]+)", arguments)
    for path in (*given, *_SOCKETS):
        seen = f"{root}{path}"
        if len(os.fsencode(seen)) <= _SUN_PATH_LIMIT and os.path.exists(seen):
            return seen
    return None


def _docker_facts(
    daemon: abi.Task, version: Any, info: Any, tasks: list[abi.Task]
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


def _containerd_of(daemon: abi.Task, tasks: list[abi.Task]) -> str:
    """ "managed": containerd is this daemon's child; "external": it is a service of its own."""
    containerds = find_daemons(tasks, _CONTAINERD_NAMES)
    if any(c.parent_tgid == daemon.tgid for c in containerds):
        return "managed"
    return "external" if containerds else "unknown"


def _docker_containers(socket_path: str) -> Iterator[dict[str, Any]]:
    """Running containers as the daemon lists them: for those whose files cannot be found."""
    try:
        listed = docker_api.get(socket_path, "/containers/json")
    except OSError as error:
        yield {"kind": "problem", "what": f"the docker daemon did not list containers: {error}"}
        return
    for entry in listed if isinstance(listed, list) else []:
        if not isinstance(entry, dict) or not isinstance(entry.get("Id"), str):
            continue
        names = entry.get("Names")
        yield {
            "kind": "container",
            "id": entry["Id"],
            "name": names[0].lstrip("/") if isinstance(names, list) and names else None,
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
    return value if isinstance(value, str) else None
