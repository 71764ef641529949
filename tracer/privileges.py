"""What this process may do, and what the capture lacks where it may not.

Recording takes CAP_BPF and CAP_PERFMON (or CAP_SYS_ADMIN, which implies both), of the initial
user namespace; all other capabilities only make it know more. docs/bad-hosts.md has the table.

Source: capabilities(7), bpf(2), kernel_lockdown(7).
"""

from __future__ import annotations

import errno
import os
import platform
import resource

from tracer.capabilities import Capability, capabilities

# PROC_USER_INIT_INO (include/linux/proc_ns.h): the inode of the initial user namespace.
_INITIAL_USER_NAMESPACE = 0xEFFFFFFD
_SECCOMP_FILTER = "2"
LOCKDOWN_PATH = "/sys/kernel/security/lockdown"
# What libbpf, the rings, the capture and the threads have open at once, and some more.
FILES_NEEDED = 128
# From here on the kernel counts BPF maps as memory of the cgroup, and not against a limit.
_KERNEL_WITHOUT_MEMLOCK = (5, 11)
AS_ROOT = "run it as root (sudo), or with CAP_BPF and CAP_PERFMON"


def missing_to_record() -> list[Capability]:
    """Capabilities without which the kernel takes no programs from this process."""
    held = capabilities()
    if Capability.SYS_ADMIN in held:
        return []
    return [needed for needed in (Capability.BPF, Capability.PERFMON) if needed not in held]


def in_user_namespace() -> bool:
    """Whether capabilities are those of a user namespace: BPF takes none of them."""
    try:
        return os.stat("/proc/self/ns/user").st_ino != _INITIAL_USER_NAMESPACE
    except OSError:
        return False


def lockdown_mode() -> str | None:
    """ "none", "integrity" or "confidentiality"; None if the kernel does not say."""
    try:
        with open(LOCKDOWN_PATH) as file:
            return file.read().partition("[")[2].partition("]")[0] or None
    except OSError:
        return None


def has_sysfs(path: str) -> bool:
    """Whether /sys is mounted. The path is BTF's in it, of which else nobody can tell."""
    return os.path.isdir(os.path.dirname(os.path.dirname(path)))


def explain_missing_btf(path: str) -> tuple[str, str]:
    """Cause and next step where the kernel's BTF is not at its path."""
    if not has_sysfs(path):
        return "/sys is not mounted", "mount -t sysfs sysfs /sys"
    return (
        f"this kernel has no BTF ({path} is missing)",
        "use --engine bcc, or boot a kernel with CONFIG_DEBUG_INFO_BTF=y, as Debian's have",
    )


def raise_limits() -> None:
    """As many open files as may be, where the limit is too small: the hard limit may be taken."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < FILES_NEEDED:
        wanted = FILES_NEEDED if hard == resource.RLIM_INFINITY else min(FILES_NEEDED, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def explain_refusal(error: int) -> tuple[str, str] | None:
    """Cause and next step where the kernel refused BPF with this errno; None: it is not known."""
    if lockdown_mode() == "confidentiality":
        return (
            "the kernel is locked down (confidentiality): BPF may not read its memory",
            "boot without lockdown=confidentiality",
        )
    if error == errno.EPERM:
        return _explain_eperm()
    if error == errno.EMFILE:
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        return f"only {limit} files may be open", f"raise the limit (ulimit -n {FILES_NEEDED})"
    if error == errno.ENOMEM:
        return "not enough memory", "give a smaller --buffer, or raise the limit (ulimit -v)"
    return None


def _explain_eperm() -> tuple[str, str] | None:
    if in_user_namespace():
        return (
            "this is a user namespace, whose capabilities do not count for BPF",
            "run it in the host's user namespace, as root",
        )
    if missing := missing_to_record():
        return f"{' and '.join(map(str, missing))} missing (uid {os.geteuid()})", AS_ROOT
    if is_memory_lock_counted() and Capability.SYS_RESOURCE not in capabilities():
        return (
            "not enough memory may be locked on this kernel",
            "raise the limit (ulimit -l unlimited)",
        )
    if _seccomp_mode() == _SECCOMP_FILTER:
        return (
            "a seccomp filter forbids bpf()",
            "in a container: --privileged, or --security-opt seccomp=unconfined",
        )
    return None  # a security module of the kernel, most likely


def is_memory_lock_counted() -> bool:
    """Whether this kernel counts BPF maps against RLIMIT_MEMLOCK."""
    try:
        major, minor = platform.release().split(".")[:2]
        return (int(major), int(minor.split("-")[0])) < _KERNEL_WITHOUT_MEMLOCK
    except ValueError:
        return False


def _seccomp_mode() -> str | None:
    try:
        with open("/proc/self/status") as file:
            return next((line.split()[1] for line in file if line.startswith("Seccomp:")), None)
    except OSError:
        return None
