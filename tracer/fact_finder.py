"""Finds out about runtimes and containers beside the recording, never in its way.

A daemon may be dead or hang, files may be slow: so all of that is a thread's work, and the
recording neither waits for it to begin nor, beyond a second, to end.

What was found is remembered as long as it is of use: each segment of a bounded recording begins
with what is known of the containers that live.
"""

from __future__ import annotations

import queue
import re
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tracer import abi
from tracer.clock import boot_ns
from tracer.container_names import Sighting, find_sighting, open_monitor, read_container
from tracer.errors import HostError
from tracer.proc_view import ProcView
from tracer.runtime_facts import daemon_ids, read_runtimes
from tracer.shortfalls import unreadable
from tracer.threads import start_thread

_ATTEMPTS = 3
# Anybody may start programs that look like those of runtimes, faster than files can be read.
_WAITING = 1024
# What is forgotten is found again, so this costs nothing but a file read twice.
_REMEMBERED = 4096


@dataclass(slots=True)
class _Container:
    """What is known of a container.

    Attributes:
        seen_in: the round in which a process last told of it.
    """

    seen_in: int
    attempts: int = 0
    named: bool = False
    fact: dict[str, Any] | None = None


class FactFinder:
    """Writes facts as it finds them.

    A *round* is the time from one look at all processes to the next.

    Args:
        write_fact: takes the content of a FACT chunk; called from other threads.
        view: /proc, for the processes that records name.
        ask_programs: see `read_runtimes`.

    Attributes:
        containers_seen: how many containers there were so far.

    Raises:
        HostError: no thread can be started.
    """

    def __init__(
        self,
        write_fact: Callable[[dict[str, Any]], None],
        view: ProcView,
        *,
        ask_programs: bool = True,
    ) -> None:
        self._write_fact, self._view, self._ask_programs = write_fact, view, ask_programs
        self._work: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._round = 0
        self._containers: dict[str, _Container] = {}  # the one seen last is the last
        self._runtimes: list[dict[str, Any]] = []
        self._problems: dict[str, dict[str, Any]] = {}
        self._denied = False
        self._daemons: frozenset[tuple[int, int]] | None = None
        self._asked = 0
        self._unanswered = False
        self.containers_seen = 0
        self._container_thread = start_thread("containers", self._run_containers)
        self._runtime_thread: threading.Thread | None = None

    def look_at_host(self, tasks: Iterable[abi.Task]) -> None:
        """Runtimes of the host, if their daemons are others than the last time, or did not answer
        then: one that begins, or a busy host's, does so later."""
        daemons = daemon_ids(tasks)
        if self._runtime_thread is not None and self._runtime_thread.is_alive():
            return
        if daemons != self._daemons:
            self._daemons, self._asked = daemons, 0
        elif not self._unanswered or self._asked >= _ATTEMPTS:
            return
        self._asked += 1
        try:
            self._runtime_thread = start_thread("runtimes", self._find_runtimes, tasks)
        except HostError as error:
            self._unanswered = True
            self.tell(f"{error}: daemons were not asked")

    def look_at_process(self, process: Mapping[str, Any]) -> None:
        """A process that lives, as a PROC chunk shows it, may tell of a container."""
        args = tuple(argument.encode() for argument in process["args"])
        cgroups = tuple(line.encode() for line in process["cgroup"].splitlines())
        if sighting := find_sighting(process["tgid"], process["start_ns"], args, cgroups):
            self.look_at_container(sighting)

    def is_known(self, container: str) -> bool:
        """Whether another process that tells of a container by its cgroup would change nothing."""
        with self._lock:
            if container not in self._containers:
                return False
            found = self._see(container)
            return found.named or found.attempts >= _ATTEMPTS

    def look_at_container(self, sighting: Sighting) -> None:
        """A process told of a container: find its name, unless it is known."""
        with self._lock:
            container = self._see(sighting.id)
            tried = container.attempts >= _ATTEMPTS and sighting.bundle is None
            if container.named or tried:
                return
            full = self._work.qsize() >= _WAITING
            container.attempts += 0 if full else 1
        if full:
            self.tell("more containers came at once than could be looked at: some have no names")
            return
        self._work.put(lambda: self._find_container(sighting))

    def tell(self, what: str) -> None:
        """A problem of this host: told once, and again when a segment begins."""
        with self._lock:
            if what in self._problems:
                return
            fact = {"kind": "problem", "what": what, "ts_ns": boot_ns()}
            self._problems[what] = fact
        self._write_fact(fact)

    def end_round(self) -> None:
        """All processes that live have been looked at: what none tells of is forgotten soon."""
        with self._lock:
            self._containers = {
                name: container
                for name, container in self._containers.items()
                if container.seen_in >= self._round - 1
            }
            self._round += 1

    def facts_in_use(self) -> list[dict[str, Any]]:
        """Problems, and what is known of the runtimes, and of the containers that live or did a
        short time ago: for a segment that begins now."""
        with self._lock:
            facts = [
                container.fact
                for container in self._containers.values()
                if container.fact is not None and container.seen_in >= self._round - 1
            ]
            return [*self._problems.values(), *self._runtimes, *facts]

    def finish(self, timeout: float) -> bool:
        """Ends the work; False if it did not end within the timeout, in seconds."""
        self._work.put(None)
        deadline = time.monotonic() + timeout
        threads = [t for t in (self._container_thread, self._runtime_thread) if t is not None]
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        return not any(thread.is_alive() for thread in threads)

    def _see(self, name: str) -> _Container:
        container = self._containers.pop(name, None)
        if container is None:
            container = _Container(self._round)
            self.containers_seen += 1
        container.seen_in = self._round
        self._containers[name] = container
        if len(self._containers) > _REMEMBERED:
            del self._containers[next(iter(self._containers))]
        return container

    def _remember(self, fact: dict[str, Any], *, named: bool) -> None:
        with self._lock:
            container = self._see(fact["id"])
            if named or (not container.named and _says(fact) >= _says(container.fact)):
                container.named, container.fact = named, fact

    def _tell_denied(self, path: str) -> None:
        if not self._denied:
            self._denied = True
            self.tell(unreadable(re.sub(r"^/proc/self/fd/\d+/(root)?", "", path)))

    def _run_containers(self) -> None:
        while work := self._work.get():
            work()

    def _find_runtimes(self, tasks: Iterable[abi.Task]) -> None:
        found = []
        for fact in read_runtimes(tasks, self._view, ask_programs=self._ask_programs):
            fact["ts_ns"] = boot_ns()
            if fact["kind"] == "container":
                # Its files may say more than the daemon's list.
                self._remember(fact, named=False)
            else:
                found.append(fact)
            self._write_fact(fact)
        self._unanswered = any(fact["kind"] == "problem" for fact in found)
        with self._lock:
            self._runtimes = found

    def _find_container(self, sighting: Sighting) -> None:
        known = self._containers.get(sighting.id)
        if known is not None and known.named:
            return
        with self._view.open(sighting.tgid, sighting.start_ns) as directory:
            fact = read_container(sighting, directory, self._tell_denied)
        if fact["image"] is None and sighting.runtime == "podman":
            # Who executed conmon may have gone between two of its files: then one of them was read.
            with open_monitor(sighting.id) as directory:
                if directory is not None:
                    fact = read_container(sighting, directory, self._tell_denied)
        fact["ts_ns"] = boot_ns()
        if fact["name"] is not None or fact["namespace"] is not None:
            # podman's image is in another file than the rest.
            whole = fact["image"] is not None or fact["runtime"] != "podman"
            named = fact["name"] is not None and fact["source"] is not None and whole
            self._remember(fact, named=named)
            self._write_fact(fact)


def _says(fact: dict[str, Any] | None) -> int:
    """How much a fact tells of a container: some of its processes show less than others."""
    return sum(fact[what] is not None for what in ("name", "image")) if fact else 0
