"""SOCK chunks as plain data, read by what docs/capture-format.md says."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass

from tracer import abi
from tracer.abi import SocketFlag

_HEAD = struct.Struct("<QII")
_REASONS = ("start", "end", "change")


@dataclass(frozen=True)
class Sock:
    """A record; fields as in struct rtrace_socket."""

    tgid: int
    start_ns: int
    fd: int
    inode: int
    peer_inode: int
    cred_tgid: int
    cred_start_ns: int
    netns: int
    pending: int
    state: int
    flags: SocketFlag
    comm: bytes
    name: bytes


def snapshots(contents: Iterable[bytes]) -> list[tuple[str, list[Sock]]]:
    """Reason and sockets of each snapshot."""
    found = []
    for content in contents:
        _begun_ns, reason, _cut = _HEAD.unpack_from(content)
        records = range(_HEAD.size, len(content), abi.SOCKET_SIZE)
        found.append((_REASONS[reason], [_decode(content, at) for at in records]))
    return found


def _decode(content: bytes, at: int) -> Sock:
    record = abi.Socket.from_buffer_copy(content, at)
    name_at = at + abi.Socket.name.offset
    return Sock(
        record.tgid,
        record.start_ns,
        record.fd,
        record.inode,
        record.peer_inode,
        record.cred_tgid,
        record.cred_start_ns,
        record.netns,
        record.pending,
        record.state,
        SocketFlag(record.flags),
        record.comm,
        content[name_at : name_at + record.name_len],
    )
