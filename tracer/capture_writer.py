"""Writes a capture: append-only, whole chunks, never over somebody else's file.

What was written stays readable whatever happens next: each chunk is handed to the kernel as soon
as it is complete, so that kill -9 loses nothing that was written, and a chunk that the disk has
no room for is taken back.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import threading
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import zstandard

from tracer import abi
from tracer.capture_format import (
    CHUNK_BYTES,
    DETAILS,
    EVENT_STRIDE,
    EVENTS,
    HEAD,
    JSON_LIMIT,
    JSON_TYPES,
    PHASES,
    PROCESSES,
    RAW_LIMIT,
    TAIL,
    TASK_PHASE,
    TASKS,
    dump_json,
    pack_frame,
    pack_prefix,
)
from tracer.errors import CaptureError

# Measured on storms (docs/capture-format.md, "Compression").
LEVEL = -1

_PROCESS_CHUNK = 1 << 20

Buffer = bytes | bytearray | memoryview


class CaptureWriter:
    """Creates a capture and appends chunks to it. Any thread may write.

    Args:
        path: file to create, mode 0600, owned by whoever ran sudo.
        header: content of the HEAD chunk; see docs/capture-format.md.
        force: replace a regular file that is there. Never a link, device or directory.

    Raises:
        CaptureError: the file exists, cannot be created, or the header does not fit on the disk;
            no file is left behind then.
    """

    def __init__(
        self, path: str | os.PathLike[str], header: Mapping[str, Any], *, force: bool = False
    ) -> None:
        self.path = os.fspath(path)
        self._lock = threading.Lock()
        self._compressor = zstandard.ZstdCompressor(level=LEVEL)
        self._size = 0
        self._events = 0
        self._failure = CaptureError(f"cannot write more to {self.path}", "it is closed")
        self._fd = _create(self.path, force)
        try:
            _give_to_sudo_user(self._fd)
            self._append(pack_prefix() + self._chunk(HEAD, dump_json(header)))
        except BaseException:
            self._close_file()
            with contextlib.suppress(OSError):
                os.unlink(self.path)
            raise

    @property
    def bytes_written(self) -> int:
        """Size of the capture so far."""
        return self._size

    @property
    def events_written(self) -> int:
        """How many events are in the capture."""
        return self._events

    @property
    def closed(self) -> bool:
        """Whether nothing more can be written: after close() or a failed write."""
        return self._fd < 0

    def write(self, chunk_type: bytes, content: Buffer) -> None:
        """Appends one chunk. ``content`` may be mapped memory: it is read once, not kept.

        Raises:
            CaptureError: it could not be written (disk full, file removed), or the capture is
                closed. After a failure the file ends with the last whole chunk and is closed:
                each further write fails the same way, and close() does nothing.
                JSON of more than 4 MiB is refused too; the capture goes on then.
            ValueError: the content is longer than any reader accepts.
        """
        with self._lock:
            if self._fd < 0:
                raise self._failure
            self._append(self._chunk(chunk_type, content))

    def write_json(self, chunk_type: bytes, value: Mapping[str, Any]) -> None:
        """Appends a JSON chunk. Strings may hold anything, also lone surrogates."""
        self.write(chunk_type, dump_json(value))

    def write_events(self, records: Buffer) -> None:
        """Appends events as they lay in the ring: 8 bytes of ring header and the event, each."""
        for part in _split(records, CHUNK_BYTES // EVENT_STRIDE * EVENT_STRIDE):
            self.write(EVENTS, part)
            self._events += memoryview(part).nbytes // EVENT_STRIDE

    def write_details(self, records: Buffer) -> None:
        """Appends details, each padded to 8 bytes and with no ring header."""
        # A chunk of this size holds hundreds of details, and one larger than the limit happens
        # only when the recorder was kept from running: walking the records is rare.
        if len(records) <= CHUNK_BYTES:
            if len(records):
                self.write(DETAILS, records)
            return
        view, start, end = memoryview(records).cast("B"), 0, 0
        while end < len(view):
            length = _detail_length(view, end)
            if end - start + length > CHUNK_BYTES:
                self.write(DETAILS, view[start:end])
                start = end
            end += length
        self.write(DETAILS, view[start:])

    def write_tasks(self, phase: str, records: Buffer) -> None:
        """Appends a task iterator's snapshot, an empty one too. ``phase``: "start" or "end"."""
        head = TASK_PHASE.pack(PHASES.index(phase))
        size = CHUNK_BYTES // abi.TASK_SIZE * abi.TASK_SIZE - abi.TASK_SIZE
        for part in list(_split(records, size)) or [memoryview(b"")]:
            self.write(TASKS, head + part)

    def write_processes(self, phase: str, processes: Iterable[Mapping[str, Any]]) -> None:
        """Appends what /proc said about processes, in as many chunks as it takes."""
        batch: list[Mapping[str, Any]] = []
        size = 0
        for process in processes:
            batch.append(process)
            size += len(dump_json(process))
            if size >= _PROCESS_CHUNK:
                self.write_json(PROCESSES, {"phase": phase, "processes": batch})
                batch, size = [], 0
        if batch:
            self.write_json(PROCESSES, {"phase": phase, "processes": batch})

    def close(self, trailer: Mapping[str, Any]) -> None:
        """Appends the TAIL chunk and closes the file. Does nothing when it is closed already.

        Raises:
            CaptureError: as for write(); the capture is readable without its trailer.
        """
        content = dump_json(trailer)
        with self._lock:
            if self._fd < 0:
                return
            try:
                self._append(self._chunk(TAIL, content))
            finally:
                self._close_file()

    def abandon(self) -> None:
        """Closes the file without a trailer: readers will call the capture cut."""
        with self._lock:
            self._close_file()

    def _chunk(self, chunk_type: bytes, content: Buffer) -> bytes:
        length = memoryview(content).nbytes
        if len(chunk_type) != 4 or length > RAW_LIMIT:
            raise ValueError(f"chunk {chunk_type!r} of {length} bytes")
        if chunk_type in JSON_TYPES and length > JSON_LIMIT:
            name = chunk_type.decode("ascii")
            raise CaptureError(f"cannot write {name} to {self.path}", f"it has {length} bytes")
        payload = self._compressor.compress(content)
        return pack_frame(chunk_type, payload, length) + payload

    def _append(self, data: bytes) -> None:
        """Writes ``data`` at the end, all or nothing."""
        try:
            if os.fstat(self._fd).st_nlink == 0:
                raise OSError(errno.ENOENT, "the file was removed while it was written")
            view, offset = memoryview(data), self._size
            while view:
                written = os.pwrite(self._fd, view, offset)
                view, offset = view[written:], offset + written
        except OSError as error:
            self._take_back()
            self._close_file()
            self._failure = _write_error(self.path, error)
            raise self._failure from None
        except BaseException:  # an exception out of a signal handler: the capture can go on
            self._take_back()
            raise
        self._size = offset

    def _take_back(self) -> None:
        with contextlib.suppress(OSError):
            os.ftruncate(self._fd, self._size)

    def _close_file(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            with contextlib.suppress(OSError):
                os.close(fd)


def _split(records: Buffer, size: int) -> Iterator[memoryview]:
    view = memoryview(records).cast("B")
    for start in range(0, len(view), size):
        yield view[start : start + size]


def _detail_length(view: memoryview, offset: int) -> int:
    header = abi.DetailHeader.from_buffer_copy(view, offset)
    length: int = (
        abi.DETAIL_HEADER_SIZE
        + header.filename_len
        + header.args_len
        + header.cgroup_len
        + header.cgroup_v1_len
    )
    return length + -length % 8


def _create(path: str, force: bool) -> int:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        if force:
            with contextlib.suppress(FileNotFoundError):
                if not stat.S_ISREG(os.lstat(path).st_mode):
                    raise CaptureError(
                        f"cannot write {path}",
                        "it exists and is not a regular file",
                        "give another name",
                    )
                os.unlink(path)
        return os.open(path, flags, 0o600)
    except FileExistsError:
        step = "give another name, or --force to replace it"
        raise CaptureError(f"cannot write {path}", "it exists", step) from None
    except (OSError, ValueError) as error:
        raise _create_error(path, error) from None


def _create_error(path: str, error: OSError | ValueError) -> CaptureError:
    fact = f"cannot write {path}"
    directory = os.path.dirname(path) or "."
    match error:
        case FileNotFoundError():
            step = "create it, or give another name"
            return CaptureError(fact, f"there is no directory {directory}", step)
        case PermissionError():
            return CaptureError(
                fact, f"the directory {directory} is not writable", "give another name"
            )
        case OSError():
            return CaptureError(fact, _text(error), "give another name")
        case _:  # a NUL in the name
            return CaptureError("cannot write the capture", str(error), "give another name")


def _write_error(path: str, error: OSError) -> CaptureError:
    fact = f"cannot write more to {path}"
    match error.errno:
        case errno.ENOSPC:
            cause, step = "the disk is full", "make room; what is in the capture can be read"
        case errno.EDQUOT:
            cause = "the disk quota is used up"
            step = "make room; what is in the capture can be read"
        case errno.EFBIG:
            cause = "the file may not become larger"
            step = "raise the limit (ulimit -f); what is in the capture can be read"
        case errno.ENOENT:
            cause, step = _text(error), "record again"
        case _:
            cause, step = _text(error), "what is in the capture can be read"
    return CaptureError(fact, cause, step)


def _text(error: OSError) -> str:
    text = error.strerror or str(error)
    return text[:1].lower() + text[1:]


def _give_to_sudo_user(fd: int) -> None:
    """Lets the user who ran sudo read, move and remove the capture without sudo."""
    uid, gid = os.environ.get("SUDO_UID", ""), os.environ.get("SUDO_GID", "")
    if os.geteuid() != 0 or not (uid.isdecimal() and gid.isdecimal()):
        return
    # Some file systems have no owners (vfat) or do not let root choose (NFS).
    with contextlib.suppress(OSError, OverflowError):
        os.fchown(fd, int(uid), int(gid))
