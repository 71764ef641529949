"""What a service manager gets to hear, on a real socket."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tracer.notify import Notifier


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    """A service manager's socket, and what it puts into NOTIFY_SOCKET."""
    path = str(tmp_path / "notify")
    name = path if request.param == "path" else f"@rtrace-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind("\0" + name[1:] if name.startswith("@") else name)
        listener.setblocking(False)
        yield listener, name


def heard(listener: socket.socket) -> list[bytes]:
    messages = []
    while True:
        try:
            messages.append(listener.recv(4096))
        except BlockingIOError:
            return messages


def test_a_recordings_life(manager: tuple[socket.socket, str]) -> None:
    listener, name = manager
    environ = {"NOTIFY_SOCKET": name, "PATH": "/bin"}
    notifier = Notifier(environ)
    notifier.ready()
    notifier.status("17 events")
    notifier.status("17 events")
    notifier.status("18 events")
    notifier.stopping()
    notifier.close()
    notifier.ready()

    said = [b"READY=1", b"STATUS=17 events", b"STATUS=18 events", b"STOPPING=1"]
    assert heard(listener) == said
    assert environ == {"PATH": "/bin"}, "programs that rtrace starts must not answer in its name"


@pytest.mark.parametrize(
    ("usec", "pid", "signs"),
    [
        ("600000000", str(os.getpid()), 1),
        ("600000000", None, 1),
        ("2", None, 3),
        ("600000000", "1", 0),
        ("", None, 0),
        ("soon", None, 0),
        (None, None, 0),
    ],
)
def test_signs_of_life_are_given_as_often_as_asked_for(
    manager: tuple[socket.socket, str], usec: str | None, pid: str | None, signs: int
) -> None:
    listener, name = manager
    environ = {"NOTIFY_SOCKET": name}
    environ |= {} if usec is None else {"WATCHDOG_USEC": usec}
    environ |= {} if pid is None else {"WATCHDOG_PID": pid}
    notifier = Notifier(environ)
    for _ in range(3):
        notifier.alive()
        time.sleep(0.001)
    notifier.close()

    assert heard(listener) == [b"WATCHDOG=1"] * signs
    assert set(environ) == set()


@pytest.mark.parametrize("name", [None, "", "/nowhere/at/all", "@nobody-listens", "vsock:2:1"])
def test_without_a_manager_nothing_happens(name: str | None) -> None:
    notifier = Notifier({} if name is None else {"NOTIFY_SOCKET": name})
    notifier.ready()
    notifier.alive()
    notifier.status("x")
    notifier.close()


def test_a_manager_that_does_not_read_holds_nothing_up(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / "notify")})
        for number in range(10_000):  # far more than a socket's queue takes
            notifier.status(str(number))
        notifier.close()
