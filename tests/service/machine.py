"""A real systemd for a test: process 1 of namespaces of its own, over this host's root.

What it writes is in memory and goes with it: an overlay lies over the root, and only the checkout
is the host's. Its units are systemd's own few; nothing that the host has enabled is started.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.kernel.recording import wait_for

SYSTEMD = Path("/lib/systemd/systemd")
_PREFIX = "rtrace-lab-"
_STAGE = Path(__file__).with_name("stage.sh")
_UNITS = (
    *("multi-user.target", "basic.target", "sysinit.target", "local-fs.target", "sockets.target"),
    *("slices.target", "paths.target", "timers.target", "shutdown.target", "umount.target"),
    *("systemd-journald.service", "systemd-journald.socket", "systemd-journald-dev-log.socket"),
)


class Machine:
    """The running systemd.

    Args:
        checkout: folder that is as outside.

    Attributes:
        pid: of its process 1, as this host numbers it.
        root: its root directory as seen from here.
    """

    def __init__(self, checkout: Path) -> None:
        self._checkout = checkout
        self._scratch = Path(tempfile.mkdtemp(prefix=_PREFIX))
        self._cgroups: list[Path] = []
        self._unshare: subprocess.Popen[bytes] | None = None
        self.pid = 0

    @property
    def root(self) -> Path:
        return Path(f"/proc/{self.pid}/root")

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop()

    def run(self, *command: str | Path, **keywords: Any) -> subprocess.CompletedProcess[str]:
        """A program inside, up to its end; its status is the caller's to look at."""
        enter = ["nsenter", "-t", str(self.pid), *("-m", "-u", "-i", "-n", "-p", "-C", "--")]
        clean = ["env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C"]
        return subprocess.run(
            [*enter, *clean, *map(str, command)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            **keywords,
        )

    def show(self, unit: str) -> dict[str, str]:
        """Properties of a unit, as `systemctl show` names them."""
        done = self.run("systemctl", "show", unit)
        assert done.returncode == 0, done.stderr
        return dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)

    def _start(self) -> None:
        (self._scratch / "memory").mkdir()
        for top in _own_cgroups():
            cgroup = top / self._scratch.name
            cgroup.mkdir()
            self._cgroups.append(cgroup)
            for name in ("cpuset.cpus", "cpuset.mems"):  # a v1 cpuset is empty at first
                if (top / name).exists() and not (cgroup / "cgroup.controllers").exists():
                    (cgroup / name).write_text((top / name).read_text())
        # The shell enters the cgroups, so that the cgroup namespace begins there.
        enter = 'for group in $1; do echo $$ >"$group/cgroup.procs"; done; shift; exec "$@"'
        namespaces = ("--pid", "--mount", "--uts", "--ipc", "--net", "--cgroup")
        groups = " ".join(map(str, self._cgroups))
        stage = [_STAGE, self._scratch, self._checkout, " ".join(_UNITS)]
        with (self._scratch / "console").open("wb") as console:
            self._unshare = subprocess.Popen(
                [
                    *("sh", "-c", enter, "sh", groups),
                    *("unshare", "--fork", "--kill-child=SIGKILL", *namespaces),
                    *("--propagation", "private", *map(str, stage)),
                ],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                start_new_session=True,
            )
        children = Path(f"/proc/{self._unshare.pid}/task/{self._unshare.pid}/children")

        def booted() -> bool:
            assert self._unshare is not None
            said = (self._scratch / "console").read_text()
            assert self._unshare.poll() is None, said
            with contextlib.suppress(OSError, IndexError, ValueError):
                self.pid = int(children.read_text().split()[0])
                return Path(f"/proc/{self.pid}/comm").read_text().strip() == "systemd"
            return False

        wait_for(booted, "systemd")
        wait_for(
            lambda: self.run("systemctl", "is-active", "multi-user.target").returncode == 0,
            "multi-user.target",
        )

    def _stop(self) -> None:
        if self._unshare is not None:
            self._unshare.kill()  # its child, process 1, goes with it, and so does all inside
            self._unshare.wait()
        for cgroup in self._cgroups:
            wait_for(lambda cgroup=cgroup: _remove(cgroup), f"the end of {cgroup}")
        shutil.rmtree(self._scratch)


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


def _remove(cgroup: Path) -> bool:
    """Removes a cgroup and those in it, as soon as they are empty."""
    for folder, _, _ in os.walk(cgroup, topdown=False):
        with contextlib.suppress(OSError):
            os.rmdir(folder)
    if cgroup.exists():
        for pids in cgroup.rglob("cgroup.procs"):
            with contextlib.suppress(OSError):
                for pid in pids.read_text().split():
                    os.kill(int(pid), signal.SIGKILL)
    return not cgroup.exists()
