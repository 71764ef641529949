"""Emptying a BPF map from user space, by bpf(2)."""

from __future__ import annotations

import ctypes
import errno
import os

_SYS_BPF = 321  # x86-64
_DELETE_ELEM, _GET_NEXT_KEY = 3, 4


class _Element(ctypes.Structure):
    """What union bpf_attr is for these commands (include/uapi/linux/bpf.h)."""

    _fields_ = (
        ("map_fd", ctypes.c_uint32),
        ("pad", ctypes.c_uint32),
        ("key", ctypes.c_uint64),
        ("next_key", ctypes.c_uint64),
    )


def clear_map(fd: int, key_bytes: int) -> None:
    """Deletes what is in a hash map; what comes meanwhile may stay.

    Raises:
        OSError: there is no such map, or its keys have another size.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    key = ctypes.create_string_buffer(key_bytes)
    first = _Element(map_fd=fd, next_key=ctypes.addressof(key))  # behind no key
    found = _Element(map_fd=fd, key=ctypes.addressof(key))

    def call(command: int, element: _Element) -> int:
        """0, or the error. Nothing may be set behind what the command needs."""
        size = ctypes.sizeof(element)
        failed = libc.syscall(_SYS_BPF, command, ctypes.byref(element), size)
        return ctypes.get_errno() if failed else 0

    while not (error := call(_GET_NEXT_KEY, first)):
        if error := call(_DELETE_ELEM, found):
            break
    if error != errno.ENOENT:  # it is empty
        raise OSError(error, os.strerror(error))
