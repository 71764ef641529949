"""`rtrace record --live` with a terminal of its own, which it controls."""

from __future__ import annotations

import fcntl
import os
import termios
from pathlib import Path
from typing import Any

from tests.kernel.recording import Recorder
from tests.terminal import Terminal


class Live(Recorder):
    """`rtrace record --live` with a terminal of its own, which it controls."""

    def __init__(
        self,
        folder: Path,
        on: Terminal,
        *options: str,
        term: str = "xterm-256color",
        **keywords: Any,
    ) -> None:
        environment = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES")}
        streams = {"stdin": on.slave, "stdout": on.slave, "stderr": on.slave}
        super().__init__(
            folder,
            "--live",
            *options,
            env=environment | {"TERM": term},
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
            **(streams | keywords),
        )

    def screen_pid(self) -> int:
        """The process of the screen."""
        (found,) = children(self.pid)
        return found


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
