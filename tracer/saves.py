"""Saves what a recording holds to a file of its own, and the recording goes on.

One save at a time, in a thread: what is on the disk is copied, then comes the snapshot of what
lives, then what was recorded meanwhile.
"""

from __future__ import annotations

import os
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from tracer.capture_file import CaptureFile
from tracer.capture_format import TAIL
from tracer.chunk_writer import Buffer, ChunkWriter, Packer
from tracer.clock import boot_ns
from tracer.errors import CaptureError, RtraceError
from tracer.joining import Joiner
from tracer.memory import give_back
from tracer.recording_writer import Held
from tracer.save_names import create_save, remove_old_saves
from tracer.snapshots import Snapshots
from tracer.threads import start_thread
from tracer.triggers import Hit
from tracer.units import format_size

SAVED, LOOK = "saved", "look"
_LOOK_S = 0.5


@dataclass(frozen=True, slots=True)
class Saved:
    """A save that is done.

    Attributes:
        inode: device and inode of the file.
    """

    path: str
    events: int
    size_bytes: int
    inode: tuple[int, int]

    def __str__(self) -> str:
        return f"{self.path}: {self.events:,} events, {format_size(self.size_bytes)}"


class Written(NamedTuple):
    """How far a recording is written: to which byte of which segment."""

    segment: int
    offset: int


@dataclass(frozen=True, slots=True)
class Look:
    """What would end a capture that is saved now, for somebody who reads the recording himself.

    Attributes:
        before: how far it was written when the snapshot began: who reads from here, with that
            snapshot at the beginning, knows all that lives.
        until: how far it was written when the snapshot was complete.
        end: the snapshot and the trailer, as chunks.
    """

    before: Written
    until: Written
    end: bytes


@dataclass(slots=True)
class Request:
    """A save that is to be made, or a look.

    Attributes:
        word: for its name: a trigger, or "saved"; LOOK: nothing is saved.
        at_s: its time, CLOCK_REALTIME.
        path: its name, if whoever asked gave one.
        first, hits: of the events that it is made for, and how many there were.
        done: set when ``result`` is there.
    """

    word: str
    at_s: float
    path: str | None = None
    first: Hit | None = None
    hits: int = 0
    done: threading.Event = field(default_factory=threading.Event)
    result: Saved | Look | RtraceError | None = None


Checkpoint = tuple[dict[str, Any], list[Held]]
"""What a trailer says of a capture that ends here, and all that is on the disk."""


class Saver:
    """Makes the saves of one recording.

    Args:
        capture: name of the recording, for theirs.
        snapshots: takes the snapshot with which each ends.
        checkpoint: puts on the disk what has been recorded; called by ``poll``.
        say: takes lines for the user; called from threads.
        after_s: a trigger's save waits so long, for what follows it.
        apart_s: at least so much time is between two of them: what fires again and again would
            soon have removed the first.
        keep: so many saves are kept, the newest.
    """

    def __init__(
        self,
        capture: str,
        snapshots: Snapshots,
        checkpoint: Callable[[], Checkpoint],
        say: Callable[[str], None],
        *,
        after_s: float,
        apart_s: float,
        keep: int,
    ) -> None:
        self._capture, self._snapshots, self._checkpoint = capture, snapshots, checkpoint
        self._say, self._after_s, self._apart_s, self._keep = say, after_s, apart_s, keep
        self._lock = threading.Lock()
        self._requests: queue.SimpleQueue[Request | None] = queue.SimpleQueue()
        self._open = 0  # requests that are not done
        self._next: Request | None = None  # not begun yet: another one like it joins it
        self._waiting: Request | None = None  # of a trigger
        self._due = -apart_s
        self._asked, self._answered = threading.Event(), threading.Event()
        self._answer: Checkpoint | None = None
        self._closed = False
        self._thread = start_thread("saves", self._run)

    @property
    def busy(self) -> bool:
        """Whether any save is not done."""
        return self._open > 0

    def request(self, path: str | None = None) -> Request:
        """Asks for a save of what is held now. From any thread.

        Args:
            path: file to create; None: a name from the time.

        Raises:
            CaptureError: the recording ends.
        """
        with self._lock:
            if self._closed:
                raise CaptureError("cannot save the recording", "it is ending")
            if path is None and self._next is not None:
                return self._next
            request = Request(SAVED, time.time(), path)
            if path is None:
                self._next = request
            self._put(request)
            return request

    def look(self) -> Request:
        """Asks for a Look. From any thread.

        Raises:
            CaptureError: the recording ends.
        """
        with self._lock:
            if self._closed:
                raise CaptureError("cannot look at what lives", "the recording is ending")
            request = Request(LOOK, time.time())
            self._put(request)
            return request

    def trigger(self, hit: Hit) -> None:
        """Something happened that is to be saved, with what follows it."""
        if self._waiting is None:
            age_s = (boot_ns() - hit.at_ns) / 1e9
            self._waiting = Request(hit.trigger, time.time() - age_s, first=hit)
            self._due = max(time.monotonic() + self._after_s, self._due + self._apart_s)
        self._waiting.hits += 1

    def poll(self, *, at_once: bool = False) -> None:
        """To be called from the recording's loop: does its part of a save.

        Args:
            at_once: nothing more follows, so nothing waits for it.

        Raises:
            CaptureError: the recording cannot be written.
        """
        if self._asked.is_set():
            self._asked.clear()
            self._answer = self._checkpoint()
            self._answered.set()
        if self._waiting is not None and (at_once or time.monotonic() >= self._due):
            with self._lock:
                self._put(self._waiting)
            self._waiting = None

    def close(self) -> None:
        """The recording is over: what is not saved yet will not be."""
        with self._lock:
            self._closed = True
        self._requests.put(None)
        self._thread.join()

    def _put(self, request: Request) -> None:
        self._open += 1
        self._requests.put(request)

    def _run(self) -> None:
        while request := self._requests.get():
            with self._lock:
                self._next = None if request is self._next else self._next
            try:
                if request.word == LOOK:
                    request.result = self._look()
                else:
                    request.result = self._save(request)
                    self._tell(request, request.result)
            except RtraceError as error:
                request.result = error
            except OSError as error:
                request.result = CaptureError("cannot save the recording", str(error))
            finally:
                if isinstance(request.result, RtraceError) and request.word != LOOK:
                    self._say(f"rtrace: {request.result}")
                with self._lock:
                    self._open -= 1
                request.done.set()

    def _save(self, request: Request) -> Saved:
        _, held = self._reach_checkpoint()
        if request.path is None:
            file = create_save(self._capture, request.word, request.at_s)
        else:
            file = CaptureFile(request.path)
        try:
            joiner, end = Joiner(file), _FileWriter(file)
            joiner.add(held)
            self._snapshots.write_end(end)
            totals, held = self._reach_checkpoint()
            joiner.add(held)
            more = {"reason": SAVED, "events": joiner.events, "details": joiner.details}
            if request.first is not None:
                more["trigger_ns"] = request.first.at_ns
            end.write_json(TAIL, totals | more)
        except BaseException:
            file.remove()
            raise
        inode = file.inode
        file.close()
        return Saved(file.path, joiner.events, file.size, inode)

    def _look(self) -> Look:
        end = _Chunks(self._capture)
        before = _end_of(self._reach_checkpoint()[1])
        self._snapshots.write_end(end)
        totals, held = self._reach_checkpoint()
        end.write_json(TAIL, totals)
        give_back()
        return Look(before, _end_of(held), bytes(end.data))

    def _tell(self, request: Request, saved: Saved) -> None:
        more = f"; and {request.hits - 1} more" if request.hits > 1 else ""
        why = f" ({request.word}: {request.first.what}{more})" if request.first else ""
        self._say(f"saved {saved}{why}")
        if request.path is None:
            for removed in remove_old_saves(self._capture, self._keep, saved.path):
                self._say(f"removed {removed}: only {self._keep} are kept")

    def _reach_checkpoint(self) -> Checkpoint:
        self._answered.clear()
        self._asked.set()
        while not self._answered.wait(_LOOK_S):
            if self._closed:
                raise CaptureError("cannot save the recording", "it ended before")
        assert self._answer is not None
        return self._answer


class _FileWriter(ChunkWriter):
    """Chunks to an open file."""

    def __init__(self, file: CaptureFile) -> None:
        super().__init__(file.path)
        self._file, self._packer = file, Packer()

    def write(self, chunk_type: bytes, content: Buffer, count: int = 0) -> None:
        """See ChunkWriter."""
        self._file.append(self._packer.pack(chunk_type, content, self.path))


class _Chunks(ChunkWriter):
    """Chunks in memory."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.data, self._packer = bytearray(), Packer()

    def write(self, chunk_type: bytes, content: Buffer, count: int = 0) -> None:
        """See ChunkWriter."""
        self.data += self._packer.pack(chunk_type, content, self.path)


def _end_of(held: list[Held]) -> Written:
    """Where the newest segment ends. Closes all."""
    for segment in held:
        os.close(segment.fd)
    return Written(held[-1].number, held[-1].size)
