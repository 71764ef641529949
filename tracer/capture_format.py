"""The capture file: its constants, its frames, and what its JSON chunks must look like.

docs/capture-format.md says the same for whoever writes another reader. A capture may come with
a stranger's ticket: nothing here trusts a length, a type or a nesting depth that it read.
"""

from __future__ import annotations

import contextlib
import gc
import json
import re
import struct
import zlib
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from tracer import abi
from tracer.errors import CaptureError

MAGIC = b"\x89RTRACE\n"
"""First bytes of a capture. 0x89 and the newline show a transfer that was not binary."""

PREFIX = struct.Struct("<8sII")
"""Magic, schema, 0."""

FRAME = struct.Struct("<4sIII")
"""Type, stored length, length after decompression, checksum; the payload follows."""

RAW_LIMIT = 16 << 20
"""Bytes: no chunk is longer than this after decompression, so that a reader needs no more."""

STORED_LIMIT = 17 << 20
"""Bytes: limit of a payload as stored; incompressible data grow a little."""

CHUNK_BYTES = 4 << 20
"""Bytes: the writer begins a new chunk rather than go beyond this."""

HEAD, TAIL = b"HEAD", b"TAIL"
EVENTS, DETAILS, TASKS = b"EVTS", b"DETL", b"TASK"
PROCESSES, FACT, LOSS = b"PROC", b"FACT", b"LOSS"
SOCKETS = b"SOCK"

RING_HEADER_SIZE = 8
"""Bytes before each event in an EVTS chunk: the kernel's own, meaningless to a reader."""

EVENT_STRIDE = RING_HEADER_SIZE + abi.EVENT_SIZE
"""Bytes from one event to the next in an EVTS chunk."""

TASK_PHASE = struct.Struct("<Q")
"""Head of a TASK chunk: 0 for the snapshot at the start, 1 for the one at the end."""

PHASES = ("start", "end")

SOCKET_HEAD = struct.Struct("<QII")
"""Head of a SOCK chunk: when it was begun, its reason, and 1 if there were more sockets."""

SOCKET_REASONS = ("start", "end", "change")
"""Why sockets were read: the last is that a daemon or a shim had appeared or gone."""

JSON_LIMIT = 1 << 20
"""Bytes: limit of the content of a JSON chunk. As Python objects it may take thirty times that."""

CPUS_LIMIT = 8192
"""Linux on x86-64 has no more (NR_CPUS)."""

JSON_DEPTH = 32
"""Objects and arrays may be nested this deep."""

RATIO_LIMIT = 200
"""A capture may not decompress to more than this many times its own size ..."""

RATIO_FREE = 16 << 20
"""... beyond this many bytes. Real events shrink to a seventh, text to a thirtieth."""


class Frame(NamedTuple):
    """Head of a chunk, as read.

    Attributes:
        stored: length of the payload in the file, bytes.
        raw: its length after decompression, bytes.
    """

    type: bytes
    stored: int
    raw: int
    checksum: int


def pack_prefix(schema: int = abi.SCHEMA) -> bytes:
    """The 16 bytes that a capture begins with."""
    return PREFIX.pack(MAGIC, schema, 0)


def pack_frame(chunk_type: bytes, payload: bytes, raw: int) -> bytes:
    """Head of the chunk whose compressed content is ``payload``, ``raw`` bytes long before."""
    head = FRAME.pack(chunk_type, len(payload), raw, 0)[:-4]
    return head + struct.pack("<I", zlib.crc32(payload, zlib.crc32(head)))


def unpack_frame(head: bytes) -> Frame:
    """Frame from its 16 bytes. Lengths are not checked yet."""
    return Frame(*FRAME.unpack(head))


def frame_checksum(head: bytes, payload: bytes) -> int:
    """Checksum that a frame with these 16 bytes must have: of all but itself."""
    return zlib.crc32(payload, zlib.crc32(head[:-4]))


# Escapes in JSON: a pair of surrogates is one, and so is a backslash.
_ESCAPE = re.compile(
    r"\\(?:u[dD][89abAB][\da-fA-F]{2}\\u[dD][c-fC-F][\da-fA-F]{2}|u[\da-fA-F]{4}|.)", re.A
)
_LONE = re.compile(r"\\u[dD][89a-fA-F][\da-fA-F]{2}", re.A)
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_BRACKETS = bytes.maketrans(b"{}", b"[]")
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_DIGITS = len(str(-(1 << 63)))

# What must be in a JSON chunk. A key that ends in "?" may be missing or null; keys that are not
# named here may be anything. A list of one element stands for any number of such elements, a
# list of two for a pair.
_U32 = range(1 << 32)
_U64 = range(1 << 64)
_PAIRS = [[_U64, _U64]]

_SHAPES: Mapping[bytes, Any] = {
    HEAD: {
        "schema": _U32,
        "rtrace?": str,
        "clock": {"boot_ns": _U64, "wall_ns": _U64, "monotonic_ns?": _U64},
        "host?": {
            "hostname?": str,
            "kernel?": str,
            "machine?": str,
            "boot_id?": str,
            "cpus?": _U32,
            "pid_max?": _U32,
            "os?": str,
            "init?": str,
            "cgroup?": str,
        },
        "engine?": str,
        "confirm?": str,
        "argv?": [str],
        "filter?": {"kind": str, "pid?": _U32, "pidns?": _U32, "path?": str, "id?": _U64},
        "buffer_bytes?": _U64,
        "no_args?": bool,
        "pid?": _U32,
        "pidns?": _U32,
        "sockets?": str,
        "layout?": {},
        "max_bytes?": _U64,
        "triggers?": [str],
        "segment?": {"number": range(1, 1 << 32), "began_ns": _U64, "events_before": _U64},
        "losses?": _PAIRS,
    },
    PROCESSES: {
        "phase": PHASES,
        "processes": [
            {
                "tgid": _U32,
                "start_ns": _U64,
                "exe?": str,
                "args?": [str],
                "args_cut?": bool,
                "cgroup?": str,
            }
        ],
    },
    FACT: {"kind": str, "ts_ns": _U64},
    LOSS: {"ts_ns": _U64, "cpus": _PAIRS},
    TAIL: {
        "ts_ns": _U64,
        "wall_ns?": _U64,
        "reason?": str,
        "trigger_ns?": _U64,
        "command_status?": int,
        "events?": _U64,
        "details?": _U64,
        "losses?": _PAIRS,
        "snapshot_end?": bool,
    },
}

_FACT_SHAPES: Mapping[str, Any] = {
    "container": {
        "id": str,
        "name?": str,
        "image?": str,
        "runtime?": str,
        "namespace?": str,
        "source?": str,
        "labels?": {},
    },
    "runtime": {
        "name": str,
        "version?": str,
        "source?": str,
        "tgid?": _U32,
        "start_ns?": _U64,
        "live_restore?": bool,
        "containerd?": str,
        "default_runtime?": str,
        "cgroup_driver?": str,
        "storage_driver?": str,
        "daemon?": str,
    },
    "problem": {"what": str},
    "clock": {"boot_ns": _U64, "wall_ns": _U64, "monotonic_ns": _U64},
    "oom": {
        "tgid": _U32,
        "constraint": str,
        "cgroup?": str,
        "usage_bytes?": _U64,
        "limit_bytes?": _U64,
    },
    "trigger": {"trigger": str, "at_ns": _U64, "tgid": _U32, "start_ns": _U64, "what": str},
}

_KNOWN_KEYS = {
    kind: ("kind", "ts_ns", *(key.removesuffix("?") for key in keys))
    for kind, keys in _FACT_SHAPES.items()
}

JSON_TYPES = frozenset(_SHAPES)
"""Types whose content is one JSON object in UTF-8."""


def dump_json(value: Mapping[str, Any]) -> bytes:
    """Content of a JSON chunk: ASCII, so that no string in ``value`` can fail to encode."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).encode("ascii")


def load_json(chunk_type: bytes, content: bytes) -> dict[str, Any]:
    """The object in a JSON chunk, with every field that docs/capture-format.md names checked.

    Strings are fit for printing as UTF-8 (a lone surrogate becomes a backslash escape), integers
    fit 64 bits and floats are finite. Control characters are left in: renderers escape them.

    Raises:
        CaptureError: it is not JSON, or not of the shape that this chunk type has. The fact is
            one phrase without the file's name.
    """
    if len(content) > JSON_LIMIT:
        raise CaptureError(f"its JSON has more than {JSON_LIMIT >> 20} MiB")
    try:
        # All limits are looked at in the text: 1 MiB may be 300,000 values.
        with _uncollected():
            value = json.loads(
                _ESCAPE.sub(_printable_escape, content.decode("utf-8")),
                parse_constant=_refuse_constant,
                parse_int=_bounded_int,
                parse_float=_finite_float,
            )
        # Far below Python's own limit: whoever walks the value may recurse.
        if not _is_flat(content):
            raise ValueError("nested too deep")
    except (ValueError, RecursionError) as error:
        raise CaptureError(f"its JSON is not valid ({_reason(error)})") from None
    _check(value, _SHAPES[chunk_type], "it")
    if chunk_type == FACT:
        _check(value, _FACT_SHAPES.get(value["kind"], {}), "it")
    checked: dict[str, Any] = value
    return checked


@contextlib.contextmanager
def _uncollected() -> Iterator[None]:
    """No garbage is looked for: among 300,000 new arrays, that takes five times what these do."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


def known_fact(fact: Mapping[str, Any]) -> dict[str, Any] | None:
    """A FACT with the keys alone that docs/capture-format.md names, labels as texts; None if that
    knows no such kind. What else is in it may be anything, and as much as a chunk holds."""
    keys = _KNOWN_KEYS.get(fact["kind"])
    if keys is None:
        return None
    found = {key: fact[key] for key in keys if key in fact}
    if found.get("labels") is not None:
        found["labels"] = {key: str(value) for key, value in found["labels"].items()}
    return found


def _reason(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "nested too deep"
    # The message of UnicodeDecodeError is fine, that of the integer limit tells how to raise it.
    return str(error).partition(";")[0]


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON number")


def _bounded_int(digits: str) -> int:
    value = int(digits) if len(digits) <= _DIGITS else 1 << 64
    if not -(1 << 63) <= value < 1 << 64:
        raise ValueError("an integer has more than 64 bits")
    return value


def _finite_float(digits: str) -> float:
    value = float(digits)
    if value - value != 0:
        raise ValueError("a number is not finite")
    return value


def _printable_escape(match: re.Match[str]) -> str:
    """Half of a surrogate pair without the other, which no encoding has, as the text of it."""
    escape = match[0]
    return f"\\{escape.lower()}" if _LONE.fullmatch(escape) else escape


def _is_flat(content: bytes) -> bool:
    """Valid JSON has no more than JSON_DEPTH objects and arrays in each other."""
    brackets = _STRING.sub(b"", content).translate(_BRACKETS, _NO_BRACKETS)
    for _ in range(JSON_DEPTH):
        brackets = brackets.replace(b"[]", b"")  # the innermost ones
    return not brackets


def _check(value: Any, shape: Any, where: str) -> None:
    """CaptureError if ``value`` has not the given shape (see ``_SHAPES``)."""
    match shape:
        case dict():
            if not isinstance(value, dict):
                raise CaptureError(f"{where} is not an object")
            for name, inner in shape.items():
                key = name.removesuffix("?")
                if value.get(key) is not None:
                    _check(value[key], inner, key)
                elif key == name:
                    raise CaptureError(f"{where} has no {key}")
        case list():
            if not isinstance(value, list):
                raise CaptureError(f"{where} is not an array")
            if len(shape) == 2 and len(value) != 2:
                raise CaptureError(f"{where} is not a pair")
            if shape is _PAIRS and len(value) > CPUS_LIMIT:
                raise CaptureError(f"{where} has more than {CPUS_LIMIT} elements")
            element = f"an element of {where}"
            # Arguments may be many; the walk is for the one that is wrong.
            if shape[0] is not str or not set(map(type, value)) <= {str}:
                for item in value:
                    _check(item, shape[0], element)
        case tuple():
            if value not in shape:
                raise CaptureError(f"{where} is none of {', '.join(shape)}")
        case range():
            # bool is an int: True would pass for a tgid.
            if type(value) is not int or value not in shape:
                bounds = f"{shape.start} to {shape.stop - 1}"
                raise CaptureError(f"{where} is not an integer from {bounds}")
        case _:
            if type(value) is not shape:
                raise CaptureError(f"{where} is not of type {shape.__name__}")
