"""`rtrace record` among its peers."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench.errors import BenchError
from bench.frames import read_sizes
from bench.machine import rtrace_command
from bench.peers.records import EXEC, EXIT, FORK, Output, Record
from bench.peers.tool import Command, ask_version
from bench.recording import Setup
from tracer import abi
from tracer.capture_format import EVENT_STRIDE, EVENTS, RING_HEADER_SIZE
from tracer.capture_reader import CaptureReader

_KINDS = {abi.Type.FORK: FORK, abi.Type.EXEC: EXEC, abi.Type.EXIT: EXIT}
_TGID = RING_HEADER_SIZE + abi.Event.tgid.offset
_TYPE = RING_HEADER_SIZE + abi.Event.type.offset
# The three payloads end with it. A fork's is the child's, which has just got its parent's.
_COMM = RING_HEADER_SIZE + abi.Event.fork.offset + abi.Fork.comm.offset
_FIELDS = struct.Struct(
    f"<{_TGID}xI{_TYPE - _TGID - 4}xB{_COMM - _TYPE - 1}x{abi.COMM_LEN}s"
    f"{EVENT_STRIDE - _COMM - abi.COMM_LEN}x"
)


class Rtrace:
    """As anybody starts it.

    Args:
        engine: as for --engine.
    """

    kinds = (FORK, EXEC, EXIT)

    def __init__(self, engine: str) -> None:
        self.name = f"rtrace, {engine} engine"
        self._engine = engine

    def version(self) -> str:
        """See Tool."""
        return ask_version(rtrace_command(), "--version")

    def commands(self, directory: Path) -> list[Command]:
        """See Tool."""
        path = directory / "peer.rtrace"
        argv = Setup(directory, self._engine).record_command(path)
        return [Command(argv, directory / "rtrace.out", path)]

    def read(self, commands: Sequence[Command], bytes_before: int) -> Output:
        """See Tool.

        Reaps, signals, arguments and cgroup names are in the size of the events that all tools
        have.
        """
        path = commands[0].data
        with CaptureReader(path) as capture:
            found = list(_read_events(capture))
            if capture.trailer is None:
                raise BenchError(f"the capture is not complete: {capture.damage}")
            lost = sum(events + details for events, details in capture.trailer["losses"])
        sizes = read_sizes(path)
        size = (sizes.events_bytes + sizes.details_bytes) / max(1, len(found))
        return Output([[record._replace(size=size) for record in found]], lost)


def _read_events(capture: CaptureReader) -> Iterator[Record]:
    for kind, content in capture.chunks():
        if kind == EVENTS:
            for tgid, type_, comm in _FIELDS.iter_unpack(content):
                if name := _KINDS.get(type_):
                    yield Record(name, tgid, comm.partition(b"\0")[0].decode("utf-8", "replace"), 0)
