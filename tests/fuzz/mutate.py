"""Changes a file of a stranger at every level that it has, and frames it rightly again.

A byte that is changed at random ends in a wrong checksum, and the reader stops there. So a file is
taken apart (parts.py), and records, details, snapshots, sockets, JSON, chunks or members are
changed: what is behind the reader sees it all.
"""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Callable, Sequence
from typing import Any

from tests.fuzz.parts import (
    TWISTS,
    ZIP,
    Chunk,
    Member,
    Part,
    decode,
    encode,
    pack_archive,
    prefix,
    retwisted,
    size,
    unpack_archive,
)
from tests.incidents import PAYLOADS
from tracer import abi
from tracer.abi import Type
from tracer.capture_format import (
    DETAILS,
    EVENT_STRIDE,
    EVENTS,
    FACT,
    HEAD,
    JSON_TYPES,
    LOSS,
    PROCESSES,
    RING_HEADER_SIZE,
    SOCKET_HEAD,
    SOCKETS,
    TAIL,
    TASKS,
)

CONTENT_LIMIT = 512 << 10
"""Bytes of all contents: what lies beyond is a matter of scale, see tests/unit/test_growth.py."""

_JSON_BYTES = 64 << 10

KINDS = (
    HEAD,
    TAIL,
    EVENTS,
    DETAILS,
    TASKS,
    PROCESSES,
    FACT,
    LOSS,
    SOCKETS,
    b"WHAT",
    b"\xff\0\n\x1b",
)
NUMBERS = (
    *(0, 1, 2, 3, 4, 7, 8, 9, 15, 16, 17, 19, 31, 32, 33, 64, 65, 127, 128, 129, 137, 255, 256),
    *(4096, 65535, 65536, 10**9, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**53 - 1, 2**53, 2**53 + 1),
    *(2**62 - 1, 2**62, 2**62 + 1, 2**63 - 1, 2**63, 2**64 - 2, 2**64 - 1),
)
WORDS = (
    *PAYLOADS,
    *("", " ", "/", "//", "..", "../../../../etc/passwd", "/etc/shadow", "-", "--", "-p", "=", "%"),
    *("\x00", "a\x00b", "\x1b[2J\x1b[31m", "\x9b31m", "\u202eabc", "\u2066x\u2069", "\ufeff"),
    *("\x7f", "\r", "\n", "a\nb\n", "\t", "\x85", "\u2028", "\ud800", "\udcff", "\U0010ffff"),
    *("=1+1", "+1", "-1+1", "@SUM(A1)", "=cmd|' /C calc'!A0", "\t=1", ";=1", "\uff1d1"),
    *(
        "| a | b |",
        "[x](http://evil.example)",
        "![x](y)",
        "`",
        "```",
        "~~x~~",
        "<b>",
        "# x",
        "1. x",
    ),
    *(
        "http://evil.example/",
        "@octocat",
        "#1",
        "$x$",
        "\\",
        "a" * 300,
        "\u0301" * 60,
        "\u5b57" * 80,
    ),
    *("docker", "dockerd", "containerd", "containerd-shim-runc-v2", "runc", "crun", "conmon"),
    *("runc init", "/usr/bin/runc", "podman", "ctr", "systemd", "/proc/self/exe", "docker-init"),
    *("run", "exec", "create", "start", "kill", "delete", "--name", "--root", "-namespace", "moby"),
    *(
        "-id",
        "--rm",
        "--address",
        "state",
        "/docker/",
        "system.slice",
        "docker.service",
        "user@1000",
    ),
    *("2f1c0a8b9d3e" + "5" * 52, "f" * 64, "0" * 64, "docker-" + "a" * 64 + ".scope", "nan", "-0"),
    *("tgid:start_ns", "1:999000000000", "0:0", "4294967295:18446744073709551615", "%00", "%s%n"),
    *(
        "--password=Zz9!zz9zz",
        "https://u:p4ssw0rdX9@h/",
        "-----BEGIN RSA PRIVATE KEY-----",
        "eyJhbG",
    ),
)
VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 0.5, -0.0, 1e308, 2**53, 2**63, 2**64 - 1, -(2**63), "", [], {}),
    *([[]], [{}], {"": ""}, [None], ["x"], [0], [[0, 0]], {"id": "x"}, "start", "end", "docker"),
)

_PAYLOAD_LAYOUTS = {int(kind): abi.event_layout(kind) for kind in Type}
_COMMON = abi.event_layout()
_TASK, _SOCKET = abi.task_layout(), abi.socket_layout()
_LENGTHS = ("filename_len", "args_len", "cgroup_len", "cgroup_v1_len")
_FORMATS = {"u1": "<B", "<u2": "<H", "<u4": "<I", "<u8": "<Q", "<i4": "<i"}

Raw = Callable[[bytes, int], bytes]


class Mutator:
    """Makes new files of given ones.

    Args:
        seed: all that is chosen follows from it.
        raw: changes plain bytes, to a length that is given; by default a few bytes at random.
        donors: chunks of other files, that may be put in.
    """

    def __init__(self, seed: int, raw: Raw | None = None, donors: Sequence[Chunk] = ()) -> None:
        self.chance = random.Random(seed)
        self.raw = raw or self._flip
        self.donors = donors

    def mutate(self, data: bytes, limit: int) -> bytes:
        """A file like the given one, not longer than ``limit`` bytes."""
        chance = self.chance
        if chance.random() < 0.03 or not data:
            return self.raw(data, limit)[:limit]
        members = unpack_archive(data) if data.startswith(ZIP) else None
        if members is not None:
            made = self._archive(members)
        elif data.startswith(ZIP):
            made = self.raw(data, limit)
        elif chance.random() < 0.004:
            made = pack_archive([Member("capture.rtrace", data)])
        else:
            made = self._capture(data)
        return made if len(made) <= limit else data[:limit]

    def _flip(self, data: bytes, limit: int) -> bytes:
        changed = bytearray(data or b"\0")
        for _ in range(self.chance.randrange(1, 5)):
            at = self.chance.randrange(len(changed))
            what = self.chance.random()
            if what < 0.7:
                changed[at] = self.chance.choice((0, 255, changed[at] ^ 1 << self._below(8)))
            elif what < 0.85:
                changed[at:at] = changed[at : at + self._below(40)]
            elif len(changed) > 1:
                del changed[at : at + self._below(40)]
                changed = changed or bytearray(b"\0")
        return bytes(changed[:limit])

    def _below(self, limit: int) -> int:
        return self.chance.randrange(limit) if limit > 0 else 0

    def _several(self) -> range:
        """Mostly once, sometimes often."""
        return range(self.chance.choice((1, 1, 1, 2, 3, 5, 12, 40)))

    # --- archives ------------------------------------------------------------------------------

    def _archive(self, members: list[Member]) -> bytes:
        chance = self.chance
        made = list(members)
        for _ in range(chance.choice((1, 1, 2))):
            if not made:
                made.append(Member("x.rtrace", b""))
            i = self._below(len(made))
            old = made[i]
            what = chance.random()
            if what < 0.6 and old.name.endswith(".rtrace"):
                made[i] = Member(old.name, self._capture(old.content), old.mode, old.method)
            elif what < 0.7:
                name = chance.choice((*WORDS, "x.rtrace", "../x.rtrace", "/x.rtrace", "a/b.rtrace"))
                name = name.encode("utf-8", "replace").decode() or "x"
                made[i] = Member(name, old.content, old.mode, old.method)
            elif what < 0.78:
                mode = chance.choice(
                    (0, 0o120777, 0o100600, 0o020666, 0o010600, 0o040755, 0o060600)
                )
                made[i] = Member(old.name, old.content, mode, old.method)
            elif what < 0.85:
                made[i] = Member(old.name, old.content, old.mode, chance.choice((0, 8, 12, 14)))
            elif what < 0.92:
                made.append(Member(f"{len(made)}.rtrace", old.content[: self._below(3000)]))
            else:
                del made[i]
        packed = pack_archive(made)
        return self.raw(packed, len(packed) + 64) if chance.random() < 0.3 else packed

    # --- chunks --------------------------------------------------------------------------------

    def _capture(self, data: bytes) -> bytes:
        parts = decode(data)
        for _ in self._several():
            parts = self._change(parts)
            if size(parts) > CONTENT_LIMIT:
                return data
        return encode(parts)

    def _change(self, parts: list[Part]) -> list[Part]:
        chance = self.chance
        chunks = [i for i, part in enumerate(parts) if isinstance(part, Chunk)]
        if not chunks or chance.random() < 0.15:
            return self._rearrange(parts, chunks)
        i = chance.choice(chunks)
        part = parts[i]
        assert isinstance(part, Chunk)
        if chance.random() < 0.02:
            changed = retwisted(part, chance.choice(TWISTS))
        else:
            changed = Chunk(part.kind, self._content(part.kind, part.content))
        return [*parts[:i], changed, *parts[i + 1 :]]

    def _rearrange(self, parts: list[Part], chunks: list[int]) -> list[Part]:
        """Chunks that come twice, not at all, elsewhere, from other files, or from nowhere."""
        chance = self.chance
        parts = list(parts)
        if not chunks:
            return [prefix(), *parts] if chance.random() < 0.5 else [self.raw(encode(parts), 4096)]
        i, j = chance.choice(chunks), chance.choice(chunks)
        what = chance.randrange(9)
        if what == 0:
            del parts[i]
        elif what == 1:
            parts.insert(j, parts[i])
        elif what == 2:
            parts[i], parts[j] = parts[j], parts[i]
        elif what == 3 and self.donors:
            parts.insert(j + chance.randrange(2), chance.choice(self.donors))
        elif what == 4:
            parts.insert(j, Chunk(chance.choice(KINDS), self._word().encode("utf-8", "replace")))
        elif what == 5:
            part = parts[i]
            assert isinstance(part, Chunk)
            parts[i] = Chunk(chance.choice(KINDS), part.content)
        elif what == 6:  # one more segment of the same recording
            head = parts[chunks[0]]
            parts[j + 1 : j + 1] = [prefix(), head]
        elif what == 7:
            part = parts[i]
            assert isinstance(part, Chunk)
            at = self._below(len(part.content))
            parts[i] = Chunk(part.kind, part.content[:at])
        else:
            del parts[min(i, j) + 1 : max(i, j)]
        return parts

    def _content(self, kind: bytes, content: bytes) -> bytes:
        if kind in JSON_TYPES:
            return self._json(content)
        if self.chance.random() < 0.01:
            return self.raw(content, len(content) + 64)
        if kind == EVENTS:
            return self._events(content)
        if kind == DETAILS:
            return self._details(content)
        if kind == TASKS:
            return self._records(content, 8, abi.TASK_SIZE, lambda _: _TASK, 0)
        if kind == SOCKETS:
            return self._records(content, SOCKET_HEAD.size, abi.SOCKET_SIZE, lambda _: _SOCKET, 0)
        return self.raw(content, len(content) + 64)

    # --- records -------------------------------------------------------------------------------

    def _events(self, content: bytes) -> bytes:
        def layout(record: bytes) -> dict[str, Any]:
            kind = record[RING_HEADER_SIZE + abi.Event.type.offset]
            return _PAYLOAD_LAYOUTS.get(kind, _COMMON)

        return self._records(content, 0, EVENT_STRIDE, layout, RING_HEADER_SIZE)

    def _records(
        self,
        content: bytes,
        head: int,
        stride: int,
        layout: Callable[[bytes], dict[str, Any]],
        skip: int,
    ) -> bytes:
        """Changes records of a fixed size: their fields, their order, their number."""
        chance = self.chance
        begin, body = content[:head], content[head:]
        records = [body[i : i + stride] for i in range(0, len(body) - stride + 1, stride)]
        if head and chance.random() < 0.05:
            begin = struct.pack("<Q", chance.choice((0, 1, 1, 2, 2**64 - 1))) + begin[8:]
        if not records:
            return begin + bytes(stride)
        for _ in self._several():
            i, j = self._below(len(records)), self._below(len(records))
            what = chance.random()
            if what < 0.62:
                records[i] = self._field(records[i], records[j], layout(records[i]), skip)
            elif what < 0.70:
                records[i] = self._relate(records[i], records[j], layout(records[i]), skip)
            elif what < 0.76:
                records.insert(j, records[i])
            elif what < 0.82 and len(records) > 1:
                del records[i]
            elif what < 0.87:
                records[i], records[j] = records[j], records[i]
            elif what < 0.90:
                records.reverse()
            elif what < 0.95:
                records[i:i] = self._crowd(records[i], layout(records[i]), skip)
            elif skip:
                kind = chance.choice((*map(int, Type), 0, 12, 255))
                at = RING_HEADER_SIZE + abi.Event.type.offset
                records[i] = records[i][:at] + bytes([kind]) + records[i][at + 1 :]
            if len(records) * stride > CONTENT_LIMIT:
                break
        return begin + b"".join(records)

    def _field(self, record: bytes, other: bytes, layout: dict[str, Any], skip: int) -> bytes:
        """One field becomes a boundary, its neighbour, or what another record has there."""
        chance = self.chance
        i = self._below(len(layout["names"]))
        form, at = layout["formats"][i], layout["offsets"][i] + skip
        if form not in _FORMATS:
            length = int(form[1:])
            text = self._bytes()[:length].ljust(length, b"\0")
            return record[:at] + text + record[at + length :]
        packer = struct.Struct(_FORMATS[form])
        bits = packer.size * 8
        old = packer.unpack_from(record, at)[0]
        what = chance.random()
        if what < 0.4:
            new = chance.choice(NUMBERS)
        elif what < 0.6:
            new = old + chance.choice((-1, 1, -1000, 1000, 10**9, -(10**9), 10**6, 2**31, 2**40))
        elif what < 0.85:
            new = packer.unpack_from(other, at)[0]
        else:
            new = old ^ 1 << chance.randrange(bits)
        new &= (1 << bits) - 1
        if form == "<i4" and new >= 1 << 31:
            new -= 1 << 32
        changed = bytearray(record)
        packer.pack_into(changed, at, new)
        return bytes(changed)

    def _relate(self, record: bytes, other: bytes, layout: dict[str, Any], skip: int) -> bytes:
        """Who is named in a record becomes the subject of another one, or of itself."""
        pairs = [n.removesuffix("_tgid") for n in layout["names"] if n.endswith("_tgid")]
        names = [n for n in pairs if f"{n}_start_ns" in layout["names"]]
        offsets = dict(zip(layout["names"], layout["offsets"], strict=True))
        if "tgid" not in offsets:
            return record
        source = record if self.chance.random() < 0.3 else other
        tgid = source[skip + offsets["tgid"] :][:4]
        start = source[skip + offsets["start_ns"] :][:8]
        changed = bytearray(record)
        name = self.chance.choice([*names, ""])
        where = f"{name}_" if name else ""
        if len(tgid) == 4 and len(start) == 8:
            at = skip + offsets[f"{where}tgid"]
            changed[at : at + 4] = tgid
            if self.chance.random() < 0.8:
                at = skip + offsets[f"{where}start_ns"]
                changed[at : at + 8] = start
        return bytes(changed)

    def _crowd(self, record: bytes, layout: dict[str, Any], skip: int) -> list[bytes]:
        """Many of a kind: the same process again and again, or always another one."""
        chance = self.chance
        offsets = dict(zip(layout["names"], layout["offsets"], strict=True))
        names = [name for name in ("ts_ns", "start_ns", "tgid") if chance.random() < 0.5]
        result = []
        for number in range(chance.choice((2, 10, 100, 400))):
            changed = bytearray(record)
            for name in names:
                at, form = skip + offsets[name], "<I" if name == "tgid" else "<Q"
                old = struct.unpack_from(form, record, at)[0]
                top = 2 ** (8 * struct.calcsize(form)) - 1
                struct.pack_into(form, changed, at, (old + number) & top)
            result.append(bytes(changed))
        return result

    # --- details -------------------------------------------------------------------------------

    def _details(self, content: bytes) -> bytes:
        chance = self.chance
        records = []
        offset = 0
        while offset + abi.DETAIL_HEADER_SIZE <= len(content):
            header = abi.DetailHeader.from_buffer_copy(content, offset)
            texts, position = [], offset + abi.DETAIL_HEADER_SIZE
            for name in _LENGTHS:
                length = getattr(header, name)
                texts.append(content[position : position + length])
                position += length
            records.append((header, texts))
            offset = position + (-position % 8)
        if not records:
            return bytes(abi.DETAIL_HEADER_SIZE)
        for _ in self._several():
            i = self._below(len(records))
            header, texts = records[i]
            copied = abi.DetailHeader.from_buffer_copy(bytes(header))
            what = chance.random()
            if what < 0.5:
                k = chance.randrange(4)
                texts = [*texts[:k], self._text(texts[k], k), *texts[k + 1 :]]
                records[i] = copied, texts
            elif what < 0.75:
                name, number = (
                    chance.choice([f[0] for f in abi.DetailHeader._fields_]),
                    chance.choice(NUMBERS),
                )
                if name in _LENGTHS and chance.random() < 0.8:
                    continue
                setattr(copied, name, number)
                records[i] = copied, texts
            elif what < 0.85:
                other = records[self._below(len(records))][0]
                copied.tgid, copied.start_ns = other.tgid, other.start_ns
                records[i] = copied, texts
            elif what < 0.93:
                records.insert(self._below(len(records)), (copied, texts))
            elif len(records) > 1:
                del records[i]
        made = bytearray()
        for header, texts in records:
            lengths = [getattr(header, name) for name in _LENGTHS]
            if chance.random() < 0.98:
                lengths = [min(len(text), 65535) for text in texts]
            for name, length in zip(_LENGTHS, lengths, strict=True):
                setattr(header, name, length)
            made += bytes(header) + b"".join(text[:65535] for text in texts)
            made += bytes(-len(made) % 8)
        return bytes(made)

    def _text(self, old: bytes, which: int) -> bytes:
        """A path, arguments or a cgroup changed: a word of it, or all."""
        chance = self.chance
        what = chance.random()
        if what < 0.15:
            return self.raw(old, len(old) + 64)
        separator = b"/" if which == 0 else b"\0"
        words = old.split(separator)
        i = self._below(len(words))
        if what < 0.6:
            words[i] = self._bytes()
        elif what < 0.75:
            words.insert(i, self._bytes())
        elif what < 0.85:
            words[i : i + 1] = words[i : i + 1] * chance.choice((0, 2, 50, 500))
        elif what < 0.95:
            words[i], words[-1] = words[-1], words[i]
        else:
            return b""
        return separator.join(words)[:65535]

    def _word(self) -> str:
        word = self.chance.choice(WORDS)
        if self.chance.random() < 0.1:
            word += self.chance.choice(WORDS)
        return word * self.chance.choice((1, 1, 1, 1, 1, 1, 2, 20))

    def _bytes(self) -> bytes:
        if self.chance.random() < 0.1:
            return self.chance.randbytes(self.chance.choice((1, 2, 8, 16, 100)))
        return self._word().encode("utf-8", "surrogatepass")

    # --- JSON ----------------------------------------------------------------------------------

    def _json(self, content: bytes) -> bytes:
        chance = self.chance
        if chance.random() < 0.04:
            return self.raw(content, len(content) + 64)
        try:
            value = json.loads(content)
        except (ValueError, RecursionError):
            return self.raw(content, len(content) + 64)
        text = ""
        for _ in range(chance.choice((1, 1, 2, 4))):
            value = self._node(value)
            try:
                text = json.dumps(value, separators=(",", ":"))
            except (ValueError, RecursionError):
                return content
            if len(text) > _JSON_BYTES:  # lists that are repeated within each other
                break
        if chance.random() < 0.02 and text.startswith('{"'):  # one key twice
            text = '{"kind":"container",' + text[1:]
        return text.encode("ascii")

    def _node(self, value: Any) -> Any:
        """The same value with something changed somewhere in it."""
        chance = self.chance
        nested = isinstance(value, dict | list) and len(value) > 0
        if nested and chance.random() < 0.85:
            keys = list(value) if isinstance(value, dict) else range(len(value))
            key = chance.choice(keys)
            what = chance.random()
            copied = dict(value) if isinstance(value, dict) else list(value)
            if what < 0.75:
                copied[key] = self._node(value[key])
            elif what < 0.82:
                del copied[key]
            elif what < 0.9:
                copied[key] = value[chance.choice(keys)]
            elif isinstance(copied, list):
                copied[key:key] = [value[key]] * chance.choice((1, 3, 100))
            else:
                copied[self._word()] = value[key]
            return copied
        what = chance.random()
        if isinstance(value, str) and what < 0.6:
            return self._word()
        if isinstance(value, int) and what < 0.6:
            return chance.choice((*NUMBERS, value + 1, value - 1, -value, value * 1000))
        if what < 0.7:
            deep: Any = value
            for _ in range(chance.choice((1, 5, 28, 40))):
                deep = [deep] if chance.random() < 0.5 else {"x": deep}
            return deep
        if what < 0.8:
            return [self._word() for _ in range(chance.choice((1, 5, 300)))]
        return chance.choice(VALUES)
