"""What a capture lacks because of where, or as whom, rtrace runs: sentences for people.

They become facts of the kind "problem" in the capture, and `rtrace doctor` says them beforehand.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from tracer.capabilities import Capability, capabilities
from tracer.proc_view import INITIAL_PID_NAMESPACE, own_pid_namespace, shown_pid_namespace

ISOLATED = (
    "rtrace runs in a pid namespace of its own: what lived outside of it before and after the "
    "recording is not known, and containers outside of it may have no names"
)


@dataclass(slots=True)
class Unseen:
    """Processes that are alive, and of which /proc does not tell everything.

    Attributes:
        processes: how many /proc has not got at all.
        programs: how many have a program (exe) that may not be read.
        looked_at: of how many processes, kernel threads left out.
    """

    processes: int = 0
    programs: int = 0
    looked_at: int = 0

    def sentences(self) -> list[str]:
        """One for each kind that has a reason: a process may also end while it is looked at."""
        found = []
        if self.processes and (why := why_hidden()):
            found.append(
                f"/proc does not show {self.processes} of {self.looked_at} processes ({why}): "
                "their programs, arguments and containers are known only if they exec while "
                "rtrace records"
            )
        # With the capability some are refused all the same, by security modules: a few.
        if self.programs and (missing := without(Capability.SYS_PTRACE)):
            found.append(
                f"the programs (exe) of {self.programs} of {self.looked_at} processes may not be "
                f"read{missing}"
            )
        return found


def unreadable(path: str) -> str:
    """For a file of a container's runtime."""
    needed = [Capability.SYS_PTRACE]
    if os.geteuid() != 0 and Capability.DAC_OVERRIDE not in capabilities():
        needed.append(Capability.DAC_READ_SEARCH)
    missing = without(*needed)
    return (
        f"files of container runtimes may not be read (such as {path}), so containers may have no "
        f"names or images{missing}"
    )


def sockets_unread(why: str) -> str:
    """Where the engine's `sockets_refused` is not None."""
    return f"unix sockets cannot be read on this kernel, so who talks to whom is not known: {why}"


def without(*needed: Capability) -> str:
    """ ": no CAP_X, no CAP_Y" for those of them that this process has not."""
    held = capabilities()
    missing = [f"no {capability}" for capability in needed if capability not in held]
    return f": {', '.join(missing)}" if missing else ""


def why_hidden() -> str | None:
    """Why /proc may not have the processes that are alive."""
    if not os.path.exists("/proc/self"):
        return "it is not mounted here"
    if shown_pid_namespace() not in (INITIAL_PID_NAMESPACE, own_pid_namespace()):
        return "it belongs to a pid namespace that cannot be told"
    value, missing = hidepid(), without(Capability.SYS_PTRACE)
    return f"it is mounted with hidepid={value}{missing}" if value and missing else None


def hidepid() -> str | None:
    """The option of that name of /proc, if it hides anything (proc(5))."""
    try:
        with open("/proc/self/mountinfo", errors="surrogateescape") as file:
            mounts = [line for line in file if line.split(" ")[4] == "/proc"]
    except OSError:
        return None
    options = mounts[-1].split()[-1].split(",") if mounts else []
    value = next((o.partition("=")[2] for o in options if o.startswith("hidepid=")), None)
    return None if value in ("0", "off") else value
