"""The questions that the recorder asks a docker daemon, over its unix socket.

A daemon that hangs or babbles costs a second and a few MB, and is reported as a problem.
https://docs.docker.com/engine/api/ (SystemVersion, SystemInfo, ContainerList).

HTTP/1.0, where the answer ends with the connection, needs no library: http.client takes 7 MB of
memory and 20 ms of the recorder's start.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Container
from typing import Any

from tracer.foreign_files import parse_json
from tracer.peer import peer_of

TIMEOUT_S = 1.0
_ANSWER_LIMIT = 4 << 20
_OK = "200"


def get(
    socket_path: str,
    resource: str,
    timeout: float = TIMEOUT_S,
    listeners: Container[int] | None = None,
) -> Any:
    """The daemon's answer to ``GET resource``, decoded.

    Args:
        timeout: for the whole answer, in seconds.
        listeners: pids that are the daemon; None: whoever listens is.

    Raises:
        OSError: no daemon, no answer in time, or an answer that is none.
    """
    question = f"GET {resource}"
    request = f"{question} HTTP/1.0\r\nHost: docker\r\n\r\n"
    try:
        answer = _ask(socket_path, request, timeout, listeners)
    except TimeoutError:
        raise OSError(
            f"{socket_path} did not end its answer to {question} in {timeout:g} s"
        ) from None
    except (ConnectionResetError, BrokenPipeError):
        raise OSError(f"{socket_path} broke off before it answered {question}") from None
    except ConnectionRefusedError:
        raise OSError(f"{socket_path} is there, but nobody listens") from None
    head, _, body = answer.partition(b"\r\n\r\n")
    status = head.split(b"\r\n")[0].decode("ascii", "replace").split(" ")
    if len(status) < 2 or not status[0].startswith("HTTP/"):
        raise OSError(f"{socket_path} gave no valid answer to {question}")
    if status[1] != _OK:
        raise OSError(f"{socket_path} answered {status[1]} to {question}")
    try:
        return parse_json(body)
    except ValueError as error:
        raise OSError(f"{socket_path} gave no valid answer to {question}: {error}") from None


def listener(socket_path: str) -> int | None:
    """Who listens at a socket, its pid in this pid namespace; None if nobody lets us know."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.setblocking(False)
            connection.connect(socket_path)
            return peer_of(connection)[0]
    except OSError:
        return None


def _ask(socket_path: str, request: str, timeout: float, listeners: Container[int] | None) -> bytes:
    """The whole answer. A daemon may not drip it for ever: the time is for all of it."""
    deadline = time.monotonic() + timeout
    parts, size = [], 0
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(timeout)
        try:
            connection.connect(socket_path)
        except BlockingIOError:  # EAGAIN, at once: unix(7)
            raise OSError(f"{socket_path} takes no more connections") from None
        if listeners is not None and (peer := peer_of(connection)[0]) not in listeners:
            raise OSError(f"process {peer} listens at {socket_path}")
        connection.sendall(request.encode())
        while part := connection.recv(1 << 16):
            parts.append(part)
            size += len(part)
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            if size > _ANSWER_LIMIT:
                raise OSError(f"{socket_path} gave no end of an answer")
            connection.settimeout(left)
    return b"".join(parts)
