"""Checks of `rtrace doctor` on where and as whom rtrace runs: rights, namespaces, limits."""

from __future__ import annotations

import os
import resource

from tracer import docker_api
from tracer.capabilities import Capability, capabilities
from tracer.check import Check
from tracer.clock import boot_offset_ns
from tracer.errors import HostError
from tracer.least_rights import RECORDING
from tracer.privileges import (
    AS_ROOT,
    FILES_NEEDED,
    LOCKDOWN_PATH,
    explain_refusal,
    in_user_namespace,
    is_memory_lock_counted,
    lockdown_mode,
    missing_to_record,
)
from tracer.proc_view import INITIAL_PID_NAMESPACE, own_pid_namespace
from tracer.shortfalls import ISOLATED, why_hidden

_DOCKER_SOCKET = "/run/docker.sock"
_JIT_PATH = "/proc/sys/net/core/bpf_jit_enable"


def check_privileges() -> Check:
    """CAP_BPF and CAP_PERFMON, or CAP_SYS_ADMIN, of the initial user namespace."""
    name, uid = "privileges", os.geteuid()
    if in_user_namespace():
        step = "run it in the host's user namespace, as root"
        return Check(name, False, "those of a user namespace do not count for BPF", step)
    if missing := missing_to_record():
        return Check(name, False, f"no {' and no '.join(map(str, missing))} (uid {uid})", AS_ROOT)
    if Capability.SYS_ADMIN in capabilities():
        return Check(name, True, f"CAP_SYS_ADMIN (uid {uid})")
    return Check(name, True, f"CAP_BPF and CAP_PERFMON (uid {uid})")


def check_kept() -> Check:
    """What the recorder keeps of its rights, once its programs are attached."""
    kept = [f"{name} ({why})" for name, why in RECORDING.items() if name in capabilities()]
    fact = f"keeps {', '.join(kept)}" if kept else "keeps no capability"
    return Check("while recording", None, fact)


def check_lockdown() -> Check:
    """Lockdown in confidentiality mode forbids BPF programs to read kernel memory."""
    mode = lockdown_mode()
    if mode is None:
        fact = f"not known: {LOCKDOWN_PATH} is not there (no securityfs, or no lockdown)"
        return Check("lockdown", None, fact)
    if mode == "confidentiality":
        return Check("lockdown", False, *(explain_refusal(0) or ()))
    return Check("lockdown", True, mode)


def check_namespaces() -> Check:
    """The pid namespace decides what snapshots see, the time namespace what clocks say."""
    name = "namespaces"
    if own_pid_namespace() not in (0, INITIAL_PID_NAMESPACE):
        return Check(name, None, ISOLATED, "in a container: docker run --pid=host")
    try:
        offset_ns = boot_offset_ns()
    except HostError as error:
        return Check(name, False, error.cause, error.step)
    if offset_ns:
        return Check(name, True, f"a time namespace, {offset_ns / 1e9:+g} s: times are corrected")
    return Check(name, True, "the host's")


def check_proc() -> Check:
    """What the snapshots can add to what the kernel's iterator says."""
    if hidden := why_hidden():
        step = "programs, arguments and containers of what runs already will not be known"
        return Check("/proc", None, f"does not show all processes: {hidden}", step)
    if Capability.SYS_PTRACE not in capabilities():
        step = "programs (exe) of other users' processes, and their containers' files, stay unknown"
        return Check("/proc", None, "may not be read in full: no CAP_SYS_PTRACE", step)
    return Check("/proc", True, "shows all processes")


def check_container_files() -> Check:
    """Bundles and docker's own files are root's."""
    held = capabilities()
    if os.geteuid() == 0 or held & {Capability.DAC_READ_SEARCH, Capability.DAC_OVERRIDE}:
        return Check("container files", True, "may be read")
    step = "names and images of containers: only as far as the docker daemon tells them"
    return Check("container files", None, "may not be read: no CAP_DAC_READ_SEARCH", step)


def check_docker_socket() -> Check:
    """Whether the docker daemon in its usual place answers, in a second."""
    name = "docker daemon"
    if not os.path.exists(_DOCKER_SOCKET):
        return Check(name, None, f"none at {_DOCKER_SOCKET}")
    try:
        version = docker_api.get(_DOCKER_SOCKET, "/version")
    except PermissionError:
        step = "join the group docker: containers' names and docker's settings may be missing else"
        return Check(name, None, f"{_DOCKER_SOCKET} may not be asked", step)
    except OSError as error:
        step = "recording works without it; containers' names come from files"
        return Check(name, None, f"does not answer: {error}", step)
    return Check(name, True, str(version.get("Version") if isinstance(version, dict) else "odd"))


def check_priority() -> Check:
    """The recorder runs before others, so that a busy host costs no events."""
    if Capability.SYS_NICE in capabilities():
        return Check("priority", True, "may be raised")
    step = "on a host that is out of CPU more events may be lost; give a larger --buffer"
    return Check("priority", None, "stays as it is: no CAP_SYS_NICE", step)


def check_limits() -> Check:
    """Open files everywhere; locked memory on old kernels."""
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if files != resource.RLIM_INFINITY and files < FILES_NEEDED:
        step = f"raise the limit (ulimit -n {FILES_NEEDED})"
        return Check("limits", False, f"only {files} files may be open", step)
    locked = resource.getrlimit(resource.RLIMIT_MEMLOCK)[1]
    held = capabilities()
    if is_memory_lock_counted() and Capability.SYS_RESOURCE not in held and locked >= 0:
        step = "raise the limit (ulimit -l unlimited)"
        return Check("limits", None, f"only {locked:,} bytes may be locked on this kernel", step)
    return Check("limits", True, "high enough")


def check_jit() -> Check:
    """Interpreted BPF programs cost several times as much."""
    try:
        with open(_JIT_PATH) as file:
            mode = file.read().strip()
    except OSError:
        return Check("BPF JIT", None, "not known")
    if mode == "0":
        step = "each event costs several times as much; sysctl net.core.bpf_jit_enable=1"
        return Check("BPF JIT", None, "off", step)
    return Check("BPF JIT", True, "on")
