"""A recorder under measurement: `rtrace record` as anybody starts it, watched from outside."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.errors import BenchError
from bench.frames import Sizes, read_frames, read_sizes
from bench.machine import rtrace_command
from bench.processes import read_cpu_ns, read_peak_rss
from tracer.capture_format import TASKS
from tracer.capture_reader import CaptureReader

BUFFER_BYTES = 16 << 20
_START_TIMEOUT_S = 60.0
# Facts about runtimes, found at the start by programs that are run.
_SETTLE_S = 0.4
# The recorder writes at least twice a second; freed processes are a grace period late.
_LAST_WRITE_S = 0.7

# What a recording takes beside the load: start, settling, the last write, the end.
RECORDING_S = 0.3 + _SETTLE_S + _LAST_WRITE_S + 0.3


@dataclass(frozen=True, slots=True)
class Setup:
    """How recorders are started.

    Attributes:
        directory: where captures go.
        engine: as for --engine.
    """

    directory: Path
    engine: str

    def record_command(self, path: Path, *options: str) -> list[str]:
        """`rtrace record` into ``path``."""
        return [rtrace_command(), "record", "--engine", self.engine, "-o", str(path), *options]


@dataclass(slots=True)
class Outcome:
    """What one recording came to.

    Attributes:
        rss_bytes: peak of the recorder (VmHWM) while it recorded.
        cpu_ns, wall_ns: the recorder's CPU time from the first load to its last write, threads
            included, and how long that was.
        lost: records lost, events and details, by the capture's trailer.
        ring_peak_bytes: most that lay in the events ring.
    """

    sizes: Sizes
    rss_bytes: int
    cpu_ns: int
    wall_ns: int
    lost: int
    ring_peak_bytes: int

    @property
    def cpu_share(self) -> float:
        """Of one CPU, 0 to 1."""
        return self.cpu_ns / self.wall_ns

    @property
    def events_per_second(self) -> float:
        """Over the whole recording."""
        return self.sizes.events / self.wall_ns * 1e9

    def ns_per_event(self, idle_share: float) -> float:
        """CPU time for an event, less what the recorder takes anyway (0 to 1 of one CPU)."""
        return (self.cpu_ns - idle_share * self.wall_ns) / max(1, self.sizes.events)


class Recording:
    """A running recorder.

    Attributes:
        outcome: once the recording has ended.
    """

    def __init__(self, process: subprocess.Popen[bytes], path: Path) -> None:
        self._process, self._path = process, path
        self._cpu_ns, self._wall_ns = read_cpu_ns(process.pid), time.monotonic_ns()
        self.outcome: Outcome | None = None

    @property
    def pid(self) -> int:
        """The recorder's."""
        return self._process.pid

    def map_id(self, **wanted: int) -> int:
        """Id of the one of its BPF maps whose fdinfo has these values (map_type, ...)."""
        for info in Path(f"/proc/{self.pid}/fdinfo").iterdir():
            with contextlib.suppress(OSError):
                fields = dict(
                    line.split(":\t", 1) for line in info.read_text().splitlines() if ":\t" in line
                )
                if all(fields.get(key) == str(value) for key, value in wanted.items()):
                    return int(fields["map_id"])
        raise BenchError(f"the recorder has no BPF map with {wanted}")

    def finish(self) -> Outcome:
        """Lets it write what it has, and ends it."""
        time.sleep(_LAST_WRITE_S)
        cpu_ns = read_cpu_ns(self.pid) - self._cpu_ns
        wall_ns = time.monotonic_ns() - self._wall_ns
        rss_bytes = read_peak_rss(self.pid)
        self.end()
        trailer = _read_trailer(self._path)
        return Outcome(
            sizes=read_sizes(self._path),
            rss_bytes=rss_bytes,
            cpu_ns=cpu_ns,
            wall_ns=wall_ns,
            lost=sum(events + details for events, details in trailer["losses"]),
            ring_peak_bytes=trailer["ring_peak_bytes"],
        )

    def end(self) -> None:
        """Ctrl-C, and wait."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait()


@contextlib.contextmanager
def recording(setup: Setup) -> Iterator[Recording]:
    """Records within; the outcome is there afterwards, and the capture is not.

    Raises:
        BenchError: the recorder did not start.
    """
    path = setup.directory / "bench.rtrace"
    process = subprocess.Popen(
        setup.record_command(path, "--buffer", str(BUFFER_BYTES)),
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    try:
        _wait_until_recording(process, path)
        time.sleep(_SETTLE_S)
        current = Recording(process, path)
        yield current
        current.outcome = current.finish()
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            process.wait()
        if process.stderr is not None:
            process.stderr.close()
        path.unlink(missing_ok=True)


def _wait_until_recording(process: subprocess.Popen[bytes], path: Path) -> None:
    """Until the first snapshot is in the file: all programs are attached then."""
    deadline = time.monotonic() + _START_TIMEOUT_S
    while not any(frame.type == TASKS for frame in read_frames(path)):
        if process.poll() is not None:
            said = process.stderr.read() if process.stderr is not None else b""
            raise BenchError.from_output("rtrace record", said)
        if time.monotonic() > deadline:
            raise BenchError(f"rtrace record does not record after {_START_TIMEOUT_S:g} s")
        time.sleep(0.02)


def _read_trailer(path: Path) -> dict[str, Any]:
    with CaptureReader(path) as reader:
        for _chunk in reader.chunks():
            pass
        if reader.trailer is None:
            raise BenchError(f"the capture is not complete: {reader.damage}")
        return reader.trailer


def measure_idle(setup: Setup, seconds: float) -> Outcome:
    """A recording of next to nothing: what the recorder costs by itself."""
    with recording(setup) as current:
        time.sleep(seconds)
    assert current.outcome is not None
    return current.outcome


def bytecode_environment(directory: Path) -> None:
    """Lets Python keep bytecode for whatever is started from now on, as an installed rtrace has
    it. A checkout under `make` has none (PYTHONDONTWRITEBYTECODE), so each start compiles again."""
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    os.environ["PYTHONPYCACHEPREFIX"] = str(directory / "pycache")
