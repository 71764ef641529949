"""A process that cannot be mistaken for another that got its pid later."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import NamedTuple


class Process(NamedTuple):
    """A process by pid and start time (clock ticks since boot, as /proc/PID/stat has it)."""

    pid: int
    start_ticks: int

    @classmethod
    def of(cls, pid: int) -> Process | None:
        """The process that has this pid now; None if there is none, or only a zombie."""
        stat = _read_stat(pid)
        if stat is None:
            return None
        # A leader that has ended is a zombie while other threads of the process go on.
        state, threads, start_ticks = stat[0], int(stat[17]), int(stat[19])
        return None if state in "ZX" and threads < 2 else cls(pid, start_ticks)

    def is_alive(self) -> bool:
        """Whether it still runs: neither gone nor a zombie."""
        return Process.of(self.pid) == self

    def send(self, signum: signal.Signals) -> None:
        """Send a signal to this process, never to a later owner of its pid."""
        try:
            pidfd = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return
        try:
            if self.is_alive():  # the pidfd pins the process that was looked at
                signal.pidfd_send_signal(pidfd, signum)
        except ProcessLookupError:
            pass
        finally:
            os.close(pidfd)

    def wait_gone(self, seconds: float) -> bool:
        """Wait until it is gone; False if it is not by then."""
        end = time.monotonic() + seconds
        while self.is_alive():
            if time.monotonic() > end:
                return False
            time.sleep(0.01)
        return True

    def end(self, grace: float = 10.0) -> None:
        """SIGTERM, and SIGKILL where that does not help in time."""
        self.send(signal.SIGTERM)
        if not self.wait_gone(grace):
            self.send(signal.SIGKILL)
            self.wait_gone(5.0)


def all_processes() -> list[Process]:
    """Every process of this pid namespace that is no zombie."""
    pids = (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())
    return [process for pid in pids if (process := Process.of(pid))]


def read_argv(pid: int) -> list[str]:
    """The command line; empty for kernel threads and for processes that are gone."""
    try:
        raw = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return []
    return [os.fsdecode(word) for word in raw.split(b"\0")[:-1]]


def read_cgroup_paths(pid: int) -> list[str]:
    """Its cgroup in each hierarchy, as the host sees it; empty when it is gone."""
    try:
        lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    except OSError:
        return []
    return [line.split(":", 2)[2] for line in lines]


def _read_stat(pid: int) -> list[str] | None:
    """The fields of /proc/PID/stat from the state on (comm, before it, may hold anything)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
