"""Reads a capture, one chunk in memory at a time, and trusts nothing in it.

A capture that was cut (kill -9, full disk, power) or damaged is read up to its last whole chunk;
the reader then says where it stopped and why. Nothing damaged is skipped over: what comes behind
it is not given out.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any

import zstandard

from tracer import abi
from tracer.capture_format import (
    EVENT_STRIDE,
    EVENTS,
    FRAME,
    HEAD,
    JSON_TYPES,
    MAGIC,
    PREFIX,
    RATIO_FREE,
    RATIO_LIMIT,
    RAW_LIMIT,
    STORED_LIMIT,
    TAIL,
    TASK_PHASE,
    TASKS,
    frame_checksum,
    load_json,
    unpack_frame,
)
from tracer.errors import CaptureError

_NO_CAPTURE = "give a file that `rtrace record` wrote"


class _Damage(Exception):
    """Reading cannot go on; the text says why, without the file's name."""


class CaptureReader:
    """A capture opened for reading.

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

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fspath(path)
        self.complete = False
        self.damage: str | None = None
        self.trailer: dict[str, Any] | None = None
        self._fd = _open(self.path)
        self._offset = 0
        self._decompressor = zstandard.ZstdDecompressor(max_window_size=RAW_LIMIT)
        try:
            schema = self._read_prefix()
            self.header = self._read_header(schema)
        except BaseException:
            self.close()
            raise
        self._first = self._offset

    def chunks(self) -> Iterator[tuple[bytes, bytes]]:
        """Type and content of each chunk after HEAD, in file order, the trailer too.

        EVTS and TASK contents are whole records and JSON contents pass ``load_json``, or reading
        stops before them. Chunks of unknown types are given out: leave them alone. May be called
        again, and then starts again.

        Raises:
            CaptureError: the reader is closed.
        """
        self._offset, self.complete, self.damage, self.trailer = self._first, False, None, None
        expanded = 0
        while True:
            start = self._offset
            try:
                chunk = self._read_chunk()
                if self.trailer is not None and chunk is not None:
                    raise _Damage(f"there is more after the trailer, from byte {start}")
                if chunk is None:
                    self._finish(start)
                    return
                self._check(start, *chunk)
                expanded += len(chunk[1])
                if expanded > max(RATIO_FREE, RATIO_LIMIT * self._offset):
                    # Each chunk is within the limits, but whoever collects them would not be.
                    raise _Damage(f"decompresses to over {RATIO_LIMIT} times its size at {start}")
            except _Damage as damage:
                self.complete, self.damage = False, str(damage)
                return
            yield chunk

    def close(self) -> None:
        """Closes the file. May be called twice."""
        fd, self._fd = self._fd, -1
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

    # --- the beginning -------------------------------------------------------------------------

    def _read_prefix(self) -> int:
        fact = f"cannot read {self.path}"
        try:
            prefix = self._read(PREFIX.size)
        except _Damage as damage:
            raise CaptureError(fact, str(damage)) from None
        if not prefix:
            raise CaptureError(fact, "it is empty", _NO_CAPTURE)
        if prefix[: len(MAGIC)] != MAGIC[: len(prefix)]:
            raise CaptureError(fact, "it is not a capture", _NO_CAPTURE)
        if len(prefix) < PREFIX.size:
            raise CaptureError(fact, f"it was cut at byte {len(prefix)}, before its header")
        _, schema, reserved = PREFIX.unpack(prefix)
        if schema > abi.SCHEMA:
            raise CaptureError(
                fact,
                f"its format is version {schema}, this rtrace reads up to version {abi.SCHEMA}",
                "read it with a newer rtrace",
            )
        if schema == 0 or reserved != 0:
            raise CaptureError(fact, "its first 16 bytes are damaged")
        return int(schema)

    def _read_header(self, schema: int) -> dict[str, Any]:
        fact = f"cannot read {self.path}"
        try:
            chunk = self._read_chunk()
            if chunk is None:
                raise _Damage(f"it was cut at byte {self._offset}, before its header")
            if chunk[0] != HEAD:
                raise _Damage("it does not begin with a header")
            header = load_json(HEAD, chunk[1])
        except _Damage as damage:
            raise CaptureError(fact, str(damage)) from None
        except CaptureError as error:
            raise CaptureError(fact, f"its header is wrong: {error}") from None
        if header["schema"] != schema:
            raise CaptureError(fact, "its header is wrong: the schema is not that of the file")
        if (field := _find_other_layout(header.get("layout") or {})) is not None:
            raise CaptureError(
                fact,
                f"its records are not those of format version {schema} ({field} differs)",
                "read it with the rtrace that recorded it",
            )
        return header

    # --- chunks --------------------------------------------------------------------------------

    def _read_chunk(self) -> tuple[bytes, bytes] | None:
        """Next chunk, None at the end of the file."""
        start = self._offset
        head = self._read(FRAME.size)
        if not head:
            return None
        if len(head) < FRAME.size:
            raise _Damage(f"cut at byte {self._offset}, inside the chunk at byte {start}")
        frame = unpack_frame(head)
        if frame.stored > STORED_LIMIT or frame.raw > RAW_LIMIT:
            raise _Damage(f"the chunk at byte {start} is damaged: its length is impossible")
        payload = self._read(frame.stored)
        if len(payload) < frame.stored:
            # A damaged length looks the same: the checksum that would tell is of bytes not there.
            raise _Damage(f"cut at byte {self._offset}, inside the chunk at byte {start}")
        if frame_checksum(head, payload) != frame.checksum:
            raise _Damage(f"the chunk at byte {start} is damaged: its checksum is wrong")
        try:
            content = self._decompress(payload, frame.raw)
        except (zstandard.ZstdError, MemoryError) as error:
            raise _Damage(f"the chunk at byte {start} cannot be decompressed: {error}") from None
        if len(content) != frame.raw:
            raise _Damage(f"the chunk at byte {start} is damaged: its content has another length")
        return frame.type, content

    def _decompress(self, payload: bytes, length: int) -> bytes:
        """Content of one zstd frame, which may not be longer than ``length``."""
        # decompress() allocates what the zstd frame declares, whatever limit it is given.
        declared = zstandard.frame_content_size(payload)
        if declared not in (-1, length):
            raise zstandard.ZstdError("it declares another length")
        # A limit of 0 would mean none.
        return self._decompressor.decompress(payload, max(length, 1), allow_extra_data=False)

    def _check(self, start: int, chunk_type: bytes, content: bytes) -> None:
        """Damage if the content is not what readers of this chunk type rely on."""
        what = f"the chunk at byte {start} ({chunk_type.decode('ascii', 'replace')})"
        if chunk_type == HEAD:
            raise _Damage(f"{what} is a second header")
        if chunk_type == EVENTS and len(content) % EVENT_STRIDE:
            raise _Damage(f"{what} does not hold whole events")
        if chunk_type == TASKS:
            count, rest = divmod(len(content) - TASK_PHASE.size, abi.TASK_SIZE)
            if count < 0 or rest or TASK_PHASE.unpack_from(content)[0] > 1:
                raise _Damage(f"{what} does not hold a snapshot")
        if chunk_type in JSON_TYPES:
            try:
                value = load_json(chunk_type, content)
            except CaptureError as error:
                raise _Damage(f"{what} is wrong: {error}") from None
            if chunk_type == TAIL:
                self.trailer = value

    def _finish(self, end: int) -> None:
        self.complete = self.trailer is not None
        if not self.complete:
            self.damage = f"cut at byte {end}: the trailer is missing"

    def _read(self, size: int) -> bytes:
        """The next ``size`` bytes, fewer only at the end of the file."""
        if self._fd < 0:
            raise CaptureError(f"cannot read {self.path}", "it is closed")
        parts = []
        while size:
            try:
                part = os.pread(self._fd, size, self._offset)
            except OSError as error:
                raise _Damage(f"cannot be read at byte {self._offset}: {error.strerror}") from None
            if not part:
                break
            parts.append(part)
            size -= len(part)
            self._offset += len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)


def _open(path: str) -> int:
    fact = f"cannot read {path}"
    try:
        # Opening a fifo without O_NONBLOCK would wait for its writer.
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except FileNotFoundError:
        raise CaptureError(fact, "there is no such file") from None
    except PermissionError:
        raise CaptureError(fact, "permission denied", "read it as its owner, or as root") from None
    except OSError as error:
        cause = "it is not a regular file" if error.errno == errno.ENXIO else error.strerror
        raise CaptureError(fact, cause or str(error)) from None
    except ValueError as error:  # a NUL in the name
        raise CaptureError("cannot read the capture", str(error)) from None
    mode = os.fstat(fd).st_mode
    if not stat.S_ISREG(mode):
        os.close(fd)
        cause = "it is a directory" if stat.S_ISDIR(mode) else "it is not a regular file"
        raise CaptureError(fact, cause, _NO_CAPTURE)
    return fd


def _find_other_layout(found: Mapping[str, Any]) -> str | None:
    """First field that a capture's layout places elsewhere than this rtrace does, or None.

    Fields that only one side has do not matter: a layout that is not understood is none.
    """
    ours = abi.layout_description()
    theirs: list[tuple[str, Any]] = [(name, found.get(name)) for name in ("task", "detail")]
    mine: dict[str, Any] = {"task": ours["task"], "detail": ours["detail"]}
    event = found.get("event")
    payloads = event.get("payloads") if isinstance(event, dict) else None
    for name, layout in ours["event"]["payloads"].items():
        theirs.append((name, payloads.get(name) if isinstance(payloads, dict) else None))
        mine[name] = layout
    for name, layout in theirs:
        if not isinstance(layout, dict):
            continue
        if layout.get("itemsize") != mine[name]["itemsize"]:
            return f"the size of {name}"
        places = _places(mine[name])
        for field, place in _places(layout).items():
            if places.get(field, place) != place:
                return f"{name}.{field}"
    return None


def _places(layout: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Format and offset of each field."""
    names, formats, offsets = (layout.get(key) for key in ("names", "formats", "offsets"))
    if not (isinstance(names, list) and isinstance(formats, list) and isinstance(offsets, list)):
        return {}
    return {
        str(name): (kind, offset)
        for name, kind, offset in zip(names, formats, offsets, strict=False)
    }
