"""One recording, from attaching the programs to the capture's trailer."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import tracer
from tracer import abi
from tracer.capture_format import FACT
from tracer.capture_writer import CaptureWriter
from tracer.cgroups import naming_controller, read_hierarchies
from tracer.collector import Collector
from tracer.command import Command
from tracer.confirmation import Confirmation
from tracer.container_names import find_detail_sighting, may_tell_of_containers
from tracer.engine import Engine, Settings
from tracer.engines import open_engine
from tracer.errors import CaptureError, HostError, RtraceError, UsageError
from tracer.fact_finder import FactFinder
from tracer.filters import RecordFilter
from tracer.host import read_clock, read_host
from tracer.recording_writer import RecordingWriter
from tracer.recovery import take_directory
from tracer.segment_writer import MIN_BYTES, SegmentWriter
from tracer.snapshots import Snapshots
from tracer.status import StatusLine
from tracer.stopping import Stop

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
        max_bytes: keep so many bytes, the newest; None: all.
        no_args: record no arguments of programs.
        argv: rtrace's own command line, for the header.
        on_events, on_details: look at each batch (--live).
        show_status: keep a status line on stderr if that is a terminal.
        on_started: called when everything from now on is recorded.
        say: takes lines for the user.
    """

    path: str
    record_filter: RecordFilter = field(default_factory=RecordFilter)
    duration_s: float | None = None
    command: Sequence[str] = ()
    engine: str = "auto"
    confirmations: Sequence[Confirmation] | None = None
    buffer_bytes: int = 16 << 20
    max_bytes: int | None = None
    no_args: bool = False
    force: bool = False
    argv: Sequence[str] = ()
    on_events: Callable[[bytes], None] | None = None
    on_details: Callable[[list[abi.Detail]], None] | None = None
    on_started: Callable[[], None] | None = None
    say: Callable[[str], None] = print
    show_status: bool = True


@dataclass(slots=True)
class Result:
    """What came of a recording.

    Attributes:
        path: the capture, or the directory of segments where it could not be made.
        reason: why it ended: "signal", "duration", "command" or "error".
        events: how many are in it.
        dropped: how many older ones are not, since it is bounded.
        command_status: as a shell has it (128+n: signal n), None without a command.
        failure: why the capture could not be written further, or COMMAND not be run, if so.
    """

    path: str
    reason: str
    events: int
    dropped: int
    lost: int
    size_bytes: int
    containers: int
    command_status: int | None = None
    failure: RtraceError | None = None


class Recorder:
    """Runs one recording; see ``record``."""

    def __init__(self, options: Options, engine: Engine, writer: RecordingWriter) -> None:
        self._options, self._engine, self._writer = options, engine, writer
        self._facts = FactFinder(self._write_fact)
        self._snapshots = Snapshots(
            engine,
            writer,
            self._facts,
            no_args=options.no_args,
            whole_host=options.record_filter.kind is abi.Filter.NONE,
        )
        self._collector = Collector(engine, writer, self._look_at_details, options.on_events)
        self._status = StatusLine(sys.stderr, enabled=options.show_status)
        self._command: Command | None = None

    def run(self, stop: Stop) -> Result:
        """Records until something ends it; the capture is complete afterwards."""
        options, path = self._options, self._options.path
        reason: str = "error"
        failure: RtraceError | None = None
        try:
            self._snapshots.begin()
            if options.on_started is not None:
                options.on_started()
            if options.command and not stop.count:
                try:
                    self._command = Command(options.command)
                except HostError as error:
                    failure = error  # the capture is finished all the same
            if failure is None:
                _hurry()
                reason = self._loop(stop)
            self._finish(reason)
        except CaptureError as error:
            reason, failure, path = "error", error, self._writer.readable_path
        finally:
            self._status.clear()
            self._collector.close()
        return Result(
            path=path,
            reason=reason,
            events=self._writer.events_written,
            dropped=self._writer.events_dropped,
            lost=self._collector.lost,
            size_bytes=self._writer.bytes_written,
            containers=self._facts.containers_seen,
            command_status=self._command_status(stop, reason),
            failure=failure,
        )

    def _loop(self, stop: Stop) -> str:
        deadline = float("inf")
        if self._options.duration_s is not None:
            deadline = time.monotonic() + self._options.duration_s
        signals, reason = 0, "duration"
        while True:
            urgent = self._collector.drain()
            self._snapshots.follow()
            self._show_status()
            if self._command is not None and self._command.status is not None:
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
        deadline = time.monotonic() + _FACTS_TIMEOUT_S
        shown = self._snapshots.finish(_FACTS_TIMEOUT_S)
        if not self._facts.finish(max(0.0, deadline - time.monotonic())) or not shown:
            self._write_fact({"kind": "problem", "what": "some facts took too long to find"})
        self._snapshots.write_end(self._writer)
        self._collector.drain_all()
        self._writer.close(
            {
                **self._collector.totals(),
                "reason": reason,
                "command_status": self._command.status if self._command is not None else None,
            }
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
            now_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
            self._writer.write_json(FACT, {"ts_ns": now_ns, **fact})

    def _show_status(self) -> None:
        self._status.update(
            self._collector.events,
            self._collector.lost,
            self._writer.bytes_written,
            self._facts.containers_seen,
        )

    def _command_status(self, stop: Stop, reason: str) -> int | None:
        if self._command is None:
            return 128 + stop.signal if self._options.command and stop.count else None
        return self._command.wait(stop, signalled=reason == "signal")


def _hurry() -> None:
    """Lets the collector run before others: on a host that is out of CPU it would lose events."""
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, _NICE)


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
    stop = Stop()
    with stop.handling(), contextlib.ExitStack() as stack:
        directory = None
        if options.max_bytes is not None:
            directory = take_directory(options.path, options.say)
            stack.callback(directory.leave)
        settings = Settings(options.buffer_bytes, _bpf_config(options))
        engine = open_engine(options.engine, settings, options.confirmations)
        stack.callback(engine.close)
        header = _header(options, engine)
        writer: RecordingWriter
        if directory is None or options.max_bytes is None:
            writer = CaptureWriter(options.path, header, force=options.force)
        else:
            writer = SegmentWriter(
                options.path, directory, options.max_bytes, header, force=options.force
            )
        return Recorder(options, engine, writer).run(stop)


def _bpf_config(options: Options) -> abi.Config:
    controller = naming_controller(read_hierarchies())
    config = abi.Config(no_args=options.no_args, v1_controller=controller)
    options.record_filter.apply(config)
    return config


def _header(options: Options, engine: Engine) -> dict[str, Any]:
    bounds = {} if options.max_bytes is None else {"max_bytes": options.max_bytes}
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
        **bounds,
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


def check_bound(size: int) -> int:
    """The bound of a recording, in bytes.

    Raises:
        UsageError: too small for anything of use to be kept.
    """
    if size < MIN_BYTES:
        step = "give at least 1MiB, and better 20MiB"
        raise UsageError(f"cannot keep a recording in {size} bytes", "", step)
    return size
