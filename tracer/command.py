"""`record -- COMMAND`: the program that is recorded until it ends.

It has all the rights that rtrace was started with, of which the recorder keeps few. Rights are each
thread's own: so the thread that runs it is started before they are given up, waits, and then gives
up all of its own. (It stays as long as the recorder, as it is the parent: PR_SET_PDEATHSIG goes by
threads.) COMMAND's priority is what it was, for the same reason.
"""

from __future__ import annotations

import contextlib
import os
import queue
import subprocess
import threading
from collections.abc import Sequence

from tracer.capabilities import keep_only
from tracer.errors import HostError
from tracer.stopping import Stop
from tracer.threads import start_thread

_POLL_S = 0.05


class Command:
    """A program that runs while it is recorded, from ``start`` on.

    Raises:
        HostError: there can be no thread.
    """

    def __init__(self, arguments: Sequence[str]) -> None:
        self._arguments = list(arguments)
        self._process: subprocess.Popen[bytes] | None = None
        self._failure: OSError | ValueError | None = None
        self._go: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._done, self._never = threading.Event(), threading.Event()
        start_thread("command", self._run)

    def start(self) -> None:
        """Runs it.

        Raises:
            HostError: that cannot be.
        """
        self._go.put(True)
        self._done.wait()
        if self._failure is not None:
            error = self._failure
            cause = str(error)
            if isinstance(error, OSError) and error.errno:
                cause = os.strerror(error.errno)
            raise HostError(f"cannot run {self._arguments[0]}", cause)

    def give_up(self) -> None:
        """If it was not started, it will not be: nothing waits with its rights any more."""
        self._go.put(False)
        self._done.wait()

    @property
    def started(self) -> bool:
        """Whether it runs, or did."""
        return self._process is not None

    @property
    def status(self) -> int | None:
        """As a shell's $? has it: 128+n for a signal. None: it runs, or was not started."""
        returncode = self._process.poll() if self._process is not None else None
        if returncode is None:
            return None
        return 128 - returncode if returncode < 0 else returncode

    def send_signal(self, number: int) -> None:
        """Passes a signal on, where that is permitted: it may have become another user."""
        if self._process is not None:
            with contextlib.suppress(PermissionError):
                self._process.send_signal(number)

    def wait(self, stop: Stop, *, signalled: bool) -> int:
        """The command's status. After a signal a command that goes on is left alone.

        Args:
            signalled: the recording ended by a signal.
        """
        signals = stop.count
        while (status := self.status) is None:
            if signalled or stop.count > signals:
                return 128 + stop.signal
            stop.wait(_POLL_S)
        return status

    def _run(self) -> None:
        if self._go.get():
            try:
                self._process = subprocess.Popen(self._arguments)
            except (OSError, ValueError) as error:
                self._failure = error
        with contextlib.suppress(OSError):  # the recorder has said so
            keep_only(())
        self._done.set()
        self._never.wait()
