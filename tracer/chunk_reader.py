"""Reads one file of chunks, a capture or a segment of one, and trusts nothing in it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import zstandard

from tracer import abi
from tracer.capture_format import (
    FRAME,
    HEAD,
    MAGIC,
    PREFIX,
    RAW_LIMIT,
    STORED_LIMIT,
    Frame,
    frame_checksum,
    load_json,
    unpack_frame,
)
from tracer.errors import CaptureError

_RECORDS = ("task", "detail", "socket")

NO_CAPTURE = "give a file that `rtrace record` wrote"


class DamageError(Exception):
    """Reading cannot go on; the text says why, without the file's name."""


class ChunkReader:
    """Chunks of an open file, one in memory at a time.

    Args:
        path: what errors call it.
        fd: the file; closed by close().

    Attributes:
        offset: where the next chunk begins.
        header_size: bytes of the content of HEAD, once it was read.
    """

    def __init__(self, path: str, fd: int) -> None:
        self.path, self.offset, self.header_size = path, 0, 0
        self._fd, self._size = fd, os.fstat(fd).st_size
        self._decompressor = zstandard.ZstdDecompressor(max_window_size=RAW_LIMIT)

    @property
    def share(self) -> float:
        """How much of the file was read, 0 to 1, by its size when it was opened. It may have grown.

        May be asked in another thread than the one that reads, and closes.
        """
        return min(self.offset / max(self._size, 1), 1.0)

    def read_header(self) -> dict[str, Any]:
        """What the file begins with: the prefix, and the content of HEAD.

        Raises:
            CaptureError: it is not a capture, is newer than this rtrace, or ends before its
                header does.
        """
        fact = f"cannot read {self.path}"
        schema = self._read_prefix()
        try:
            chunk = self.read_chunk()
            if chunk is None:
                raise DamageError(f"it was cut at byte {self.offset}, before its header")
            if chunk[0] != HEAD:
                raise DamageError("it does not begin with a header")
            self.header_size = len(chunk[1])
            header = load_json(HEAD, chunk[1])
        except DamageError as damage:
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

    def _read_prefix(self) -> int:
        fact = f"cannot read {self.path}"
        try:
            prefix = self._read(PREFIX.size)
        except DamageError as damage:
            raise CaptureError(fact, str(damage)) from None
        if not prefix:
            raise CaptureError(fact, "it is empty", NO_CAPTURE)
        if prefix[: len(MAGIC)] != MAGIC[: len(prefix)]:
            raise CaptureError(fact, "it is not a capture", NO_CAPTURE)
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

    def read_chunk(self) -> tuple[bytes, bytes] | None:
        """Type and content of the next chunk, None at the end of the file.

        Raises:
            DamageError: it is not whole, or not right.
            CaptureError: the reader is closed.
        """
        start = self.offset
        head = self._read(FRAME.size)
        if not head:
            return None
        if len(head) < FRAME.size:
            raise DamageError(f"cut at byte {self.offset}, inside the chunk at byte {start}")
        frame = unpack_frame(head)
        if frame.stored > STORED_LIMIT or frame.raw > RAW_LIMIT:
            raise DamageError(f"the chunk at byte {start} is damaged: its length is impossible")
        payload = self._read(frame.stored)
        if len(payload) < frame.stored:
            # A damaged length looks the same: the checksum that would tell is of bytes not there.
            raise DamageError(f"cut at byte {self.offset}, inside the chunk at byte {start}")
        if frame_checksum(head, payload) != frame.checksum:
            raise DamageError(f"the chunk at byte {start} is damaged: its checksum is wrong")
        try:
            content = self._decompress(payload, frame.raw)
        except (zstandard.ZstdError, MemoryError) as error:
            raise DamageError(
                f"the chunk at byte {start} cannot be decompressed: {error}"
            ) from None
        if len(content) != frame.raw:
            raise DamageError(
                f"the chunk at byte {start} is damaged: its content has another length"
            )
        return frame.type, content

    def peek(self) -> Frame | None:
        """Head of the next chunk of a file that grows; None while that is not there as a whole.

        It stays the next one: read it, or add ``FRAME.size + stored`` to ``offset``.

        Raises:
            DamageError: its length is impossible.
            CaptureError: the reader is closed.
        """
        start = self.offset
        try:
            head = self._read(FRAME.size)
        finally:
            self.offset = start
        if len(head) < FRAME.size:
            return None
        frame = unpack_frame(head)
        if frame.stored > STORED_LIMIT or frame.raw > RAW_LIMIT:
            raise DamageError(f"the chunk at byte {start} is damaged: its length is impossible")
        whole = os.fstat(self._fd).st_size >= start + FRAME.size + frame.stored
        return frame if whole else None

    def close(self) -> None:
        """Closes the file. May be called twice."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def _decompress(self, payload: bytes, length: int) -> bytes:
        """Content of one zstd frame, which may not be longer than ``length``."""
        # decompress() allocates what the zstd frame declares, whatever limit it is given.
        declared = zstandard.frame_content_size(payload)
        if declared not in (-1, length):
            raise zstandard.ZstdError("it declares another length")
        # A limit of 0 would mean none.
        return self._decompressor.decompress(payload, max(length, 1), allow_extra_data=False)

    def _read(self, size: int) -> bytes:
        """The next ``size`` bytes, fewer only at the end of the file."""
        if self._fd < 0:
            raise CaptureError(f"cannot read {self.path}", "it is closed")
        parts = []
        while size:
            try:
                part = os.pread(self._fd, size, self.offset)
            except OSError as error:
                raise DamageError(
                    f"cannot be read at byte {self.offset}: {error.strerror}"
                ) from None
            if not part:
                break
            parts.append(part)
            size -= len(part)
            self.offset += len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)


def _find_other_layout(found: Mapping[str, Any]) -> str | None:
    """First field that a capture's layout places elsewhere than this rtrace does, or None.

    Fields that only one side has do not matter: a layout that is not understood is none.
    """
    ours = abi.layout_description()
    theirs: list[tuple[str, Any]] = [(name, found.get(name)) for name in _RECORDS]
    mine: dict[str, Any] = {name: ours[name] for name in _RECORDS}
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
