"""Commands that a signal ends: what they have made half is taken away.

What to do is told before it is made, and done in the signal's handler, wherever the command is:
nothing has to unwind for it, and no library can be in the way. Only SIGKILL leaves something.

Recording has its own way (`tracer.stopping`): what is recorded is kept, whatever ends it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

_undone_by: dict[object, Callable[[], object]] = {}


@contextlib.contextmanager
def undone_by(undo: Callable[[], object]) -> Iterator[None]:
    """If what is done meanwhile fails, or a signal ends the command, ``undo`` is called.

    Args:
        undo: may be called at any moment, and again; so it has to bear that nothing is there yet.
    """
    key = object()
    _undone_by[key] = undo
    try:
        yield
    except BaseException:
        undo()
        raise
    finally:
        del _undone_by[key]


def temporary_directory() -> str:
    """TMPDIR, or where Python's tempfile looks without it.

    That tries places out by making files, which a signal may leave there.

    Raises:
        FileNotFoundError: nothing can be written there.
    """
    named = (os.environ.get(name) for name in ("TMPDIR", "TEMP", "TMP"))
    for path in (*named, "/tmp", "/var/tmp", "."):
        if path and os.path.isdir(path) and os.access(path, os.W_OK | os.X_OK):
            return os.path.abspath(path)
    raise FileNotFoundError(errno.ENOENT, "no directory for temporary files is writable", "TMPDIR")


@contextlib.contextmanager
def scratch_folder(prefix: str) -> Iterator[str]:
    """A folder in TMPDIR, mode 0700, that is there as long as the block takes."""
    import shutil  # what most commands never need

    path = os.path.join(temporary_directory(), f"{prefix}{os.urandom(8).hex()}")

    def remove() -> None:
        shutil.rmtree(path, ignore_errors=True)

    with undone_by(remove):
        os.mkdir(path, 0o700)
        yield path
        remove()


@contextlib.contextmanager
def ended_by_signals() -> Iterator[None]:
    """SIGINT, SIGTERM and SIGHUP end the process, with 128 and their number as its status.

    What the process was started to ignore (nohup(1), jobs in the background) it goes on to ignore.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # Python lets no other thread have handlers
        return
    own = os.getpid()

    def end(number: int, _frame: FrameType | None) -> None:
        if os.getpid() == own:  # and not a child, which has a copy of all this
            for undo in reversed(list(_undone_by.values())):
                with contextlib.suppress(Exception):
                    undo()
        os._exit(128 + number)

    before = {number: signal.getsignal(number) for number in _SIGNALS}
    ignored = [number for number, handler in before.items() if handler == signal.SIG_IGN]
    try:
        for number in set(_SIGNALS) - set(ignored):
            signal.signal(number, end)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
