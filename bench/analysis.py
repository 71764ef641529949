"""How fast and how large `rtrace report` is, beside `perf script` on as many events.

The capture is that of a busy host (`bench.busy_host`); perf's data are recorded while a storm makes
as many events. Both print text, into /dev/null, in turns. What counts is CPU time: others may use
the machine, and perf script has one thread, rtrace two.
"""

from __future__ import annotations

import functools
import os
import subprocess
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench.build import build_storm
from bench.busy_host import EVENTS_PER_S, write_capture
from bench.errors import BenchError
from bench.machine import rtrace_command
from bench.peers.tool import find_program, with_tracefs
from bench.stats import Summary
from tracer.capture_format import FACT, load_json
from tracer.capture_reader import CaptureReader

_PERF_EVENTS = "sched:sched_process_fork,sched:sched_process_exec,sched:sched_process_exit"
_EVENTS_OF_A_VFORK = 2  # fork and exit
_WINDOW_S = 10  # of the narrowed report


@dataclass(frozen=True, slots=True)
class Run:
    """What a command cost: all its threads and children together."""

    wall_s: float
    cpu_s: float
    rss_bytes: int


@dataclass
class Readings:
    """Runs of one command on a file with so many events."""

    events: int
    runs: list[Run]

    def rate(self, clock: str = "cpu_s") -> Summary:
        """Events a second."""
        return Summary.of(self.events / getattr(run, clock) for run in self.runs)

    @property
    def rss_bytes(self) -> int:
        return max(run.rss_bytes for run in self.runs)

    def as_json(self) -> dict[str, Any]:
        """For the JSON file."""
        return {"events": self.events, "runs": [asdict(run) for run in self.runs]}


@dataclass(frozen=True, slots=True)
class Analysis:
    """Reports of one capture: all of it, ten seconds of it, one container; and perf script.

    Attributes:
        perf: None if perf cannot be measured, ``perf_problem`` says why.
    """

    report: Readings
    window: Readings
    container: Readings
    perf: Readings | None
    perf_problem: str

    def as_json(self) -> dict[str, Any]:
        """For the JSON file."""
        found = {name: getattr(self, name).as_json() for name in ("report", "window", "container")}
        perf = None if self.perf is None else self.perf.as_json()
        return {**found, "perf_script": perf, "perf_problem": self.perf_problem}


def measure_analysis(directory: Path, events: int, rounds: int) -> Analysis:
    """Makes both files, and measures each command so many times, in turns.

    Raises:
        BenchError: rtrace fails.
    """
    capture = directory / "busy.rtrace"
    made = write_capture(capture, events)
    report = [rtrace_command(), "report", str(capture)]
    middle_s = events // EVENTS_PER_S // 2
    window = ["--since", f"{middle_s}s", "--until", f"{middle_s + _WINDOW_S}s"]
    commands = {
        "report": report,
        "window": [*report, *window],
        "container": [*report, "--container", _first_container(capture)],
    }
    readings = {name: Readings(made, []) for name in commands}
    problem = ""
    try:
        data, recorded = _record_perf(directory, events)
        perf = find_program("linux-perf", "perf")
        commands["perf"] = [perf, "script", "-i", str(data)]
        readings["perf"] = Readings(recorded, [])
    except BenchError as error:
        problem = str(error)
    try:
        run_command(commands["window"])  # so that bytecode is cached, and the file is
        for _ in range(rounds):
            for name, command in commands.items():
                readings[name].runs.append(run_command(command))
    finally:
        capture.unlink()
        (directory / "perf.data").unlink(missing_ok=True)
    return Analysis(
        readings["report"],
        readings["window"],
        readings["container"],
        readings.get("perf"),
        problem,
    )


def _first_container(path: Path) -> str:
    with CaptureReader(path) as capture:
        for kind, content in capture.chunks():
            if kind == FACT:
                return str(load_json(kind, content)["id"])
    raise BenchError("there are too few events for a container")


def _record_perf(directory: Path, events: int) -> tuple[Path, int]:
    """perf's data of a storm, and how many events are in it."""
    perf, data = find_program("linux-perf", "perf"), directory / "perf.data"
    workers = os.cpu_count() or 1
    children = max(1, events // _EVENTS_OF_A_VFORK // workers)
    storm = [str(build_storm(directory)), "vfork", str(children), str(workers)]
    record = [perf, "record", "-q", "-m", "2048", "-a", "-e", _PERF_EVENTS, "-o", str(data), "--"]
    done = subprocess.run(
        with_tracefs([*record, *storm]), capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise BenchError.from_output("perf record", done.stderr)
    with subprocess.Popen([perf, "script", "-i", str(data)], stdout=subprocess.PIPE) as script:
        assert script.stdout is not None
        read = functools.partial(script.stdout.read, 1 << 20)
        count = sum(block.count(b"\n") for block in iter(read, b""))
    if script.returncode or not count:
        raise BenchError("perf script failed")
    return data, count


def run_command(command: Sequence[str]) -> Run:
    """Runs a command, its output thrown away.

    Raises:
        BenchError: it fails.
    """
    begun = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert process.stderr is not None
    errors = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    process.stderr.close()
    if process.returncode:
        raise BenchError.from_output(" ".join(command[:2]), errors)
    wall_s = time.monotonic() - begun
    return Run(wall_s, usage.ru_utime + usage.ru_stime, usage.ru_maxrss << 10)
