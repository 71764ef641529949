"""The part of libbpf that rtrace uses, through ctypes.

libbpf and not bcc's libbcc: that one maps LLVM into memory (60 MB more).
Signatures: libbpf.h and bpf.h of libbpf 1.0 and newer; errors are negative errno values or
NULL with errno set.
"""

from __future__ import annotations

import ctypes
import mmap
import os
from functools import cache

from tracer.errors import HostError
from tracer.privileges import explain_refusal

_LIBRARIES = ("libbpf.so.1",)
_LOG_TAIL_LINES = 4

_PrintFunction = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p
)  # level, format, va_list


@cache
def library() -> ctypes.CDLL:
    """libbpf, with the signatures of all functions that are used.

    Raises:
        HostError: libbpf 1.0 or newer is not installed.
    """
    for name in _LIBRARIES:
        try:
            lib = ctypes.CDLL(name, use_errno=True)
            break
        except OSError:
            continue
    else:
        raise HostError(
            "cannot load libbpf.so.1",
            "libbpf 1.0 or newer is not installed",
            "apt-get install python3-bpfcc (Debian, Ubuntu) or dnf install libbpf (Fedora)",
        )
    pointer, integer, text = ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p
    for function, result, arguments in (
        ("libbpf_set_print", pointer, [pointer]),
        ("bpf_object__open_file", pointer, [text, pointer]),
        ("bpf_object__load", integer, [pointer]),
        ("bpf_object__close", None, [pointer]),
        ("bpf_object__find_map_by_name", pointer, [pointer, text]),
        ("bpf_object__find_program_by_name", pointer, [pointer, text]),
        ("bpf_object__next_program", pointer, [pointer, pointer]),
        ("bpf_map__set_max_entries", integer, [pointer, ctypes.c_uint32]),
        ("bpf_map__initial_value", pointer, [pointer, ctypes.POINTER(ctypes.c_size_t)]),
        ("bpf_map__fd", integer, [pointer]),
        ("bpf_program__name", text, [pointer]),
        ("bpf_program__set_autoload", integer, [pointer, ctypes.c_bool]),
        ("bpf_program__autoload", ctypes.c_bool, [pointer]),
        ("bpf_program__attach", pointer, [pointer]),
        ("bpf_program__attach_iter", pointer, [pointer, pointer]),
        ("bpf_program__fd", integer, [pointer]),
        ("bpf_link__fd", integer, [pointer]),
        ("bpf_link__destroy", integer, [pointer]),
        ("bpf_iter_create", integer, [integer]),
    ):
        entry = getattr(lib, function)
        entry.restype, entry.argtypes = result, arguments
    return lib


class _Log:
    """Collects what libbpf says, to be shown when something fails and only then."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._vsnprintf = ctypes.CDLL(None).vsnprintf
        self._vsnprintf.argtypes = [
            ctypes.c_char_p,
            ctypes.c_size_t,
            ctypes.c_char_p,
            ctypes.c_void_p,
        ]
        self.callback = _PrintFunction(self._print)

    def _print(self, level: int, message: bytes, arguments: int) -> int:
        if level > 1:  # LIBBPF_DEBUG
            return 0
        buffer = ctypes.create_string_buffer(16384)
        self._vsnprintf(buffer, len(buffer), message, arguments)
        self.lines += buffer.value.decode("utf-8", "replace").splitlines()
        del self.lines[:-1000]
        return 0

    def reason(self, error: int) -> str:
        """One line on why the last operation failed."""
        words = [line for line in self.lines if "processed" not in line and line.strip()]
        return " | ".join([os.strerror(error), *words[-_LOG_TAIL_LINES:]])


class BpfObject:
    """An object file with programs and maps: opened, configured, loaded, attached.

    Args:
        path: the compiled CO-RE object.

    Raises:
        HostError: the object cannot be opened; from load(): the kernel refuses it.
    """

    def __init__(self, path: str) -> None:
        self._lib = library()
        self._log = _Log()
        self._lib.libbpf_set_print(ctypes.cast(self._log.callback, ctypes.c_void_p))
        self._links: list[int] = []
        self._object = self._lib.bpf_object__open_file(os.fsencode(path), None)
        if not self._object:
            raise HostError(
                f"cannot open the BPF object {path}", self._log.reason(ctypes.get_errno())
            )

    def __enter__(self) -> BpfObject:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Detaches and unloads everything."""
        for link in reversed(self._links):
            self._lib.bpf_link__destroy(link)
        self._links.clear()
        if self._object:
            self._lib.bpf_object__close(self._object)
            self._object = None

    def _map(self, name: str) -> int:
        found: int | None = self._lib.bpf_object__find_map_by_name(self._object, name.encode())
        if not found:
            raise KeyError(name)
        return found

    def _program(self, name: str) -> int:
        found: int | None = self._lib.bpf_object__find_program_by_name(self._object, name.encode())
        if not found:
            raise KeyError(name)
        return found

    def set_max_entries(self, map_name: str, entries: int) -> None:
        """Before load(): size of a map, for a ring in bytes."""
        error = self._lib.bpf_map__set_max_entries(self._map(map_name), entries)
        if error:
            raise HostError(f"cannot size the BPF map {map_name}", os.strerror(-error))

    def set_rodata(self, value: ctypes.Structure) -> None:
        """Before load(): the object's only read-only variable."""
        size = ctypes.c_size_t()
        address = self._lib.bpf_map__initial_value(self._map(".rodata"), ctypes.byref(size))
        if not address or size.value < ctypes.sizeof(value):
            raise HostError("cannot configure the BPF programs", "the object has no settings")
        ctypes.memmove(address, ctypes.byref(value), ctypes.sizeof(value))

    def set_autoload(self, program_name: str, autoload: bool) -> None:
        """Before load(): whether to load a program."""
        self._lib.bpf_program__set_autoload(self._program(program_name), autoload)

    def load(self) -> None:
        """Creates the maps and has the programs verified."""
        error = self._lib.bpf_object__load(self._object)
        if error:
            raise self._refusal("cannot load the BPF programs", -error)

    def programs(self) -> list[str]:
        """Names of all programs that are (to be) loaded."""
        names, program = [], None
        while program := self._lib.bpf_object__next_program(self._object, program):
            if self._lib.bpf_program__autoload(program):
                names.append(self._lib.bpf_program__name(program).decode())
        return names

    def attach(self, program_name: str) -> None:
        """Attaches a program to the hook that its section names.

        Raises:
            HostError: the kernel refuses, for instance because it has no such hook.
        """
        link = self._lib.bpf_program__attach(self._program(program_name))
        if not link:
            raise self._refusal(f"cannot attach the BPF program {program_name}", ctypes.get_errno())
        self._links.append(link)

    def open_iterator(self, program_name: str) -> int:
        """File descriptor of a new pass of an iterator program; the caller closes it."""
        link = self._lib.bpf_program__attach_iter(self._program(program_name), None)
        if not link:
            raise self._refusal(
                f"cannot attach the BPF iterator {program_name}", ctypes.get_errno()
            )
        try:
            fd: int = self._lib.bpf_iter_create(self._lib.bpf_link__fd(link))
        finally:
            self._lib.bpf_link__destroy(link)
        if fd < 0:
            raise HostError(f"cannot read the BPF iterator {program_name}", os.strerror(-fd))
        return fd

    def _refusal(self, fact: str, error: int) -> HostError:
        """In words for people where they are known, else in libbpf's."""
        known = explain_refusal(error)
        return HostError(fact, *(known or (self._log.reason(error), "run rtrace doctor")))

    def map_fd(self, name: str) -> int:
        """File descriptor of a map, owned by the object."""
        fd: int = self._lib.bpf_map__fd(self._map(name))
        return fd

    def map_array(self, name: str, size: int) -> mmap.mmap:
        """The values of a BPF_F_MMAPABLE array, read-only."""
        return mmap.mmap(self.map_fd(name), size, mmap.MAP_SHARED, mmap.PROT_READ)
