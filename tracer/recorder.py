"""One recording, from attaching the programs to the capture's trailer."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

import tracer
from tracer import abi
from tracer.capture_format import FACT
from tracer.capture_writer import CaptureWriter
from tracer.cgroups import naming_controller, read_hierarchies
from tracer.collector import Collector
from tracer.confirmation import Confirmation
from tracer.container_names import find_detail_sighting, may_tell_of_containers
from tracer.engine import Engine, Settings
from tracer.engines import open_engine
from tracer.errors import CaptureError, HostError, RtraceError, UsageError
from tracer.fact_finder import FactFinder
from tracer.filters import RecordFilter
from tracer.host import read_clock, read_host
from tracer.snapshot import add_missing_parents, decode_tasks, read_processes, read_tasks
from tracer.status import StatusLine

_POLL_S = 0.05
_FACTS_TIMEOUT_S = 1.0
# A process is freed up to a grace period of RCU after it was waited for.
_LAST_REAPS_S = 0.05
_COMMAND_STOP_S = 5.0
_NICE = -10
_BUFFER_MIN, _BUFFER_MAX = 64 << 10, 1 << 30


@dataclass(frozen=True, slots=True)
class Options:
    """What to record, and how.

    Attributes:
        path: the capture to create.
        duration_s: stop by itself after so many seconds.
        command: program to run and to record until it ends.
        engine: one of tracer.engines.ENGINES.
        confirmations: hooks to confirm reparents with; None: what this host allows.
        buffer_bytes: size of the events ring.
        no_args: record no arguments of programs.
        argv: rtrace's own command line, for the header.
        on_events, on_details: look at each batch (--live).
        show_status: keep a status line on stderr if that is a terminal.
        on_started: called when everything from now on is recorded.
    """

    path: str
    record_filter: RecordFilter = field(default_factory=RecordFilter)
    duration_s: float | None = None
    command: Sequence[str] = ()
    engine: str = "auto"
    confirmations: Sequence[Confirmation] | None = None
    buffer_bytes: int = 16 << 20
    no_args: bool = False
    force: bool = False
    argv: Sequence[str] = ()
    on_events: Callable[[bytes], None] | None = None
    on_details: Callable[[list[abi.Detail]], None] | None = None
    on_started: Callable[[], None] | None = None
    show_status: bool = True


@dataclass(slots=True)
class Result:
    """What came of a recording.

    Attributes:
        reason: why it ended: "signal", "duration", "command" or "error".
        command_status: as a shell has it (128+n: signal n), None without a command.
        failure: why the capture could not be written further, or COMMAND not be run, if so.
    """

    path: str
    reason: str
    events: int
    lost: int
    size_bytes: int
    containers: int
    command_status: int | None = None
    failure: RtraceError | None = None


class _Stop:
    """Set by SIGINT and SIGTERM, which also wake up whoever waits."""

    def __init__(self) -> None:
        self.signal = 0
        self.count = 0
        self._read, self._write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    @contextlib.contextmanager
    def handling(self) -> Iterator[None]:
        before = {
            number: signal.signal(number, self._handle)
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        }
        wakeup = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        try:
            yield
        finally:
            signal.set_wakeup_fd(wakeup)
            for number, handler in before.items():
                signal.signal(number, handler)
            os.close(self._read)
            os.close(self._write)

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        self.signal = number
        self.count += 1

    def wait(self, seconds: float) -> None:
        """Sleeps, until a signal at most."""
        if select.select([self._read], [], [], seconds)[0]:
            with contextlib.suppress(BlockingIOError):
                os.read(self._read, 64)


class Recorder:
    """Runs one recording; see ``record``."""

    def __init__(self, options: Options, engine: Engine, writer: CaptureWriter) -> None:
        self._options, self._engine, self._writer = options, engine, writer
        self._facts = FactFinder(self._write_fact, self._write_start_processes)
        self._collector = Collector(engine, writer, self._look_at_details, options.on_events)
        self._status = StatusLine(sys.stderr, enabled=options.show_status)
        self._command: subprocess.Popen[bytes] | None = None

    def run(self, stop: _Stop) -> Result:
        """Records until something ends it; the capture is complete afterwards."""
        options = self._options
        reason: str = "error"
        failure: RtraceError | None = None
        try:
            self._snapshot("start")
            if options.on_started is not None:
                options.on_started()
            if options.command and not stop.count:
                self._command, failure = _start_command(options.command)
            if failure is None:
                _hurry()
                reason = self._loop(stop)
            self._finish(reason)
        except CaptureError as error:
            reason, failure = "error", error
        finally:
            self._status.clear()
            self._collector.close()
        return Result(
            path=options.path,
            reason=reason,
            events=self._writer.events_written,
            lost=self._collector.lost,
            size_bytes=self._writer.bytes_written,
            containers=self._facts.containers_seen,
            command_status=self._wait_for_command(stop, reason),
            failure=failure,
        )

    def _loop(self, stop: _Stop) -> str:
        deadline = float("inf")
        if self._options.duration_s is not None:
            deadline = time.monotonic() + self._options.duration_s
        signals, reason = 0, "duration"
        while True:
            urgent = self._collector.drain()
            self._show_status()
            if self._command is not None and self._command.poll() is not None:
                return reason if signals else "command"
            if stop.count > signals:
                if signals or self._command is None:
                    return "signal"
                # The command gets its chance to end, and its end is recorded. A terminal's
                # Ctrl-C has reached it already.
                signals, reason = stop.count, "signal"
                deadline = min(deadline, time.monotonic() + _COMMAND_STOP_S)
                if stop.signal != signal.SIGINT:
                    self._command.send_signal(stop.signal)
            if time.monotonic() >= deadline:
                return reason
            if not urgent:
                stop.wait(_POLL_S)

    def _finish(self, reason: str) -> None:
        """What is still on its way, the snapshot of what lives on, and the trailer."""
        deadline = time.monotonic() + _LAST_REAPS_S
        while time.monotonic() < deadline:
            self._collector.drain()
            time.sleep(_LAST_REAPS_S / 10)
        if not self._facts.finish(_FACTS_TIMEOUT_S):
            self._write_fact({"kind": "problem", "what": "some facts took too long to find"})
        self._snapshot("end")
        self._collector.drain_all()
        status = self._command.poll() if self._command is not None else None
        self._writer.close(
            {
                "ts_ns": time.clock_gettime_ns(time.CLOCK_BOOTTIME),
                "wall_ns": time.clock_gettime_ns(time.CLOCK_REALTIME),
                "reason": reason,
                "command_status": None if status is None else shell_status(status),
                "events": self._collector.events,
                "details": self._collector.details,
                "losses": self._engine.read_losses(),
                "ring_peak_bytes": self._collector.ring_peak_bytes,
                "snapshot_end": True,
            }
        )

    def _snapshot(self, phase: str) -> None:
        records = read_tasks(self._engine.open_snapshot())
        if self._options.record_filter.kind is abi.Filter.NONE:
            records = add_missing_parents(records)
        self._writer.write_tasks(phase, records)
        tasks = decode_tasks(records)
        if phase == "start":
            self._facts.look_at_host(tasks, self._options.no_args)
        else:
            self._writer.write_processes(
                phase, read_processes(tasks, no_args=self._options.no_args)
            )

    def _look_at_details(self, batch: bytes) -> None:
        if may_tell_of_containers(batch):
            for detail in abi.decode_details(batch):
                if sighting := find_detail_sighting(detail):
                    self._facts.look_at_container(sighting)
        if self._options.on_details is not None:
            self._options.on_details(list(abi.decode_details(batch)))

    def _write_fact(self, fact: dict[str, Any]) -> None:
        """From any thread. A failure to write is the recording loop's to notice and to report."""
        with contextlib.suppress(CaptureError):
            self._writer.write_json(
                FACT, {**fact, "ts_ns": time.clock_gettime_ns(time.CLOCK_BOOTTIME)}
            )

    def _write_start_processes(self, processes: Iterator[dict[str, Any]]) -> None:
        with contextlib.suppress(CaptureError):
            self._writer.write_processes("start", processes)

    def _show_status(self) -> None:
        self._status.update(
            self._collector.events,
            self._collector.lost,
            self._writer.bytes_written,
            self._facts.containers_seen,
        )

    def _wait_for_command(self, stop: _Stop, reason: str) -> int | None:
        """The command's status. After a signal a command that goes on is left alone."""
        if self._command is None:
            return 128 + stop.signal if self._options.command and stop.count else None
        signals = stop.count
        while (status := self._command.poll()) is None:
            if reason == "signal" or stop.count > signals:
                return 128 + stop.signal
            stop.wait(_POLL_S)
        return shell_status(status)


def _hurry() -> None:
    """Lets the collector run before others: on a host that is out of CPU it would lose events."""
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, _NICE)


def _start_command(
    command: Sequence[str],
) -> tuple[subprocess.Popen[bytes] | None, HostError | None]:
    """The command, or why it cannot be run: the capture is finished in that case too."""
    try:
        return subprocess.Popen(list(command)), None
    except (OSError, ValueError) as error:
        cause = str(error)
        if isinstance(error, OSError) and error.errno:
            cause = os.strerror(error.errno)
        return None, HostError(f"cannot run {command[0]}", cause)


def shell_status(returncode: int) -> int:
    """Popen.returncode as a shell's $? has it: 128+n for a signal."""
    return 128 - returncode if returncode < 0 else returncode


def record(options: Options) -> Result:
    """Records what happens on this host until something ends it.

    Raises:
        HostError: this host does not allow it.
        CaptureError: the capture cannot be created. One that cannot be written any further
            later is in ``Result.failure``: what it holds can be read.
    """
    if os.path.lexists(options.path) and not options.force:
        raise CaptureError(
            f"cannot write {options.path}", "it exists", "give another name, or --force"
        )
    if options.command and shutil.which(options.command[0]) is None:
        raise HostError(f"cannot run {options.command[0]}", "there is no such program")
    stop = _Stop()
    with stop.handling():
        settings = Settings(options.buffer_bytes, _bpf_config(options))
        engine = open_engine(options.engine, settings, options.confirmations)
        try:
            writer = CaptureWriter(options.path, _header(options, engine), force=options.force)
            return Recorder(options, engine, writer).run(stop)
        finally:
            engine.close()


def _bpf_config(options: Options) -> abi.Config:
    controller = naming_controller(read_hierarchies())
    config = abi.Config(no_args=options.no_args, v1_controller=controller)
    options.record_filter.apply(config)
    return config


def _header(options: Options, engine: Engine) -> dict[str, Any]:
    return {
        "schema": abi.SCHEMA,
        "rtrace": tracer.__version__,
        "clock": read_clock(),
        "host": read_host(),
        "engine": engine.name,
        "confirm": engine.confirmation,
        "argv": _recorded_argv(options),
        "filter": options.record_filter.description,
        "buffer_bytes": engine.events_bytes,
        "no_args": options.no_args,
        "pid": os.getpid(),
        "layout": abi.layout_description(),
    }


def _recorded_argv(options: Options) -> list[str]:
    """rtrace's command line, without COMMAND's arguments where none are to be recorded, or many."""
    own = len(options.argv) - len(options.command)
    kept = 1 if options.no_args else abi.ARGS_MAX // 16
    return [argument[: abi.ARGS_MAX] for argument in options.argv[: own + kept]]


def new_name() -> str:
    """Name for a capture in the current directory, from the time."""
    return time.strftime("rtrace-%Y%m%d-%H%M%S.rtrace")


def round_buffer(size: int) -> int:
    """The next power of two, as a BPF ring buffer needs it.

    Raises:
        UsageError: too small or too large to work with.
    """
    if not _BUFFER_MIN <= size <= _BUFFER_MAX:
        raise UsageError(
            f"cannot use a buffer of {size} bytes",
            "",
            "give something from 64KiB to 1GiB",
        )
    return 1 << (size - 1).bit_length()
