"""What the recorder may still do once its programs are attached, and why: the one list.

Loading took CAP_BPF and CAP_PERFMON; the rings, iterators and links are open files by now, which
take no rights. Whatever else root may is given up before the first thread starts, for capabilities
are each thread's own. COMMAND alone is run with all that its caller had (tracer.command).

docs/security.md says what this is good for, and what it is not.
"""

from __future__ import annotations

import contextlib
import os
import resource
from collections.abc import Callable

from tracer.capabilities import Capability, capabilities, keep_only
from tracer.engine import Engine
from tracer.errors import HostError
from tracer.invoking_user import invoking_user, stay_able
from tracer.output_file import may_create
from tracer.threads import start_thread

LOADING = {
    Capability.BPF: "load BPF programs",
    Capability.PERFMON: "let them read the kernel's memory and hang on its tracepoints",
}
RECORDING = {
    Capability.SYS_PTRACE: "read /proc/PID/exe, cwd and root of others",
    Capability.DAC_READ_SEARCH: "read configurations of containers that belong to others "
    "(rootless ones)",
}
# With a COMMAND.
_COMMAND = frozenset({Capability.KILL})


def give_up_rights(
    engine: Engine, path: str, say: Callable[[str], None], *, with_command: bool
) -> None:
    """Keeps what recording takes from now on.

    Args:
        engine: attached.
        path: of the capture: saves and segments are made beside it later.
        say: told if the kernel does not let go: the recording is more important.
        with_command: signals are passed on to COMMAND, who may have become another user.

    Raises:
        HostError: there can be no thread.
    """
    stay_able()
    held = capabilities()
    kept = held & RECORDING.keys()
    if with_command:
        kept |= held & _COMMAND
    try:
        kept |= _also_needed(held, kept, engine, path)
        keep_only(kept)
    except OSError as error:
        say(f"note: this recorder could not give up rights: {error.strerror}")


def forbid_core_dumps() -> None:
    """The memory of a recorder has the command lines of everybody. Of the whole process: so this
    is not for COMMAND, which is to be started by now."""
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _also_needed(
    held: frozenset[Capability], kept: frozenset[Capability], engine: Engine, path: str
) -> frozenset[Capability]:
    """What this host takes besides, by trying it in a thread that has given up the rest.

    Before Linux 5.19 every command of bpf(2) takes CAP_BPF where sysctl
    kernel.unprivileged_bpf_disabled is set, as it mostly is. And root needs more than its name to
    write in a directory that is somebody else's.
    """
    found: set[Capability] = set()
    failures: list[OSError] = []

    def attempt() -> None:
        try:
            keep_only(kept)
        except OSError as error:
            failures.append(error)
            return
        try:
            os.close(engine.open_snapshot())
        except (OSError, HostError):
            found.add(Capability.BPF if Capability.BPF in held else Capability.SYS_ADMIN)
        if not may_create(path):
            found.add(Capability.DAC_OVERRIDE)
            if invoking_user() is not None:
                found.add(Capability.CHOWN)

    start_thread("rights", attempt).join()
    if failures:
        raise failures[0]
    return held & found
