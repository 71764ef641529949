"""Reads a capture, one chunk in memory at a time, and trusts nothing in it.

A capture that was cut (kill -9, full disk, power) or damaged is read up to its last whole chunk;
the reader then says where it stopped and why. Nothing damaged is skipped over: what comes behind
it is not given out.

The directory of segments that a bounded recording consists of while it runs, or when its
recorder was killed, is read as the one capture that it would have become.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any

from tracer import abi
from tracer.capture_format import (
    EVENT_STRIDE,
    EVENTS,
    HEAD,
    JSON_TYPES,
    RATIO_FREE,
    RATIO_LIMIT,
    SOCKET_HEAD,
    SOCKET_REASONS,
    SOCKETS,
    TAIL,
    TASK_PHASE,
    TASKS,
    load_json,
)
from tracer.chunk_reader import NO_CAPTURE, ChunkReader, DamageError
from tracer.errors import CaptureError
from tracer.segments import list_segments, open_segment, segment_name, segments_path

_ARCHIVE = b"PK\x03\x04"
"""First bytes of a zip archive, such as `rtrace ticket` writes."""


class CaptureReader:
    """A capture opened for reading.

    Args:
        path: a file, a directory of segments, or the archive of a ticket.
        unpacked: bytes of a capture in an archive that may be unpacked; None: as many as any
            ticket may have.

    Attributes:
        path: as given.
        header: content of the HEAD chunk; see docs/capture-format.md.
        complete: a trailer was read, and it is the last chunk. False until ``chunks()`` is done.
        damage: one sentence about where reading stopped before the end and why, e.g. "cut at
            byte 4711"; None if it did not.
        trailer: content of the TAIL chunk, None until it was read.

    Raises:
        CaptureError: the file cannot be opened, is not a capture, is newer than this rtrace, or
            ends before its header does.
    """

    def __init__(self, path: str | os.PathLike[str], *, unpacked: int | None = None) -> None:
        self.path = os.fspath(path)
        self.complete = False
        self.damage: str | None = None
        self.trailer: dict[str, Any] | None = None
        fd = _open(self.path)
        self._directory_fd = -1
        self._segments: Sequence[int] = ()
        self._later: ChunkReader | None = None
        # How much of the capture's size it had as it was sent: chunks that repeat each other
        # would be packed twice in an archive.
        self._packed = 1.0
        if stat.S_ISDIR(os.fstat(fd).st_mode):
            self._directory_fd = fd
            self._segments, self._first = self._open_first()
        else:
            if _is_archive(self.path, fd):
                # Nothing that records needs what this takes.
                from tracer.ticket_file import open_ticket

                size = os.fstat(fd).st_size
                fd = open_ticket(self.path, fd, unpacked)
                self._packed = min(size / max(os.fstat(fd).st_size, 1), 1.0)
            self._first = ChunkReader(self.path, fd)
        try:
            self.header = self._first.read_header()
        except BaseException:
            self.close()
            raise
        self._behind_header = self._first.offset
        self._reading = 0, self._first  # how many segments are done, and the one that is read

    @property
    def share(self) -> float:
        """How much of the capture ``chunks()`` has read, 0 to 1."""
        done, reader = self._reading
        return min((done + reader.share) / max(len(self._segments), 1), 1.0)

    def chunks(self) -> Iterator[tuple[bytes, bytes]]:
        """Type and content of each chunk after HEAD, in file order, the trailer too.

        EVTS, TASK and SOCK contents are whole records and JSON contents pass ``load_json``, or
        reading stops before them. Chunks of unknown types are given out: leave them alone. May be
        called again, and then starts again.

        Raises:
            CaptureError: the reader is closed.
        """
        self._first.offset = self._behind_header
        self.complete, self.damage, self.trailer = False, None, None
        expanded = before = 0
        for done, (number, reader) in enumerate(self._readers()):
            self._reading = done, reader
            where = f"{segment_name(number)}: " if number else ""
            expanded += reader.header_size
            while True:
                start = reader.offset
                try:
                    self._check_ratio(expanded, before + start, start)  # segments of HEAD alone
                    chunk = reader.read_chunk()
                    if chunk is None:
                        break
                    if self.trailer is not None:
                        raise DamageError(f"there is more after the trailer, from byte {start}")
                    found = check_chunk(*chunk, start)
                    if chunk[0] == TAIL:
                        self.trailer = found
                    expanded += len(chunk[1])
                    self._check_ratio(expanded, before + reader.offset, start)
                except DamageError as damage:
                    self.complete, self.damage = False, f"{where}{damage}"
                    return
                yield chunk
            before += reader.offset
        if self.damage is None:
            self.complete = self.trailer is not None
            if not self.complete:
                self.damage = f"{where}cut at byte {start}: the trailer is missing"

    def _check_ratio(self, expanded: int, size: int, start: int) -> None:
        """Each chunk is within the limits, but whoever collects them would not be.

        Args:
            expanded: what was decompressed so far, bytes, out of ``size``.

        Raises:
            DamageError: it is too much.
        """
        if expanded > max(RATIO_FREE, RATIO_LIMIT * size * self._packed):
            raise DamageError(f"decompresses to over {RATIO_LIMIT} times its size at {start}")

    def close(self) -> None:
        """Closes the file. May be called twice."""
        self._first.close()
        if self._later is not None:
            self._later.close()
        fd, self._directory_fd = self._directory_fd, -1
        if fd >= 0:
            os.close(fd)

    def __enter__(self) -> CaptureReader:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    # --- segments ------------------------------------------------------------------------------

    def _open_first(self) -> tuple[Sequence[int], ChunkReader]:
        """Numbers of the segments, and the first of them; a recorder may be dropping some."""
        cause = "it is a directory, and holds no segments of a recording"
        where = ""
        try:
            found = list_segments(self._directory_fd)
            for position, number in enumerate(found):
                where = f"{segment_name(number)}: "
                with contextlib.suppress(FileNotFoundError):
                    fd = open_segment(self._directory_fd, number)
                    path = os.path.join(self.path, segment_name(number))
                    return found[position:], ChunkReader(path, fd)
        except OSError as error:
            cause = f"{where}{error.strerror}"
        os.close(self._directory_fd)
        raise CaptureError(f"cannot read {self.path}", cause, NO_CAPTURE)

    def _readers(self) -> Iterator[tuple[int, ChunkReader]]:
        """Each segment's number and chunks, up to one that cannot be read: see ``damage``."""
        yield (self._segments[0] if self._segments else 0), self._first
        for before, number in zip(self._segments, self._segments[1:], strict=False):
            name = segment_name(number)
            try:
                if number != before + 1:
                    raise DamageError(f"{segment_name(before + 1)} is missing")
                reader = ChunkReader(name, open_segment(self._directory_fd, number))
                if self._later is not None:
                    self._later.close()
                self._later = reader
                reader.read_header()
            except DamageError as damage:
                self.damage = str(damage)
            except FileNotFoundError:
                self.damage = f"{name} is missing"
            except OSError as error:
                self.damage = f"{name}: {error.strerror}"
            except CaptureError as error:
                self.damage = f"{name}: {error.cause}"
            if self.damage is not None:
                self.complete = False
                return
            yield number, reader


def _is_archive(path: str, fd: int) -> bool:
    try:
        return os.pread(fd, len(_ARCHIVE), 0) == _ARCHIVE
    except OSError as error:  # as of some files in /proc, and of disks that fail
        os.close(fd)
        cause = error.strerror or str(error)
        raise CaptureError(f"cannot read {path}", cause, NO_CAPTURE) from None


def check_chunk(chunk_type: bytes, content: bytes, start: int) -> dict[str, Any] | None:
    """Damage if the content is not what readers of this chunk type rely on.

    Args:
        start: where the chunk begins, for the message.

    Returns: what is in a chunk of JSON.

    Raises:
        DamageError: it is not.
    """
    what = f"the chunk at byte {start} ({chunk_type.decode('ascii', 'replace')})"
    if chunk_type == HEAD:
        raise DamageError(f"{what} is a second header")
    if chunk_type == EVENTS and len(content) % EVENT_STRIDE:
        raise DamageError(f"{what} does not hold whole events")
    if chunk_type == TASKS:
        count, rest = divmod(len(content) - TASK_PHASE.size, abi.TASK_SIZE)
        if count < 0 or rest or TASK_PHASE.unpack_from(content)[0] > 1:
            raise DamageError(f"{what} does not hold a snapshot")
    if chunk_type == SOCKETS:
        count, rest = divmod(len(content) - SOCKET_HEAD.size, abi.SOCKET_SIZE)
        if count < 0 or rest or SOCKET_HEAD.unpack_from(content)[1] >= len(SOCKET_REASONS):
            raise DamageError(f"{what} does not hold a snapshot of sockets")
    if chunk_type not in JSON_TYPES:
        return None
    try:
        return load_json(chunk_type, content)
    except CaptureError as error:
        raise DamageError(f"{what} is wrong: {error}") from None


def _open(path: str) -> int:
    """File descriptor of a regular file or a directory."""
    fact = f"cannot read {path}"
    try:
        # Opening a fifo without O_NONBLOCK would wait for its writer.
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except FileNotFoundError:
        step = ""
        if os.path.isdir(segments_path(path)):
            step = f"while it is recorded, read {segments_path(path)}"
        raise CaptureError(fact, "there is no such file", step) from None
    except PermissionError:
        raise CaptureError(fact, "permission denied", "read it as its owner, or as root") from None
    except OSError as error:
        cause = "it is not a regular file" if error.errno == errno.ENXIO else error.strerror
        raise CaptureError(fact, cause or str(error), NO_CAPTURE) from None
    except ValueError as error:  # a NUL in the name
        raise CaptureError("cannot read the capture", str(error)) from None
    mode = os.fstat(fd).st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        os.close(fd)
        raise CaptureError(fact, "it is not a regular file", NO_CAPTURE)
    return fd
