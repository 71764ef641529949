"""Follows a recording that is being written: what is new, and the newest part as a capture.

All that is read goes through the reader of chunks that trusts nothing. The newest part begins
with a snapshot of what lived then, as each segment of a bounded recording does: the recorder's
answer to an earlier look, or a segment's own.
"""

from __future__ import annotations

import bisect
import os
import stat
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from screen.link import Look, Place
from tracer.capture_format import (
    DETAILS,
    EVENT_STRIDE,
    EVENTS,
    FACT,
    FRAME,
    PHASES,
    PROCESSES,
    SOCKET_HEAD,
    SOCKET_REASONS,
    SOCKETS,
    TAIL,
    TASK_PHASE,
    TASKS,
    Frame,
    dump_json,
    load_json,
)
from tracer.capture_reader import check_chunk
from tracer.chunk_reader import ChunkReader, DamageError
from tracer.errors import CaptureError
from tracer.segments import list_segments, open_segment, segments_path

# So many events a picture is made of at most, the newest: two or three seconds of work.
EVENTS_LIMIT = 500_000
_MARKS = 8  # places where the newest part may begin, while that many events pass
_FACTS_LIMIT = 20_000
_NEW_CHUNKS = 4

Chunk = tuple[bytes, bytes]


@dataclass(frozen=True, slots=True)
class Mark:
    """A place from where on the recording can be understood.

    Attributes:
        events: how many come before it, of those that were walked over.
        chunks: what lives there; empty: the segment's own beginning says it.
        tail: trailer of the look that it is from.
    """

    place: Place
    events: int
    chunks: tuple[Chunk, ...] = ()
    tail: Mapping[str, Any] | None = None


class Part:
    """A part of a recording as a capture, for `analysis.table.from_chunks`.

    Attributes:
        header, trailer, complete, damage, share: as of a CaptureReader.
        left_out: events before it, which are not in it.
    """

    def __init__(self, follower: Follower, mark: Mark, look: Look) -> None:
        self._follower, self._mark, self._look = follower, mark, look
        self._end = list(read_chunks(look.end))
        self.header = follower.header_of(mark)
        self.left_out = mark.events
        self.trailer: dict[str, Any] | None = None
        self.complete, self.damage, self.share = False, None, 0.0
        self._events = 0

    def chunks(self) -> Iterator[Chunk]:
        """Its chunks, with the snapshot at its end and the trailer.

        Raises:
            DamageError, CaptureError, OSError: it cannot be read; a segment may just have gone.
        """
        if self._mark.chunks:
            yield from self._mark.chunks
        if self._mark.events or self._mark.chunks:
            yield from self._follower.facts_before(self._mark.place)
        for kind, content in self._follower.read(self._mark.place, self._look.until):
            if kind == EVENTS:
                self._events += len(content) // EVENT_STRIDE
            yield kind, content
        for kind, content in self._end:
            if kind != TAIL:
                yield kind, content
        tail = _tail_of(self._end)
        self.trailer = {**tail, "events": self._events}
        self.complete = True


class Follower:
    """Walks over a recording as it grows, once, from chunk to chunk.

    Args:
        path: the capture.
        bounded: it is a directory of segments.

    Attributes:
        header: HEAD of its beginning, or of what is kept of it.

    Raises:
        CaptureError, OSError: it cannot be read.
    """

    def __init__(self, path: str, *, bounded: bool) -> None:
        self._path, self._bounded = path, bounded
        self._facts: dict[str, tuple[Place, Chunk]] = {}
        self._marks: deque[Mark] = deque()
        self._events = 0
        self._fd = _open(segments_path(path) if bounded else path, directory=bounded)
        # Where each chunk of events begins, since the last look, and how many events are before.
        self._counted: list[tuple[Place, int]] = []
        first = self._numbers()[0]
        self._segment, self._reader = first, self._open(first)
        self.header = self._reader.read_header()
        self._headers = {first: self.header}
        self._marks.append(Mark(Place(first, self._reader.offset), 0))

    # --- walking -------------------------------------------------------------------------------

    def walk(self) -> list[Chunk]:
        """Goes on to the end of what is written.

        Returns: the last few chunks of events and details that are new.

        Raises:
            DamageError, CaptureError, OSError: it cannot be read.
        """
        new: deque[tuple[int, Frame]] = deque(maxlen=_NEW_CHUNKS)
        found: list[Chunk] = []
        while True:
            frame = self._reader.peek()
            if frame is None:
                if not self._next_segment():
                    break
                new.clear()
                continue
            start = self._reader.offset
            if frame.type == FACT:
                kind_content = self._reader.read_chunk()
                if kind_content is not None:
                    self._keep_fact(Place(self._segment, start), kind_content)
                continue
            if frame.type == EVENTS:
                self._counted.append((Place(self._segment, start), self._events))
                self._events += frame.raw // EVENT_STRIDE
            if frame.type in (EVENTS, DETAILS):
                new.append((start, frame))
            self._reader.offset = start + FRAME.size + frame.stored
        end = self._reader.offset
        for start, _ in new:
            self._reader.offset = start
            chunk = self._reader.read_chunk()
            if chunk is not None:
                check_chunk(*chunk, start)
                found.append(chunk)
        self._reader.offset = end
        return found

    def _next_segment(self) -> bool:
        if not self._bounded:
            return False
        later = [number for number in self._numbers() if number > self._segment]
        if not later:
            return False
        reader = self._open(later[0])
        try:
            header = reader.read_header()
        except CaptureError:  # it is being created
            reader.close()
            return False
        self._reader.close()
        self._segment, self._reader = later[0], reader
        self._headers[self._segment] = header
        self._marks.append(Mark(Place(self._segment, reader.offset), self._events))
        return True

    def _keep_fact(self, place: Place, chunk: Chunk) -> None:
        fact = check_chunk(*chunk, place.offset) or {}
        # A later fact on the same thing stands in for an earlier one.
        key = [fact.get(name) for name in ("kind", "id", "name", "tgid", "what", "boot_ns")]
        self._facts.pop(repr(key), None)
        self._facts[repr(key)] = place, chunk
        if len(self._facts) > _FACTS_LIMIT:
            del self._facts[next(iter(self._facts))]

    # --- the newest part -----------------------------------------------------------------------

    def newest(self, look: Look, limit: int = EVENTS_LIMIT) -> Part:
        """All up to a look, or of what is too much the newest part, which begins at a mark.

        Raises:
            DamageError, CaptureError, OSError: it cannot be read.
        """
        kept = set(self._numbers())
        marks = [m for m in self._marks if m.place.segment in kept and m.place <= look.before]
        self._marks = deque(marks)
        self._headers = {n: h for n, h in self._headers.items() if n in kept}
        near = [mark for mark in marks if self._events - mark.events <= limit]
        here = self._mark_here(look)
        # More than the limit since the last mark: then what lives now, and nothing of what was.
        chosen = near[0] if near else here
        while len(self._marks) > 1 and self._marks[0].place < chosen.place:
            self._marks.popleft()
        if not self._marks or here.events - self._marks[-1].events >= limit // _MARKS:
            self._marks.append(here)
        return Part(self, chosen, look)

    def _mark_here(self, look: Look) -> Mark:
        end = list(read_chunks(look.end))
        chunks = tuple(chunk for chunk in map(_as_start, end) if chunk is not None)
        index = bisect.bisect_left(self._counted, (look.before, 0))
        events = self._counted[index][1] if index < len(self._counted) else self._events
        del self._counted[:index]
        return Mark(look.before, events, chunks, _tail_of(end))

    def header_of(self, mark: Mark) -> dict[str, Any]:
        """HEAD of a part that begins there."""
        header = self._headers[mark.place.segment]
        if mark.tail is None:
            return header
        tail = mark.tail
        began = header.get("segment") or {"began_ns": self.header["clock"]["boot_ns"]}
        before = began.get("events_before", 0)
        return {
            **header,
            "clock": {"boot_ns": tail["ts_ns"], "wall_ns": tail.get("wall_ns") or 0},
            "segment": {**began, "number": 2, "events_before": before + mark.events},
            "losses": tail.get("losses") or [],
        }

    def facts_before(self, place: Place) -> Iterator[Chunk]:
        """What the recorder found out before: names of containers, versions."""
        for found, chunk in list(self._facts.values()):
            if found < place:
                yield chunk

    def read(self, since: Place, until: Place) -> Iterator[Chunk]:
        """Chunks between two places, without the heads of segments.

        Raises:
            DamageError, CaptureError, OSError: they are not all there.
        """
        for number in self._numbers():
            if not since.segment <= number <= until.segment:
                continue
            reader = self._open(number)
            try:
                if number == since.segment:
                    reader.offset = since.offset
                else:
                    reader.read_header()
                end = until.offset if number == until.segment else float("inf")
                while reader.offset < end and (chunk := reader.read_chunk()) is not None:
                    check_chunk(*chunk, reader.offset)
                    yield chunk
            finally:
                reader.close()

    def close(self) -> None:
        """Closes the file."""
        self._reader.close()
        os.close(self._fd)

    def _numbers(self) -> list[int]:
        """Segments that there are; a capture in one piece is segment 1."""
        if not self._bounded:
            return [1]
        numbers = list_segments(self._fd)
        if not numbers:
            raise CaptureError(f"cannot read {self._path}", "its segments are gone")
        return numbers

    def _open(self, number: int) -> ChunkReader:
        fd = open_segment(self._fd, number) if self._bounded else os.dup(self._fd)
        return ChunkReader(self._path, fd)


def _open(path: str, *, directory: bool) -> int:
    kind = os.O_DIRECTORY if directory else os.O_NONBLOCK | os.O_NOCTTY
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | kind)
    if not directory and not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise CaptureError(f"cannot read {path}", "it is not a regular file")
    return fd


def read_chunks(data: bytes) -> Iterator[Chunk]:
    """Chunks in memory.

    Raises:
        DamageError: they are not right.
    """
    fd = os.memfd_create("chunks", os.MFD_CLOEXEC)
    reader = ChunkReader("what lives now", fd)
    try:
        os.write(fd, data)
        while (chunk := reader.read_chunk()) is not None:
            check_chunk(*chunk, reader.offset)
            yield chunk
    finally:
        reader.close()


def _as_start(chunk: Chunk) -> Chunk | None:
    """A chunk of a snapshot at an end, at a beginning; None: it is none."""
    kind, content = chunk
    if kind == TASKS:
        return kind, TASK_PHASE.pack(PHASES.index("start")) + content[TASK_PHASE.size :]
    if kind == PROCESSES:
        return kind, dump_json({**load_json(kind, content), "phase": "start"})
    if kind == SOCKETS:
        begun_ns, _, cut = SOCKET_HEAD.unpack_from(content)
        head = SOCKET_HEAD.pack(begun_ns, SOCKET_REASONS.index("start"), cut)
        return kind, head + content[SOCKET_HEAD.size :]
    return None


def _tail_of(chunks: list[Chunk]) -> dict[str, Any]:
    for kind, content in chunks:
        if kind == TAIL:
            return load_json(kind, content)
    raise DamageError("the recorder's answer has no trailer")
