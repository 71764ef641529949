"""What a test did, and what /proc and the engines answered meanwhile: the log of a witness.

It is written beside a recording, without looking at it, and what rtrace tells is then held
against it:

    with Witness("shim-exit", suite="bookworm", topology="A") as witness:
        witness.run("docker", "run", "-d", "--name", "web", "busybox", "sleep", "1000")
        witness.watch(pid, "process 1 of web")
        ...
    witness.save(path)
    assert untold_takeovers(witness.log(), report) == []

/proc is looked at about once a millisecond. What happens between two looks is not claimed: a
change of a parent lies between `after_ns` and `before_ns`, and who was a parent in between is not
known. All times are CLOCK_BOOTTIME ns, tgids those of the pid namespace of the /proc that is read.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import threading
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

SCHEMA = 1
STEP_S = 0.001
TICK_NS = 1_000_000_000 // os.sysconf("SC_CLK_TCK")

Json = dict[str, Any]

_PID_MAX = int(Path("/proc/sys/kernel/pid_max").read_text())


def boot_ns() -> int:
    """The clock of the log and of all events."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


@dataclass(frozen=True, slots=True)
class Look:
    """One look at /proc/TGID/stat, which was some time in between `since_ns` and `until_ns`.

    Attributes:
        state: "alive", "zombie" or "gone"; a gone process has no parent (ppid 0).
        under_init: the parent is process 1 of its pid namespace.
    """

    since_ns: int
    until_ns: int
    ppid: int
    state: str
    under_init: bool = False


@dataclass
class Watched:
    """A process that is looked at, found again by an open file, never by its number alone.

    Attributes:
        tgid, start_ns: its identity; the start in full clock ticks, as /proc has it.
        looks: those that differ from the one before, in order.
        last: the last one, also if nothing was different.
        with_descendants: what it forks is watched too, if it lives long enough to be seen.
    """

    what: str
    tgid: int
    start_ns: int
    fd: int
    with_descendants: bool
    looks: list[Look] = field(default_factory=list)
    last: Look = Look(0, 0, 0, "")
    before: list[Look] = field(default_factory=list)  # the last look before each of `looks`

    def look(self) -> Look:
        """Look now, and remember what is different."""
        since_ns = boot_ns()
        try:
            stat = os.pread(self.fd, 1024, 0)
        except ProcessLookupError:
            found = Look(since_ns, boot_ns(), 0, "gone")
        else:
            words = stat[stat.rindex(b")") + 2 :].split(None, 2)
            state = "zombie" if words[0] in (b"Z", b"X") else "alive"
            found = Look(since_ns, boot_ns(), int(words[1]), state)
        if (found.ppid, found.state) != (self.last.ppid, self.last.state):
            found = replace(found, under_init=_is_init(found.ppid))
            self.looks.append(found)
            self.before.append(self.last)
        self.last = found
        return found

    def ref(self) -> Json:
        return {"tgid": self.tgid, "start_ns": self.start_ns, "what": self.what}


@dataclass
class Step:
    """Something that the test did; what it printed can be filled in afterwards."""

    at_ns: int
    what: str
    output: str = ""


class Witness:
    """Writes down what a test does and sees.

    As a context manager it looks at the processes of `watch` from a thread of its own; without,
    only what `step` and `observe` are told is in the log.

    Args:
        scenario, suite, topology, live_restore, versions: head of the log, as they are.
    """

    def __init__(
        self,
        scenario: str,
        *,
        suite: str = "",
        topology: str = "",
        live_restore: bool = False,
        versions: dict[str, str] | None = None,
    ) -> None:
        self.head: Json = {
            "schema": SCHEMA,
            "suite": suite,
            "topology": topology,
            "live_restore": live_restore,
            "scenario": scenario,
            "versions": versions or {},
        }
        self.steps: list[Step] = []
        self.observations: list[Json] = []
        self.expected: dict[str, list[Json]] = {}
        self.watched: list[Watched] = []
        self._looked_at: list[Watched] = []  # those of `watched` that are not gone
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None
        self._newest = 0

    def __enter__(self) -> Self:
        self._newest = _newest_tid()
        self._thread = threading.Thread(target=self._poll, name="witness", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._thread is not None
        self._stop.set()
        self._thread.join()
        for watched in self.watched:
            os.close(watched.fd)
        if self._error is not None and error is None:
            raise self._error

    # --- what the test does --------------------------------------------------------------------

    def step(self, what: str, output: str = "") -> Step:
        """Write down what begins now."""
        done = Step(boot_ns(), what, output)
        self.steps.append(done)
        return done

    def run(
        self, *words: str, check: bool = True, timeout: float = 120, **keywords: Any
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end, as a step.

        Raises:
            subprocess.CalledProcessError: it failed, and check is set.
            subprocess.TimeoutExpired: it was ended after `timeout` seconds.
        """
        step = self.step(" ".join(words))
        done = subprocess.run(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout,
            **keywords,
        )
        step.output = done.stdout
        if check:
            assert done.returncode == 0, f"{step.what}: status {done.returncode}: {done.stdout}"
        return done

    # --- what it sees --------------------------------------------------------------------------

    def observe(self, source: str, what: str, value: Any, *, tgid: int = 0) -> None:
        """Write down what somebody answered.

        Args:
            source: proc, docker, ctr, podman or getppid.
            tgid: the process that this is about, if it is about one.
        """
        watched = next((w for w in reversed(self.watched) if w.tgid == tgid), None)
        start_ns = watched.start_ns if watched else start_of(tgid) if tgid else 0
        self.observations.append(
            {
                "at_ns": boot_ns(),
                "source": source,
                "what": what,
                "tgid": tgid,
                "start_ns": start_ns,
                "value": value,
            }
        )

    def watch(self, tgid: int, what: str, *, with_descendants: bool = False) -> Watched:
        """Look at a process from now on, until it is gone.

        Args:
            what: who that is, for the reader of the log.
            with_descendants: also at all that it and those below it fork from now on, and that
                lives for a millisecond or so.

        Raises:
            ProcessLookupError: there is no such process.
        """
        with self._lock:
            for known in self._looked_at:
                if known.tgid == tgid and known.start_ns == start_of(tgid):
                    known.what = what
                    known.with_descendants |= with_descendants
                    return known
            return self._watch(tgid, what, with_descendants)

    def look(self) -> None:
        """Look at all of them now: afterwards all that has happened by then is known."""
        with self._lock:
            self._look()

    def expect(self, behaviour: str, **outcomes: str) -> None:
        """What must be told of a behaviour: `expect("shim-exit", shim="exited")`."""
        self.expected.setdefault(behaviour, []).append(dict(outcomes))

    # --- the log -------------------------------------------------------------------------------

    def takeovers(self) -> list[Json]:
        """Changes of parents of the watched processes that were seen, by time."""
        found = []
        for child in self.watched:
            for look, before in zip(child.looks[1:], child.before[1:], strict=True):
                # One that is just being reaped may be shown without a parent.
                if look.state == "gone" or look.ppid in (0, before.ppid):
                    continue
                found.append(
                    {
                        "child": child.ref(),
                        "from": self._name(before.ppid, before.until_ns),
                        "to": self._name(look.ppid, look.until_ns),
                        "after_ns": before.since_ns,
                        "before_ns": look.until_ns,
                        "reason": "init" if look.under_init else "subreaper",
                    }
                )
        return sorted(found, key=lambda takeover: int(takeover["before_ns"]))

    def log(self) -> Json:
        """The log, as it is saved."""
        seen = list(self.observations)
        for watched in self.watched:
            for look, before in zip(watched.looks, watched.before, strict=True):
                value = {"state": look.state, "ppid": look.ppid, "after_ns": before.since_ns}
                seen.append({"at_ns": look.until_ns, "source": "proc", **watched.ref()})
                seen[-1]["value"] = value
        return {
            **self.head,
            "steps": [
                {"at_ns": step.at_ns, "what": step.what, "output": step.output}
                for step in sorted(self.steps, key=lambda step: step.at_ns)
            ],
            "observations": sorted(seen, key=lambda one: int(one["at_ns"])),
            "takeovers": self.takeovers(),
            "expect": self.expected,
        }

    def save(self, path: Path) -> None:
        """Write the log as JSON."""
        path.write_text(json.dumps(self.log(), indent=1) + "\n")

    # --- looking -------------------------------------------------------------------------------

    def _poll(self) -> None:
        try:
            while not self._stop.is_set():
                self.look()
                time.sleep(STEP_S)
        except BaseException as error:
            self._error = error

    def _look(self) -> None:
        families = {w.tgid for w in self._looked_at if w.with_descendants}
        if families:
            self._find_descendants(families)
        gone = [w for w in self._looked_at if w.look().state == "gone"]
        if gone:
            self._looked_at = [w for w in self._looked_at if w not in gone]

    def _find_descendants(self, families: set[int]) -> None:
        newest, tid = _newest_tid(), self._newest
        known = {watched.tgid for watched in self._looked_at}
        while tid != newest:
            tid = tid + 1 if tid < _PID_MAX else 1
            stat = read_stat(tid)
            # A thread's number gives a stat too, and the parent of its process.
            is_theirs = stat is not None and int(stat[1]) in families and tid not in known
            if is_theirs and _status(tid, b"Tgid") == [b"%d" % tid]:
                with contextlib.suppress(ProcessLookupError):
                    self._watch(tid, _comm(tid), True)
                    families.add(tid)
        self._newest = newest

    def _watch(self, tgid: int, what: str, with_descendants: bool) -> Watched:
        try:
            fd = os.open(f"/proc/{tgid}/stat", os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise ProcessLookupError(f"no process {tgid} to watch ({what})") from None
        try:
            stat = os.pread(fd, 1024, 0)
        except ProcessLookupError:
            os.close(fd)
            raise
        start_ns = int(stat[stat.rindex(b")") + 2 :].split()[19]) * TICK_NS
        watched = Watched(what, tgid, start_ns, fd, with_descendants)
        watched.look()
        self.watched.append(watched)
        self._looked_at.append(watched)
        return watched

    def _name(self, tgid: int, at_ns: int) -> Json:
        """Who had a number at a time, if it was watched then."""
        for watched in self.watched:
            ended = watched.looks[-1].until_ns if watched.looks[-1].state == "gone" else None
            if watched.tgid == tgid and (ended is None or at_ns <= ended + TICK_NS):
                return watched.ref()
        return {"tgid": tgid, "what": "init" if tgid == 1 else _comm(tgid)}


def read_stat(pid: int) -> list[bytes] | None:
    """Fields of /proc/PID/stat from the state on; None if there is no such process."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            stat = file.read()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return stat[stat.rindex(b")") + 2 :].split()


def start_of(tgid: int) -> int:
    """Start of a process, boot time in full clock ticks; 0 if there is none.

    /proc rounds down: an event's start belongs to it if it is of the same tick.
    """
    stat = read_stat(tgid)
    return int(stat[19]) * TICK_NS if stat else 0


def parent_of(tgid: int) -> int:
    """Its parent; 0 if it is gone, or the parent is outside of this pid namespace."""
    stat = read_stat(tgid)
    return int(stat[1]) if stat else 0


def children_of(tgid: int) -> list[int]:
    """Its children now, zombies too."""
    numbers = map(int, filter(str.isdecimal, os.listdir("/proc")))
    return sorted(number for number in numbers if parent_of(number) == tgid)


def wait_for_state(tgid: int, states: str, seconds: float = 60) -> None:
    """Wait until a process has one of these states of /proc; "" stands for gone."""
    deadline = time.monotonic() + seconds
    while True:
        stat = read_stat(tgid)
        if (stat[0].decode() in states) if stat else not states:
            return
        now = stat[0].decode() if stat else "gone"
        assert time.monotonic() < deadline, f"{tgid} is {now}, not {states or 'gone'}"
        time.sleep(0.005)


def _newest_tid() -> int:
    """The number that this pid namespace gave last."""
    with open("/proc/loadavg", "rb") as file:
        return int(file.read().split()[4])


def _status(tgid: int, name: bytes) -> list[bytes]:
    try:
        status = Path(f"/proc/{tgid}/status").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return []
    lines = (line.split() for line in status.splitlines() if line.startswith(name + b":"))
    return next(lines, [])[1:]


def _is_init(tgid: int) -> bool:
    """Whether it is process 1 of its pid namespace."""
    return tgid == 1 or _status(tgid, b"NSpid")[-1:] == [b"1"]


def _comm(tgid: int) -> str:
    try:
        return Path(f"/proc/{tgid}/comm").read_bytes().decode("utf-8", "replace").strip()
    except OSError:
        return ""
