"""How `rtrace snapshot` reaches a running recorder: a unix socket, /run/rtrace/PID.sock.

A question and its answers are JSON, one object a line. While a save is made, the recorder says
every second that it is at it: whoever asked knows a hanging recorder from a large save.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import stat
import threading
from collections.abc import Callable
from typing import Any

from tracer.errors import CaptureError, HostError, RtraceError
from tracer.peer import peer_of
from tracer.saves import Request, Saved
from tracer.threads import start_thread

DIRECTORY = "/run/rtrace"
ANSWER_TIMEOUT_S = 10.0
_ALIVE_EVERY_S = 1.0
_QUESTION_TIMEOUT_S = 5.0
_LINE_LIMIT = 1 << 16
_CONNECTIONS = 8


class ControlServer:
    """Listens, in threads, until it is closed.

    Args:
        capture: name of the recording.
        request: asks for a save, see Saver.request.

    Raises:
        HostError: there can be no socket.
    """

    def __init__(self, capture: str, request: Callable[[str | None], Request]) -> None:
        self._capture, self._request = os.path.abspath(capture), request
        self._path = socket_path(os.getpid())
        self._places = threading.BoundedSemaphore(_CONNECTIONS)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            _make_directory()
            for pid in _listed_pids():
                _remove_if_dead(pid)
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._path)  # of a dead recorder: this process has its pid
            os.fchmod(self._socket.fileno(), 0o600)  # bind() gives its file this mode
            self._socket.bind(self._path)
            self._socket.listen(_CONNECTIONS)
        except OSError as error:
            self._socket.close()
            raise HostError(
                "`rtrace snapshot` cannot reach this recorder",
                f"{self._path}: {error.strerror}",
                f"use kill -USR1 {os.getpid()}",
            ) from None
        try:
            start_thread("control", self._accept)
        except HostError:
            self.close()
            raise

    def close(self) -> None:
        """Listens no more."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        with contextlib.suppress(OSError):
            os.unlink(self._path)
            os.rmdir(DIRECTORY)  # unless another recorder is there

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self._places.acquire()
            try:
                start_thread("control", self._serve, connection)
            except HostError:
                connection.close()
                self._places.release()

    def _serve(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            try:
                if _may_ask(connection):
                    self._answer(connection)
            finally:
                self._places.release()

    def _answer(self, connection: socket.socket) -> None:
        connection.settimeout(_QUESTION_TIMEOUT_S)
        question = _read_line(connection, bytearray())
        if question.get("do") != "save":
            _send(connection, {"pid": os.getpid(), "capture": self._capture})
            return
        path = question.get("path")
        try:
            request = self._request(path if isinstance(path, str) else None)
            while not request.done.wait(_ALIVE_EVERY_S):
                _send(connection, {"state": "saving"})
            result = request.result
        except RtraceError as error:
            result = error
        if isinstance(result, Saved):
            path = os.path.abspath(result.path)
            size = {"events": result.events, "size_bytes": result.size_bytes}
            inode = dict(zip(("device", "inode"), result.inode, strict=True))
            _send(connection, {"saved": {"path": path, **size, **inode}})
        elif isinstance(result, RtraceError):
            _send(connection, {"error": [result.fact, result.cause, result.step]})


def find_recorders() -> dict[int, str | None]:
    """The running recorders of this host: the capture of each pid, None if it does not answer.

    Raises:
        HostError: their sockets may not be seen.
    """
    found: dict[int, str | None] = {}
    try:
        pids = _listed_pids()
    except FileNotFoundError:
        return {}
    except PermissionError:
        raise HostError("cannot reach a recorder", "permission denied", "run it as root") from None
    for pid in pids:
        try:
            answer = _ask(pid, {"do": "describe"}, _QUESTION_TIMEOUT_S)
        except ConnectionRefusedError:
            _remove_if_dead(pid)
            continue
        except FileNotFoundError:  # it ends just now
            continue
        except (OSError, CaptureError):
            answer = {}
        capture = answer.get("capture")
        found[pid] = capture if isinstance(capture, str) else None
    return found


def ask_to_save(pid: int, path: str | None) -> Saved:
    """Lets a recorder save what it holds.

    Args:
        path: file to create; None: a name from the time, beside its capture.

    Raises:
        RtraceError: it is not there, does not answer, or cannot save.
    """
    fact = f"cannot save the recording of {pid}"
    question = {"do": "save", "path": None if path is None else os.path.abspath(path)}
    try:
        answer = _ask(pid, question, ANSWER_TIMEOUT_S)
    except (FileNotFoundError, ConnectionRefusedError):
        step = "see which there are: rtrace snapshot"
        raise HostError(fact, "there is no such recorder", step) from None
    except PermissionError:
        raise HostError(fact, "it is another user's", "run it as that user, or as root") from None
    except TimeoutError:
        step = f"see what keeps it: cat /proc/{pid}/status"
        raise HostError(fact, f"it says nothing for {ANSWER_TIMEOUT_S:g} s", step) from None
    except OSError as error:
        raise HostError(fact, error.strerror or str(error)) from None
    saved, failed = answer.get("saved"), answer.get("error")
    if isinstance(failed, list) and len(failed) == 3:
        raise CaptureError(*map(str, failed))
    if not isinstance(saved, dict):
        raise HostError(fact, "it gave no valid answer")
    events, size, device, inode = (
        _int(saved, name) for name in ("events", "size_bytes", "device", "inode")
    )
    return Saved(str(saved.get("path")), events, size, (device, inode))


def socket_path(pid: int) -> str:
    """Where the recorder with this pid listens."""
    return f"{DIRECTORY}/{pid}.sock"


def _may_ask(connection: socket.socket) -> bool:
    """Root and one's own user; to others its directory is closed as well."""
    return peer_of(connection)[1] in (0, os.geteuid())


def _listed_pids() -> list[int]:
    """Pids of the sockets that are there, also of recorders that were killed."""
    names = (name.removesuffix(".sock") for name in os.listdir(DIRECTORY))
    return sorted(int(name) for name in names if name.isdecimal())


def _remove_if_dead(pid: int) -> None:
    """Removes the socket of a recorder that was killed."""
    # One that starts may have its socket, and not listen yet: so it is not asked.
    if not os.path.exists(f"/proc/{pid}"):
        with contextlib.suppress(OSError):
            os.unlink(socket_path(pid))


def _make_directory() -> None:
    with contextlib.suppress(FileExistsError):
        os.mkdir(DIRECTORY, 0o700)
    status = os.lstat(DIRECTORY)
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o077:
        raise OSError(0, f"{DIRECTORY} is not this user's own")


def _ask(pid: int, question: dict[str, Any], timeout: float) -> dict[str, Any]:
    """The last answer to a question. ``timeout``: up to the next sign of life, seconds."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(timeout)
        connection.connect(socket_path(pid))
        _send(connection, question)
        received = bytearray()
        while True:
            answer = _read_line(connection, received)
            if "state" not in answer:
                return answer


def _send(connection: socket.socket, message: dict[str, Any]) -> None:
    connection.sendall(json.dumps(message).encode() + b"\n")


def _read_line(connection: socket.socket, received: bytearray) -> dict[str, Any]:
    """The next message; ``received`` keeps what came behind it.

    Raises:
        OSError: the other side is gone, silent, or says what is no message.
    """
    while b"\n" not in received:
        part = connection.recv(1 << 12)
        if not part or len(received) > _LINE_LIMIT:
            raise OSError("it broke off")
        received += part
    line, _, rest = bytes(received).partition(b"\n")
    received[:] = rest
    try:
        message = json.loads(line)
    except (ValueError, RecursionError):
        message = None
    if not isinstance(message, dict):
        raise OSError("it gave no valid answer")
    return message


def _int(values: dict[str, Any], name: str) -> int:
    value = values.get(name)
    return value if isinstance(value, int) else 0
