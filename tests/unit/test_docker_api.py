"""Asking a docker daemon that answers, hangs, babbles or lies."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tracer import docker_api

Talk = Callable[[socket.socket], None]
HANG_S = 0.2


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Callable[[Talk], str]]:
    """Starts a daemon that talks so; gives its socket's path."""
    stack = contextlib.ExitStack()

    def start(talk: Talk) -> str:
        path = str(tmp_path / "docker.sock")
        listener = stack.enter_context(socket.socket(socket.AF_UNIX))
        listener.bind(path)
        listener.listen()

        def serve() -> None:
            with contextlib.suppress(OSError):
                connection, _ = listener.accept()
                with connection:
                    talk(connection)

        thread = threading.Thread(target=serve)
        thread.start()
        stack.callback(thread.join)
        stack.callback(lambda: listener.shutdown(socket.SHUT_RDWR))
        return path

    with stack:
        yield start


def answer(body: bytes, status: str = "200 OK", more: str = "") -> Talk:
    def talk(connection: socket.socket) -> None:
        assert connection.recv(4096).startswith(b"GET /version HTTP/1.0\r\n")
        head = f"HTTP/1.0 {status}\r\nContent-Length: {len(body)}\r\n{more}\r\n"
        connection.sendall(head.encode() + body)

    return talk


def babble(connection: socket.socket) -> None:
    connection.recv(4096)
    connection.sendall(b"hello\r\n\r\n")


def test_an_answer(daemon: Callable[[Talk], str]) -> None:
    path = daemon(answer(b'{"Version": "20.10"}'))

    assert docker_api.get(path, "/version") == {"Version": "20.10"}


@pytest.mark.parametrize(
    ("talk", "words"),
    [
        (answer(b"{}", "500 Internal Server Error"), "answered 500 to GET /version"),
        (answer(b"{"), "gave no valid answer to GET /version"),
        (answer(b"\xff"), "gave no valid answer"),
        (answer(b"[" * 200_000), "gave no valid answer"),
        (babble, "gave no valid answer"),
        (lambda connection: None, "broke off|gave no valid answer"),
    ],
    ids=["error", "cut", "bytes", "deep", "no HTTP", "hangs up"],
)
def test_no_answer(daemon: Callable[[Talk], str], talk: Talk, words: str) -> None:
    with pytest.raises(OSError, match=words):
        docker_api.get(daemon(talk), "/version")


def test_a_daemon_that_never_answers(daemon: Callable[[Talk], str]) -> None:
    asked = threading.Event()

    def hang(connection: socket.socket) -> None:
        while connection.recv(4096):
            asked.set()

    with pytest.raises(OSError, match=r"did not end its answer to GET /version in 0\.2 s"):
        docker_api.get(daemon(hang), "/version", timeout=HANG_S)
    assert asked.is_set()


def test_a_daemon_that_drips(daemon: Callable[[Talk], str]) -> None:
    ended = threading.Event()

    def drip(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.0 200 OK\r\nContent-Length: 1000000\r\n\r\n")
        with contextlib.suppress(OSError):
            while True:
                connection.sendall(b" ")
                ended.wait(HANG_S / 10)
        ended.set()

    with pytest.raises(OSError, match="did not end its answer to GET /version"):
        docker_api.get(daemon(drip), "/version", timeout=HANG_S)
    assert ended.wait(60)


def test_a_daemon_that_babbles(
    daemon: Callable[[Talk], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(docker_api, "_ANSWER_LIMIT", 1000)

    with pytest.raises(OSError, match="gave no end of an answer"):
        docker_api.get(daemon(answer(b" " * 100_000)), "/version", timeout=60)


def test_no_daemon(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        docker_api.get(str(tmp_path / "none"), "/version")
