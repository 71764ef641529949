"""Who talks to whom: snapshots of unix sockets.

One is taken at the start (and where a segment begins), at the end, and shortly after a daemon or a
shim has appeared or gone: at once, when shims have been connected to, and again when a daemon that
came back has been connected to. How often is bounded, and so is how large one may be: a host where
containers come and go all the time costs no more than one snapshot in _REFILL_S.
"""

from __future__ import annotations

import contextlib
import os
import queue
import threading
import time

from tracer import abi
from tracer.capture_format import SOCKET_HEAD
from tracer.chunk_writer import ChunkWriter
from tracer.clock import boot_ns
from tracer.daemon_watch import Change
from tracer.engine import Engine
from tracer.errors import CaptureError, HostError
from tracer.recording_writer import RecordingWriter
from tracer.threads import start_thread

_SOON_S, _SETTLED_S = 0.25, 3.0
_BURST, _REFILL_S = 6, 10.0
_LIMIT_BYTES = 2 << 20
_READ_BYTES = 64 << 10


class SocketSnapshots:
    """Takes the snapshots. Any thread may ask for one.

    Args:
        writer: of those that are taken because something has changed.
        filter_kind: what is filtered.

    Raises:
        HostError: no thread can be started.
    """

    def __init__(self, engine: Engine, writer: RecordingWriter, filter_kind: abi.Filter) -> None:
        self._engine, self._writer, self._filter_kind = engine, writer, filter_kind
        self._lock = threading.Lock()
        self._changes: queue.SimpleQueue[Change] = queue.SimpleQueue()
        self._thread = start_thread("sockets", self._run)

    def take(self, writer: ChunkWriter, reason: str) -> None:
        """One snapshot, now.

        Raises:
            CaptureError: it cannot be written.
        """
        if self._engine.sockets_refused is not None:
            return
        limit = min(_LIMIT_BYTES, writer.chunk_bytes) - SOCKET_HEAD.size
        limit -= limit % abi.SOCKET_SIZE
        begun_ns = boot_ns()
        with self._lock:
            try:
                records = _read(self._engine.open_sockets(), limit + 1)
            except (HostError, OSError):  # no more files may be open: all else is more important
                return
        cut = len(records) > limit
        records = records[:limit]
        if self._filter_kind is not abi.Filter.NONE:
            records = select(records)
        writer.write_sockets(reason, begun_ns, records, cut=cut)

    def note(self, change: Change) -> None:
        """Something has changed: a snapshot is taken soon."""
        if change:
            self._changes.put(change)

    def finish(self, timeout: float) -> bool:
        """Ends the work; False if it did not end within the timeout, in seconds."""
        self._changes.put(Change.NOTHING)
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        pace = _Pace()
        due: list[float] = []
        while True:
            try:
                change = self._changes.get(timeout=_wait(due, pace))
            except queue.Empty:
                pace.spend()
                now = time.monotonic()
                due = [at for at in due if at > now]
                # What cannot be written is the recording loop's to notice and to report.
                with contextlib.suppress(CaptureError):
                    self.take(self._writer, "change")
                continue
            if change is Change.NOTHING:
                return
            now = time.monotonic()
            soon = [at for at in due if at <= now + _SOON_S] or [now + _SOON_S]
            later = [now + _SETTLED_S] if change is Change.DAEMON else due[len(due) - 1 :]
            due = sorted({*soon, *later})


def _wait(due: list[float], pace: _Pace) -> float | None:
    """Seconds up to the next snapshot; None: there is no reason for one."""
    return max(due[0] - time.monotonic(), pace.wait_s(), 0.0) if due else None


class _Pace:
    """How often: _BURST at once, and then one in _REFILL_S."""

    def __init__(self) -> None:
        self._full_at = 0.0

    def wait_s(self) -> float:
        """Seconds until one may be taken; negative: since when."""
        return self._full_at - (_BURST - 1) * _REFILL_S - time.monotonic()

    def spend(self) -> None:
        self._full_at = max(self._full_at, time.monotonic()) + _REFILL_S


def select(records: bytes) -> bytes:
    """What a filter leaves: sockets of those inside, and ends that these are connected to."""
    sockets = [
        (records[at : at + abi.SOCKET_SIZE], abi.Socket.from_buffer_copy(records, at))
        for at in range(0, len(records), abi.SOCKET_SIZE)
    ]
    outside = abi.SocketFlag.OUTSIDE
    inside = {socket.inode for _, socket in sockets if not socket.flags & outside}
    return b"".join(
        record
        for record, socket in sockets
        if not socket.flags & outside or socket.peer_inode in inside
    )


def _read(fd: int, limit: int) -> bytes:
    """What an iterator's file gives, some more than ``limit`` bytes at most; closes it."""
    parts, size = [], 0
    with os.fdopen(fd, "rb", buffering=0):
        while size < limit:
            try:
                part = os.read(fd, _READ_BYTES)
            except BlockingIOError:  # a million files, and no such socket among them: go on
                continue
            if not part:
                break
            parts.append(part)
            size += len(part)
    return b"".join(parts)
