"""The bcc engine: the C sources compiled by bcc on this host, loaded by system calls.

Of bcc it takes the compiler and nothing else (tracer.bcc_compiler): its own loader knows neither
global functions, which make the verifier's work a tenth, nor how to say in one line why the kernel
refuses something.
"""

from __future__ import annotations

import mmap
import os
import resource
import struct
from collections.abc import Sequence

from tracer import abi, bpf_syscall
from tracer.bcc_programs import FENTRY_FUNCTION, Map, compile_programs
from tracer.bcc_source import Program
from tracer.bpf_linker import describe_functions, link
from tracer.bpf_syscall import VerifierError
from tracer.confirmation import Confirmation, allowed_confirmations
from tracer.engine import DETAILS_RING_BYTES, LossCounters, Settings, possible_cpus
from tracer.errors import HostError
from tracer.privileges import explain_refusal

_SNAPSHOT, _SOCKETS = "snapshot", "sockets"
_ROOM = struct.Struct("<Q")  # struct room of bpf/snapshot.h, before its tasks
_SOCKET_ROOM = struct.Struct("<QQ")  # struct socket_room of bpf/sockets.h, likewise
_PROGRAM_TYPES = {
    "HOOK": bpf_syscall.PROG_TYPE_RAW_TRACEPOINT,
    "RAW_HOOK": bpf_syscall.PROG_TYPE_RAW_TRACEPOINT,
    "CALLED": bpf_syscall.PROG_TYPE_RAW_TRACEPOINT,
    "FENTRY": bpf_syscall.PROG_TYPE_TRACING,
    "KPROBE": bpf_syscall.PROG_TYPE_KPROBE,
}
_LOG_TAIL_LINES = 4


class BccEngine:
    """See tracer.engine.Engine.

    Args:
        settings: sizes and filter.
        confirmations: hooks to try, in this order; all that this host allows if not given.

    Raises:
        HostError: no bcc, neither BTF nor headers of this kernel, or the kernel refuses the
            programs.
    """

    name = "bcc"

    def __init__(
        self, settings: Settings, confirmations: Sequence[Confirmation] | None = None
    ) -> None:
        self._fds: list[int] = []
        try:
            # Asked before anything is compiled.
            self._create_map("rtrace_probe", Map(bpf_syscall.MAP_TYPE_ARRAY, 4, 4, 1, 0))
            self._compiled = compile_programs(settings)
            self._maps = {
                name: self._create_map(name, m) for name, m in self._compiled.maps.items()
            }
            self._load_programs(list(confirmations or allowed_confirmations()))
        except BaseException:
            self.close()
            raise
        self.events_bytes, self.details_bytes = settings.buffer_bytes, DETAILS_RING_BYTES
        self.events_fd, self.details_fd = self._maps["events"], self._maps["details"]
        self.stubs_fd = self._maps["stubs"]
        self._losses = LossCounters(memoryview(self._map_array("losses")), possible_cpus())
        self._room, self._socket_room = self._map_array("rooms"), self._map_array("socket_rooms")

    def read_losses(self) -> list[tuple[int, int]]:
        """See tracer.engine.Engine."""
        return self._losses.read()

    def open_snapshot(self) -> int:
        """See tracer.engine.Engine."""
        found = os.memfd_create("rtrace-snapshot")
        next_id = 1
        while next_id:
            next_id = bpf_syscall.run_program(self._snapshot_fd, [next_id])
            (count,) = _ROOM.unpack_from(self._room)
            os.write(found, self._room[_ROOM.size : _ROOM.size + count * abi.TASK_SIZE])
        os.lseek(found, 0, os.SEEK_SET)
        return found

    def open_sockets(self) -> int:
        """See tracer.engine.Engine."""
        assert self._sockets_fd is not None, self.sockets_refused
        found = os.memfd_create("rtrace-sockets")
        cursor = 1 << 32
        while cursor:
            bpf_syscall.run_program(self._sockets_fd, [cursor])
            cursor, count = _SOCKET_ROOM.unpack_from(self._socket_room)
            end = _SOCKET_ROOM.size + count * abi.SOCKET_SIZE
            os.write(found, self._socket_room[_SOCKET_ROOM.size : end])
        os.lseek(found, 0, os.SEEK_SET)
        return found

    def close(self) -> None:
        """See tracer.engine.Engine."""
        for fd in reversed(self._fds):
            os.close(fd)
        self._fds.clear()

    def _keep(self, fd: int) -> int:
        self._fds.append(fd)
        return fd

    def _create_map(self, name: str, wanted: Map) -> int:
        arguments = (
            wanted.map_type,
            name,
            wanted.key_size,
            wanted.value_size,
            wanted.entries,
            wanted.flags,
        )
        try:
            return self._keep(bpf_syscall.create_map(*arguments))
        except PermissionError as error:
            # Before 5.11 maps count as locked memory.
            unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
            try:
                resource.setrlimit(resource.RLIMIT_MEMLOCK, unlimited)
                return self._keep(bpf_syscall.create_map(*arguments))
            except (OSError, ValueError):
                raise _refusal("cannot load the BPF programs", error) from None
        except OSError as error:
            raise _refusal(f"cannot create the BPF map {name}", error) from None

    def _map_array(self, name: str) -> mmap.mmap:
        """The values of a BPF_F_MMAPABLE array, read-only."""
        definition = self._compiled.maps[name]
        size = definition.entries * (definition.value_size + 7 & ~7)
        return mmap.mmap(self._maps[name], size, mmap.MAP_SHARED, mmap.PROT_READ)

    def _load_programs(self, confirmations: list[Confirmation]) -> None:
        """Loads and attaches everything, with one hook to confirm reparents."""
        programs = {program.name: program for program in self._compiled.found.programs}
        confirming = [programs.pop(hook.program) for hook in Confirmation]
        arguments = dict.fromkeys(self._compiled.found.program_names, 0)
        data, self._type_ids = describe_functions(arguments | self._compiled.found.functions)
        try:
            self._btf_fd = self._keep(bpf_syscall.load_btf(data))
        except OSError as error:
            raise _refusal("cannot load the BPF programs' types", error) from None
        self._snapshot_fd = self._load(programs.pop(_SNAPSHOT))
        self._sockets_fd: int | None = None
        self.sockets_refused: str | None = None
        try:
            self._sockets_fd = self._load(programs.pop(_SOCKETS))
        except HostError as error:  # all else can do without
            self.sockets_refused = error.cause
        by_name = {program.name: program for program in confirming}
        for confirmation in confirmations:
            try:
                self._attach(by_name[confirmation.program])
            except HostError:
                if confirmation is confirmations[-1]:
                    raise
            else:
                self.confirmation = confirmation.value
                break
        for program in programs.values():
            self._attach(program)

    def _load(self, program: Program) -> int:
        numbers = self._compiled.found.numbers()
        code = self._compiled.code
        linked = link(
            code[program.name],
            {numbers[name]: (name, code[name]) for name in self._compiled.found.functions},
            {numbers[name]: fd for name, fd in self._maps.items()},
        )
        begins = {program.name: 0} | linked.functions
        functions = b"".join(
            struct.pack("<II", begin, self._type_ids[name])
            for name, begin in sorted(begins.items(), key=lambda item: item[1])
        )
        fact = f"cannot load the BPF program {program.name}"
        attach_type = attach_btf_id = 0
        if program.kind == "FENTRY":
            if self._compiled.fentry_id is None:
                raise HostError(
                    fact, f"this kernel has no BTF of {FENTRY_FUNCTION}", "use another --confirm"
                )
            attach_type, attach_btf_id = bpf_syscall.TRACE_FENTRY, self._compiled.fentry_id
        try:
            return self._keep(
                bpf_syscall.load_program(
                    _PROGRAM_TYPES[program.kind],
                    program.name,
                    linked.code,
                    btf_fd=self._btf_fd,
                    functions=functions,
                    attach_type=attach_type,
                    attach_btf_id=attach_btf_id,
                )
            )
        except OSError as error:
            raise _refusal(fact, error) from None

    def _attach(self, program: Program) -> None:
        program_fd = self._load(program)
        try:
            if program.kind == "KPROBE":
                self._keep(bpf_syscall.attach_kprobe(program.hook, program_fd))
            else:
                hook = None if program.kind == "FENTRY" else program.hook
                self._keep(bpf_syscall.open_raw_tracepoint(hook, program_fd))
        except OSError as error:
            raise _refusal(f"cannot attach the BPF program {program.name}", error) from None


def _refusal(fact: str, error: OSError) -> HostError:
    """What the kernel said, in one line."""
    if known := explain_refusal(error.errno or 0):
        return HostError(fact, *known)
    words = [os.strerror(error.errno or 0)]
    if isinstance(error, VerifierError):
        words += [line for line in error.log.splitlines() if line and "processed" not in line][
            -_LOG_TAIL_LINES:
        ]
    return HostError(fact, " | ".join(words), "run rtrace doctor")
