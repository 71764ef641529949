"""A systemd that runs in namespaces of its own.

A stage script (see stage.sh) makes its root in a mount namespace that only it has, and becomes
systemd. So everything that is mounted goes with process 1, however that ends; and it ends with
`unshare`, its parent, whose id and lock stand for the machine.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from tests.kernel.recording import wait_for
from tests.machines.cgroups import make_cgroup, remove_cgroup

STAGE = Path(__file__).with_name("stage.sh")
_ENVIRON = ("PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LC_ALL=C")
_NAMESPACES = ("--pid", "--mount", "--uts", "--ipc", "--net", "--cgroup")
# The shell enters the cgroups, so that the cgroup namespace begins there.
_ENTER = 'for group in $1; do echo $$ >"$group/cgroup.procs"; done; shift; exec "$@"'


class Machine:
    """The running systemd.

    Attributes:
        pid: of its process 1, as this host numbers it.
        unshare_pid: of its parent.
        cgroups: its cgroups on this host, one a hierarchy.
    """

    def __init__(self, pid: int, unshare_pid: int, cgroups: Sequence[Path]) -> None:
        self.pid, self.unshare_pid, self.cgroups = pid, unshare_pid, list(cgroups)

    @property
    def root(self) -> Path:
        """Its root directory as seen from here."""
        return Path(f"/proc/{self.pid}/root")

    def command(self, *command: str | Path) -> list[str]:
        """What runs a command inside, in all namespaces and with a clean environment."""
        enter = ["nsenter", "-t", str(self.pid), *("-m", "-u", "-i", "-n", "-p", "-C", "--")]
        return [*enter, "env", "-i", *_ENVIRON, *map(str, command)]

    def run(self, *command: str | Path, **keywords: Any) -> subprocess.CompletedProcess[str]:
        """A program inside, up to its end; its status is the caller's to look at."""
        defaults: dict[str, Any] = {"timeout": 120, "check": False, "capture_output": True}
        if "input" not in keywords:
            defaults["stdin"] = subprocess.DEVNULL
        return subprocess.run(
            self.command(*command), text=True, errors="replace", **(defaults | keywords)
        )

    def show(self, unit: str) -> dict[str, str]:
        """Properties of a unit, as `systemctl show` names them."""
        done = self.run("systemctl", "show", unit)
        assert done.returncode == 0, done.stderr
        return dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)

    def end(self) -> None:
        """Ends it, and removes its cgroups. May be called twice."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.unshare_pid, signal.SIGKILL)  # process 1 and all inside go with it
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.unshare_pid, 0)
        for cgroup in self.cgroups:
            wait_for(partial(remove_cgroup, cgroup), f"the end of {cgroup}")


def start(
    cgroups: Sequence[Path],
    stage: Sequence[str | Path],
    console: Path,
    *,
    outlives: bool = False,
    pass_fds: Sequence[int] = (),
) -> Machine:
    """Starts a machine; it is there when its process 1 is systemd.

    Args:
        cgroups: made for it (see ``cgroup_paths``).
        stage: the script that becomes its systemd, with arguments.
        console: gets what the script and systemd say.
        outlives: it goes on when the thread that started it ends; else it is killed then,
            however that thread ends.
        pass_fds: what unshare keeps open as long as the machine is there.
    """
    for cgroup in cgroups:
        make_cgroup(cgroup)
    bound = [] if outlives else ["setpriv", "--pdeathsig", "KILL"]
    groups = " ".join(map(str, cgroups))
    with console.open("wb") as said:
        unshare = subprocess.Popen(
            [
                *(*bound, "sh", "-c", _ENTER, "sh", groups),
                *("unshare", "--fork", "--kill-child=SIGKILL", *_NAMESPACES),
                *("--propagation", "private", *map(str, stage)),
            ],
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            start_new_session=True,
            pass_fds=pass_fds,
        )
    machine = Machine(0, unshare.pid, cgroups)
    children = Path(f"/proc/{unshare.pid}/task/{unshare.pid}/children")

    def became_systemd() -> bool:
        assert unshare.poll() is None, f"no systemd: {console.read_text(errors='replace')}"
        with contextlib.suppress(OSError, IndexError, ValueError):
            machine.pid = int(children.read_text().split()[0])
            return Path(f"/proc/{machine.pid}/comm").read_text().strip() == "systemd"
        return False

    try:
        wait_for(became_systemd, "systemd")
    except BaseException:
        machine.end()
        raise
    unshare.returncode = 0  # it is waited for by its id: Machine.end() may be another process's
    return machine
