"""The loads: storms of processes, and `perf bench sched pipe`. Each run gives what it cost."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from bench.errors import BenchError


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one run.

    Attributes:
        wall_ns: how long it took.
        cpu_ns: its own CPU time, user and system, its children's included.
    """

    wall_ns: int
    cpu_ns: int


class Load(Protocol):
    """Something to run with and without a recorder."""

    @property
    def name(self) -> str:
        """Key in the JSON file."""

    def run(self) -> Cost:
        """Runs once."""


class Storm:
    """Processes made and ended as fast as it goes.

    Args:
        mode: "fork", "vfork" or "exec".
        program: the compiled storm.c.
        workers: processes that make children.
        seconds: what one run should take.
    """

    def __init__(self, mode: str, program: Path, workers: int, seconds: float) -> None:
        self.name = mode
        self._program, self.workers = program, workers
        self.iterations = 200
        while True:
            took = self.run().wall_ns / 1e9
            if took > 0.1:
                break
            self.iterations *= 4
        self.iterations = max(1, round(self.iterations * seconds / took))

    @property
    def children(self) -> int:
        """How many processes one run makes."""
        return self.iterations * self.workers

    @property
    def command(self) -> list[str]:
        """What one run executes; it prints what parse_cost() reads."""
        return [str(self._program), self.name, str(self.iterations), str(self.workers)]

    def run(self) -> Cost:
        """See Load."""
        return self.parse_cost(subprocess.check_output(self.command))

    @staticmethod
    def parse_cost(output: bytes) -> Cost:
        """Of a run, from its output."""
        wall, cpu = output.split()
        return Cost(int(wall), int(cpu))


class SchedPipe:
    """Two processes that wake each other up through pipes: little but context switches.

    Args:
        seconds: what one run should take.
        cpu: run on this CPU alone; None: where the scheduler likes.

    Raises:
        BenchError: there is no perf, or it does not work here.
    """

    def __init__(self, seconds: float, cpu: int | None = None) -> None:
        self.name = "sched_pipe" if cpu is None else "sched_pipe_one_cpu"
        perf = shutil.which("perf")
        if perf is None:
            raise BenchError("perf is not installed (apt-get install linux-perf)")
        self._command = [perf, "bench", "-f", "simple", "sched", "pipe", "-l"]
        if cpu is not None:
            self._command[:0] = ["taskset", "-c", str(cpu)]
        self._loops = 20_000
        self._loops = max(1, round(self._loops * seconds * 1e9 / self.run().wall_ns))

    def run(self) -> Cost:
        """See Load. perf tells no CPU time."""
        done = subprocess.run(
            [*self._command, str(self._loops)], capture_output=True, text=True, check=False
        )
        try:
            return Cost(round(float(done.stdout.split()[-1]) * 1e9), 0)
        except (ValueError, IndexError):
            raise BenchError.from_output("perf bench", done.stderr or done.stdout) from None
