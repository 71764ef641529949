"""One call of the CRI on a unix socket, with nothing but sockets: RuntimeService/Version.

Stays connected afterwards, as kubelet does: run by a copy of Python that has kubelet's name.
Enough of HTTP/2 (RFC 9113) and HPACK (RFC 7541: literals, never indexed) for that one request.
"""

from __future__ import annotations

import socket
import struct
import sys
import time

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _SETTINGS = 0, 1, 4
_END_STREAM, _END_HEADERS = 1, 4


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload))[1:] + bytes((kind, flags)) + _u32(stream) + payload


def _u32(number: int) -> bytes:
    return struct.pack(">I", number)


def _literal(name: str, value: str) -> bytes:
    return b"".join([b"\x10", *(bytes((len(s),)) + s.encode() for s in (name, value))])


def ask_version(path: str, api: str) -> tuple[socket.socket, bytes]:
    """The connection, and the answer's DATA frame; b"" if it has none."""
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(20)
    connection.connect(path)
    headers = {
        ":method": "POST",
        ":scheme": "http",
        ":path": f"/runtime.{api}.RuntimeService/Version",
        ":authority": "localhost",
        "content-type": "application/grpc",
        "te": "trailers",
    }
    block = b"".join(_literal(name, value) for name, value in headers.items())
    connection.sendall(
        _PREFACE
        + _frame(_SETTINGS, 0, 0, b"")
        + _frame(_HEADERS, _END_HEADERS, 1, block)
        + _frame(_DATA, _END_STREAM, 1, bytes(5))  # an empty message, not compressed
    )
    file = connection.makefile("rb")
    while len(head := file.read(9)) == 9:
        payload = file.read(int.from_bytes(head[:3], "big"))
        if head[3] == _DATA:
            return connection, payload
        if head[3] == _HEADERS and head[4] & _END_STREAM:
            break
    return connection, b""


if __name__ == "__main__":
    held, answer = ask_version(sys.argv[1], sys.argv[2])
    print(answer, flush=True)
    time.sleep(1000)
