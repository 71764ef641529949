"""Which hook reads the new parent of an exiting thread's children (bpf/reparent.h).

From the cheapest: fentry and kprobe run once a thread, on proc_exit_connector() right after
exit_notify(); sched_switch runs on every switch of every task. Whatever the hook, signals that
exit_notify() sends confirm most reparents before it.
"""

from __future__ import annotations

import ctypes
import enum
import errno
import os
import struct

_SYS_BPF = 321  # x86-64
_BPF_PROG_LOAD = 5
_BPF_PROG_TYPE_TRACING = 26
_BPF_TRACE_FENTRY = 24
_LOAD_ATTRIBUTES = struct.Struct("<IIQQIIQII16sII")  # of union bpf_attr, as far as is needed


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
    instructions = (ctypes.c_uint64 * 2)(0xB7, 0x95)  # r0 = 0; exit
    license_text = ctypes.create_string_buffer(b"GPL")
    attributes = ctypes.create_string_buffer(144)
    _LOAD_ATTRIBUTES.pack_into(
        attributes,
        0,
        _BPF_PROG_TYPE_TRACING,
        len(instructions),
        ctypes.addressof(instructions),
        ctypes.addressof(license_text),
        0,
        0,
        0,
        0,
        0,
        b"rtrace_probe",
        0,
        _BPF_TRACE_FENTRY,
    )
    libc = ctypes.CDLL(None, use_errno=True)
    fd = libc.syscall(_SYS_BPF, _BPF_PROG_LOAD, attributes, len(attributes))
    if fd >= 0:
        os.close(fd)
        return True
    return ctypes.get_errno() == errno.EINVAL


def kprobe_allowed() -> bool:
    """Whether the kernel has kprobes as perf events (CONFIG_KPROBES)."""
    return os.path.exists("/sys/bus/event_source/devices/kprobe/type")


def allowed_confirmations() -> list[Confirmation]:
    """Hooks worth trying on this host, the cheapest first."""
    allowed = []
    if fentry_allowed():
        allowed.append(Confirmation.FENTRY)
    if kprobe_allowed():
        allowed.append(Confirmation.KPROBE)
    return [*allowed, Confirmation.SCHED_SWITCH]
