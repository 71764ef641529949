"""The signals that end a recording, or ask it to save what it holds."""

from __future__ import annotations

import contextlib
import os
import select
import signal
from collections.abc import Callable, Iterator
from types import FrameType


class Stop:
    """Set by SIGINT, SIGTERM and SIGHUP; they and SIGUSR1 also wake up whoever waits.

    Attributes:
        signal: the last one that is to end the recording, 0: none yet.
        count: how many of these came.
        saves: how many SIGUSR1.
    """

    def __init__(self) -> None:
        self.signal = 0
        self.count = 0
        self.saves = 0
        self._read, self._write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._woken = select.poll()  # select() refuses numbers from 1024, and many may be open
        self._woken.register(self._read, select.POLLIN)

    @contextlib.contextmanager
    def handling(self) -> Iterator[None]:
        """Takes the signals while it lasts; once."""
        handlers: dict[int, Callable[[int, FrameType | None], None]]
        handlers = dict.fromkeys((signal.SIGINT, signal.SIGTERM, signal.SIGHUP), self._end)
        handlers[signal.SIGUSR1] = self._save
        before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
        wakeup = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        try:
            yield
        finally:
            signal.set_wakeup_fd(wakeup)
            for number, handler in before.items():
                signal.signal(number, handler)
            os.close(self._read)
            os.close(self._write)

    def _end(self, number: int, _frame: FrameType | None) -> None:
        self.signal = number
        self.count += 1

    def _save(self, _number: int, _frame: FrameType | None) -> None:
        self.saves += 1

    def wait(self, seconds: float) -> None:
        """Sleeps, until a signal at most."""
        if self._woken.poll(seconds * 1000):
            with contextlib.suppress(BlockingIOError):
                os.read(self._read, 64)
