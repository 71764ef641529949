"""Where a capture is created, whom it belongs to, and that a write is all or nothing."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.streams import Stream
from tracer import abi
from tracer.capture_format import CHUNK_BYTES, EVENT_STRIDE, JSON_LIMIT, RAW_LIMIT, load_json
from tracer.capture_reader import CaptureReader
from tracer.capture_writer import CaptureWriter
from tracer.errors import CaptureError

HEADER = Stream().header
TRAILER = {"ts_ns": 1, "reason": "signal"}


def read_all(path: Path) -> list[tuple[bytes, bytes]]:
    with CaptureReader(path) as reader:
        return list(reader.chunks())


def test_only_the_owner_may_read_it(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        CaptureWriter(tmp_path / "x", HEADER).close(TRAILER)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "x").stat().st_mode) == 0o600


@pytest.mark.skipif(os.geteuid() != 0, reason="missing: root")
@pytest.mark.parametrize(
    ("uid", "gid", "owner"),
    [
        ("1234", "2345", (1234, 2345)),
        ("", "", (0, 0)),
        ("-1", "x", (0, 0)),
        ("9" * 30, "1", (0, 0)),
    ],
)
def test_it_belongs_to_whoever_ran_sudo(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uid: str, gid: str, owner: tuple[int, int]
) -> None:
    monkeypatch.setenv("SUDO_UID", uid)
    monkeypatch.setenv("SUDO_GID", gid)
    CaptureWriter(tmp_path / "x", HEADER).close(TRAILER)
    status = (tmp_path / "x").stat()
    assert (status.st_uid, status.st_gid) == owner


def test_an_existing_file_stays_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_text("precious")
    with pytest.raises(CaptureError, match=r"it exists; give another name, or --force"):
        CaptureWriter(path, HEADER)
    assert path.read_text() == "precious"


def test_force_replaces_a_file_but_not_its_other_names(tmp_path: Path) -> None:
    path, other = tmp_path / "x", tmp_path / "other"
    path.write_text("old")
    path.chmod(0o666)
    os.link(path, other)
    CaptureWriter(path, HEADER, force=True).close(TRAILER)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert other.read_text() == "old"
    assert len(read_all(path)) == 1


def test_force_works_where_there_is_no_file(tmp_path: Path) -> None:
    CaptureWriter(tmp_path / "x", HEADER, force=True).close(TRAILER)
    assert len(read_all(tmp_path / "x")) == 1


@pytest.mark.parametrize("kind", ["link", "dangling link", "directory", "fifo"])
@pytest.mark.parametrize("force", [False, True])
def test_never_through_or_over_anything_else(tmp_path: Path, kind: str, force: bool) -> None:
    path, target = tmp_path / "x", tmp_path / "target"
    match kind:
        case "link":
            target.write_text("precious")
            path.symlink_to(target)
        case "dangling link":
            path.symlink_to(target)
        case "directory":
            path.mkdir()
        case "fifo":
            os.mkfifo(path)
    before = path.lstat()
    with pytest.raises(CaptureError, match="it exists"):
        CaptureWriter(path, HEADER, force=force)
    assert path.lstat().st_ino == before.st_ino
    assert target.exists() == (kind == "link")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing/x", "there is no directory .*missing; create it"),
        ("file/x", "not a directory"),
        ("n" * 300, "file name too long"),
        ("a\0b", "embedded null byte"),
    ],
)
def test_where_no_file_can_be(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CaptureError, match=message) as caught:
        CaptureWriter(tmp_path / name, HEADER)
    assert "\n" not in str(caught.value)


def test_directory_that_is_not_writable(tmp_path: Path) -> None:
    # root may write anywhere, but not make files in sysfs.
    with pytest.raises(CaptureError, match="the directory /sys/kernel is not writable"):
        CaptureWriter("/sys/kernel/x.rtrace", HEADER)


def test_name_without_a_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    CaptureWriter("x", HEADER).close(TRAILER)
    assert len(read_all(tmp_path / "x")) == 1


def test_not_inherited_by_commands(tmp_path: Path) -> None:
    writer = CaptureWriter(tmp_path / "x", HEADER)
    assert not os.get_inheritable(writer._file._fd)
    writer.close(TRAILER)


def test_size_is_that_of_the_file(tmp_path: Path) -> None:
    writer = CaptureWriter(tmp_path / "x", HEADER)
    assert writer.bytes_written == (tmp_path / "x").stat().st_size > 0
    writer.write(b"EVTS", bytes(EVENT_STRIDE))
    assert writer.bytes_written == (tmp_path / "x").stat().st_size
    writer.close(TRAILER)
    assert writer.bytes_written == (tmp_path / "x").stat().st_size


def test_what_was_written_can_be_read_at_once(tmp_path: Path) -> None:
    writer = CaptureWriter(tmp_path / "x", HEADER)
    writer.write(b"EVTS", bytes(EVENT_STRIDE))
    assert read_all(tmp_path / "x") == [(b"EVTS", bytes(EVENT_STRIDE))]
    writer.abandon()


def test_close_twice_is_nothing_and_write_after_close_an_error(tmp_path: Path) -> None:
    writer = CaptureWriter(tmp_path / "x", HEADER)
    writer.close(TRAILER)
    writer.close(TRAILER)
    assert writer.closed
    with pytest.raises(CaptureError, match="it is closed"):
        writer.write(b"EVTS", bytes(EVENT_STRIDE))
    assert [t for t, _ in read_all(tmp_path / "x")] == [b"TAIL"]


def test_content_no_reader_accepts_is_refused(tmp_path: Path) -> None:
    writer = CaptureWriter(tmp_path / "x", HEADER)
    with pytest.raises(ValueError, match="bytes"):
        writer.write(b"EVTS", bytes(RAW_LIMIT + 1))
    writer.close(TRAILER)
    assert len(read_all(tmp_path / "x")) == 1


def test_json_no_reader_accepts_is_refused(tmp_path: Path) -> None:
    writer = CaptureWriter(tmp_path / "x", HEADER)
    with pytest.raises(CaptureError, match="cannot write FACT"):
        writer.write_json(b"FACT", {"kind": "x", "ts_ns": 1, "text": "x" * JSON_LIMIT})
    writer.close(TRAILER)
    assert len(read_all(tmp_path / "x")) == 1
    with pytest.raises(CaptureError, match="cannot write HEAD"):
        CaptureWriter(tmp_path / "y", HEADER | {"argv": ["x" * JSON_LIMIT]})
    assert not (tmp_path / "y").exists()


def test_events_of_any_amount(tmp_path: Path) -> None:
    count = CHUNK_BYTES // EVENT_STRIDE + 5
    records = b"".join(i.to_bytes(EVENT_STRIDE, "little") for i in range(count))
    writer = CaptureWriter(tmp_path / "x", HEADER)
    writer.write_events(memoryview(bytearray(records)))
    writer.write_events(b"")
    writer.close(TRAILER)
    chunks = read_all(tmp_path / "x")[:-1]
    assert len(chunks) == 2
    assert all(len(content) <= CHUNK_BYTES for _, content in chunks)
    assert b"".join(content for _, content in chunks) == records


def test_details_of_any_amount_are_cut_between_records(tmp_path: Path) -> None:
    stream = Stream()
    process = stream.process()
    for i in range(1300):
        stream.exec(process, "/bin/x", [str(i), "x" * (4000 - i)])
    records = dict(stream.chunks())[b"DETL"]
    assert len(records) > CHUNK_BYTES
    writer = CaptureWriter(tmp_path / "x", HEADER)
    writer.write_details(records, len(records))
    writer.write_details(b"", 0)
    writer.close(TRAILER)
    contents = [content for _, content in read_all(tmp_path / "x")[:-1]]
    assert len(contents) == 2
    assert b"".join(contents) == records
    decoded = [detail for content in contents for detail in abi.decode_details(content)]
    assert [detail.args[0] for detail in decoded] == [b"%d" % i for i in range(1300)]


def test_snapshots_of_any_amount(tmp_path: Path) -> None:
    count = CHUNK_BYTES // abi.TASK_SIZE + 5
    records = b"".join(i.to_bytes(abi.TASK_SIZE, "little") for i in range(count))
    processes = [{"tgid": i, "start_ns": i, "args": ["x" * 3000]} for i in range(1000)]
    writer = CaptureWriter(tmp_path / "x", HEADER)
    writer.write_tasks("end", records)
    writer.write_processes("start", iter(processes))
    writer.close(TRAILER)
    chunks = read_all(tmp_path / "x")
    tasks = [content for kind, content in chunks if kind == b"TASK"]
    assert len(tasks) == 2
    assert {content[:8] for content in tasks} == {(1).to_bytes(8, "little")}
    assert b"".join(content[8:] for content in tasks) == records
    read = [load_json(kind, content) for kind, content in chunks if kind == b"PROC"]
    assert len(read) > 1
    assert [p for chunk in read for p in chunk["processes"]] == processes


def test_several_threads_may_write(tmp_path: Path) -> None:
    writer = CaptureWriter(tmp_path / "x", HEADER)

    def write(number: int) -> None:
        for i in range(50):
            writer.write_json(b"FACT", {"kind": "problem", "ts_ns": i, "what": str(number) * 500})

    threads = [threading.Thread(target=write, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    writer.close(TRAILER)
    with CaptureReader(tmp_path / "x") as reader:
        assert len(list(reader.chunks())) == 201
        assert reader.complete


# --- writes that fail ----------------------------------------------------------------------------


def fail_pwrite(
    monkeypatch: pytest.MonkeyPatch, fail: Callable[[], None], allowed: int
) -> Callable[[], None]:
    """Lets ``allowed`` more bytes through, in pieces, then calls ``fail``; gives an undo."""
    real = os.pwrite
    left = allowed

    def pwrite(fd: int, data: Any, offset: int) -> int:
        nonlocal left
        if left == 0:
            fail()
        written = real(fd, data[: min(left, 7)], offset)
        left -= written
        return written

    monkeypatch.setattr(os, "pwrite", pwrite)
    return lambda: monkeypatch.setattr(os, "pwrite", real)


@pytest.mark.parametrize("allowed", [0, 1, 15, 16, 17, 25])
@pytest.mark.parametrize(
    ("number", "message"),
    [
        (errno.ENOSPC, "the disk is full; make room"),
        (errno.EDQUOT, "the disk quota is used up"),
        (errno.EFBIG, "the file may not become larger"),
        (errno.EIO, "input/output error"),
    ],
)
def test_a_failed_write_leaves_whole_chunks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, allowed: int, number: int, message: str
) -> None:
    def fail() -> None:
        raise OSError(number, os.strerror(number))

    writer = CaptureWriter(tmp_path / "x", HEADER)
    writer.write(b"EVTS", bytes(EVENT_STRIDE))
    size = writer.bytes_written
    fail_pwrite(monkeypatch, fail, allowed)
    for _ in range(2):
        with pytest.raises(CaptureError, match=message):
            writer.write(b"EVTS", bytes(EVENT_STRIDE))
    assert writer.closed
    writer.close(TRAILER)
    assert writer.bytes_written == (tmp_path / "x").stat().st_size == size
    assert len(read_all(tmp_path / "x")) == 1


def test_a_failed_trailer_closes_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise OSError(errno.ENOSPC, "")

    writer = CaptureWriter(tmp_path / "x", HEADER)
    fail_pwrite(monkeypatch, fail, 3)
    with pytest.raises(CaptureError, match="the disk is full"):
        writer.close(TRAILER)
    assert writer.closed
    assert read_all(tmp_path / "x") == []


def test_a_failed_header_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise OSError(errno.ENOSPC, "")

    fail_pwrite(monkeypatch, fail, 30)
    with pytest.raises(CaptureError, match="the disk is full"):
        CaptureWriter(tmp_path / "x", HEADER)
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_write_is_taken_back_and_writing_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise KeyboardInterrupt

    writer = CaptureWriter(tmp_path / "x", HEADER)
    undo = fail_pwrite(monkeypatch, fail, 20)
    with pytest.raises(KeyboardInterrupt):
        writer.write(b"EVTS", bytes(EVENT_STRIDE))
    undo()
    writer.write(b"EVTS", bytes(2 * EVENT_STRIDE))
    writer.close(TRAILER)
    assert len(read_all(tmp_path / "x")[0][1]) == 2 * EVENT_STRIDE


@pytest.mark.parametrize("what", ["file", "directory"])
def test_a_capture_that_vanishes_is_noticed(tmp_path: Path, what: str) -> None:
    directory = tmp_path / "d"
    directory.mkdir()
    writer = CaptureWriter(directory / "x", HEADER)
    writer.write(b"EVTS", bytes(EVENT_STRIDE))
    if what == "file":
        (directory / "x").unlink()
    else:
        shutil.rmtree(directory)
    with pytest.raises(CaptureError, match="the file was removed while it was written"):
        writer.write(b"EVTS", bytes(EVENT_STRIDE))
    writer.close(TRAILER)
