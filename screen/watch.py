"""The work behind the screen, in one thread: what is new, and now and then a picture of it all.

Making a picture takes a share of a CPU that is bounded, whatever the recording has become: after
one that took t seconds the next is asked for 9 t later.
"""

from __future__ import annotations

import contextlib
import os
import queue
import threading
import time
from collections.abc import Callable
from typing import Protocol

from screen.follow import Follower
from screen.last_events import LastEvents, Line
from screen.link import Link, Look, Refused, Said, Status
from screen.picture import Picture, take_picture
from tracer.chunk_reader import DamageError
from tracer.errors import RtraceError

REST = 9.0
_NICE = 10
_LEAST_REST_S = 1.0
_NEW_EVERY_S = 0.5


class Viewer(Protocol):
    """Whom it is shown to. Called from threads of the watch."""

    def show_status(self, status: Status) -> None: ...
    def show_line(self, line: str) -> None: ...
    def show_picture(self, picture: Picture) -> None: ...
    def show_events(self, lines: list[Line]) -> None: ...
    def show_trouble(self, text: str) -> None: ...
    def recording_ended(self) -> None: ...


class Watch:
    """Watches a recording for a viewer.

    Args:
        follower: of the recording.
        link: to its recorder.
    """

    def __init__(self, follower: Follower, *, link: Link, viewer: Viewer) -> None:
        self._follower, self._link, self._viewer = follower, link, viewer
        self._events = LastEvents()
        self._looks: queue.SimpleQueue[Look | Refused] = queue.SimpleQueue()
        self._jobs: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._asked = False
        self._due_s = 0.0

    def start(self) -> None:
        """Begins to watch."""
        for name, work in (("link", self._receive), ("watch", self._work)):
            threading.Thread(target=work, name=name, daemon=True).start()

    def do(self, job: Callable[[], None]) -> None:
        """Has something done between pictures, which it may ask for what it likes."""
        self._jobs.put(job)

    def _receive(self) -> None:
        while (message := self._link.receive()) is not None:
            match message:
                case Status():
                    self._viewer.show_status(message)
                case Said():
                    self._viewer.show_line(message.line)
                case _:
                    self._looks.put(message)
        self._viewer.recording_ended()

    def _work(self) -> None:
        while True:
            try:
                self._turn()
            except DamageError as damage:
                self._viewer.show_trouble(f"the recording cannot be read: {damage}")
                return
            except (RtraceError, OSError) as error:
                # A segment may just have been dropped, or a disk have failed for a moment.
                self._viewer.show_trouble(f"the recording cannot be read: {error}")
                self._due_s = time.monotonic() + _LEAST_REST_S
            self._rest()

    def _turn(self) -> None:
        if self._events.add(self._follower.walk()):
            self._viewer.show_events(list(self._events.lines))
        while not self._looks.empty():
            self._asked = False
            look = self._looks.get()
            if isinstance(look, Look):
                self._picture(look)
            else:
                self._viewer.show_trouble(look.why)
                self._due_s = time.monotonic() + _LEAST_REST_S
        if not self._asked and time.monotonic() >= self._due_s:
            self._asked = True
            self._link.ask("look")

    def _picture(self, look: Look) -> None:
        begun_s = time.process_time()
        self._events.add(self._follower.walk())
        picture = take_picture(self._follower, look)
        took_s = time.process_time() - begun_s
        self._due_s = time.monotonic() + max(_LEAST_REST_S, REST * took_s)
        # The first picture is wanted soon; from then on everybody else comes before this thread.
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, 0, _NICE)
        self._viewer.show_picture(picture)

    def _rest(self) -> None:
        """Until something may be new; jobs are done meanwhile, and a look ends it."""
        until_s = time.monotonic() + _NEW_EVERY_S
        while (left_s := until_s - time.monotonic()) > 0:
            try:
                self._jobs.get(timeout=min(left_s, 0.1))()
            except queue.Empty:
                if not self._looks.empty():
                    return
