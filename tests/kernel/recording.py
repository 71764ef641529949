"""The real recorder as a child process, and its capture read while it is being written.

`Capture` is a reader of its own, of a file that grows: it takes each chunk once, as soon as it
is whole. What it is read with here is docs/capture-format.md, not tracer.capture_reader.

A host runs more than one test's processes: tests ask for the events of processes that they know.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import signal
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import zstandard

from tracer import abi

# Generous: other work on the machine may take nearly all of it. An emulated machine needs more.
DEADLINE_S = float(os.environ.get("RTRACE_TEST_DEADLINE_S", "60"))
RTRACE = str(Path(sys.executable).parent / "rtrace")
# That work may also keep a recorder from its rings for seconds. Tests of losses take less room.
ROOM = ("--buffer", "64MiB")

_REAP_S = DEADLINE_S / 4

_STRIDE = 8 + abi.EVENT_SIZE
_ROWS = np.dtype(abi.numpy_layout((abi.Event, 8), itemsize=_STRIDE))
_PREFIX, _FRAME = struct.Struct("<8sII"), struct.Struct("<4sIII")

T = TypeVar("T")


class ReapUnseen(Exception):
    """A process was waited for, and the recorder was told nothing of it."""


def again_if_reap_unseen(test: Callable[..., None]) -> Callable[..., None]:
    """Runs a test up to three times, until the REAPs that it waits for come.

    One kernel runs no BPF in the context of process 1, and a process is released in whatever
    context RCU calls back: there 2 REAPs of 1,000 are missing (docs/engines.md).
    """

    @functools.wraps(test)
    def run(*arguments: Any, **keywords: Any) -> None:
        for _ in range(2):
            with contextlib.suppress(ReapUnseen):
                return test(*arguments, **keywords)
        return test(*arguments, **keywords)

    return run


def boot_ns() -> int:
    """The clock of all events."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def wait_for(find: Callable[[], T], what: str) -> T:
    """What ``find`` gives as soon as that is true."""
    deadline = time.monotonic() + DEADLINE_S
    while not (found := find()):
        assert time.monotonic() < deadline, f"{what} did not come in {DEADLINE_S:.0f} s"
        time.sleep(0.02)
    return found


class Capture:
    """A capture that may still be growing.

    Attributes:
        chunks: type and content of the chunks read so far, without HEAD; in a window only those
            since its beginning.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.header: dict[str, Any] = {}
        self.chunks: list[tuple[bytes, bytes]] = []
        self.since_ns = 0
        self._offset = _PREFIX.size

    def read(self) -> None:
        """Takes the chunks that have been added."""
        with contextlib.suppress(FileNotFoundError), open(self.path, "rb") as file:
            file.seek(self._offset)
            while len(head := file.read(_FRAME.size)) == _FRAME.size:
                kind, stored, raw, checksum = _FRAME.unpack(head)
                payload = file.read(stored)
                if len(payload) < stored:
                    break
                assert zlib.crc32(payload, zlib.crc32(head[:-4])) == checksum
                content = zstandard.ZstdDecompressor().decompress(payload, raw)
                assert len(content) == raw
                self._offset += _FRAME.size + stored
                if kind == b"HEAD":
                    self.header = json.loads(content)
                else:
                    self.chunks.append((kind, content))

    def of(self, kind: bytes) -> list[bytes]:
        """Contents of all chunks of a type."""
        return [content for found, content in self.chunks if found == kind]

    def json(self, kind: bytes) -> list[dict[str, Any]]:
        """Contents of all JSON chunks of a type."""
        return [json.loads(content) for content in self.of(kind)]

    def rows(self) -> Iterator[tuple[Any, bytes]]:
        """Events by the chunk, common fields as a numpy array, and the chunk itself."""
        for content in self.of(b"EVTS"):
            yield np.frombuffer(content, _ROWS), content

    def payload_rows(self, kind: abi.Type) -> Any:
        """All events of a kind as one numpy array, with the fields of that kind."""
        layout = abi.numpy_layout(
            (abi.Event, 8), (abi.PAYLOADS[kind], 8 + abi.Event.payload.offset), itemsize=_STRIDE
        )
        parts = [np.frombuffer(content, np.dtype(layout)) for content in self.of(b"EVTS")]
        rows = np.concatenate(parts) if parts else np.empty(0, np.dtype(layout))
        return rows[rows["type"] == kind]

    def count(self) -> int:
        """How many events there are."""
        return sum(len(rows) for rows, _ in self.rows())

    def events(self, tgid: int | None = None, kind: abi.Type | None = None) -> list[abi.Event]:
        """Events of one process (the subject), by time.

        In a window that is the first process with this tgid that was born in it: on a busy host
        the tgid may soon be another's.
        """
        found = []
        for rows, content in self.rows():
            wanted = rows["ts_ns"] >= self.since_ns
            if kind is not None:
                wanted &= rows["type"] == kind
            if tgid is not None:
                wanted &= rows["tgid"] == tgid
            found += [
                abi.Event.from_buffer_copy(content, int(index) * _STRIDE + 8)
                for index in np.flatnonzero(wanted)
            ]
        if tgid is not None:
            start_ns = self._start_of(tgid)
            found = [event for event in found if start_ns in (None, event.start_ns)]
        return sorted(found, key=lambda event: event.ts_ns)

    def _start_of(self, tgid: int) -> int | None:
        """Start of the process that is meant by a tgid; None: there is no doubt."""
        if not self.since_ns:
            return None
        starts: list[int] = []
        for rows, _ in self.rows():
            mine = rows[(rows["tgid"] == tgid) & (rows["start_ns"] >= self.since_ns)]
            starts += mine["start_ns"].tolist()
        return min(starts, default=None)

    def descendants(self, tgid: int) -> list[abi.Event]:
        """FORK events of all that a process and those below it have forked, by time."""
        start_ns = self._start_of(tgid) or 0
        above = {tgid}
        found = []
        for event in self.events(kind=abi.Type.FORK):
            if event.fork.forker_tgid in above and event.fork.forker_start_ns >= start_ns:
                above.add(event.tgid)
                found.append(event)
        return found

    def event(self, tgid: int, kind: abi.Type) -> abi.Event:
        """The one event of this kind."""
        (found,) = self.events(tgid, kind)
        return found

    def details(self, tgid: int | None = None) -> list[abi.Detail]:
        """Details of one process (see ``events``), or of all."""
        start_ns = None if tgid is None else self._start_of(tgid)
        return [
            detail
            for content in self.of(b"DETL")
            for detail in abi.decode_details(content)
            if detail.ts_ns >= self.since_ns
            and tgid in (None, detail.tgid)
            and start_ns in (None, detail.start_ns)
        ]

    def exec_detail(self, tgid: int) -> abi.Detail:
        """The detail of the last exec of a process."""
        return [d for d in self.details(tgid) if d.type == abi.DetailType.EXEC][-1]

    def tasks(self, phase: str) -> dict[int, abi.Task]:
        """The start or end snapshot, by tgid."""
        return {
            task.tgid: task
            for content in self.of(b"TASK")
            if struct.unpack_from("<Q", content)[0] == ("start", "end").index(phase)
            for task in (abi.Task * ((len(content) - 8) // abi.TASK_SIZE)).from_buffer_copy(
                content, 8
            )
        }

    def processes(self, phase: str) -> dict[int, dict[str, Any]]:
        """What /proc said of each process, by tgid."""
        return {
            process["tgid"]: process
            for chunk in self.json(b"PROC")
            if chunk["phase"] == phase
            for process in chunk["processes"]
        }

    def is_named(self, container: str) -> bool:
        """Whether the name and the image of a container have been found."""
        return any(
            fact["kind"] == "container" and fact["name"] == container and fact["image"] is not None
            for fact in self.json(b"FACT")
        )

    @property
    def trailer(self) -> dict[str, Any] | None:
        """The TAIL, if it has been written."""
        found = self.json(b"TAIL")
        return found[0] if found else None

    @property
    def whole(self) -> bool:
        """Whether all that the file has was read, and its last chunk is the trailer."""
        ends = self._offset == self.path.stat().st_size
        return ends and bool(self.chunks) and self.chunks[-1][0] == b"TAIL"

    def contents(self) -> bytes:
        """Everything in the capture, not compressed."""
        return b"".join([json.dumps(self.header).encode(), *(data for _, data in self.chunks)])

    def forget(self) -> None:
        """Leaves behind what was read."""
        self.chunks = []


def read_capture(path: Path) -> Capture:
    """A capture that is not written any more."""
    capture = Capture(path)
    capture.read()
    return capture


@dataclass(frozen=True)
class Ended:
    """A program that has ended. ``status`` is negative for a signal."""

    status: int
    stdout: str
    stderr: str


def run_rtrace(*arguments: str | Path, **keywords: Any) -> Ended:
    """`rtrace ...` up to its end; whatever it does, it never shows a traceback."""
    done = subprocess.run(
        [RTRACE, *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=DEADLINE_S,
        check=False,
        **keywords,
    )
    ended = Ended(
        done.returncode,
        done.stdout.decode("utf-8", "surrogateescape"),
        done.stderr.decode("utf-8", "surrogateescape"),
    )
    assert "Traceback" not in ended.stderr
    return ended


class Recorder:
    """`rtrace record`, running.

    Args:
        folder: for the capture and for what the recorder says.
        wrapper: command to run it by.
        program: the rtrace to run.
    """

    def __init__(
        self,
        folder: Path,
        *options: str,
        command: Sequence[str] = (),
        wrapper: Sequence[str] = (),
        path: Path | None = None,
        program: str = RTRACE,
        **keywords: Any,
    ) -> None:
        self.path = path or folder / "x.rtrace"
        self.capture = Capture(self.path)
        self.stdout_path, self.stderr_path = folder / "stdout", folder / "stderr"
        arguments = [*wrapper, program, "record", "-o", str(self.path), *ROOM, *options]
        if command:
            arguments += ["--", *command]
        with self.stdout_path.open("wb") as stdout, self.stderr_path.open("wb") as stderr:
            streams = {"stdin": subprocess.DEVNULL, "stdout": stdout, "stderr": stderr}
            self.process = subprocess.Popen(arguments, **(streams | keywords))

    @property
    def pid(self) -> int:
        return self.process.pid

    def wait_until_recording(self) -> None:
        """Everything from now on is recorded: the start snapshot comes after the hooks."""

        def snapshot() -> bool:
            assert self.process.poll() is None, self.stderr_path.read_text()
            self.capture.read()
            return bool(self.capture.of(b"TASK"))

        wait_for(snapshot, "the start snapshot")

    def wait_until_named(self, container: str) -> None:
        """Waits until the name and the image of a container are in the capture.

        They are read from files, beside the recording: a container that a test ends at once may
        be gone before a busy machine lets the recorder read them.
        """

        def named() -> bool:
            self.capture.read()
            return self.capture.is_named(container)

        wait_for(named, f"the name and image of {container}")

    @contextlib.contextmanager
    def window(self) -> Iterator[Capture]:
        """What happens meanwhile; afterwards all of it is in the capture that is given."""
        self.capture.read()
        self.capture.forget()
        self.capture.since_ns = boot_ns()
        yield self.capture
        self.settle()

    def settle(self) -> None:
        """Waits until all that has happened so far is in the capture.

        Events come in the order in which the ring took them, so a last process is enough. Only
        a REAP may be later, by a grace period of RCU.
        """
        marker = subprocess.Popen(["true"])
        marker.wait()

        def seen() -> bool:
            self.capture.read()
            ended = self.capture.events(marker.pid, abi.Type.EXIT)
            return bool(ended and self.capture.details(marker.pid))

        wait_for(seen, "the last process's events")

    def wait_for_reap(self, tgid: int) -> abi.Event:
        """REAP of a process that has been waited for: it comes late.

        Raises:
            ReapUnseen: or not at all. The test is to be ``again_if_reap_unseen``.
        """
        deadline = time.monotonic() + _REAP_S
        while not (found := self.capture.events(tgid, abi.Type.REAP)):
            if time.monotonic() > deadline:
                raise ReapUnseen(f"no REAP of {tgid} in {_REAP_S:.0f} s")
            time.sleep(0.02)
            self.capture.read()
        (reap,) = found
        return reap

    def stop(self, number: signal.Signals | None = signal.SIGINT) -> Ended:
        """Ends the recording (with None: waits for its end), and reads the rest."""
        if number is not None:
            self.process.send_signal(number)
        status = self.process.wait(DEADLINE_S)
        self.capture.read()
        ended = Ended(
            status,
            self.stdout_path.read_bytes().decode("utf-8", "surrogateescape"),
            self.stderr_path.read_bytes().decode("utf-8", "surrogateescape"),
        )
        assert "Traceback" not in ended.stderr
        return ended

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(signal.SIGCONT)
            self.process.kill()
            self.process.wait()


def start_ticks(pid: int | str = "self") -> int:
    """Start of a process in clock ticks, as /proc has it."""
    stat = Path(f"/proc/{pid}/stat").read_bytes()
    return int(stat.rpartition(b")")[2].split()[19])


def state(pid: int) -> str:
    """R, S, Z ...; "" for a process that is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0].decode()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def raw_status(process: subprocess.Popen[bytes]) -> int:
    """Waits, and gives the status as the kernel reported it."""
    _, status = os.waitpid(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return status


@dataclass(frozen=True)
class Told:
    """What a tester program said about itself, and how it ended."""

    values: dict[str, int]
    raw_status: int

    def __getitem__(self, name: str) -> int:
        return self.values[name]


def run_tester(command: Sequence[str | Path | bytes], **keywords: Any) -> Told:
    """Runs a tester program up to its end."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, **keywords)
    assert process.stdout is not None
    with process.stdout:
        lines = process.stdout.read().decode().splitlines()
    values = {name: int(value) for name, value in (line.split() for line in lines)}
    return Told({"popen_pid": process.pid} | values, raw_status(process))


def assert_failed(ended: Ended, *words: str, status: int = 1) -> None:
    """It failed as everything should: one line on stderr that says why, and what to do."""
    assert ended.status == status, ended.stderr
    assert ended.stderr.startswith("rtrace: ")
    assert ended.stderr.count("\n") == 1
    assert ended.stderr.endswith("\n")
    for word in words:
        assert word in ended.stderr
