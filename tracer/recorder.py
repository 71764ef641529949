"""One recording, from attaching the programs to the capture's trailer."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from tracer import abi
from tracer.capture_format import FACT
from tracer.capture_writer import CaptureWriter
from tracer.clock import ClockWatch, boot_ns
from tracer.collector import Collector
from tracer.command import Command
from tracer.container_names import find_detail_sighting, may_tell_of_containers
from tracer.control import ControlServer
from tracer.daemon_watch import DaemonWatch
from tracer.engine import Engine, Settings
from tracer.engines import open_engine
from tracer.errors import CaptureError, HostError, RtraceError
from tracer.fact_finder import FactFinder
from tracer.kernel_log import KernelLog
from tracer.least_rights import forbid_core_dumps, give_up_rights
from tracer.memory import stay_lean
from tracer.notify import Notifier
from tracer.options import Options, bpf_config, make_header
from tracer.output_file import check_output
from tracer.privileges import raise_limits
from tracer.proc_view import ProcView
from tracer.recording_writer import RecordingWriter
from tracer.recovery import take_directory
from tracer.saves import Checkpoint, Saver
from tracer.segment_writer import SegmentWriter
from tracer.shortfalls import ISOLATED, sockets_unread
from tracer.snapshot import TaskIterator, decode_tasks
from tracer.snapshots import Snapshots
from tracer.sockets import SocketSnapshots
from tracer.status import StatusLine, format_kept
from tracer.stopping import Stop
from tracer.triggers import TriggerWatch
from tracer.urgency import hurry, share_interpreter

if TYPE_CHECKING:
    from tracer.second_screen import SecondScreen

_POLL_S = 0.05
_FACTS_TIMEOUT_S = 1.0
# A process is freed up to a grace period of RCU after it was waited for.
_LAST_REAPS_S = 0.05
_COMMAND_STOP_S = 5.0
_TELL_EVERY_S = 5.0


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

    def __init__(
        self,
        options: Options,
        engine: Engine,
        tasks: TaskIterator,
        writer: RecordingWriter,
        view: ProcView,
        kernel_log: KernelLog,
        command: Command | None,
    ) -> None:
        self._options, self._engine, self._writer = options, engine, writer
        self._kernel_log, self._command = kernel_log, command
        self._clocks = ClockWatch(self._write_fact)
        # Another pid namespace mostly has programs of its own, which are not on this PATH.
        ask_programs = options.record_filter.pidns in (0, view.pidns)
        self._facts = FactFinder(self._write_fact, view, ask_programs=ask_programs)
        self._triggers = TriggerWatch(options.triggers) if options.triggers else None
        self._daemons = DaemonWatch()
        self._sockets = SocketSnapshots(engine, writer, options.record_filter.kind)
        if engine.sockets_refused is not None:
            self._facts.tell(sockets_unread(engine.sockets_refused))
        self._snapshots = Snapshots(
            engine,
            tasks,
            self._sockets,
            writer,
            self._facts,
            view,
            no_args=options.no_args,
            filter_kind=options.record_filter.kind,
            on_process=self._look_at_process,
        )
        self._collector = Collector(engine, writer, self._look_at_details, self._look_at_events)
        self._status: StatusLine | SecondScreen
        self._status = options.screen or StatusLine(sys.stderr, enabled=options.show_status)
        self._saver = Saver(
            options.path,
            self._snapshots,
            self._checkpoint,
            self._say,
            after_s=options.after_s,
            apart_s=options.apart_s,
            keep=options.keep,
        )
        self._notifier, self._told_at = Notifier(), 0.0

    def run(self, stop: Stop) -> Result:
        """Records until something ends it; the capture is complete afterwards."""
        options, path = self._options, self._options.path
        share_interpreter()
        reason: str = "error"
        failure: RtraceError | None = None
        try:
            with self._reachable():
                self._snapshots.begin()
                self._notifier.ready()
                if options.on_started is not None:
                    options.on_started()
                failure = self._start_command(stop)
                forbid_core_dumps()
                if options.screen is not None:
                    options.screen.open(self._saver, bounded=options.max_bytes is not None)
                if failure is None:
                    reason = self._loop(stop)
            self._notifier.stopping()
            self._clocks.look(now=True)
            self._finish(reason)
        except CaptureError as error:
            reason, failure, path = "error", error, self._writer.readable_path
        finally:
            self._saver.close()
            self._status.clear()
            self._collector.close()
            self._notifier.close()
        if failure is None and not os.path.lexists(path):
            failure = CaptureError(
                f"cannot find {path} any more",
                "it was moved, or its disk was unmounted",
                "look for it there",
            )
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

    def _start_command(self, stop: Stop) -> HostError | None:
        """Why COMMAND could not be run, if so: the capture is finished all the same."""
        if self._command is None:
            return None
        if stop.count:
            self._command.give_up()
            return None
        try:
            self._command.start()
        except HostError as error:
            return error
        return None

    def _loop(self, stop: Stop) -> str:
        deadline = float("inf")
        if self._options.duration_s is not None:
            deadline = time.monotonic() + self._options.duration_s
        signals, saves, reason = 0, 0, "duration"
        while True:
            urgent = self._collector.drain()
            self._snapshots.follow()
            self._saver.poll()
            self._tell_manager()
            self._clocks.look()
            self._kernel_log.look(self._write_fact)
            self._show_status()
            if stop.saves > saves:
                saves = stop.saves
                self._saver.request()
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
        while time.monotonic() < deadline or self._saver.busy:
            self._collector.drain()
            self._snapshots.follow()
            self._saver.poll(at_once=True)
            self._kernel_log.look(self._write_fact)
            time.sleep(_LAST_REAPS_S / 10)
        self._sockets.finish(_FACTS_TIMEOUT_S)
        shown = self._snapshots.finish(_FACTS_TIMEOUT_S)
        if not self._facts.finish(_FACTS_TIMEOUT_S) or not shown:
            self._write_fact({"kind": "problem", "what": "some facts took too long to find"})
        self._snapshots.write_end(self._writer, self._collector.drain)
        self._collector.drain_all()
        self._writer.close(
            {
                **self._collector.totals(),
                "reason": reason,
                "command_status": self._command.status if self._command is not None else None,
            }
        )

    @contextlib.contextmanager
    def _reachable(self) -> Iterator[None]:
        """`rtrace snapshot` finds this recorder meanwhile."""
        try:
            server = ControlServer(self._options.path, self._saver.request)
        except HostError as error:
            if self._options.max_bytes is not None:
                self._say(f"rtrace: {error}")
            yield
            return
        try:
            yield
        finally:
            server.close()

    def _checkpoint(self) -> Checkpoint:
        self._collector.catch_up()
        return self._collector.totals(), self._writer.hold()

    def _look_at_process(self, process: dict[str, Any]) -> None:
        self._daemons.look_at_process(process)
        if self._triggers is not None:
            self._triggers.look_at_process(process)

    def _look_at_events(self, batch: bytes) -> None:
        self._sockets.note(self._daemons.look_at_events(batch))
        if self._triggers is not None:
            for hit in self._triggers.look_at_events(batch):
                self._write_fact({"kind": "trigger", **asdict(hit), "trigger": str(hit.trigger)})
                self._saver.trigger(hit)
        if self._options.on_events is not None:
            self._options.on_events(batch)

    def _look_at_details(self, batch: bytes) -> None:
        self._sockets.note(self._daemons.look_at_details(batch))
        if self._triggers is not None:
            self._triggers.look_at_details(batch)
        if may_tell_of_containers(batch, self._facts.is_known):
            for detail in abi.decode_details(batch):
                if sighting := find_detail_sighting(detail):
                    self._facts.look_at_container(sighting)
        if self._options.on_details is not None:
            self._options.on_details(list(abi.decode_details(batch)))

    def _write_fact(self, fact: dict[str, Any]) -> None:
        """From any thread. A failure to write is the recording loop's to notice and to report."""
        with contextlib.suppress(CaptureError):
            self._writer.write_json(FACT, {"ts_ns": boot_ns(), **fact})

    def _tell_manager(self) -> None:
        """A sign of life, and now and then how it goes."""
        self._notifier.alive()
        if time.monotonic() - self._told_at >= _TELL_EVERY_S:
            self._told_at = time.monotonic()
            kept = format_kept(self._writer.bytes_written, self._writer.events_dropped)
            lost = self._collector.lost
            self._notifier.status(f"{self._collector.events:,} events, {lost:,} lost, {kept}")

    def _say(self, line: str) -> None:
        """From any thread."""
        with self._status.away():
            self._options.say(line)

    def _show_status(self) -> None:
        self._status.update(
            self._collector.events,
            self._collector.lost,
            self._writer.bytes_written,
            self._facts.containers_seen,
            self._writer.events_dropped,
        )

    def _command_status(self, stop: Stop, reason: str) -> int | None:
        if self._command is None or not self._command.started:
            return 128 + stop.signal if self._command is not None and stop.count else None
        return self._command.wait(stop, signalled=reason == "signal")


def record(options: Options) -> Result:
    """Records what happens on this host until something ends it.

    Raises:
        HostError: this host does not allow it.
        CaptureError: the capture cannot be created. One that cannot be written any further
            later is in ``Result.failure``: what it holds can be read.
    """
    check_output(options.path, force=options.force)
    if options.command and shutil.which(options.command[0]) is None:
        raise HostError(f"cannot run {options.command[0]}", "there is no such program")
    raise_limits()
    stay_lean()
    stop = Stop()
    with stop.handling(), contextlib.ExitStack() as stack:
        directory = None
        if options.max_bytes is not None:
            directory = take_directory(options.path, options.say)
            stack.callback(directory.leave)
        settings = Settings(options.buffer_bytes, bpf_config(options))
        engine = open_engine(options.engine, settings, options.confirmations)
        stack.callback(engine.close)
        unfiltered = options.record_filter.kind is abi.Filter.NONE
        kernel_log = KernelLog(with_groups=unfiltered)
        stack.callback(kernel_log.close)
        tasks = TaskIterator(engine)
        view = ProcView(lambda: decode_tasks(tasks.read()))
        header = make_header(options, engine, view)
        writer: RecordingWriter
        if directory is None or options.max_bytes is None:
            writer = CaptureWriter(options.path, header, force=options.force)
        else:
            writer = SegmentWriter(
                options.path, directory, options.max_bytes, header, force=options.force
            )
        try:
            # From here on all threads have the same priority, and the same few rights.
            command = Command(options.command) if options.command else None
            hurry()
            give_up_rights(engine, options.path, options.say, with_command=command is not None)
            recorder = Recorder(options, engine, tasks, writer, view, kernel_log, command)
        except HostError:
            writer.discard()
            raise
        if view.isolated and options.record_filter.kind is not abi.Filter.PIDNS:
            options.say(f"note: {ISOLATED}")
        return recorder.run(stop)
