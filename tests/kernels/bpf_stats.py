"""How often and how long a BPF program ran, as kernel.bpf_stats_enabled makes the kernel count."""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from typing import NamedTuple

# bpf(2) and struct bpf_prog_info in include/uapi/linux/bpf.h.
_SYS_BPF = 321  # x86-64
_PROG_GET_NEXT_ID, _PROG_GET_FD_BY_ID, _OBJ_GET_INFO_BY_FD = 11, 13, 15
_NAME, _NAME_BYTES = 64, 16
_RUN_TIME, _INFO_BYTES = 192, 208


class Stats(NamedTuple):
    """Since the counting was turned on first."""

    runs: int
    run_ns: int


def program_stats(name: str) -> Stats:
    """Figures of the one loaded program with this name (the kernel keeps 15 bytes of it).

    Raises:
        LookupError: there is none.
    """
    wanted = name.encode()[: _NAME_BYTES - 1]
    program_id = 0
    while True:
        try:
            program_id = _call(_PROG_GET_NEXT_ID, struct.pack("<II", program_id, 0))[1]
        except OSError as error:
            if error.errno == errno.ENOENT:
                raise LookupError(f"no BPF program {name} is loaded") from None
            raise
        fd = _call(_PROG_GET_FD_BY_ID, struct.pack("<II", program_id, 0))[0]
        try:
            info = ctypes.create_string_buffer(_INFO_BYTES)
            _call(_OBJ_GET_INFO_BY_FD, struct.pack("<IIQ", fd, len(info), ctypes.addressof(info)))
        finally:
            os.close(fd)
        if info.raw[_NAME : _NAME + _NAME_BYTES].rstrip(b"\0") == wanted:
            run_ns, runs = struct.unpack_from("<QQ", info.raw, _RUN_TIME)
            return Stats(runs, run_ns)


def _call(command: int, attributes: bytes) -> tuple[int, int]:
    """What bpf(2) returns, and the second word of its attributes afterwards."""
    buffer = ctypes.create_string_buffer(attributes, 128)
    libc = ctypes.CDLL(None, use_errno=True)
    result: int = libc.syscall(_SYS_BPF, command, buffer, len(buffer))
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result, struct.unpack_from("<I", buffer.raw, 4)[0]
