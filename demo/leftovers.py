"""Removes every trace of a private docker from the host, also of one whose owner was killed.

All that is needed for it is in the folder of that docker: `State`, written before anything that
it names exists. So stopping in good order and cleaning up after a crash are the same code.

A private docker has, outside its folder:

- processes: the daemons, shims, runc, and what runs in containers;
- mounts below the folder (the data root, overlays, network namespaces);
- a cgroup of its own name in every hierarchy, the parent of its containers' cgroups;
- the shims' sockets, which containerd keeps in /run/containerd whatever its own folder is;
- `HOST_PATHS`: what docker and containerd make on any host, wherever their roots are.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import json
import os
import re
import shutil
import signal
import stat
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

from demo.process import Process, all_processes, read_argv, read_cgroup_paths

# Not in $TMPDIR: a later run has to find it, and a socket's path must fit into 107 bytes.
PARENT = Path("/tmp")
PREFIX = "rtrace-docker-"

# What the daemons make on any host; what was there before stays. Innermost first.
HOST_PATHS = (
    "/etc/docker/key.json",
    "/etc/docker",
    "/run/docker/plugins",
    "/run/docker",
    "/run/containerd/s",
    "/run/containerd",
    "/opt/containerd/bin",
    "/opt/containerd/lib",
    "/opt/containerd",
    "/var/lib/docker-containerd",
)

# Below the folder: of a containerd that is a process of its own, and of one that dockerd starts.
CONTAINERD_ADDRESSES = ("containerd.sock", "exec/docker/containerd/containerd.sock")

_SHIM_SOCKETS = Path("/run/containerd/s")

_LIBC = ctypes.CDLL(None, use_errno=True)  # umount(8) would make /run/mount
_MNT_DETACH = 2

_RUNTIME_NAMES = ("dockerd", "docker-", "containerd", "runc", "ctr")


@dataclass
class State:
    """What a private docker has put on the host, as its folder's state.json says it."""

    owner: Process
    boot_id: str
    cgroup_parent: str
    daemons: list[Process] = field(default_factory=list)
    host_paths_before: list[str] = field(default_factory=list)
    controllers_before: dict[str, str] = field(default_factory=dict)

    @classmethod
    def now(cls, cgroup_parent: str) -> State:
        """The state before the first daemon starts, owned by this process."""
        owner = Process.of(os.getpid())
        assert owner is not None  # this process is running
        # What another private docker has made will go: it was not there before either.
        others = [state for folder in _folders() if (state := cls.read(folder))]
        before = [path for path in HOST_PATHS if os.path.lexists(path)]
        before = [path for path in before if all(path in o.host_paths_before for o in others)]
        return cls(
            owner,
            _read_boot_id(),
            cgroup_parent,
            host_paths_before=before,
            controllers_before={str(path): path.read_text() for path in _subtree_controls()},
        )

    def write(self, folder: Path) -> None:
        """Save it, whole or not at all."""
        scratch = folder / "state.json.new"
        scratch.write_text(json.dumps(asdict(self)))
        scratch.replace(folder / "state.json")

    @classmethod
    def read(cls, folder: Path) -> State | None:
        """The saved state; None if the owner had not come that far."""
        try:
            saved = json.loads((folder / "state.json").read_text())
        except (OSError, ValueError):
            return None
        saved["owner"] = Process(*saved["owner"])
        saved["daemons"] = [Process(*daemon) for daemon in saved["daemons"]]
        return cls(**saved)

    def is_of_this_boot(self) -> bool:
        """Whether its pids, mounts and cgroups can still exist."""
        return self.boot_id == _read_boot_id()


def sweep_stale() -> None:
    """Remove what earlier private dockers left whose owner died without stopping them."""
    for folder in _folders():
        state = State.read(folder)
        if state is None:
            if time.time() - folder.lstat().st_mtime > 60:  # else it is just being made
                remove(folder, None)
        elif not (state.is_of_this_boot() and state.owner.is_alive()):
            remove(folder, state)


def _folders() -> list[Path]:
    """The folders of private dockers; in /tmp, which is everybody's, those only root can write."""
    found = []
    for folder in PARENT.glob(f"{PREFIX}*"):
        with contextlib.suppress(FileNotFoundError):
            about = folder.lstat()
            if stat.S_ISDIR(about.st_mode) and about.st_uid == 0 and not about.st_mode & 0o077:
                found.append(folder)
    return found


def remove(folder: Path, state: State | None) -> None:
    """End, unmount and delete all that belongs to the private docker in a folder.

    Args:
        folder: its folder; it is gone afterwards.
        state: what `State.read` gave; None if nothing but the folder can exist.
    """
    sockets = _find_shim_sockets(folder)
    if state is not None and state.is_of_this_boot():
        for daemon in reversed(state.daemons):
            daemon.end(grace=1)  # `stop` has ended them in order; a stale one need not linger
        _kill_rest(folder, state.cgroup_parent)
    _unmount_below(folder)
    if state is not None and state.is_of_this_boot():
        _remove_cgroups(state.cgroup_parent)
        _disable_controllers(state.controllers_before)
    for socket in sockets:
        socket.unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)
    if state is not None:
        _remove_host_paths(state.host_paths_before)


def _kill_rest(folder: Path, cgroup_parent: str) -> None:
    """Kill what outlives the daemons: shims, and what runs in containers."""
    deadline = time.monotonic() + 10
    while rest := [p for p in all_processes() if _belongs(p, folder, cgroup_parent)]:
        for process in rest:
            process.send(signal.SIGKILL)
        if time.monotonic() > deadline:
            return
        time.sleep(0.02)


def _belongs(process: Process, folder: Path, cgroup_parent: str) -> bool:
    paths = read_cgroup_paths(process.pid)
    if any(path == cgroup_parent or path.startswith(f"{cgroup_parent}/") for path in paths):
        return True
    argv = read_argv(process.pid)
    # Only the runtime's own programs: somebody may be reading a log in the folder.
    if not argv or not os.path.basename(argv[0]).startswith(_RUNTIME_NAMES):
        return False
    return any(f"{folder}/" in word for word in argv[1:])


def _find_shim_sockets(folder: Path) -> list[Path]:
    """The sockets that shims may have left; one that exits in order removes its own.

    A killed shim leaves its socket, and its containerd forgets about it: no file names it any more.
    But its name is a hash of containerd's address, a namespace and a container's id (containerd's
    runtime/v2/shim SocketAddress()), and both of the latter are in the logs or in a bundle's path.
    """
    logs = "".join(log.read_text(errors="replace") for log in folder.glob("*.log"))
    bundles = [path.parts[-2:] for path in folder.glob("exec/**/io.containerd.runtime.v2.task/*/*")]
    spaces = {"moby", *re.findall(r"namespace=([\w.-]+)", logs), *(space for space, _ in bundles)}
    ids = {*re.findall(r"\bid=([\w.-]+)", logs), *(ident for _, ident in bundles)}
    addresses = (folder / address for address in CONTAINERD_ADDRESSES)
    keys = [
        f"{address}/{space}/{ident}" for address in addresses for space in spaces for ident in ids
    ]
    return [_SHIM_SOCKETS / hashlib.sha256(key.encode()).hexdigest() for key in keys]


def _unmount_below(folder: Path) -> None:
    """Unmount what is mounted at or below the folder, the latest first."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    points = [line.split()[4] for line in lines]
    for point in reversed(points):
        if point == str(folder) or point.startswith(f"{folder}/"):
            _LIBC.umount2(os.fsencode(point), _MNT_DETACH)


def can_mount_overlay(folder: Path) -> bool:
    """Whether the file system of this (empty) folder can carry docker's overlay2."""
    names = ("lower", "upper", "work", "merged")
    lower, upper, work, merged = layers = [folder / name for name in names]
    for layer in layers:
        layer.mkdir()
    options = f"lowerdir={lower},upperdir={upper},workdir={work}".encode()
    if _LIBC.mount(b"overlay", os.fsencode(merged), b"overlay", ctypes.c_ulong(0), options) != 0:
        return False
    _LIBC.umount2(os.fsencode(merged), _MNT_DETACH)
    return True


def _remove_cgroups(cgroup_parent: str) -> None:
    for root in cgroup_roots():
        top = root / cgroup_parent.lstrip("/")
        for path, _, _ in os.walk(top, topdown=False):
            _rmdir_cgroup(path)


def _disable_controllers(before: dict[str, str]) -> None:
    """cgroup v2: runc enables controllers at the root for its containers, and leaves them so."""
    for path in _subtree_controls():
        for name in set(path.read_text().split()) - set(before.get(str(path), "").split()):
            with contextlib.suppress(OSError):  # in use by somebody else now
                path.write_text(f"-{name}")


def _subtree_controls() -> list[Path]:
    paths = (root / "cgroup.subtree_control" for root in cgroup_roots())
    return [path for path in paths if path.exists()]


def cgroup_roots() -> list[Path]:
    """Where the cgroup hierarchies, v1 and v2, are mounted."""
    lines = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    return [Path(line[1]) for line in lines if line[2] in ("cgroup", "cgroup2")]


def _rmdir_cgroup(path: str) -> None:
    """A cgroup is busy until the kernel is done with the processes that died in it."""
    for _ in range(200):
        try:
            os.rmdir(path)
        except FileNotFoundError:
            return
        except OSError:
            time.sleep(0.01)
        else:
            return


def _remove_host_paths(before: list[str]) -> None:
    for path in HOST_PATHS:
        if path in before:
            continue
        with contextlib.suppress(OSError):  # not there, or somebody else has put something in
            if os.path.isdir(path):
                os.rmdir(path)
            else:
                os.unlink(path)


def _read_boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
