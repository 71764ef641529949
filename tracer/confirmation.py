"""Which hook reads the new parent of an exiting thread's children (bpf/reparent.h).

From the cheapest: fentry and kprobe run once a thread, on proc_exit_connector() right after
exit_notify(); sched_switch runs on every switch of every task. Whatever the hook, signals that
exit_notify() sends confirm most reparents before it.
"""

from __future__ import annotations

import enum
import errno
import os
import struct

from tracer import bpf_syscall


class Confirmation(enum.StrEnum):
    """Hooks to confirm reparents with, the cheapest first."""

    FENTRY = "fentry"
    KPROBE = "kprobe"
    SCHED_SWITCH = "sched_switch"

    @property
    def program(self) -> str:
        """Name of its BPF program."""
        if self is Confirmation.SCHED_SWITCH:
            return "sched_switch"
        return f"{self.value}_proc_exit_connector"


def fentry_allowed() -> bool:
    """Whether the kernel takes fentry programs at all.

    Asked with a program that names no function, which an allowing kernel answers with EINVAL:
    loading all programs in vain would take ten times as long.
    """
    instructions = struct.pack("<QQ", 0xB7, 0x95)  # r0 = 0; exit
    try:
        fd = bpf_syscall.load_program(
            bpf_syscall.PROG_TYPE_TRACING,
            "rtrace_probe",
            instructions,
            attach_type=bpf_syscall.TRACE_FENTRY,
        )
    except OSError as error:
        return error.errno == errno.EINVAL
    os.close(fd)
    return True


def kprobe_allowed() -> bool:
    """Whether the kernel has kprobes as perf events (CONFIG_KPROBES)."""
    return os.path.exists(bpf_syscall.KPROBE_TYPE)


def allowed_confirmations() -> list[Confirmation]:
    """Hooks worth trying on this host, the cheapest first."""
    allowed = []
    if fentry_allowed():
        allowed.append(Confirmation.FENTRY)
    if kprobe_allowed():
        allowed.append(Confirmation.KPROBE)
    return [*allowed, Confirmation.SCHED_SWITCH]
