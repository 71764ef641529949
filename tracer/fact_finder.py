"""Finds out about runtimes and containers beside the recording, never in its way.

A daemon may be dead or hang, files may be slow: so all of that is a thread's work, and the
recording neither waits for it to begin nor, beyond a second, to end.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from tracer import abi
from tracer.container_names import Sighting, find_sighting, read_container
from tracer.runtime_facts import read_runtimes
from tracer.snapshot import read_processes

_ATTEMPTS = 3


class FactFinder:
    """Writes facts as it finds them.

    Args:
        write_fact: takes the content of a FACT chunk; called from other threads.
        write_processes: takes what /proc says of the processes at the start; likewise.
    """

    def __init__(
        self,
        write_fact: Callable[[dict[str, Any]], None],
        write_processes: Callable[[Iterator[dict[str, Any]]], None],
    ) -> None:
        self._write_fact, self._write_processes = write_fact, write_processes
        self._work: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._seen: dict[str, int] = {}
        self._named: set[str] = set()
        self._threads = [
            threading.Thread(target=self._run_containers, name="containers", daemon=True)
        ]
        self._threads[0].start()

    @property
    def containers_seen(self) -> int:
        """How many containers there were so far."""
        return len(self._seen)

    def look_at_host(self, tasks: list[abi.Task], no_args: bool) -> None:
        """Runtimes of the host, and the processes that are there already with their containers."""
        for work in (self._find_runtimes, self._find_processes):
            thread = threading.Thread(target=work, args=(tasks, no_args), daemon=True)
            self._threads.append(thread)
            thread.start()

    def look_at_container(self, sighting: Sighting) -> None:
        """A process told of a container: find its name, unless it is known."""
        attempts = self._seen.setdefault(sighting.id, 0)
        if sighting.id in self._named or (attempts >= _ATTEMPTS and sighting.bundle is None):
            return
        self._seen[sighting.id] += 1
        self._work.put(lambda: self._find_container(sighting))

    def finish(self, timeout: float) -> bool:
        """Ends the work; False if it did not end within the timeout, in seconds."""
        self._work.put(None)
        deadline = time.monotonic() + timeout
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def _run_containers(self) -> None:
        while work := self._work.get():
            work()

    def _find_processes(self, tasks: list[abi.Task], no_args: bool) -> None:
        def watched() -> Iterator[dict[str, Any]]:
            for process in read_processes(tasks, no_args=no_args):
                args = tuple(argument.encode() for argument in process["args"])
                cgroups = tuple(line.encode() for line in process["cgroup"].splitlines())
                if sighting := find_sighting(process["tgid"], args, cgroups):
                    self.look_at_container(sighting)
                yield process

        self._write_processes(watched())

    def _find_runtimes(self, tasks: list[abi.Task], _no_args: bool) -> None:
        for fact in read_runtimes(tasks):
            if fact["kind"] == "container":
                self._seen.setdefault(fact["id"], 0)
            self._write_fact(fact)

    def _find_container(self, sighting: Sighting) -> None:
        if sighting.id in self._named:
            return
        fact = read_container(sighting)
        if fact["name"] is not None and fact["source"] is not None:
            self._named.add(sighting.id)
        if fact["name"] is not None or fact["namespace"] is not None:
            self._write_fact(fact)
