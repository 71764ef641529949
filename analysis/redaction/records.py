"""Records of a capture rewritten: events and snapshots by numpy, details one distinct text once.

What the format leaves undefined is zero afterwards: padding, what lies behind the NUL of a comm,
the payload of unknown types, the ring's own headers. Nothing can hide there.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt

from analysis.redaction.keep import Keep
from analysis.redaction.scrubber import Scrubber
from tracer import abi
from tracer.capture_format import EVENT_STRIDE, RING_HEADER_SIZE, SOCKET_HEAD, TASK_PHASE

Bytes = npt.NDArray[np.uint8]

_PAYLOAD = abi.Event.payload.offset
_TYPE = abi.Event.type.offset
_EVENT_COMM = _PAYLOAD + abi.Fork.comm.offset
_TASK_COMM = abi.Task.comm.offset
_RING_HEADER = np.frombuffer(struct.pack("<II", abi.EVENT_SIZE, 0), np.uint8)
_ARGS_LIMIT = (1 << 16) - 1


def _used(structure: type[ctypes.Structure], offset: int, size: int) -> Bytes:
    """255 for each byte that a field other than padding has, else 0."""
    mask = np.zeros(size, np.uint8)
    for name, _ in structure._fields_:  # type: ignore[misc]
        field = getattr(structure, name)
        if not name.startswith("pad"):
            mask[offset + field.offset : offset + field.offset + field.size] = 255
    return mask


def _event_masks() -> Bytes:
    masks = np.zeros((256, abi.EVENT_SIZE), np.uint8)
    masks[:, :_PAYLOAD] = 255
    for kind, payload in abi.PAYLOADS.items():
        masks[kind] |= _used(payload, _PAYLOAD, abi.EVENT_SIZE)
    return masks


_EVENT_MASKS = _event_masks()
_WITH_COMM = np.zeros(256, bool)
_WITH_COMM[[kind for kind, payload in abi.PAYLOADS.items() if hasattr(payload, "comm")]] = True
_DETAIL_MASK = _used(abi.DetailHeader, 0, abi.DETAIL_HEADER_SIZE)


def observe_comms(content: bytes, scrubber: Scrubber, *, tasks: bool) -> None:
    """Learns from the comms of events (or snapshots)."""
    for comm in np.unique(_comms(content, tasks=tasks)[1]).tolist():
        scrubber.observe_text(_text(comm))


def scrub_events(content: bytes, scrubber: Scrubber | None, keep: Keep | None) -> bytes:
    """EVTS content: events of those who are kept, without what is to be hidden."""
    rows = np.frombuffer(content, np.uint8).reshape(-1, EVENT_STRIDE)
    if keep is not None:
        head = np.ndarray(len(rows), _SUBJECT, content, RING_HEADER_SIZE, (EVENT_STRIDE,))
        rows = rows[keep.has(head["tgid"], head["start_ns"])]
    if scrubber is None or not len(rows):
        return rows.tobytes()
    rows = rows.copy()
    rows[:, :RING_HEADER_SIZE] = _RING_HEADER
    events = rows[:, RING_HEADER_SIZE:]
    kinds = events[:, _TYPE]
    events &= _EVENT_MASKS[kinds]
    _scrub_comms(events, _EVENT_COMM, scrubber, _WITH_COMM[kinds])
    return rows.tobytes()


def scrub_tasks(content: bytes, scrubber: Scrubber | None, keep: Keep | None) -> bytes:
    """TASK content, likewise."""
    head = content[: TASK_PHASE.size]
    rows = np.frombuffer(content, np.uint8, offset=len(head)).reshape(-1, abi.TASK_SIZE)
    if keep is not None and len(rows):
        fields = np.frombuffer(content, _TASK, offset=len(head))
        rows = rows[keep.has(fields["tgid"], fields["start_ns"])]
    if scrubber is not None and len(rows):
        rows = rows.copy()
        _scrub_comms(rows, _TASK_COMM, scrubber, np.ones(len(rows), bool))
    return head + rows.tobytes()


def observe_sockets(content: bytes, scrubber: Scrubber) -> None:
    """Learns from the names of sockets."""
    for socket in _sockets(content):
        scrubber.observe_text(_text(bytes(socket.comm)))
        scrubber.observe_text(_text(_socket_name(socket)))


def scrub_sockets(content: bytes, scrubber: Scrubber | None, keep: Keep | None) -> bytes:
    """SOCK content: sockets of those who are kept."""
    begun_ns, reason, more = SOCKET_HEAD.unpack_from(content)
    parts = [b""]
    for socket in _sockets(content):
        if keep is not None and not keep.has_one(socket.tgid, socket.start_ns):
            more = 1  # so nobody takes who is not here for somebody who has no socket
            continue
        if scrubber is not None:
            name = _raw(scrubber.scrub_path(_text(_socket_name(socket))))[:_NAME_LIMIT]
            socket.comm = _raw(scrubber.scrub_comm(_text(bytes(socket.comm))))
            # Bytes behind the name would stay otherwise.
            ctypes.memset(ctypes.addressof(socket) + abi.Socket.name.offset, 0, _NAME_LIMIT)
            ctypes.memmove(ctypes.addressof(socket) + abi.Socket.name.offset, name, len(name))
            socket.name_len = len(name)
        parts.append(bytes(socket))
    parts[0] = SOCKET_HEAD.pack(begun_ns, reason, more)
    return b"".join(parts)


def _sockets(content: bytes) -> Iterator[abi.Socket]:
    for offset in range(SOCKET_HEAD.size, len(content), abi.SOCKET_SIZE):
        yield abi.Socket.from_buffer_copy(content, offset)


def _socket_name(socket: abi.Socket) -> bytes:
    """An abstract name may have NULs in it."""
    at = abi.Socket.name.offset
    return bytes(socket)[at : at + min(socket.name_len, _NAME_LIMIT)]


_NAME_LIMIT = abi.Socket.name.size
_SUBJECT = np.dtype(abi.event_layout())  # type: ignore[call-overload]
_TASK = np.dtype(abi.task_layout())  # type: ignore[call-overload]


def _comms(content: bytes, *, tasks: bool) -> tuple[Bytes, npt.NDArray[np.bytes_]]:
    if tasks:
        rows = np.frombuffer(content, np.uint8, offset=TASK_PHASE.size).reshape(-1, abi.TASK_SIZE)
        found = rows[:, _TASK_COMM : _TASK_COMM + abi.COMM_LEN]
    else:
        rows = np.frombuffer(content, np.uint8).reshape(-1, EVENT_STRIDE)[:, RING_HEADER_SIZE:]
        rows = rows[_WITH_COMM[rows[:, _TYPE]]]
        found = rows[:, _EVENT_COMM : _EVENT_COMM + abi.COMM_LEN]
    clean = _cut_behind_nul(found)
    return rows, clean.view(f"S{abi.COMM_LEN}")[:, 0]


def _cut_behind_nul(comms: Bytes) -> Bytes:
    ended = np.maximum.accumulate(comms == 0, axis=1)
    ended[:, -1] = True  # the kernel ends each with a NUL
    return np.where(ended, np.uint8(0), comms)


def _scrub_comms(rows: Bytes, at: int, scrubber: Scrubber, wanted: npt.NDArray[np.bool_]) -> None:
    """Replaces the comms of some rows, in place: each distinct one is looked at once."""
    places = np.flatnonzero(wanted)
    if not len(places):
        return
    clean = _cut_behind_nul(rows[places, at : at + abi.COMM_LEN])
    texts = clean.view(f"S{abi.COMM_LEN}")[:, 0]
    distinct, codes = np.unique(texts, return_inverse=True)
    done = [scrubber.scrub_comm(_text(comm)) for comm in distinct.tolist()]
    table = np.array([_raw(comm)[: abi.COMM_LEN - 1] for comm in done], f"S{abi.COMM_LEN}")
    replaced = table[codes.reshape(-1)]
    rows[places, at : at + abi.COMM_LEN] = replaced.view(np.uint8).reshape(-1, abi.COMM_LEN)


# --- details -----------------------------------------------------------------------------------

_Texts = tuple[bytes, bytes, bytes, bytes]


def walk_details(content: bytes, use: Callable[[abi.DetailHeader, _Texts], None]) -> None:
    """Calls ``use`` for each detail that fits; as `abi.decode_details` walks."""
    offset = 0
    while offset + abi.DETAIL_HEADER_SIZE <= len(content):
        header = abi.DetailHeader.from_buffer_copy(content, offset)
        position = offset + abi.DETAIL_HEADER_SIZE
        parts = []
        lengths = (header.filename_len, header.args_len, header.cgroup_len, header.cgroup_v1_len)
        for length in lengths:
            parts.append(content[position : position + length])
            position += length
        if position > len(content):
            return
        offset = position + (-position % 8)
        use(header, (parts[0], parts[1], parts[2], parts[3]))


def observe_details(content: bytes, scrubber: Scrubber) -> None:
    """Learns from EXEC and ATTACH details."""

    def use(header: abi.DetailHeader, texts: _Texts) -> None:
        filename, args, group, group_v1 = texts
        scrubber.observe_path(_text(filename))
        if args:
            cut = header.args_total > header.args_len
            scrubber.observe_arguments(_arguments(args), program=_text(filename), cut=cut)
        for names in (group, group_v1):
            scrubber.observe_cgroup(_text(names.replace(b"\0", b"/")))

    walk_details(content, use)


def scrub_details(
    content: bytes, scrubber: Scrubber | None, keep: Keep | None
) -> tuple[list[bytes], int]:
    """Details of DETL content, likewise, and how many there were. Those of unknown types go."""
    parts: list[bytes] = []
    read = 0
    known = {int(kind) for kind in abi.DetailType}

    def use(header: abi.DetailHeader, texts: _Texts) -> None:
        nonlocal read
        read += 1
        if keep is not None and not keep.has_one(header.tgid, header.start_ns):
            return
        if scrubber is not None:
            if header.type not in known:
                return
            texts = _scrub_detail(header, texts, scrubber)
        raw = np.frombuffer(bytes(header), np.uint8) & _DETAIL_MASK
        record = raw.tobytes() + b"".join(texts)
        parts.append(record + bytes(-len(record) % 8))

    walk_details(content, use)
    return parts, read


def _scrub_detail(header: abi.DetailHeader, texts: _Texts, scrubber: Scrubber) -> _Texts:
    """The texts of a detail without what is to be hidden; sets their lengths in the header."""
    filename, args, group, group_v1 = texts
    cut = len(filename) >= abi.FILENAME_MAX - 1
    filename = _raw(scrubber.scrub_path(_text(filename), cut=cut))
    if args:
        missing = max(header.args_total - len(args), 0)
        words = scrubber.scrub_arguments(_arguments(args), cut=missing > 0)
        ended = b"\0" if args.endswith(b"\0") else b""
        args = (b"\0".join(_raw(word) for word in words) + ended)[:_ARGS_LIMIT]
        header.args_total = len(args) + missing
    if header.type == abi.DetailType.EXEC:
        group, group_v1 = (
            b"\0".join(_raw(scrubber.scrub_cgroup_name(_text(name))) for name in names.split(b"\0"))
            for names in (group, group_v1)
        )
    else:
        group = _raw(scrubber.scrub_cgroup(_text(group)))
        group_v1 = _raw(scrubber.scrub_cgroup(_text(group_v1)))
    header.filename_len, header.args_len = len(filename), len(args)
    header.cgroup_len, header.cgroup_v1_len = len(group), len(group_v1)
    return filename, args, group, group_v1


def _arguments(args: bytes) -> tuple[str, ...]:
    return tuple(_text(arg) for arg in args.removesuffix(b"\0").split(b"\0"))


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


def _raw(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
