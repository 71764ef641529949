"""The screen of `record --live`, seen from the recorder: a process of its own (`screen/`).

It reads the capture as it grows, so that recording costs what it always does. The recorder starts
it, tells it four times a second how it goes, and answers when it asks for something: what lives
now (a Look), a save, or the end of the recording. Nothing here waits for the screen; when it ends
or is killed, the terminal is put right, a line says so, and the recording goes on.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import termios
import threading
from collections import deque
from collections.abc import Iterator
from typing import Any

from tracer.errors import HostError, RtraceError
from tracer.saves import Look, Request, Saver
from tracer.status import StatusLine
from tracer.text import printable
from tracer.threads import start_thread

_MESSAGE_BYTES = 1 << 12
_LOOK_S = 0.5
_CLOSE_TIMEOUT_S = 3.0
_LINES_KEPT = 200
# What a program that was killed may have left on: keyboard protocol, mouse, focus, paste and size
# reports, no line wrapping, the alternate screen, no cursor (xterm's ctlseqs).
_RESTORE = (
    "\x1b[<u\x1b[?1000l\x1b[?1003l\x1b[?1006l\x1b[?1015l\x1b[?1004l\x1b[?2004l\x1b[?2048l"
    "\x1b[?7h\x1b[?1049l\x1b[?25h\x1b[0m"
)


def fits_terminal() -> bool:
    """Whether there is a terminal to draw on, and to type at."""
    terminals = [stream is not None and stream.isatty() for stream in (sys.stdin, sys.stdout)]
    return all(terminals) and os.environ.get("TERM", "") not in ("", "dumb")


class SecondScreen:
    """Takes the place of the status line, and is one again when the screen is gone.

    Args:
        path: the capture.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._line = StatusLine(sys.stderr)
        self._lock = threading.RLock()
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None
        self._thread: threading.Thread | None = None
        self._terminal: list[Any] | None = None
        self._held: deque[str] = deque(maxlen=_LINES_KEPT)
        self._failure = ""
        self._closing = False

    # --- as the recorder sees it ---------------------------------------------------------------

    def open(self, saver: Saver, *, bounded: bool) -> None:
        """Starts the screen. Where that fails, a line says so.

        Args:
            saver: makes saves and looks.
            bounded: the recording is a directory of segments.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        command = [sys.executable, "-P", "-m", "screen", str(theirs.fileno()), self._path]
        command += ["--bounded"] if bounded else []
        # Ctrl-C is for the recorder until the screen takes it as a key.
        signals = (signal.SIGINT,)
        before = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
        try:
            self._terminal = termios.tcgetattr(sys.stdin.fileno())
            with self._lock:
                self._process = subprocess.Popen(
                    command, stderr=sys.stdout.fileno(), pass_fds=(theirs.fileno(),)
                )
                self._socket = ours
                self._thread = start_thread("screen", self._serve, ours, saver)
        except (OSError, termios.error, HostError) as error:
            self._failure = str(error)
            ours.close()
            self._end()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            theirs.close()

    def update(
        self, events: int, lost: int, size_bytes: int, containers: int, dropped: int = 0
    ) -> None:
        """See StatusLine."""
        if self._socket is None:
            self._line.update(events, lost, size_bytes, containers, dropped)
        elif (rate := self._line.take_turn(events)) is not None:
            figures = {"events": events, "rate": rate, "lost": lost, "bytes": size_bytes}
            self._send({"status": {**figures, "dropped": dropped}})

    @contextlib.contextmanager
    def away(self) -> Iterator[None]:
        """See StatusLine."""
        with self._lock:
            if self._socket is not None:
                yield
                return
        with self._line.away():
            yield

    def clear(self) -> None:
        """See StatusLine."""
        if self._socket is None:
            self._line.clear()

    def say(self, line: str) -> None:
        """A line for the user: on the screen, and on stderr, there not before the screen has
        gone if it is the same terminal. From any thread."""
        with self._lock:
            if self._socket is not None:
                self._send({"said": line})
                if sys.stderr.isatty():
                    self._held.append(line)
                    return
            _print(line)

    def close(self) -> None:
        """Ends the screen, and says on the terminal what was said on it. May be called twice."""
        self._closing = True
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)
        if self._thread is not None:
            self._thread.join()

    # --- its thread ----------------------------------------------------------------------------

    def _serve(self, connection: socket.socket, saver: Saver) -> None:
        with connection, contextlib.suppress(OSError):
            while message := connection.recv(_MESSAGE_BYTES):
                self._answer(json.loads(message), saver)
        self._end()

    def _answer(self, question: dict[str, Any], saver: Saver) -> None:
        match question.get("do"):
            case "end":
                os.kill(os.getpid(), signal.SIGINT)
            case "save":
                try:
                    saver.request()  # the saver says what came of it
                except RtraceError as error:
                    self.say(f"rtrace: {error}")
            case "look":
                self._look(saver)
            case "fail":
                self._failure = str(question.get("why"))

    def _look(self, saver: Saver) -> None:
        try:
            request = saver.look()
            result = self._wait(request)
        except RtraceError as error:
            result = error
        if not isinstance(result, Look):
            self._send({"refused": str(result or "the recording is ending")})
            return
        fd = os.memfd_create("look", os.MFD_CLOEXEC)
        try:
            with open(fd, "wb", closefd=False) as file:
                file.write(result.end)
            places = {"before": list(result.before), "until": list(result.until)}
            if self._socket is not None:
                socket.send_fds(self._socket, [json.dumps({"look": places}).encode()], [fd])
        finally:
            os.close(fd)

    def _wait(self, request: Request) -> object:
        while not request.done.wait(_LOOK_S):
            if self._closing:  # the saver may be gone
                break
        return request.result

    def _send(self, message: dict[str, Any]) -> None:
        """Whole, or not at all: a screen that does not read keeps nobody waiting."""
        with contextlib.suppress(OSError):
            if self._socket is not None:
                self._socket.send(json.dumps(message).encode(), socket.MSG_DONTWAIT)

    def _end(self) -> None:
        """The screen is gone, or is to go."""
        with self._lock:
            self._socket = None
            status = self._reap()
            if status != 0:
                self._restore()
            if not self._closing:
                how = self._failure or _end_text(status)
                self._held.append(
                    f"rtrace: the screen has ended: {how}; the recording goes on until Ctrl-C"
                )
            for line in self._held:
                _print(line)
            self._held.clear()

    def _reap(self) -> int | None:
        """Its exit status; None: it could not be started."""
        if self._process is None:
            return None
        try:
            return self._process.wait(_CLOSE_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    def _restore(self) -> None:
        """Puts the terminal right, which a screen that was killed could not."""
        with contextlib.suppress(OSError, termios.error):
            if self._terminal is not None:
                termios.tcsetattr(sys.stdin.fileno(), termios.TCSAFLUSH, self._terminal)
            os.write(sys.stdout.fileno(), _RESTORE.encode())


def _end_text(status: int | None) -> str:
    if status is not None and status < 0:
        with contextlib.suppress(ValueError):
            return f"killed by {signal.Signals(-status).name}"
    return f"exited {status}"


def _print(line: str) -> None:
    with contextlib.suppress(OSError):  # the terminal may be gone
        print(printable(line), file=sys.stderr, flush=True)
