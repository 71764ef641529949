"""Who is at the other end of a unix socket, as the kernel knows it: unix(7), SO_PEERCRED."""

from __future__ import annotations

import socket
import struct

_UCRED = struct.Struct("3i")  # pid, uid, gid


def peer_of(connection: socket.socket) -> tuple[int, int]:
    """Pid (0: in no pid namespace that is seen from here) and uid of who connected; for who did so
    itself, of who began to listen."""
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    pid, uid, _ = _UCRED.unpack(raw)
    return pid, uid
