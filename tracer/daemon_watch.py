"""Notices that a daemon or a shim has appeared or gone: then others talk to each other.

Most batches hold nothing of the kind, and that is told at C speed (tracer.event_masks).
"""

from __future__ import annotations

import enum
import struct
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from tracer import abi
from tracer.abi import Flag, Type
from tracer.capture_format import EVENT_STRIDE, RING_HEADER_SIZE
from tracer.event_masks import FLAGS_AT, START_AT, TYPE_AT, Key, StartFilter, mask, offsets, table
from tracer.runtime_args import family, is_self, parse
from tracer.runtime_processes import SHIMS, runtime_execs

_DAEMONS = ("dockerd", "containerd", "kubelet", "cri-dockerd")
# What the detail of a daemon's or shim's exec holds: its filename.
_NEEDLES = (b"/dockerd", b"containerd", b"/kubelet", b"/cri-dockerd", b"/docker", b"/proc/self/")
# A shim's comm, cut as the kernel cuts it; docker's own of before 18.09 shares one with containerd.
_SHIM_COMMS = (b"containerd-shim", b"docker-containe")
_REMEMBERED = 256

_IS_EXIT = table((Type.EXIT,))
_IS_SUBREAPER = table(flags for flags in range(256) if flags & Flag.SUBREAPER)
_SUBJECT = struct.Struct("<QI")  # start_ns, tgid


class Change(enum.IntEnum):
    """What has changed, the gravest last."""

    NOTHING = 0
    SHIM = 1
    DAEMON = 2


class DaemonWatch:
    """One thread looks at events and details; snapshots may come from another."""

    def __init__(self) -> None:
        self._daemons: set[Key] = set()
        self._starts = StartFilter(START_AT)
        self._lock = threading.Lock()

    def look_at_process(self, process: Mapping[str, Any]) -> None:
        """A process that lives: an entry of a PROC chunk (docs/capture-format.md)."""
        if _role(process["exe"] or "", process["args"]) in _DAEMONS:
            self._remember((process["tgid"], process["start_ns"]))

    def look_at_details(self, batch: bytes) -> Change:
        """Details, as ``decode_details`` takes them."""
        change = Change.NOTHING
        if any(needle in batch for needle in _NEEDLES):
            for key, filename, args in runtime_execs(batch):
                role = _role(args[0] if args and is_self(filename) else filename, args)
                if role in _DAEMONS:
                    self._remember(key)
                    change = Change.DAEMON
                elif role in SHIMS:
                    change = max(change, Change.SHIM)
        return change

    def look_at_events(self, batch: bytes) -> Change:
        """Events, as they lie in an EVTS chunk."""
        count = len(batch) // EVENT_STRIDE
        flags = batch[FLAGS_AT::EVENT_STRIDE]
        with self._lock:
            marked = self._starts.mask(batch, self._daemons)
        if flags != bytes(count):
            marked |= mask(flags, _IS_SUBREAPER)
        if marked:
            marked &= mask(batch[TYPE_AT::EVENT_STRIDE], _IS_EXIT)
        change = Change.NOTHING
        for offset in offsets(marked, count):
            start_ns, tgid = _SUBJECT.unpack_from(batch, offset + START_AT)
            if (tgid, start_ns) in self._daemons:
                with self._lock:
                    self._daemons.discard((tgid, start_ns))
                return Change.DAEMON
            event = abi.Event.from_buffer_copy(batch, offset + RING_HEADER_SIZE)
            if event.exit.comm.startswith(_SHIM_COMMS):
                change = Change.SHIM
        return change

    def _remember(self, key: Key) -> None:
        with self._lock:
            if len(self._daemons) >= _REMEMBERED:
                self._daemons.pop()  # exits were lost, or a hostile host has hundreds of them
            self._daemons.add(key)


def _role(exe: str, args: Sequence[str]) -> str:
    kind = family(exe)
    return parse(kind, args).role if kind is not None else ""
