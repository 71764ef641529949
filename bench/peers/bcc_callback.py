"""A tracer as they are usually written with bcc: raw tracepoints, a ring buffer, and a Python
callback that prints a line for each event. It is measured, and is no part of rtrace.

It needs no kernel headers: what bcc's own headers want of them is in a small tree made here, and
the two offsets that the program needs come from the kernel's BTF.
"""

from __future__ import annotations

import ctypes
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from bcc import BPF

KINDS = ("fork", "exec", "exit")
PROGRAM = r"""
struct event {
	u32 kind, pid, ppid;
	char comm[16];
};
BPF_RINGBUF_OUTPUT(events, 64);

static u32 read_tgid(void *task)
{
	u32 tgid = 0;

	bpf_probe_read_kernel(&tgid, sizeof(tgid), task + TGID);
	return tgid;
}

static int report(u32 kind, void *task)
{
	struct event event = {.kind = kind, .pid = read_tgid(task)};
	void *parent = 0;

	bpf_probe_read_kernel(&parent, sizeof(parent), task + REAL_PARENT);
	event.ppid = read_tgid(parent);
	bpf_get_current_comm(event.comm, sizeof(event.comm));
	events.ringbuf_output(&event, sizeof(event), 0);
	return 0;
}

RAW_TRACEPOINT_PROBE(sched_process_fork) { return report(0, (void *)ctx->args[1]); }
RAW_TRACEPOINT_PROBE(sched_process_exec) { return report(1, (void *)ctx->args[0]); }
RAW_TRACEPOINT_PROBE(sched_process_exit) { return report(2, (void *)ctx->args[0]); }
"""
HEADERS = {
    "linux/kconfig.h": """
#define CONFIG_BPF_SYSCALL 1
#define PAGE_SIZE 4096
#include <linux/types.h>
typedef __u8 u8;
typedef __u16 u16;
typedef __u32 u32;
typedef __u64 u64;
typedef __s32 s32;
typedef __s64 s64;
typedef _Bool bool;
typedef __SIZE_TYPE__ size_t;
typedef __UINTPTR_TYPE__ uintptr_t;
""",
    "linux/version.h": """
#define KERNEL_VERSION(a, b, c) (((a) << 16) + ((b) << 8) + (c))
#define LINUX_VERSION_CODE KERNEL_VERSION(5, 8, 0)
""",
    "linux/log2.h": "",
    "asm/page.h": "",
    "uapi/linux/bpf.h": "",  # bcc brings its own
    "uapi/linux/if_packet.h": "",
}
STRUCT_KIND = 4  # BTF_KIND_STRUCT


class BtfType(ctypes.Structure):
    """struct btf_type of linux/btf.h, as a struct's."""

    _fields_ = [("name", ctypes.c_uint32), ("info", ctypes.c_uint32), ("size", ctypes.c_uint32)]


class BtfMember(ctypes.Structure):
    """struct btf_member."""

    _fields_ = [("name", ctypes.c_uint32), ("type", ctypes.c_uint32), ("bits", ctypes.c_uint32)]


def read_offsets(struct: str) -> dict[str, int]:
    """Offsets of a kernel struct's named members, in bytes."""
    lib = ctypes.CDLL("libbpf.so.1")
    lib.btf__load_vmlinux_btf.restype = ctypes.c_void_p
    lib.btf__type_by_id.restype = ctypes.POINTER(BtfType)
    lib.btf__name_by_offset.restype = ctypes.c_char_p
    btf = ctypes.c_void_p(lib.btf__load_vmlinux_btf())
    found = lib.btf__type_by_id(btf, lib.btf__find_by_name_kind(btf, struct.encode(), STRUCT_KIND))
    address = ctypes.addressof(found.contents) + ctypes.sizeof(BtfType)
    members = (BtfMember * (found.contents.info & 0xFFFF)).from_address(address)
    # The upper bits are the size of a bit field.
    offsets = {
        lib.btf__name_by_offset(btf, m.name).decode(): (m.bits & 0xFFFFFF) // 8 for m in members
    }
    lib.btf__free(btf)
    return offsets


def main() -> None:
    """Prints until it is interrupted."""
    offsets = read_offsets("task_struct")
    with tempfile.TemporaryDirectory() as directory:
        for name, content in HEADERS.items():
            path = Path(directory, "include", name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        os.environ["BCC_KERNEL_SOURCE"] = directory
        bpf = BPF(
            text=PROGRAM,
            cflags=[
                "-I/usr/include",
                f"-I/usr/include/{os.uname().machine}-linux-gnu",
                f"-DTGID={offsets['tgid']}",
                f"-DREAL_PARENT={offsets['real_parent']}",
            ],
        )
    events = bpf["events"]

    def show(_context: Any, data: Any, _size: int) -> None:
        event = events.event(data)
        comm = event.comm.decode("utf-8", "replace")
        print(f"{KINDS[event.kind]} {event.pid} {event.ppid} {comm}")

    events.open_ring_buffer(show)
    try:
        while True:
            bpf.ring_buffer_poll()
    except KeyboardInterrupt:
        sys.exit(0)


if __name__ == "__main__":
    main()
