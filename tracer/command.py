"""`record -- COMMAND`: the program that is recorded until it ends."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence

from tracer.errors import HostError
from tracer.stopping import Stop

_POLL_S = 0.05


class Command:
    """A program that runs while it is recorded.

    Raises:
        HostError: it cannot be run.
    """

    def __init__(self, arguments: Sequence[str]) -> None:
        try:
            self._process = subprocess.Popen(list(arguments))
        except (OSError, ValueError) as error:
            cause = str(error)
            if isinstance(error, OSError) and error.errno:
                cause = os.strerror(error.errno)
            raise HostError(f"cannot run {arguments[0]}", cause) from None

    @property
    def status(self) -> int | None:
        """As a shell's $? has it: 128+n for a signal. None: it runs."""
        returncode = self._process.poll()
        if returncode is None:
            return None
        return 128 - returncode if returncode < 0 else returncode

    def send_signal(self, number: int) -> None:
        """Passes a signal on."""
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
