"""Threads of the recorder."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from tracer.errors import HostError


def start_thread(name: str, work: Callable[..., None], *args: Any) -> threading.Thread:
    """Starts a thread that does not keep the program from ending.

    Raises:
        HostError: this user may not have any more (RLIMIT_NPROC, the cgroup's pids.max).
    """
    thread = threading.Thread(target=work, args=args, name=name, daemon=True)
    try:
        thread.start()
    except RuntimeError:
        raise HostError(
            "cannot start a thread",
            "there may be no more of them",
            "raise the limit (ulimit -u, or pids.max of the cgroup)",
        ) from None
    return thread
