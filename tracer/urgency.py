"""The recording runs before others: on a host that is out of CPU it would lose events."""

from __future__ import annotations

import contextlib
import os
import sys

_NICE = -10
# Python lets one thread run at a time: how long another may keep the recording's from running.
_SWITCH_S = 0.0005


def hurry() -> None:
    """Gives the calling thread its priority, and those that it starts from now on.

    All threads of the recorder need it, not only the one that reads the rings: one that waits
    for a CPU while it holds the interpreter's lock makes that one wait as well.
    """
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, _NICE)


def share_interpreter() -> None:
    """Makes the threads take short turns."""
    sys.setswitchinterval(_SWITCH_S)
