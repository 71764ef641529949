"""`python -m screen FD PATH [--bounded]`, as `tracer.second_screen` starts it.

    FD          socket to the recorder
    PATH        the capture
    --bounded   it is a directory of segments

It ends with the recorder. What it has to say when it fails, the
recorder says.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from screen.link import Link
from tracer.capabilities import Capability, capabilities, keep_only

if TYPE_CHECKING:
    from screen.watch import Watch


class _Control:
    """See `screen.app.Control`."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self.watch: Watch | None = None

    def begin(self) -> None:
        if self.watch is not None:
            self.watch.start()

    def do(self, job: Callable[[], None]) -> None:
        if self.watch is not None:
            self.watch.do(job)

    def save(self) -> None:
        self._link.ask("save")

    def end(self) -> None:
        self._link.ask("end")


def main() -> int:
    """Shows the recording until it ends. Exit status: 0, or 1 if the screen failed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal's Ctrl-C is a key here
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGINT,))
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, 0)  # the recorder's is not for it
    _be_modest()
    link = Link(int(sys.argv[1]))
    # Whatever a library may say would stand in the middle of the screen.
    sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    try:
        return _show(link, sys.argv[2], bounded="--bounded" in sys.argv[3:])
    except Exception as error:  # the recorder tells of it, in a line
        link.ask("fail", why=f"{type(error).__name__}: {error}")
        return 1


def _be_modest() -> None:
    """Before threads are started, which inherit it: neither the recorder's priority nor its rights,
    but that to read the capture, which belongs to whoever ran sudo."""
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, 0)
    with contextlib.suppress(OSError):
        keep_only(capabilities() & {Capability.DAC_READ_SEARCH})


def _show(link: Link, path: str, *, bounded: bool) -> int:
    from screen.app import LiveScreen
    from screen.follow import Follower
    from screen.view import began_ns, filter_text
    from screen.watch import Watch

    follower = Follower(path, bounded=bounded)
    control = _Control(link)
    app = LiveScreen(path, filter_text(follower.header), began_ns(follower.header), control)
    control.watch = Watch(follower, link=link, viewer=app)
    app.run(mouse=False)
    if app.return_code:
        raise RuntimeError("see below")
    return 0


if __name__ == "__main__":
    sys.exit(main())
