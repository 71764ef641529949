"""Which processes are dockerd, containerd, a shim, conmon or runc, and which is process 1 of a
container: kept up to date while recording, for the triggers.

By the executable and its arguments, as for the reports (tracer.runtime_args). Processes are
forgotten when they exit, so that memory is bounded by what lives.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tracer import abi
from tracer.runtime_args import Program, base_name, family, is_script, is_self, parse

Key = tuple[int, int]  # tgid, start_ns

SHIMS = ("shim-v1", "shim-v2")
_MAKING_VERBS = ("create", "run", "restore")
# What an exec's detail holds where the program is of interest; see `may_tell_of_containers`.
_NEEDLES = (b"/docker", b"/containerd", b"/runc", b"/crun", b"/conmon", b"/podman")
_DETAIL = struct.Struct("<QQIIHHHHH")
_CONTAINER = re.compile(r"^.*[/:-][0-9a-f]{64}(?![0-9a-f])[^/\n]*", re.MULTILINE)
_STARTS_KEPT = 2  # of one tgid: an exit may be looked at after its successor's exec


@dataclass(slots=True)
class RuntimeProcess:
    """A process that is or was made by a runtime.

    Attributes:
        program: what it runs; None if that is nobody's business (a container's process).
        name: base name of its executable.
        args_known: False: they were not recorded, and `program` is a guess.
        maker: the runc or crun whose child it was born as.
        container: cgroup of a container whose eldest process it was in a snapshot.
    """

    program: Program | None = None
    name: str = ""
    args_known: bool = True
    maker: Key | None = None
    container: str | None = None

    @property
    def role(self) -> str:
        """Role token of the program, "" if there is none."""
        return self.program.role if self.program is not None else ""


class RuntimeProcesses:
    """All of them that live, by (tgid, start_ns).

    Attributes:
        unflagged: those whose end the flags of an event do not show (see tracer.triggers).
        parents: those whose children are of interest.
    """

    def __init__(self) -> None:
        self._by_tgid: dict[int, dict[int, RuntimeProcess]] = {}
        self._eldest: dict[str, Key] = {}
        self.unflagged: set[Key] = set()
        self.parents: set[Key] = set()

    def __len__(self) -> int:
        return sum(map(len, self._by_tgid.values()))

    def find(self, key: Key) -> RuntimeProcess | None:
        """The process, if it is known."""
        return self._by_tgid.get(key[0], {}).get(key[1])

    def forget(self, key: Key) -> RuntimeProcess | None:
        """The process has ended; gives what was known of it."""
        starts = self._by_tgid.get(key[0], {})
        process = starts.pop(key[1], None)
        if not starts:
            self._by_tgid.pop(key[0], None)
        self.unflagged.discard(key)
        self.parents.discard(key)
        if process is not None and process.container is not None:
            self._eldest.pop(process.container, None)
        return process

    def add_process(self, process: Mapping[str, Any]) -> None:
        """From a snapshot: an entry of a PROC chunk."""
        key = (process["tgid"], process["start_ns"])
        exe, args = process["exe"] or "", process["args"]
        # dockerd runs itself under other names (docker-untar) for short tasks.
        if not args or is_self(args[0]) or family(args[0]) == family(exe):
            self._add_program(key, exe, args)
        self._add_eldest(key, process["cgroup"])

    def add_details(self, batch: bytes) -> None:
        """From execs: details as ``decode_details`` takes them."""
        if not any(needle in batch for needle in _NEEDLES) and b"/proc/self/" not in batch:
            return
        for key, filename, args in runtime_execs(batch):
            claimed = args[0] if args and is_self(filename) else filename
            if not is_script(filename, args):
                self._add_program(key, claimed, args)

    def add_fork(self, key: Key, parent: Key, *, ns_init: bool) -> None:
        """A child of one of ``parents`` (any other is left alone): of a runtime that makes a
        container, or of a conmon, which goes on in its child without an exec."""
        maker = self.find(parent)
        if maker is None or parent not in self.parents:
            return
        process = self._entry(key)
        if maker.role == "conmon":
            if process.program is None:
                process.program, process.name = maker.program, maker.name
            return
        process.maker = parent
        if not ns_init:
            self.unflagged.add(key)

    def orphaned(self, key: Key) -> bool:
        """The process has lost the subreaper that it was a child of; False if it is not known."""
        if self.find(key) is None:
            return False
        self.unflagged.add(key)
        return True

    def _entry(self, key: Key) -> RuntimeProcess:
        starts = self._by_tgid.setdefault(key[0], {})
        if key[1] not in starts:
            for start in sorted(starts)[: 1 - _STARTS_KEPT]:
                self.forget((key[0], start))  # its exit was lost
            starts = self._by_tgid.setdefault(key[0], starts)
            starts[key[1]] = RuntimeProcess()
        return starts[key[1]]

    def _add_program(self, key: Key, exe: str, args: Sequence[str]) -> None:
        kind = family(exe)
        if kind is None:
            return
        program = parse(kind, args)
        if program.role in ("docker-client", "ctr", "kubelet", "cri-dockerd"):
            return
        process = self._entry(key)
        process.program, process.name = program, base_name(exe)
        process.args_known = bool(args[1:]) or (kind in ("dockerd", "containerd") and bool(args))
        # runc's shims are subreapers, which an event says of its process; kata's are not.
        is_subreaper = program.role == "shim-v1" or (
            program.role == "shim-v2" and "-runc-" in process.name
        )
        if not is_subreaper:
            self.unflagged.add(key)
        makes = program.role in ("runc", "crun") and program.verb in _MAKING_VERBS
        if makes or program.role == "conmon":
            self.parents.add(key)
        else:
            self.parents.discard(key)

    def _add_eldest(self, key: Key, cgroups: str) -> None:
        """The eldest process in a container's cgroup is its process 1 (but a runtime's own)."""
        found = _CONTAINER.search(cgroups)
        process = self.find(key)
        if found is None or (process is not None and process.role in (*SHIMS, "conmon")):
            return
        before = self._eldest.get(found[0])
        if before is not None:
            if before[1] <= key[1]:
                return
            younger = self.find(before)
            if younger is not None:
                younger.container = None
                if younger.program is None and younger.maker is None:
                    self.forget(before)
        self._eldest[found[0]] = key
        self._entry(key).container = found[0]


def runtime_execs(batch: bytes) -> Iterator[tuple[Key, str, list[str]]]:
    """Process, executable and arguments of those execs whose file a runtime's may be."""
    offset = 0
    while offset + abi.DETAIL_HEADER_SIZE <= len(batch):
        _, start_ns, tgid, _, kind, *lengths = _DETAIL.unpack_from(batch, offset)
        begin = offset + abi.DETAIL_HEADER_SIZE
        end = begin + sum(lengths)
        offset = end + (-end % 8)
        if kind != abi.DetailType.EXEC:
            continue
        args = begin + lengths[0]
        filename = _text(batch[begin:args])
        if family(filename) is None and not is_self(filename):
            continue
        packed = batch[args : args + lengths[1]].removesuffix(b"\0")
        argv = [_text(part) for part in packed.split(b"\0")] if packed else []
        yield (tgid, start_ns), filename, argv


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "backslashreplace")
