"""Telling the service manager how the recording is: sd_notify(3), sd_watchdog_enabled(3).

Does nothing where no service manager asked for it, and never fails or waits: a manager that does
not listen is no reason to lose an event.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import MutableMapping

# Twice as often as needed, as sd_watchdog_enabled(3) recommends.
_WATCHDOG_SHARE = 0.5


class Notifier:
    """Speaks to the manager that NOTIFY_SOCKET names.

    Args:
        environ: NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID are taken out of it: they are not
            for the programs that this one starts.
    """

    def __init__(self, environ: MutableMapping[str, str] = os.environ) -> None:
        address = environ.pop("NOTIFY_SOCKET", "")
        interval_s = _watchdog_s(
            environ.pop("WATCHDOG_USEC", ""), environ.pop("WATCHDOG_PID", str(os.getpid()))
        )
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._socket: socket.socket | None = None
        if address.startswith(("/", "@")):
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._watchdog_every_s = interval_s * _WATCHDOG_SHARE
        self._watchdog_at = time.monotonic()
        self._status = ""

    def ready(self) -> None:
        """Everything from now on is recorded."""
        self._send("READY=1")

    def status(self, text: str) -> None:
        """One line for `systemctl status`; sent when it changed."""
        if text != self._status:
            self._status = text
            self._send(f"STATUS={text}")

    def alive(self) -> None:
        """To be called from the recording's loop, as often as it likes."""
        if self._watchdog_every_s and time.monotonic() >= self._watchdog_at:
            self._watchdog_at = time.monotonic() + self._watchdog_every_s
            self._send("WATCHDOG=1")

    def stopping(self) -> None:
        """The recording ends, in order."""
        self._send("STOPPING=1")

    def close(self) -> None:
        """Says nothing more."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send(self, state: str) -> None:
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.sendto(state.encode(), self._address)


def _watchdog_s(usec: str, pid: str) -> float:
    """How long the manager waits for a sign of life, in seconds; 0: it does not."""
    if pid != str(os.getpid()) or not usec.isascii() or not usec.isdigit():
        return 0.0
    return int(usec) / 1e6
