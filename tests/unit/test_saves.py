"""When saves are made, of what, and that a failed one does no harm. (Real ones: tests/kernel.)"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.segments import TRAILER, numbers_in, open_writer, read, write_numbered
from tests.streams import BOOT_NS
from tracer.capture_writer import CaptureWriter
from tracer.chunk_writer import ChunkWriter
from tracer.errors import CaptureError
from tracer.recording_writer import RecordingWriter
from tracer.saves import Request, Saved, Saver
from tracer.triggers import Hit


class NobodyLives:
    """The snapshots of a host without processes."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()

    def write_end(self, writer: ChunkWriter) -> None:
        self.gate.wait(10.0)
        writer.write_tasks("end", b"")


class Recording:
    """A recording and its loop, turned by hand."""

    def __init__(self, writer: RecordingWriter, **options: Any) -> None:
        self.writer, self.said = writer, list[str]()
        self.snapshots = NobodyLives()
        self.saver = Saver(
            writer.path,
            self.snapshots,  # type: ignore[arg-type]
            lambda: ({"ts_ns": 7, "losses": [[1, 2]]}, writer.hold()),
            self.said.append,
            **{"after_s": 0.0, "apart_s": 0.0, "keep": 10, **options},
        )

    def turn_until(self, done: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 30
        while not done():
            assert time.monotonic() < deadline
            self.saver.poll()
            time.sleep(0.001)

    def save(self, path: str | None = None) -> Saved:
        request = self.saver.request(path)
        self.turn_until(request.done.is_set)
        assert isinstance(request.result, Saved), request.result
        return request.result


def hit(trigger: str = "shim-exit") -> Hit:
    now_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    return Hit(trigger, now_ns, 5, BOOT_NS, f"{trigger} happened")


@pytest.fixture
def recording(tmp_path: Path) -> Iterator[Recording]:
    made = Recording(open_writer(tmp_path / "x.rtrace"))
    write_numbered(made.writer, 0, 30_000)
    yield made
    made.saver.close()


def test_a_save_is_what_is_held_and_an_end(recording: Recording) -> None:
    saved = recording.save()
    kept, _ = read(Path(f"{recording.writer.path}.segments"))
    chunks, reader = read(Path(saved.path))
    assert reader.complete
    assert chunks[: len(kept)] == kept
    assert [kind for kind, _ in chunks[len(kept) :]] == [b"TASK", b"TAIL"]
    counts = {"events": saved.events, "details": 0}
    assert reader.trailer == {"ts_ns": 7, "losses": [[1, 2]], "reason": "saved", **counts}
    assert saved.events == len(numbers_in(chunks))
    assert saved.size_bytes == Path(saved.path).stat().st_size
    assert recording.said == [f"saved {saved}"]


def test_what_is_recorded_during_a_save_is_in_it(recording: Recording) -> None:
    # GIVEN a save that takes its snapshot
    recording.snapshots.gate.clear()
    request = recording.saver.request()
    recording.turn_until(lambda: Path(f"{recording.writer.path}.segments").exists())
    for _ in range(50):
        recording.saver.poll()
        time.sleep(0.002)
    # WHEN the recording goes on, into other segments
    write_numbered(recording.writer, 30_000, 3000)
    recording.snapshots.gate.set()
    recording.turn_until(request.done.is_set)
    # THEN that is there, behind the snapshot
    assert isinstance(request.result, Saved)
    chunks, reader = read(Path(request.result.path))
    numbers = numbers_in(chunks)
    assert numbers == list(range(numbers[0], 33_000))
    assert reader.complete
    assert reader.trailer is not None
    assert reader.trailer["events"] == len(numbers)


def test_a_recording_in_one_file(tmp_path: Path) -> None:
    writer = CaptureWriter(tmp_path / "x.rtrace", {"schema": 1, "clock": _CLOCK})
    writer.write(b"NEWS", b"?")
    recording = Recording(writer)
    saved = recording.save(str(tmp_path / "y"))
    writer.close(TRAILER)
    recording.saver.close()
    assert [kind for kind, _ in read(Path(saved.path))[0]] == [b"NEWS", b"TASK", b"TAIL"]
    assert [kind for kind, _ in read(tmp_path / "x.rtrace")[0]] == [b"NEWS", b"TAIL"]


_CLOCK = {"boot_ns": 1, "wall_ns": 2}


def test_requests_that_wait_join(recording: Recording) -> None:
    # GIVEN a save that is being made
    recording.snapshots.gate.clear()
    first = recording.saver.request()
    recording.turn_until(lambda: recording.saver._next is None)
    # WHEN more are asked for
    more = [recording.saver.request() for _ in range(5)]
    named = recording.saver.request(f"{recording.writer.path}.mine")
    recording.snapshots.gate.set()
    recording.turn_until(lambda: not recording.saver.busy)
    # THEN those without a name of their own are one, and not the first
    assert len({id(request) for request in [first, named, *more]}) == 3
    assert len(recording.said) == 3


def test_triggers_that_come_while_one_waits_join_it(tmp_path: Path) -> None:
    recording = Recording(open_writer(tmp_path / "x.rtrace"), after_s=0.2)
    recording.saver.trigger(hit())
    recording.saver.trigger(hit("oom"))
    recording.saver.poll()
    assert not recording.saver.busy
    recording.turn_until(lambda: bool(recording.said))
    recording.turn_until(lambda: not recording.saver.busy)
    recording.saver.close()
    (saved,) = tmp_path.glob("x-*-shim-exit.rtrace")
    (said,) = recording.said
    assert said.startswith(f"saved {saved}: ")
    assert said.endswith(" (shim-exit: shim-exit happened; and 1 more)")


def test_triggers_that_fire_again_and_again_are_saved_apart(tmp_path: Path) -> None:
    # GIVEN a save for a trigger
    recording = Recording(open_writer(tmp_path / "x.rtrace"), apart_s=1e6)
    first = hit()
    recording.saver.trigger(first)
    recording.turn_until(lambda: bool(recording.said) and not recording.saver.busy)
    # WHEN it fires again at once
    for _ in range(100):
        recording.saver.trigger(hit())
        recording.saver.poll()
    # THEN that waits, and is not lost when the recording ends
    assert not recording.saver.busy
    recording.saver.poll(at_once=True)
    recording.turn_until(lambda: len(recording.said) == 2 and not recording.saver.busy)
    recording.saver.close()
    assert recording.said[1].endswith("; and 99 more)")
    # and each says what it was made for.
    saves = sorted(tmp_path.glob("x-*-shim-exit*.rtrace"))
    trailers = [read(path)[1].trailer for path in saves]
    times = [trailer["trigger_ns"] for trailer in trailers if trailer is not None]
    assert len(times) == 2
    assert min(times) == first.at_ns


def test_what_waits_is_saved_when_the_recording_ends(tmp_path: Path) -> None:
    recording = Recording(open_writer(tmp_path / "x.rtrace"), after_s=1e6)
    recording.saver.trigger(hit())
    recording.saver.poll(at_once=True)
    assert recording.saver.busy
    recording.turn_until(lambda: not recording.saver.busy)
    recording.saver.close()
    assert len(list(tmp_path.glob("x-*-shim-exit.rtrace"))) == 1


@pytest.mark.parametrize("path", ["exists", "no/such", "nul\0"])
def test_a_save_that_cannot_be_written(recording: Recording, tmp_path: Path, path: str) -> None:
    (tmp_path / "exists").write_text("mine")
    request = recording.saver.request(str(tmp_path / path))
    recording.turn_until(request.done.is_set)
    assert isinstance(request.result, CaptureError)
    assert recording.said == [f"rtrace: {request.result}"]
    assert (tmp_path / "exists").read_text() == "mine"
    recording.save()


def test_a_disk_that_fills_up_leaves_no_half_save(
    recording: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:

    def sendfile(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "sendfile", sendfile)
    request = recording.saver.request()
    recording.turn_until(request.done.is_set)
    assert "the disk is full" in str(request.result)
    folder = Path(recording.writer.path).parent
    assert [path.name for path in folder.iterdir()] == ["x.rtrace.segments"]
    monkeypatch.undo()
    recording.save()


def test_nothing_is_saved_when_the_recording_is_over(tmp_path: Path) -> None:
    recording = Recording(open_writer(tmp_path / "x.rtrace"))
    request: Request = recording.saver.request()
    recording.saver.close()  # its loop does not turn any more
    assert request.done.is_set()
    assert "it ended before" in str(request.result)
    with pytest.raises(CaptureError, match="it is ending"):
        recording.saver.request()
