"""How long commands take: until a recorder records, `rtrace --help`, `rtrace report`."""

from __future__ import annotations

import struct
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from bench.errors import BenchError
from bench.machine import rtrace_command
from bench.recording import Setup
from bench.stats import Summary
from tracer import abi
from tracer.capture_format import EVENT_STRIDE, EVENTS, TASK_PHASE, TASKS
from tracer.capture_reader import CaptureReader

_COMMON = struct.Struct("<8xQQIIIHBB")  # the ring's header, the common part of an event
_FORKER = """
import os, time
print(flush=True)
while True:
    if os.fork() == 0:
        os._exit(0)
    os.wait()
    time.sleep(0.001)
"""


@dataclass(frozen=True, slots=True)
class Start:
    """How one recording began, in seconds after the recorder's process was made.

    Attributes:
        first_event: first fork in the capture, while something forks a thousand times a second.
        attached: first record of the snapshot, which is taken when everything is attached.
    """

    first_event: float
    attached: float


def measure_starts(setup: Setup, rounds: int) -> list[Start]:
    """Starts recorders while something forks all the time; the first start warms the caches.

    Raises:
        BenchError: rtrace does not record.
    """
    forker = subprocess.Popen([sys.executable, "-S", "-c", _FORKER], stdout=subprocess.PIPE)
    try:
        assert forker.stdout is not None
        forker.stdout.readline()
        return [_measure_start(setup) for _ in range(rounds + 1)][1:]
    finally:
        forker.kill()
        forker.communicate()


def _measure_start(setup: Setup) -> Start:
    path = setup.directory / "start.rtrace"
    command = setup.record_command(path, "--duration", "0.1s")
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise BenchError.from_output("rtrace record", done.stderr)
        with CaptureReader(path) as capture:
            return _read_start(capture)
    finally:
        path.unlink(missing_ok=True)


def _read_start(capture: CaptureReader) -> Start:
    forks: list[int] = []
    tasks: list[abi.Task] = []
    for kind, content in capture.chunks():
        if kind == TASKS and TASK_PHASE.unpack_from(content)[0] == 0:
            size = (len(content) - TASK_PHASE.size) // abi.TASK_SIZE
            tasks += (abi.Task * size).from_buffer_copy(content, TASK_PHASE.size)
        elif kind == EVENTS:
            for offset in range(0, len(content), EVENT_STRIDE):
                event = _COMMON.unpack_from(content, offset)
                if event[6] == abi.Type.FORK:
                    forks.append(event[0])
    made_ns = next(task.start_ns for task in tasks if task.tgid == capture.header["pid"])
    if not forks:
        raise BenchError("the capture has no fork")
    return Start((min(forks) - made_ns) / 1e9, (tasks[0].ts_ns - made_ns) / 1e9)


def measure_command(arguments: list[str], rounds: int) -> Summary:
    """Wall seconds of a rtrace command, its output thrown away; the first run warms the caches.

    Raises:
        BenchError: it fails.
    """
    seconds = []
    for _ in range(rounds + 1):
        start = time.monotonic()
        done = subprocess.run(
            [rtrace_command(), *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        seconds.append(time.monotonic() - start)
        if done.returncode:
            raise BenchError.from_output(f"rtrace {arguments[0]}", done.stderr)
    return Summary.of(seconds[1:])


def measure_report(directory: Path, rounds: int) -> Summary:
    """Seconds of a report on a small capture: some hundred processes.

    Raises:
        BenchError: a command fails.
    """
    path = directory / "small.rtrace"
    script = "i=0; while [ $i -lt 100 ]; do /bin/true; i=$((i+1)); done"
    command = [rtrace_command(), "record", "-o", str(path), "--", "/bin/sh", "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchError.from_output("rtrace record", done.stderr)
    return measure_command(["report", str(path)], rounds)
