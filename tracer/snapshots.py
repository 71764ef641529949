"""The snapshots of a recording: what lives when it begins, at each segment's beginning, and when
it is saved or ends.

Hooks come first and are never off: what happens while a snapshot is taken is recorded as well.
The kernel's part takes milliseconds. Reading /proc takes 50 us a process, and is a thread's work.
"""

from __future__ import annotations

import contextlib
import queue
import time
from collections.abc import Callable, Iterator
from typing import Any

from tracer import abi
from tracer.bpf_map import clear_map
from tracer.capture_format import FACT
from tracer.chunk_writer import ChunkWriter
from tracer.clock import boot_ns
from tracer.engine import STUB_KEY_BYTES, Engine
from tracer.errors import CaptureError, HostError
from tracer.fact_finder import FactFinder
from tracer.memory import give_back
from tracer.proc_view import ProcView
from tracer.recording_writer import RecordingWriter
from tracer.segment_writer import BeginningTooLargeError
from tracer.shortfalls import ISOLATED, Unseen
from tracer.snapshot import TaskIterator, Tasks, add_missing_parents, decode_tasks, read_processes
from tracer.sockets import SocketSnapshots
from tracer.threads import start_thread

# After a snapshot its thread rests so many times as long before the segment may end; it may take
# a tenth of a CPU then. (In a storm the segment becomes as large as may be, and ends all the same.)
_REST = 9.0
# /proc is asked for some 40 us of each process.
_AT_ONCE = 256


class Snapshots:
    """Takes the snapshots.

    Args:
        engine: whose map of stubs is emptied for a segment.
        tasks: its iterator.
        sockets: who talks to whom, taken with each.
        writer: of the recording.
        facts: looks at all that lives, and says what each segment should know.
        view: /proc, for the processes that records name.
        no_args: leave arguments out.
        filter_kind: what is filtered.
        on_process: gets each process that a beginning shows; called from a thread.

    Raises:
        HostError: no thread can be started.
    """

    def __init__(
        self,
        engine: Engine,
        tasks: TaskIterator,
        sockets: SocketSnapshots,
        writer: RecordingWriter,
        facts: FactFinder,
        view: ProcView,
        *,
        no_args: bool,
        filter_kind: abi.Filter,
        on_process: Callable[[dict[str, Any]], None] | None = None,
    ) -> None:
        self._engine, self._tasks, self._sockets = engine, tasks, sockets
        self._writer, self._facts = writer, facts
        self._view, self._no_args, self._filter_kind = view, no_args, filter_kind
        self._on_process = on_process
        self._work: queue.SimpleQueue[tuple[ChunkWriter, bytes | None] | None]
        self._work = queue.SimpleQueue()
        self._shown_segment = 0
        self._thread = start_thread("snapshots", self._run)

    def begin(self) -> None:
        """The first snapshot: the kernel's part at once, since from then on all is recorded.

        Raises:
            CaptureError: it cannot be written.
        """
        self._shown_segment = self._writer.segment
        beginning = self._writer.beginning()
        records = self._read_tasks()
        with contextlib.suppress(BeginningTooLargeError):  # the thread will say so
            beginning.write_tasks("start", records)
        self._work.put((beginning, records))

    def follow(self) -> None:
        """To be called often: a segment that has begun since gets its snapshot."""
        if self._writer.segment != self._shown_segment:
            self._shown_segment = self._writer.segment
            self._work.put((self._writer.beginning(), None))

    def write_end(
        self, writer: ChunkWriter, meanwhile: Callable[[], object] = lambda: None
    ) -> None:
        """What lives now, as the end of a capture.

        Args:
            meanwhile: called every few milliseconds: 100,000 processes take seconds.

        Raises:
            CaptureError: it cannot be written.
        """
        records = self._read_tasks()
        writer.write_tasks("end", records)
        self._sockets.take(writer, "end")
        processes = read_processes(decode_tasks(records), self._view, no_args=self._no_args)
        writer.write_processes("end", _meanwhile(processes, meanwhile))

    def finish(self, timeout: float) -> bool:
        """Ends the work; False if it did not end within the timeout, in seconds."""
        self._work.put(None)
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _read_tasks(self) -> bytes:
        records = self._tasks.read()
        if self._filter_kind is abi.Filter.NONE:
            return add_missing_parents(records, self._view)
        return records

    def _run(self) -> None:
        work = self._work.get()
        while work:
            begun_s = time.thread_time()
            # What cannot be written is the recording loop's to notice and to report; a segment
            # that is over needs no beginning.
            with contextlib.suppress(CaptureError):
                self._show(*work)
            give_back()
            rest_s = _REST * (time.thread_time() - begun_s)
            try:
                next_work = self._work.get(timeout=rest_s)
            except queue.Empty:
                self._writer.end_beginning(work[0])
                next_work = self._work.get()
            work = next_work

    def _show(self, beginning: ChunkWriter, records: bytes | None) -> None:
        try:
            if records is None:
                if self._filter_kind is not abi.Filter.NONE:
                    # Those outside that events refer to are told of again.
                    clear_map(self._engine.stubs_fd, STUB_KEY_BYTES)
                records = self._read_tasks()
                beginning.write_tasks("start", records)
            self._sockets.take(beginning, "start")
            tasks = decode_tasks(records)
            self._facts.look_at_host(tasks)
            for fact in self._facts.facts_in_use():
                beginning.write_json(FACT, fact)
            unseen = Unseen()
            beginning.write_processes("start", self._look_at(tasks, unseen))
            # What is in a pid namespace, the snapshot shows also from within.
            if self._view.isolated and self._filter_kind is not abi.Filter.PIDNS:
                self._facts.tell(ISOLATED)
            for what in unseen.sentences():
                self._facts.tell(what)
            self._facts.end_round()
        except (BeginningTooLargeError, HostError, OSError) as error:
            what = f"a segment begins without what lives: {error}"
            self._writer.write_json(FACT, {"kind": "problem", "what": what, "ts_ns": boot_ns()})

    def _look_at(self, tasks: Tasks, unseen: Unseen) -> Iterator[dict[str, Any]]:
        processes = read_processes(tasks, self._view, no_args=self._no_args, unseen=unseen)
        for process in processes:
            self._facts.look_at_process(process)
            if self._on_process is not None:
                self._on_process(process)
            yield process


def _meanwhile(
    processes: Iterator[dict[str, Any]], do: Callable[[], object]
) -> Iterator[dict[str, Any]]:
    for number, process in enumerate(processes):
        if number % _AT_ONCE == 0:
            do()
        yield process
