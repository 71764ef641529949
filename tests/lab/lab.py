"""A lab: one docker engine under one systemd, with an image, known by a name.

What is known of it is in ~/.cache/rtrace/lab/run/NAME. As long as it is there, its `unshare`
holds the lock in that folder: so a folder whose lock is free is a dead lab's, and its remains are
removed before the next lab starts, whatever has ended it.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Self

from demo.busybox import image_tar
from tests.debian import cache_folder
from tests.kernel.recording import DEADLINE_S, wait_for
from tests.lab.roots import hold_root
from tests.lab.topologies import TOPOLOGIES, runs_on, write_configuration
from tests.machines import machine
from tests.machines.cgroups import cgroup_paths, remove_cgroup
from tests.machines.machine import Machine

IMAGE = "busybox"
IMAGE_ROOT = "/srv/busybox"  # the same, unpacked, for ctr
_STAGE = Path(__file__).with_name("stage.sh")
_PREFIX = "rtrace-lab-"  # of cgroups


class LabError(Exception):
    """A lab cannot be used. ``str()`` says why and what to do, in one line."""


@dataclass(frozen=True, slots=True)
class Setup:
    """Which engine runs in a lab, and how."""

    suite: str
    topology: str
    live_restore: bool = False

    def __str__(self) -> str:
        return f"{self.suite}-{self.topology}{'-lr' if self.live_restore else ''}"


class Lab(Machine):
    """A running lab.

    Attributes:
        name: its name, and its host name.
        setup: what it runs.
    """

    def __init__(self, name: str, setup: Setup, running: Machine) -> None:
        super().__init__(running.pid, running.unshare_pid, running.cgroups)
        self.name, self.setup = name, setup

    @classmethod
    def boot(cls, setup: Setup, name: str | None = None, *, outlives: bool = False) -> Self:
        """Builds what is missing, starts a lab, and waits until its docker answers.

        Args:
            name: it must not be in use.
            outlives: it goes on when this thread ends; else it is killed then, however that ends.

        Raises:
            BootstrapError: its root file system cannot be built.
            LabError: it cannot start.
        """
        name = name or f"{setup}-{os.getpid()}"
        topology = TOPOLOGIES[setup.topology]
        if not runs_on(setup.topology, setup.suite):
            raise LabError(
                f"{setup.suite} has no shim v1, which topology {setup.topology} is about; "
                "take topology A or B, or an older suite"
            )
        if topology.cgroup_v1 and not _has_cgroup_v1():
            raise LabError(
                f"topology {setup.topology} needs cgroup v1 hierarchies (its shim v1 does), and "
                "this host has none below /sys/fs/cgroup; take topology A or B, or mount them "
                "(kernel option systemd.unified_cgroup_hierarchy=0)"
            )
        collect_garbage()
        with hold_root(setup.suite) as (root, root_lock), _claim(name) as (state, lock):
            (state / "memory").mkdir()
            configuration = state / "configuration"
            write_configuration(
                configuration, setup.suite, topology, live_restore=setup.live_restore
            )
            (configuration / IMAGE_ROOT.lstrip("/")).mkdir(parents=True)
            for file, content in (("hostname", name), ("resolv.conf", "")):  # not this host's
                (configuration / "etc" / file).write_text(content + "\n")
            cgroup_view = "as-host" if topology.cgroup_v1 else "unified"
            stage: list[str | Path] = [_STAGE, state, root, name, cgroup_view]
            cgroups = cgroup_paths(f"{_PREFIX}{name}")
            (state / "cgroups.json").write_text(json.dumps(list(map(str, cgroups))))
            running = machine.start(
                cgroups,
                stage,
                state / "console",
                outlives=outlives,
                pass_fds=(root_lock, lock),
            )
            lab = cls(name, setup, running)
            try:
                lab._save()
                lab._wait_for_docker()
                lab._import_image(image_tar(root / "bin/busybox"))
            except BaseException:
                lab.stop()
                raise
        return lab

    @classmethod
    def find(cls, name: str) -> Self:
        """A lab that was booted by anybody.

        Raises:
            LabError: there is none of this name.
        """
        state = runs_folder() / name
        if not state.is_dir() or not _is_held(state):
            known = ", ".join(names()) or "none"
            raise LabError(f"no lab {name} is running; running: {known}")
        saved = json.loads((state / "state.json").read_text())
        running = Machine(saved["pid"], saved["unshare_pid"], _cgroups_of(state))
        return cls(name, Setup(**saved["setup"]), running)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def state(self) -> Path:
        """A folder for files that are to go with it."""
        return runs_folder() / self.name

    def stop(self) -> None:
        """Ends it, and removes all that it has on this host. May be called twice."""
        with _registry():  # as soon as it is dead, another lab's boot may collect it
            self.end()
            shutil.rmtree(self.state, ignore_errors=True)

    def versions(self) -> dict[str, str]:
        """What its programs say of themselves."""
        asked = {
            "docker": ("docker", "version", "--format", "{{.Server.Version}}"),
            "containerd": ("containerd", "--version"),
            "runc": ("runc", "--version"),
            "systemd": ("systemctl", "--version"),
            "podman": ("podman", "--version"),
            "crun": ("crun", "--version"),
        }
        found = {}
        for name, command in asked.items():
            done = self.run(*command)
            words = done.stdout.split("\n")[0].split()
            if done.returncode == 0 and words:
                numbers = [w.lstrip("v") for w in words if w.lstrip("v")[:1].isdigit()]
                found[name] = re.sub(r"[~+](ds|dfsg|unknown).*", "", numbers[0]).replace("~", "-")
        return found

    def processes(self) -> list[int]:
        """Of all that run in it, as this host numbers them."""
        found: set[int] = set()
        for cgroup in self.cgroups:
            for file in cgroup.rglob("cgroup.procs"):
                with contextlib.suppress(OSError):
                    found.update(map(int, file.read_text().split()))
        return sorted(found)

    def _save(self) -> None:
        saved = {
            "pid": self.pid,
            "unshare_pid": self.unshare_pid,
            "setup": asdict(self.setup),
        }
        (self.state / "state.json").write_text(json.dumps(saved))

    def _wait_for_docker(self) -> None:
        deadline = time.monotonic() + DEADLINE_S
        while self.run("docker", "version").returncode != 0:
            if time.monotonic() > deadline:
                said = self.run("journalctl", "-u", "docker", "-o", "cat", "-n", "1").stdout
                raise LabError(f"docker does not answer in lab {self.name}: {said.strip()}")
            time.sleep(0.1)

    def _import_image(self, tar: bytes) -> None:
        file = self.root / "srv/busybox.tar"
        file.write_bytes(tar)
        script = (
            f"docker import /srv/busybox.tar {IMAGE} && tar -C {IMAGE_ROOT} -xf /srv/busybox.tar"
        )
        done = self.run("sh", "-c", script)
        if done.returncode != 0:
            raise LabError(f"cannot import an image into lab {self.name}: {done.stderr.strip()}")


def runs_folder() -> Path:
    """Where the state of labs is, one folder each."""
    return cache_folder("lab") / "run"


def names() -> list[str]:
    """The labs that run."""
    states = runs_folder().glob("*/state.json")
    return sorted(path.parent.name for path in states if _is_held(path.parent))


def collect_garbage() -> list[str]:
    """Removes what labs left that were killed; the names of those."""
    removed = []
    with _registry():
        for state in sorted(runs_folder().glob("*/")):
            if _is_held(state):
                continue
            for cgroup in _cgroups_of(state):
                wait_for(partial(remove_cgroup, cgroup), f"the end of {cgroup}")
            shutil.rmtree(state)
            removed.append(state.name)
    return removed


@contextlib.contextmanager
def _registry() -> Iterator[None]:
    """While a lab is made or removed."""
    runs_folder().mkdir(parents=True, exist_ok=True)
    with open(runs_folder() / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def _claim(name: str) -> Iterator[tuple[Path, int]]:
    """The state folder of a new lab, and its lock, which the lab has to keep open."""
    state = runs_folder() / name
    with _registry():
        try:
            state.mkdir()
        except FileExistsError:
            raise LabError(f"there is a lab {name}; take another name, or stop it") from None
        lock = os.open(state / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX)
    try:
        yield state, lock
    except BaseException:
        with _registry():
            shutil.rmtree(state, ignore_errors=True)
        raise
    finally:
        os.close(lock)


def _is_held(state: Path) -> bool:
    with contextlib.suppress(FileNotFoundError), open(state / "lock") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _has_cgroup_v1() -> bool:
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    return any(kind == "cgroup" and "/memory" in where for _, where, kind, *_ in mounts)


def _cgroups_of(state: Path) -> list[Path]:
    """They are written down before they are made."""
    with contextlib.suppress(FileNotFoundError):
        return [*map(Path, json.loads((state / "cgroups.json").read_text()))]
    return []
