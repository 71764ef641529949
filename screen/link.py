"""The recorder, seen from the screen: see `tracer.second_screen`."""

from __future__ import annotations

import json
import os
import socket
from dataclasses import dataclass
from typing import Any, NamedTuple

# Far above what a recorder has to say of its lines; and of a snapshot of a million processes.
_MESSAGE_BYTES = 1 << 16
_LOOK_BYTES = 1 << 30


class Place(NamedTuple):
    """A byte of a recording: of which segment, and where in it."""

    segment: int
    offset: int


@dataclass(frozen=True, slots=True)
class Look:
    """What would end the capture if it were saved now; see `tracer.saves.Look`."""

    before: Place
    until: Place
    end: bytes


@dataclass(frozen=True, slots=True)
class Status:
    """How the recording goes: figures of the recorder, exact ones."""

    events: int = 0
    rate: float = 0.0
    lost: int = 0
    bytes: int = 0
    dropped: int = 0


@dataclass(frozen=True, slots=True)
class Said:
    """A line that the recorder has for the user."""

    line: str


@dataclass(frozen=True, slots=True)
class Refused:
    """Why there is no look."""

    why: str


Message = Look | Status | Said | Refused


class Link:
    """A socket to the recorder.

    Args:
        fd: of the socket.
    """

    def __init__(self, fd: int) -> None:
        self._socket = socket.socket(fileno=fd)

    def receive(self) -> Message | None:
        """Waits for the next message; None: the recording is over."""
        try:
            data, fds, _, _ = socket.recv_fds(self._socket, _MESSAGE_BYTES, 1)
        except OSError:
            return None
        if not data:
            return None
        message = json.loads(data)
        if "look" in message:
            places = message["look"]
            return Look(Place(*places["before"]), Place(*places["until"]), _read_all(fds[0]))
        if "status" in message:
            return Status(**message["status"])
        return Said(message["said"]) if "said" in message else Refused(str(message["refused"]))

    def ask(self, what: str, **more: Any) -> None:
        """Asks for a "look", a "save", or the "end" of the recording."""
        try:
            self._socket.send(json.dumps({"do": what, **more}).encode())
        except OSError:
            return  # it is over: receive() says so

    def close(self) -> None:
        """Nothing more is asked or received."""
        self._socket.close()


def _read_all(fd: int) -> bytes:
    with open(fd, "rb") as file:
        file.seek(0, os.SEEK_SET)
        return file.read(_LOOK_BYTES)
