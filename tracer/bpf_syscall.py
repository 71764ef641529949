"""The few commands of bpf(2) that rtrace calls itself, where libbpf cannot or need not.

Layouts: union bpf_attr in include/uapi/linux/bpf.h, as far as is needed: the kernel takes shorter
ones. Calls give a file descriptor or raise OSError.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
from collections.abc import Sequence

_SYS_BPF = 321  # x86-64
_MAP_CREATE, _PROG_LOAD, _PROG_TEST_RUN, _RAW_TRACEPOINT_OPEN, _BTF_LOAD = 0, 5, 10, 17, 18
_SYS_PERF_EVENT_OPEN = 298
_PERF_FLAG_FD_CLOEXEC = 8
_PERF_EVENT_IOC_ENABLE, _PERF_EVENT_IOC_SET_BPF = 0x2400, 0x40042408
KPROBE_TYPE = "/sys/bus/event_source/devices/kprobe/type"

MAP_TYPE_ARRAY = 2
PROG_TYPE_KPROBE, PROG_TYPE_RAW_TRACEPOINT, PROG_TYPE_TRACING = 2, 17, 26
TRACE_FENTRY = 24  # enum bpf_attach_type

_LICENSE = ctypes.create_string_buffer(b"GPL")
_LOG_SIZE = 1 << 20


class _MapCreate(ctypes.Structure):
    _fields_ = (
        ("map_type", ctypes.c_uint32),
        ("key_size", ctypes.c_uint32),
        ("value_size", ctypes.c_uint32),
        ("max_entries", ctypes.c_uint32),
        ("map_flags", ctypes.c_uint32),
        ("inner_map_fd", ctypes.c_uint32),
        ("numa_node", ctypes.c_uint32),
        ("map_name", ctypes.c_char * 16),
    )


class _ProgLoad(ctypes.Structure):
    _fields_ = (
        ("prog_type", ctypes.c_uint32),
        ("insn_cnt", ctypes.c_uint32),
        ("insns", ctypes.c_uint64),
        ("license", ctypes.c_uint64),
        ("log_level", ctypes.c_uint32),
        ("log_size", ctypes.c_uint32),
        ("log_buf", ctypes.c_uint64),
        ("kern_version", ctypes.c_uint32),
        ("prog_flags", ctypes.c_uint32),
        ("prog_name", ctypes.c_char * 16),
        ("prog_ifindex", ctypes.c_uint32),
        ("expected_attach_type", ctypes.c_uint32),
        ("prog_btf_fd", ctypes.c_uint32),
        ("func_info_rec_size", ctypes.c_uint32),
        ("func_info", ctypes.c_uint64),
        ("func_info_cnt", ctypes.c_uint32),
        ("line_info_rec_size", ctypes.c_uint32),
        ("line_info", ctypes.c_uint64),
        ("line_info_cnt", ctypes.c_uint32),
        ("attach_btf_id", ctypes.c_uint32),
    )


class _TestRun(ctypes.Structure):
    _fields_ = (
        ("prog_fd", ctypes.c_uint32),
        ("retval", ctypes.c_uint32),
        ("data_size_in", ctypes.c_uint32),
        ("data_size_out", ctypes.c_uint32),
        ("data_in", ctypes.c_uint64),
        ("data_out", ctypes.c_uint64),
        ("repeat", ctypes.c_uint32),
        ("duration", ctypes.c_uint32),
        ("ctx_size_in", ctypes.c_uint32),
        ("ctx_size_out", ctypes.c_uint32),
        ("ctx_in", ctypes.c_uint64),
        ("ctx_out", ctypes.c_uint64),
        ("flags", ctypes.c_uint32),
        ("cpu", ctypes.c_uint32),
    )


class _RawTracepointOpen(ctypes.Structure):
    _fields_ = (("name", ctypes.c_uint64), ("prog_fd", ctypes.c_uint32), ("pad", ctypes.c_uint32))


class _BtfLoad(ctypes.Structure):
    _fields_ = (
        ("btf", ctypes.c_uint64),
        ("btf_log_buf", ctypes.c_uint64),
        ("btf_size", ctypes.c_uint32),
        ("btf_log_size", ctypes.c_uint32),
        ("btf_log_level", ctypes.c_uint32),
        ("pad", ctypes.c_uint32),
    )


class _PerfEventAttr(ctypes.Structure):
    """struct perf_event_attr, PERF_ATTR_SIZE_VER1."""

    _fields_ = (
        ("type", ctypes.c_uint32),
        ("size", ctypes.c_uint32),
        ("config", ctypes.c_uint64),
        ("sample_period", ctypes.c_uint64),
        ("sample_type", ctypes.c_uint64),
        ("read_format", ctypes.c_uint64),
        ("flags", ctypes.c_uint64),
        ("wakeup_events", ctypes.c_uint32),
        ("bp_type", ctypes.c_uint32),
        ("kprobe_func", ctypes.c_uint64),
        ("probe_offset", ctypes.c_uint64),
    )


class VerifierError(OSError):
    """The kernel refuses a program.

    Attributes:
        log: what the verifier says, the last lines first to be looked at; may be empty.
    """

    def __init__(self, number: int, log: str) -> None:
        super().__init__(number, os.strerror(number))
        self.log = log


def _bpf(command: int, attributes: ctypes.Structure) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    result: int = libc.syscall(
        _SYS_BPF, command, ctypes.byref(attributes), ctypes.sizeof(attributes)
    )
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def create_map(
    map_type: int, name: str, key_size: int, value_size: int, entries: int, flags: int
) -> int:
    """BPF_MAP_CREATE; sizes in bytes, for a ring buffer `entries` too."""
    return _bpf(
        _MAP_CREATE,
        _MapCreate(map_type, key_size, value_size, entries, flags, 0, 0, name.encode()[:15]),
    )


def load_program(
    program_type: int,
    name: str,
    instructions: bytes,
    *,
    btf_fd: int = 0,
    functions: bytes = b"",
    attach_type: int = 0,
    attach_btf_id: int = 0,
) -> int:
    """BPF_PROG_LOAD.

    Args:
        program_type: PROG_TYPE_*.
        name: shown by the kernel; cut at 15 characters.
        instructions: struct bpf_insn, 8 bytes each.
        btf_fd: types of the program's functions.
        functions: struct bpf_func_info, 8 bytes each: instruction and type id of each function.
        attach_type, attach_btf_id: for PROG_TYPE_TRACING.

    Raises:
        VerifierError: the kernel refuses the program.
    """
    code = ctypes.create_string_buffer(instructions, len(instructions))
    info = ctypes.create_string_buffer(functions, len(functions) or 1)
    attributes = _ProgLoad(
        prog_type=program_type,
        insn_cnt=len(instructions) // 8,
        insns=ctypes.addressof(code),
        license=ctypes.addressof(_LICENSE),
        prog_name=name.encode()[:15],
        expected_attach_type=attach_type,
        attach_btf_id=attach_btf_id,
    )
    if functions:
        attributes.prog_btf_fd = btf_fd
        attributes.func_info_rec_size = 8
        attributes.func_info = ctypes.addressof(info)
        attributes.func_info_cnt = len(functions) // 8
    try:
        return _bpf(_PROG_LOAD, attributes)
    except OSError as error:
        number = error.errno or 0
    # Again, for its reasons: the log costs time, and is not asked for before.
    log = ctypes.create_string_buffer(_LOG_SIZE)
    attributes.log_level, attributes.log_size = 1, _LOG_SIZE
    attributes.log_buf = ctypes.addressof(log)
    try:
        return _bpf(_PROG_LOAD, attributes)
    except OSError:
        raise VerifierError(number, log.value.decode("utf-8", "replace")) from None


def load_btf(data: bytes) -> int:
    """BPF_BTF_LOAD: types for ``load_program``."""
    buffer = ctypes.create_string_buffer(data, len(data))
    return _bpf(_BTF_LOAD, _BtfLoad(btf=ctypes.addressof(buffer), btf_size=len(data)))


def open_raw_tracepoint(name: str | None, program_fd: int) -> int:
    """BPF_RAW_TRACEPOINT_OPEN; without a name for PROG_TYPE_TRACING, which has its hook in it."""
    text = ctypes.create_string_buffer(name.encode()) if name is not None else None
    return _bpf(
        _RAW_TRACEPOINT_OPEN,
        _RawTracepointOpen(name=ctypes.addressof(text) if text else 0, prog_fd=program_fd),
    )


def run_program(program_fd: int, arguments: Sequence[int]) -> int:
    """BPF_PROG_TEST_RUN of a raw tracepoint program (since 5.10): what it returns."""
    context = (ctypes.c_uint64 * len(arguments))(*arguments)
    attributes = _TestRun(
        prog_fd=program_fd,
        ctx_size_in=ctypes.sizeof(context),
        ctx_in=ctypes.addressof(context),
    )
    _bpf(_PROG_TEST_RUN, attributes)
    return int(attributes.retval)


def attach_kprobe(function: str, program_fd: int) -> int:
    """perf_event_open(2) of a kprobe on a kernel function's entry, and the program on it."""
    libc = ctypes.CDLL(None, use_errno=True)
    with open(KPROBE_TYPE) as file:
        kprobe_type = int(file.read())
    name = ctypes.create_string_buffer(function.encode())
    attributes = _PerfEventAttr(
        type=kprobe_type,
        size=ctypes.sizeof(_PerfEventAttr),
        kprobe_func=ctypes.addressof(name),
    )
    fd: int = libc.syscall(
        _SYS_PERF_EVENT_OPEN, ctypes.byref(attributes), -1, 0, -1, _PERF_FLAG_FD_CLOEXEC
    )
    if fd < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    try:
        fcntl.ioctl(fd, _PERF_EVENT_IOC_SET_BPF, program_fd)
        fcntl.ioctl(fd, _PERF_EVENT_IOC_ENABLE, 0)
    except OSError:
        os.close(fd)
        raise
    return fd
