"""Bounded recordings: what is kept, that it never is too much, and what becomes of it."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from tests.segments import (
    HEADER,
    TRAILER,
    numbers_in,
    open_writer,
    read,
    size_of,
    some_events,
    write_numbered,
)
from tracer import abi
from tracer.capture_format import DETAILS, FACT, TAIL, TASKS
from tracer.capture_reader import CaptureReader
from tracer.errors import CaptureError, UsageError
from tracer.segment_directory import SegmentDirectory
from tracer.segment_writer import MIN_BYTES, BeginningTooLargeError, SegmentWriter


def test_the_newest_is_kept_within_the_bound_at_every_moment(tmp_path: Path) -> None:
    writer = open_writer(tmp_path / "x.rtrace")
    segments = tmp_path / "x.rtrace.segments"
    for first in range(0, 60_000, 200):
        writer.write_events(some_events(first, 200))
        assert size_of(segments) == writer.bytes_written <= MIN_BYTES
    kept = writer.events_written
    assert kept + writer.events_dropped == 60_000
    writer.close(TRAILER)

    chunks, reader = read(tmp_path / "x.rtrace")
    assert reader.complete
    numbers = numbers_in(chunks)
    assert numbers == list(range(60_000 - len(numbers), 60_000))
    assert reader.trailer is not None
    assert len(numbers) == reader.trailer["events"] <= kept
    assert len(numbers) * 88 > MIN_BYTES // 3
    assert not segments.exists()


def test_each_segment_is_a_capture_of_its_own(tmp_path: Path) -> None:
    writer = open_writer(tmp_path / "x.rtrace")
    writer.losses_before = [(3, 0), (0, 1)]
    write_numbered(writer, 0, 20_000)
    segments = sorted((tmp_path / "x.rtrace.segments").iterdir())
    assert len(segments) > 4
    before = writer.events_dropped
    began = set()
    for path in segments:
        chunks, reader = read(path)
        number = int(path.stem)
        assert reader.header["segment"]["number"] == number
        assert reader.header["segment"]["events_before"] == before
        assert reader.header.get("losses") == (None if number == 1 else [[3, 0], [0, 1]])
        assert numbers_in(chunks)[0] == before
        assert chunks[0][0] == TASKS if number == 1 else TASKS in dict(chunks)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        before += len(numbers_in(chunks))
        began.add(reader.header["segment"]["began_ns"])
    assert began == {HEADER["clock"]["boot_ns"]}
    assert stat.S_IMODE((tmp_path / "x.rtrace.segments").stat().st_mode) == 0o700


def test_the_joined_capture_is_that_of_the_segments(tmp_path: Path) -> None:
    writer = open_writer(tmp_path / "x.rtrace")
    write_numbered(writer, 0, 30_000)
    writer.write_details(bytes(48) * 7, 7)
    before, live = read(tmp_path / "x.rtrace.segments")
    assert live.damage is not None
    assert live.damage.endswith("the trailer is missing")
    writer.close(TRAILER)

    chunks, reader = read(tmp_path / "x.rtrace")
    assert chunks[:-1] == before
    assert reader.header == live.header
    assert reader.trailer == {**TRAILER, "events": len(numbers_in(chunks)), "details": 7}
    assert stat.S_IMODE((tmp_path / "x.rtrace").stat().st_mode) == 0o600


def test_a_chunk_larger_than_a_segment_is_cut(tmp_path: Path) -> None:
    writer = open_writer(tmp_path / "x.rtrace")
    for first in range(0, 60_000, 30_000):
        writer.write_events(some_events(first, 30_000))
        assert size_of(tmp_path / "x.rtrace.segments") <= MIN_BYTES
    writer.close(TRAILER)
    chunks, reader = read(tmp_path / "x.rtrace")
    assert reader.complete
    assert numbers_in(chunks)[-1] == 59_999


def test_details_and_facts_do_not_break_the_bound(tmp_path: Path) -> None:
    writer = open_writer(tmp_path / "x.rtrace")
    for _ in range(30):
        detail = abi.DetailHeader(type=1, tgid=1, args_len=4048)
        record = bytes(detail) + os.urandom(4048)
        writer.write_details(record * 2, 2)
        writer.write(DETAILS, os.urandom(60_000), 1)
        assert size_of(tmp_path / "x.rtrace.segments") <= MIN_BYTES
    with pytest.raises(CaptureError, match=r"cannot write FACT to .*: it has "):
        writer.write_json(FACT, {"kind": "any", "ts_ns": 1, "text": "x" * 200_000})
    writer.close(TRAILER)
    assert read(tmp_path / "x.rtrace")[1].complete


# --- the snapshot at the beginning -----------------------------------------------------------


def test_details_alone_do_not_drop_all_that_is_there(tmp_path: Path) -> None:
    # GIVEN one segment that may become half of the bound
    writer = open_writer(tmp_path / "x.rtrace")
    writer.write_events(some_events(0, MIN_BYTES // 2 // 88 - 200))
    # WHEN more than the other half comes, without an event, and a snapshot of the end in it
    header = bytes(abi.DetailHeader(type=1, args_len=4048))
    for number in range(150):
        writer.write_details(header + os.urandom(4048), 1)
        if number == 100:
            writer.write_tasks("end", b"")
    writer.close(TRAILER)
    # THEN the end's snapshot is still there.
    chunks, _ = read(tmp_path / "x.rtrace")
    assert TASKS in [kind for kind, content in chunks if content.startswith(b"\1")]


def test_a_snapshot_does_not_go_into_another_segment(tmp_path: Path) -> None:
    writer = open_writer(tmp_path / "x.rtrace")
    beginning = writer.beginning()
    beginning.write_tasks("start", b"")
    for first in range(0, 10_000, 500):
        writer.write_events(some_events(first, 500))
    assert writer.segment > 1
    with pytest.raises(CaptureError, match="cannot write more to segment 1: it ended"):
        beginning.write_tasks("start", b"")
    writer.end_beginning(beginning)  # changes nothing any more
    writer.beginning().write_tasks("start", b"")


def test_a_segment_without_its_snapshot_may_become_half_of_all(tmp_path: Path) -> None:
    writer = open_writer(tmp_path / "x.rtrace")
    while writer.segment == 1:
        writer.write_events(some_events(0, 100))
    first = (tmp_path / "x.rtrace.segments" / "000001.rtrace").stat().st_size
    assert MIN_BYTES // 2 <= first < MIN_BYTES // 2 + 20_000


def test_a_segment_is_twice_as_large_as_its_snapshot(tmp_path: Path) -> None:
    writer = open_writer(tmp_path / "x.rtrace")
    beginning = writer.beginning()
    beginning.write(b"TASK", bytes(8) + os.urandom(160_000))
    writer.end_beginning(beginning)
    while writer.segment == 1:
        writer.write_events(some_events(0, 100))
    first = (tmp_path / "x.rtrace.segments" / "000001.rtrace").stat().st_size
    assert 320_000 <= first < 340_000


def test_a_snapshot_may_take_a_quarter_of_all(tmp_path: Path) -> None:
    writer = open_writer(tmp_path / "x.rtrace")
    beginning = writer.beginning()
    with pytest.raises(BeginningTooLargeError, match=r"it takes more than 256\.0 KiB; give a"):
        beginning.write_tasks("start", os.urandom(80 * 10_000))
    writer.end_beginning(beginning)
    # The segment goes on: what is there is of use.
    write_numbered(writer, 0, 40_000)
    writer.close(TRAILER)
    assert read(tmp_path / "x.rtrace")[1].complete


def test_a_header_that_takes_it_all_is_refused(tmp_path: Path) -> None:
    directory = SegmentDirectory(str(tmp_path / "x.rtrace.segments"))
    header = {**HEADER, "argv": [os.urandom(100_000).hex()]}
    with pytest.raises(UsageError, match="the header alone takes"):
        SegmentWriter(str(tmp_path / "x.rtrace"), directory, MIN_BYTES, header)


# --- the end ---------------------------------------------------------------------------------


def test_the_trailer_counts_what_is_there_after_it(tmp_path: Path) -> None:
    # GIVEN a recording without any room left
    writer = open_writer(tmp_path / "x.rtrace")
    write_numbered(writer, 0, 30_000)
    room = MIN_BYTES - writer.bytes_written
    writer.write(b"NEWS", os.urandom(room - 40))
    assert MIN_BYTES - writer.bytes_written < 60
    # WHEN it ends
    writer.close({**TRAILER, "losses": [[1, 2]] * 64})
    # THEN an old segment went for the trailer, and the trailer knows
    chunks, reader = read(tmp_path / "x.rtrace")
    assert reader.trailer is not None
    assert reader.trailer["events"] == len(numbers_in(chunks)) > 0


@pytest.mark.parametrize("force", [False, True])
def test_a_file_that_came_meanwhile(tmp_path: Path, force: bool) -> None:
    writer = open_writer(tmp_path / "x.rtrace", force=force)
    write_numbered(writer, 0, 1000)
    (tmp_path / "x.rtrace").write_text("mine")
    if force:
        writer.close(TRAILER)
        assert len(numbers_in(read(tmp_path / "x.rtrace")[0])) == 1000
        return
    with pytest.raises(CaptureError, match=r"it exists; what was recorded is in .*/x"):
        writer.close(TRAILER)
    assert (tmp_path / "x.rtrace").read_text() == "mine"
    assert len(numbers_in(read(tmp_path / "x.rtrace.segments")[0])) == 1000


@pytest.mark.parametrize("force", [False, True])
def test_a_link_is_not_followed(tmp_path: Path, force: bool) -> None:
    (tmp_path / "target").write_text("mine")
    writer = open_writer(tmp_path / "x.rtrace", force=force)
    (tmp_path / "x.rtrace").symlink_to(tmp_path / "target")
    with pytest.raises(CaptureError, match="it exists"):
        writer.close(TRAILER)
    assert (tmp_path / "target").read_text() == "mine"


def test_a_disk_that_fills_up_while_joining(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = open_writer(tmp_path / "x.rtrace")
    write_numbered(writer, 0, 20_000)
    real, copied = os.sendfile, 0

    def sendfile(out: int, source: int, offset: int, count: int) -> int:
        nonlocal copied
        if copied > 300_000:
            raise OSError(errno.ENOSPC, "")
        copied += real(out, source, offset, min(count, 100_000))
        return min(count, 100_000)

    monkeypatch.setattr(os, "sendfile", sendfile)
    with pytest.raises(CaptureError, match="the disk is full; what was recorded is in"):
        writer.close(TRAILER)
    assert not (tmp_path / "x.rtrace").exists()
    chunks, reader = read(tmp_path / "x.rtrace.segments")
    assert reader.complete
    assert len(numbers_in(chunks)) == writer.events_written
    assert all(name.name.endswith(".rtrace") for name in (tmp_path / "x.rtrace.segments").iterdir())


def test_a_disk_that_fills_up_while_recording(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = open_writer(tmp_path / "x.rtrace")
    write_numbered(writer, 0, 5000)

    def pwrite(*_: object) -> int:
        raise OSError(errno.ENOSPC, "")

    monkeypatch.setattr(os, "pwrite", pwrite)
    for _ in range(2):
        with pytest.raises(CaptureError, match=r"cannot write more to .*: the disk is full"):
            write_numbered(writer, 5000, 5000)
    with pytest.raises(CaptureError, match="the disk is full"):
        writer.close(TRAILER)
    chunks, _ = read(tmp_path / "x.rtrace.segments")
    assert numbers_in(chunks) == list(range(5000))


def test_nothing_follows_the_end(tmp_path: Path) -> None:
    writer = open_writer(tmp_path / "x.rtrace")
    writer.close(TRAILER)
    with pytest.raises(CaptureError, match=r"cannot write more to .*: it is closed"):
        writer.write_events(some_events(0, 1))
    writer.close(TRAILER)
    assert [kind for kind, _ in read(tmp_path / "x.rtrace")[0]] == [TAIL]


def test_what_is_held_can_be_read_after_it_was_dropped(tmp_path: Path) -> None:
    writer = open_writer(tmp_path / "x.rtrace")
    write_numbered(writer, 0, 2000)
    (held,) = writer.hold()
    write_numbered(writer, 2000, 40_000)
    assert not (tmp_path / "x.rtrace.segments" / "000001.rtrace").exists()
    copy = tmp_path / "copy"
    copy.write_bytes(os.pread(held.fd, held.size, 0))
    os.close(held.fd)
    assert numbers_in(read(copy)[0]) == list(range(2000))
    assert held.events == 2000


# --- the directory ---------------------------------------------------------------------------


def test_one_recorder_at_a_time(tmp_path: Path) -> None:
    path = str(tmp_path / "x.segments")
    first = SegmentDirectory(path)
    with pytest.raises(CaptureError, match="another recorder is writing there; give another name"):
        SegmentDirectory(path)
    first.close()
    SegmentDirectory(path).remove()
    assert not os.path.exists(path)


@pytest.mark.parametrize("what", ["file", "link", "writable", "missing"])
def test_directories_that_are_not_taken(tmp_path: Path, what: str) -> None:
    path = tmp_path / "x.segments"
    if what == "file":
        path.write_text("")
    elif what == "link":
        (tmp_path / "other").mkdir()
        path.symlink_to(tmp_path / "other")
    elif what == "writable":
        path.mkdir()
        path.chmod(0o770)
    else:
        path = tmp_path / "no" / "x.segments"
    with pytest.raises(CaptureError, match=r"cannot write .*; (give|create)") as caught:
        SegmentDirectory(str(path))
    assert str(path) in str(caught.value)


@pytest.mark.skipif(os.geteuid() != 0, reason="missing: root")
def test_the_directory_belongs_to_whoever_ran_sudo(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUDO_UID", "1234")
    monkeypatch.setenv("SUDO_GID", "2345")
    path = tmp_path / "x.segments"
    SegmentDirectory(str(path)).close()
    assert (path.stat().st_uid, path.stat().st_gid) == (1234, 2345)
    SegmentDirectory(str(path)).close()  # it is still one's own
    os.chown(path, 4321, 0)
    with pytest.raises(CaptureError, match="it may be changed by somebody else"):
        SegmentDirectory(str(path))


def test_foreign_files_stay(tmp_path: Path) -> None:
    writer = open_writer(tmp_path / "x.rtrace")
    (tmp_path / "x.rtrace.segments" / "notes").write_text("mine")
    write_numbered(writer, 0, 100)
    writer.close(TRAILER)
    assert [file.name for file in (tmp_path / "x.rtrace.segments").iterdir()] == ["notes"]
    with CaptureReader(tmp_path / "x.rtrace") as reader:
        assert len(numbers_in(list(reader.chunks()))) == 100
