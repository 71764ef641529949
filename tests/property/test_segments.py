"""Whatever is recorded with a bound: what is joined is what was kept, it may be cut anywhere."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.segments import TRAILER, Chunks, numbers_in, open_writer, read, size_of, some_events
from tracer.capture_format import FACT, LOSS
from tracer.errors import CaptureError
from tracer.recovery import take_directory
from tracer.segment_writer import MIN_BYTES, SegmentWriter

# Machines that run tests are busy: how long one example takes says nothing.
unhurried = settings(deadline=None, max_examples=25)

# How many events, how large a snapshot, how large a fact.
actions = st.lists(
    st.tuples(st.sampled_from(["events", "snapshot", "fact", "loss"]), st.integers(1, 3000)),
    min_size=1,
    max_size=60,
)


@contextmanager
def recording() -> Iterator[tuple[Path, SegmentWriter]]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.rtrace"
        yield path, open_writer(path)


def perform(writer: SegmentWriter, todo: list[tuple[str, int]]) -> int:
    """Does all of it; gives the number of events. Never is more kept than may be."""
    written = 0
    for what, size in todo:
        if what == "events":
            writer.write_events(some_events(written, size))
            written += size
        elif what == "snapshot":
            beginning = writer.beginning()
            try:
                beginning.write_tasks("start", os.urandom(80 * size))
            except CaptureError:
                assert 80 * size > MIN_BYTES // 4 or writer.segment > 1
            writer.end_beginning(beginning)
        elif what == "fact":
            writer.write_json(FACT, {"kind": "any", "ts_ns": 1, "x": os.urandom(size).hex()})
        else:
            writer.write_json(LOSS, {"ts_ns": 1, "cpus": [[size, 0]]})
        assert size_of(Path(f"{writer.path}.segments")) == writer.bytes_written <= MIN_BYTES
    return written


@unhurried
@given(actions)
def test_the_joined_capture_holds_what_was_kept(todo: list[tuple[str, int]]) -> None:
    with recording() as (path, writer):
        written = perform(writer, todo)
        kept, _ = read(Path(f"{path}.segments"))
        writer.close(TRAILER)
        chunks, reader = read(path)
        assert reader.complete
        assert reader.trailer is not None
        numbers = numbers_in(chunks)
        assert reader.trailer["events"] == len(numbers)
        assert numbers == list(range(written - len(numbers), written))
        # The trailer may have taken a segment's room.
        assert is_end_of(chunks[:-1], kept)


@unhurried
@given(actions, st.integers(0, 10_000))
def test_cut_anywhere_it_is_read_up_to_there_and_saved(
    todo: list[tuple[str, int]], cut: int
) -> None:
    with recording() as (path, writer):
        perform(writer, todo)
        folder = Path(f"{path}.segments")
        kept, _ = read(folder)
        # As kill -9 does it: the lock is gone, and the last segment ends anywhere.
        writer._directory.close()
        last = max(folder.iterdir())
        os.truncate(last, last.stat().st_size * cut // 10_000)
        try:
            chunks, reader = read(folder)
        except CaptureError:
            chunks = []
            assert len(list(folder.iterdir())) == 1
        else:
            assert reader.damage is not None
            assert kept[: len(chunks)] == chunks
        said: list[str] = []
        take_directory(str(path), said.append).remove()
        saved = list(path.parent.glob("x-*-recovered.rtrace"))
        assert len(saved) == len(said)
        if saved:
            assert read(saved[0])[0] == chunks
        else:
            assert chunks == []


def is_end_of(part: Chunks, whole: Chunks) -> bool:
    return whole[len(whole) - len(part) :] == part
