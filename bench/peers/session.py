"""One tool over one run of a storm: started, watched until it records, stopped, read."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.errors import BenchError
from bench.loads import Cost, Storm
from bench.peers.records import expected_records
from bench.peers.tool import Command, Tool
from bench.processes import read_cpu_ns, read_peak_rss

_MARK_PAUSE_S = 0.004
_SETTLE_S = 0.4
_IDLE_S = 0.4
# It has caught up when it takes little for a moment; what is gathered may wait half a second.
_CATCH_UP_S = 0.7
_CATCH_UP_LIMIT_S = 20.0
_MOMENT_S = 0.2
_LITTLE = 0.1
_STOP_S, _STOP_AGAIN_S, _STOP_POLL_S = 60.0, 5.0, 0.02


@dataclass(frozen=True, slots=True)
class Lab:
    """What all runs share.

    Attributes:
        directory: for the outputs.
        mark: a program that ends at once, with a name of its own.
    """

    directory: Path
    mark: Path


@dataclass(frozen=True, slots=True)
class Run:
    """What one run came to.

    Attributes:
        cost: of the storm.
        cpu_ns, wall_ns: CPU time of the tool until it had caught up, and how long that was.
        idle_share: CPU time that it took just before, 1: a whole CPU.
        end_cpu_ns: CPU time from Ctrl-C to its end.
        rss_bytes: peak of all its processes.
        output_bytes: that the storm's events take in its output.
        expected, missing: events of the storm that it should have, and those it has not.
        reported_lost: by its own report; None: it has none.
        first_event_s: from its exec to the first event that it has.
    """

    cost: Cost
    cpu_ns: int
    wall_ns: int
    idle_share: float
    end_cpu_ns: int
    rss_bytes: int
    output_bytes: float
    expected: int
    missing: int
    reported_lost: int | None
    first_event_s: float


class NotReadyError(BenchError):
    """The tool did not record yet when the storm began."""


class Session:
    """A tool's running processes.

    Attributes:
        total_cpu_ns: CPU time of those that stop() has ended, from their start to their end.
    """

    def __init__(self, name: str, commands: Sequence[Command]) -> None:
        self._name, self.commands = name, commands
        self.started_ns = time.monotonic_ns()
        self.total_cpu_ns = 0
        self._processes: list[subprocess.Popen[bytes]] = []
        for command in commands:
            with command.output.open("wb") as out, command.errors.open("wb") as err:
                self._processes.append(
                    subprocess.Popen(command.argv, stdin=subprocess.DEVNULL, stdout=out, stderr=err)
                )

    def cpu_ns(self) -> int:
        """CPU time so far."""
        self.check()
        return sum(read_cpu_ns(process.pid) for process in self._processes)

    def peak_rss(self) -> int:
        """Peaks of all processes."""
        self.check()
        return sum(read_peak_rss(process.pid) for process in self._processes)

    def data_bytes(self) -> int:
        """Size of what it has written."""
        paths = (command.data for command in self.commands)
        return sum(path.stat().st_size for path in paths if path.exists())

    def check(self) -> None:
        """Raises BenchError if a process has ended."""
        for process, command in zip(self._processes, self.commands, strict=True):
            if process.poll() is not None:
                raise BenchError.from_output(self._name, command.errors.read_bytes())

    def idle_share(self) -> float:
        """CPU time that it takes now, 1: a whole CPU."""
        before, start = self.cpu_ns(), time.monotonic_ns()
        time.sleep(_IDLE_S)
        return (self.cpu_ns() - before) / (time.monotonic_ns() - start)

    def catch_up(self) -> None:
        """Waits until it has nothing more to do."""
        start = time.monotonic()
        busy = True
        while busy or time.monotonic() - start < _CATCH_UP_S:
            before = self.cpu_ns()
            time.sleep(_MOMENT_S)
            busy = self.cpu_ns() - before > _LITTLE * _MOMENT_S * 1e9
            if time.monotonic() - start > _CATCH_UP_LIMIT_S:
                return

    def stop(self) -> None:
        """Ctrl-C, and wait for the end. Killed if it does not end.

        Raises:
            BenchError: it had to be killed.
        """
        for process in self._processes:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
        deadline = time.monotonic() + _STOP_S
        again = time.monotonic() + _STOP_AGAIN_S
        for process in self._processes:
            while process.returncode is None and not self._reap(process, os.WNOHANG):
                if time.monotonic() > deadline:
                    process.kill()
                    self._reap(process, 0)
                    raise BenchError(f"{self._name} does not end on Ctrl-C")
                if time.monotonic() > again:
                    # A callback that ctypes calls swallows it.
                    process.send_signal(signal.SIGINT)
                    again += _STOP_AGAIN_S
                time.sleep(_STOP_POLL_S)

    def _reap(self, process: subprocess.Popen[bytes], options: int) -> bool:
        pid, status, usage = os.wait4(process.pid, options)
        if pid:
            process.returncode = os.waitstatus_to_exitcode(status)
            self.total_cpu_ns += round((usage.ru_utime + usage.ru_stime) * 1e9)
        return bool(pid)


@contextlib.contextmanager
def session(tool: Tool, directory: Path) -> Iterator[Session]:
    """Runs a tool; its output is removed afterwards."""
    commands = tool.commands(directory)
    try:
        current = Session(tool.name, commands)
        try:
            yield current
        finally:
            current.stop()
    finally:
        for command in commands:
            for path in (command.data, command.output, command.errors):
                path.unlink(missing_ok=True)


def run_tool(tool: Tool, storm: Storm, lab: Lab, patience_s: float) -> Run:
    """A storm while a tool watches.

    Args:
        patience_s: how long it gets to begin.

    Raises:
        NotReadyError: it had not begun by then.
        BenchError: it does not work here.
    """
    with session(tool, lab.directory) as current:
        marks = _make_marks(lab.mark, current, patience_s)
        time.sleep(_SETTLE_S)
        idle_share = current.idle_share()
        last = _make_mark(lab.mark)
        bytes_before = current.data_bytes()
        before, start = current.cpu_ns(), time.monotonic_ns()
        cost = storm.run()
        current.catch_up()
        wall_ns = time.monotonic_ns() - start
        cpu_at_end_ns = current.cpu_ns()
        rss_bytes = current.peak_rss()
        current.stop()
        output = tool.read(current.commands, bytes_before)
    seen = output.first_seen(marks)
    if len(seen) < len(output.streams) or not output.has_seen(last):
        raise NotReadyError(f"{tool.name} records nothing after {patience_s:.1f} s")
    expected = expected_records(storm, tool.kinds)
    return Run(
        cost=cost,
        cpu_ns=cpu_at_end_ns - before,
        wall_ns=wall_ns,
        idle_share=idle_share,
        end_cpu_ns=current.total_cpu_ns - cpu_at_end_ns,
        rss_bytes=rss_bytes,
        output_bytes=output.storm_bytes(),
        expected=sum(expected.values()),
        missing=output.missing(expected),
        reported_lost=output.reported_lost,
        first_event_s=(max(marks[pid] for pid in seen) - current.started_ns) / 1e9,
    )


def _make_marks(program: Path, current: Session, seconds: float) -> dict[int, int]:
    """Processes made all the time while a tool starts: pid, and when it was made."""
    marks = {}
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        current.check()
        made_ns = time.monotonic_ns()
        marks[_make_mark(program)] = made_ns
        time.sleep(_MARK_PAUSE_S)
    return marks


def _make_mark(program: Path) -> int:
    pid = os.posix_spawn(program, [program.name], {})
    os.waitpid(pid, 0)
    return pid
