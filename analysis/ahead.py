"""Work that is done ahead, in a thread: reading a capture, while what was read is taken apart.

Decompressing and numpy let go of Python's interpreter lock, so that a second CPU does it.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")

# Items that wait; a chunk has 16 MiB at most, and 4 MiB as the recorder makes them.
_LIMIT = 4


def ahead(items: Iterable[T]) -> Iterator[T]:
    """The same items, in order. What making them raises is raised here.

    Whoever stops before the end closes the iterator: the thread ends with the item that it is at.
    """
    ready: queue.Queue[tuple[T] | BaseException | None] = queue.Queue(_LIMIT)
    stopped = threading.Event()

    def put(item: tuple[T] | BaseException | None) -> None:
        while not stopped.is_set():
            with contextlib.suppress(queue.Full):
                ready.put(item, timeout=0.1)
                return

    def make() -> None:
        try:
            for item in items:
                put((item,))
                if stopped.is_set():
                    return
            put(None)
        except BaseException as error:  # told to whoever waits for the items
            put(error)

    thread = threading.Thread(target=make, name="ahead", daemon=True)
    thread.start()
    try:
        while (found := ready.get()) is not None:
            if isinstance(found, BaseException):
                raise found
            yield found[0]
    finally:
        stopped.set()
        thread.join()
