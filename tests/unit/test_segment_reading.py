"""Directories of segments, as they should be, and as somebody may have made them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.segments import HEADER, TRAILER, numbers_in, open_writer, read, write_numbered
from tracer.capture_format import RATIO_FREE, dump_json, pack_prefix
from tracer.capture_reader import CaptureReader
from tracer.capture_writer import CaptureWriter
from tracer.chunk_writer import Packer
from tracer.errors import CaptureError


@pytest.fixture
def segments(tmp_path: Path) -> Path:
    """Six segments, with the events of the recording from 0 to 9,999, and no trailer."""
    folder = tmp_path / "x.rtrace.segments"
    folder.mkdir()
    for number in range(1, 7):
        writer = CaptureWriter(folder / f"{number:06}.rtrace", HEADER)
        writer.write_events(b"".join(event(i) for i in range(number * 100, number * 100 + 100)))
        writer.abandon()
    return folder


def event(number: int) -> bytes:
    return bytes(8) + number.to_bytes(8, "little") + bytes(72)


def refusal(path: Path) -> str:
    with pytest.raises(CaptureError) as caught:
        read(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_all_of_them_in_order(segments: Path) -> None:
    chunks, reader = read(segments)
    assert numbers_in(chunks) == list(range(100, 700))
    size = (segments / "000006.rtrace").stat().st_size
    assert reader.damage == f"000006.rtrace: cut at byte {size}: the trailer is missing"
    assert not reader.complete


def test_reading_twice(segments: Path) -> None:
    with CaptureReader(segments) as reader:
        first = list(reader.chunks())
        next(reader.chunks())
        assert list(reader.chunks()) == first
    with pytest.raises(CaptureError, match="it is closed"):
        list(reader.chunks())


def test_headers_count_as_what_is_decompressed(tmp_path: Path) -> None:
    header = dump_json({"schema": 1, "clock": {"boot_ns": 1, "wall_ns": 1}, "x": " " * 1_000_000})
    segment = pack_prefix() + Packer().pack(b"HEAD", header, "x")
    for number in range(1, 40):
        (tmp_path / f"{number:06}.rtrace").write_bytes(segment)
    with CaptureReader(tmp_path) as reader:
        assert list(reader.chunks()) == []
        assert reader.damage is not None
        number = RATIO_FREE // len(header) + 1
        assert reader.damage == (
            f"{number:06}.rtrace: decompresses to over 200 times its size at {len(segment)}"
        )


def test_how_much_was_read(segments: Path) -> None:
    with CaptureReader(segments) as reader:
        shares = [reader.share for _ in reader.chunks()]
    assert shares == sorted(shares)
    assert shares[0] < 0.2
    # AND who asks in another thread may do so when it has been closed meanwhile.
    assert reader.share == 1


def test_numbers_of_more_digits_come_after(segments: Path) -> None:
    for number in range(1, 6):
        (segments / f"{number:06}.rtrace").unlink()
    (segments / "000006.rtrace").rename(segments / "999999.rtrace")
    shutil.copy(segments / "999999.rtrace", segments / "1000000.rtrace")
    chunks, reader = read(segments)
    assert numbers_in(chunks) == [*range(600, 700), *range(600, 700)]
    assert reader.damage is not None
    assert reader.damage.startswith("1000000.rtrace: ")


def test_a_trailer_completes_it(segments: Path) -> None:
    writer = CaptureWriter(segments / "000007.rtrace", HEADER)
    writer.close(TRAILER)
    chunks, reader = read(segments)
    assert reader.complete
    assert reader.damage is None
    assert len(numbers_in(chunks)) == 600


def test_nothing_comes_after_a_trailer(segments: Path) -> None:
    (segments / "000003.rtrace").unlink()
    CaptureWriter(segments / "000003.rtrace", HEADER).close(TRAILER)
    chunks, reader = read(segments)
    assert numbers_in(chunks) == list(range(100, 300))
    assert reader.damage is not None
    assert reader.damage.startswith("000004.rtrace: there is more after the trailer")
    assert not reader.complete


def remove(path: Path) -> None:
    path.unlink()


def make_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def make_link(path: Path) -> None:
    path.rename(path.parent / "target")
    path.symlink_to("target")


def make_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def overwrite(offset: int, data: bytes) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        content = bytearray(path.read_bytes())
        content[offset : offset + len(data)] = data
        path.write_bytes(content)

    return change


def cut(size: int) -> Callable[[Path], None]:
    return lambda path: os.truncate(path, size)


def newer(path: Path) -> None:
    path.write_bytes(pack_prefix(9) + Packer().pack(b"HEAD", dump_json(HEADER), ""))


@pytest.mark.parametrize(
    ("change", "damage"),
    [
        (remove, "000004.rtrace is missing"),
        (make_fifo, "000004.rtrace: it is not a regular file"),
        (make_link, "000004.rtrace: it is not a regular file"),
        (make_directory, "000004.rtrace: it is not a regular file"),
        (overwrite(0, b"hello"), "000004.rtrace: it is not a capture"),
        (overwrite(40, b"hello"), "000004.rtrace: the chunk at byte 16 is damaged"),
        (overwrite(-30, b"hello"), "000004.rtrace: the chunk at byte "),
        (newer, "000004.rtrace: its format is version 9"),
        (cut(0), "000004.rtrace: it is empty"),
        (cut(20), "000004.rtrace: cut at byte 20, inside the chunk at byte 16"),
    ],
)
def test_a_bad_segment_is_where_reading_stops(
    segments: Path, change: Callable[[Path], None], damage: str
) -> None:
    change(segments / "000004.rtrace")
    chunks, reader = read(segments)
    assert numbers_in(chunks) == list(range(100, 400))
    assert reader.damage is not None
    assert reader.damage.startswith(damage)
    assert not reader.complete


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        (make_fifo, "000001.rtrace: it is not a regular file"),
        (make_link, "000001.rtrace: it is not a regular file"),
        (overwrite(0, b"hello"), "000001.rtrace: it is not a capture"),
        (cut(20), "000001.rtrace: cut at byte 20"),
    ],
)
def test_a_bad_first_segment_is_no_capture(
    segments: Path, change: Callable[[Path], None], cause: str
) -> None:
    change(segments / "000001.rtrace")
    assert cause in refusal(segments)


def test_other_names_do_not_count(segments: Path) -> None:
    for name in ("joined", "000001.rtrace~", "0000003.rtrace", "7.rtrace", "00000٣.rtrace", "x"):
        shutil.copy(segments / "000001.rtrace", segments / name)
    assert numbers_in(read(segments)[0]) == list(range(100, 700))


def test_a_directory_of_something_else(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("")
    assert "it is a directory, and holds no segments of a recording; give a file" in refusal(
        tmp_path
    )


def test_the_name_that_it_will_have_leads_to_it(segments: Path) -> None:
    path = segments.parent / "x.rtrace"
    assert refusal(path).endswith(f"there is no such file; while it is recorded, read {segments}")


def test_a_live_recording_can_be_read(tmp_path: Path) -> None:
    """Segments are dropped while they are read."""
    writer = open_writer(tmp_path / "x.rtrace")
    write_numbered(writer, 0, 12_000)
    with CaptureReader(tmp_path / "x.rtrace.segments") as reader:
        chunks = reader.chunks()
        found = [next(chunks)]
        write_numbered(writer, 12_000, 40_000)
        found += list(chunks)
        assert reader.damage is not None
        assert reader.damage.endswith("is missing")
    numbers = numbers_in(found)
    assert numbers == list(range(len(numbers)))
    assert len(numbers) > 500
