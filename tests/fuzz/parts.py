"""Files of strangers taken apart and put together again, with right lengths and checksums.

A file is a list of parts: chunks, with their contents decompressed, and raw bytes where there is no
chunk (the prefix, and what nobody can read). Several captures behind each other are the segments
of a bounded recording: each begins with its prefix.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import zstandard

from tracer.capture_format import (
    FRAME,
    MAGIC,
    PREFIX,
    RAW_LIMIT,
    STORED_LIMIT,
    pack_frame,
    pack_prefix,
    unpack_frame,
)

ZIP = b"PK\x03\x04"
_MEMBERS = 16
_MEMBER_BYTES = 1 << 20


@dataclass(frozen=True)
class Chunk:
    """A chunk. ``twist``: what is wrong with its frame, one of TWISTS, or "" if nothing is."""

    kind: bytes
    content: bytes
    twist: str = ""


Part = Chunk | bytes

TWISTS = ("raw", "stored", "checksum", "window", "undeclared", "second-frame", "cut", "not-zstd")


def decode(data: bytes) -> list[Part]:
    """The parts of a file."""
    parts: list[Part] = []
    position = 0
    while position < len(data):
        if data.startswith(MAGIC, position):
            parts.append(data[position : position + PREFIX.size])
            position += PREFIX.size
            continue
        chunk, end = _chunk(data, position)
        if chunk is None:
            end = data.find(MAGIC, position + 1)
            end = len(data) if end < 0 else end
            parts.append(data[position:end])
        else:
            parts.append(chunk)
        position = end
    return parts


def _chunk(data: bytes, position: int) -> tuple[Chunk | None, int]:
    head = data[position : position + FRAME.size]
    if len(head) < FRAME.size:
        return None, 0
    frame = unpack_frame(head)
    end = position + FRAME.size + frame.stored
    if frame.stored > STORED_LIMIT or frame.raw > RAW_LIMIT or end > len(data):
        return None, 0
    payload = data[position + FRAME.size : end]
    try:
        declared = zstandard.frame_content_size(payload)
        if declared not in (-1, frame.raw) or frame.raw > _MEMBER_BYTES:
            return None, 0
        unpacker = zstandard.ZstdDecompressor(max_window_size=RAW_LIMIT)
        content = unpacker.decompress(payload, max(frame.raw, 1))
    except (zstandard.ZstdError, MemoryError):
        return None, 0
    return Chunk(frame.type, content), end


def encode(parts: Iterable[Part]) -> bytes:
    """The file that consists of these parts."""
    return b"".join(part if isinstance(part, bytes) else _pack(part) for part in parts)


def _pack(chunk: Chunk) -> bytes:
    kind, content, twist = chunk.kind, chunk.content, chunk.twist
    declare = twist != "undeclared"
    parameters = zstandard.ZstdCompressionParameters.from_level(
        1, write_content_size=declare, **({"window_log": 27} if twist == "window" else {})
    )
    payload = zstandard.ZstdCompressor(compression_params=parameters).compress(content)
    raw = len(content)
    if twist == "raw":
        raw += 1
    elif twist == "second-frame":
        payload += payload
    elif twist == "cut":
        payload = payload[: len(payload) // 2]
    elif twist == "not-zstd":
        payload = content
    framed = pack_frame(kind, payload, raw) + payload
    if twist == "checksum":
        framed = framed[:12] + bytes([framed[12] ^ 1]) + framed[13:]
    elif twist == "stored":
        framed = framed[:4] + b"\xff" * 4 + framed[8:]
    return framed


def split(data: bytes) -> list[bytes]:
    """The captures that lie behind each other in a file: segments, if there are several."""
    begins = [0]
    while (at := data.find(MAGIC, begins[-1] + 1)) >= 0:
        begins.append(at)
    return [data[a:b] for a, b in zip(begins, [*begins[1:], len(data)], strict=True)]


def size(parts: Sequence[Part]) -> int:
    """Bytes of all contents."""
    return sum(len(part if isinstance(part, bytes) else part.content) for part in parts)


def with_planted(parts: Sequence[Part], planted: Chunk) -> list[Part]:
    """The same with one more chunk, behind the first one."""
    found = list(parts)
    for i, part in enumerate(found):
        if isinstance(part, Chunk):
            return [*found[: i + 1], planted, *found[i + 1 :]]
    return found


def retwisted(chunk: Chunk, twist: str) -> Chunk:
    return replace(chunk, twist=twist)


def prefix() -> bytes:
    return pack_prefix()


# --- archives ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Member:
    """A file in an archive. ``mode``: of the file, as Unix has it."""

    name: str
    content: bytes
    mode: int = 0o100600
    method: int = zipfile.ZIP_DEFLATED


def unpack_archive(data: bytes) -> list[Member] | None:
    """Members of an archive; None if nobody can read it."""
    found = []
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = archive.infolist()[:_MEMBERS]
            for member in members:
                with archive.open(member) as file:
                    content = file.read(_MEMBER_BYTES)
                found.append(
                    Member(
                        member.filename, content, member.external_attr >> 16, member.compress_type
                    )
                )
    except Exception:  # whatever zipfile raises at nonsense: there is nothing to take apart then
        return None
    return found


def pack_archive(members: Iterable[Member]) -> bytes:
    """The archive of these members, whatever their names."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for member in members:
            info = zipfile.ZipInfo("x")
            info.filename = member.name
            info.external_attr = (member.mode & 0xFFFF) << 16
            archive.writestr(info, member.content, member.method)
    return made.getvalue()
