"""A pseudo terminal with an emulator behind it: what a user would see, and keys."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import struct
import termios
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pyte

from tests.kernel.recording import wait_for


class Terminal:
    """What is written to it is read all the time.

    Attributes:
        slave: file descriptor for a program.
        text: all that was written.
    """

    def __init__(self, columns: int, rows: int = 24) -> None:
        self._master, self.slave = pty.openpty()
        self._screen = pyte.Screen(columns, rows)
        self._stream = pyte.ByteStream(self._screen)
        self._lock = threading.Lock()
        self.resize(columns, rows)
        self.text = b""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        with contextlib.suppress(OSError):
            while part := os.read(self._master, 4096):
                with self._lock:
                    self.text += part
                    self._stream.feed(part)

    def resize(self, columns: int, rows: int) -> None:
        """Another size, of which the kernel tells the programs."""
        with self._lock:
            self._screen.resize(rows, columns)
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def lines(self) -> list[str]:
        """What the screen shows."""
        with self._lock:
            return [line.rstrip() for line in self._screen.display]

    def shows(self, *texts: str) -> bool:
        """Whether the screen shows all of these, each in a line."""
        lines = self.lines()
        return all(any(text in line for line in lines) for text in texts)

    def wait_for(self, shown: Callable[[], object], what: str) -> None:
        """As the one of recordings; where it fails, the screen is told."""
        try:
            wait_for(shown, what)
        except AssertionError as error:
            raise AssertionError("\n".join([str(error), *self.lines()])) from None

    def press(self, keys: str) -> None:
        """Types."""
        os.write(self._master, keys.encode())

    def settings(self) -> list[Any]:
        """As of tcgetattr()."""
        return termios.tcgetattr(self.slave)

    def hang_up(self) -> None:
        """The master is gone: whoever writes gets EIO."""
        os.close(self.slave)
        wait = self._reader
        if self._master >= 0:
            os.close(self._master)
            self._master = -1
        wait.join(0.1)


@contextlib.contextmanager
def terminal(columns: int = 80, rows: int = 24) -> Iterator[Terminal]:
    made = Terminal(columns, rows)
    try:
        yield made
    finally:
        with contextlib.suppress(OSError):
            made.hang_up()
