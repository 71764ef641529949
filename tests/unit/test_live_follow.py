"""The screen of `record --live` reads a recording that is still written: all of it, or, where that
is too much, its newest part; and what it says is what the report says."""

from __future__ import annotations

from pathlib import Path

import pytest

from analysis.model import Capture, open_capture
from analysis.report import build_report
from analysis.table import from_chunks
from screen.follow import Follower
from tests.growing import Growing, picture_of
from tests.lives import begin, host
from tests.segments import open_writer, write_numbered
from tracer.capture_format import DETAILS, EVENT_STRIDE, EVENTS
from tracer.chunk_reader import DamageError

MINUTE = 60_000_000_000


def test_a_picture_says_what_the_report_says(tmp_path: Path) -> None:
    """GIVEN a container whose shim was killed WHEN it is looked at THEN the picture is the report
    of a capture that ends there."""
    h = host()
    people = begin(h)
    h.stream.signal(people["shim"], 9, h.shell)
    h.stream.die(people["shim"], signal=9)
    h.stream.wait(MINUTE)

    picture = picture_of(tmp_path / "x.rtrace", h.stream)

    saved = h.stream.write(tmp_path / "saved.rtrace")
    report = build_report(open_capture(saved), every_process=False)
    for key in ("findings", "containers", "daemons", "timeline", "losses"):
        assert picture.report[key] == report[key], key
    assert {f["kind"] for f in report["findings"]} >= {"shim-dead-init-alive", "runtime-killed"}
    assert picture.left_out == 0
    assert picture.report["capture"]["complete"]


def test_what_is_new_comes_once(tmp_path: Path) -> None:
    h = host()
    growing = Growing(tmp_path / "x.rtrace", h.stream)
    follower = growing.follower()
    follower.walk()
    assert follower.walk() == []

    begin(h)
    growing.grow()
    kinds = [kind for kind, _ in follower.walk()]
    assert EVENTS in kinds
    assert follower.walk() == []


def test_a_chunk_that_is_being_written_can_wait(tmp_path: Path) -> None:
    h = host()
    growing = Growing(tmp_path / "x.rtrace", h.stream)
    follower = growing.follower()
    follower.walk()
    begin(h)
    size = growing.path.stat().st_size
    whole = growing.grow()
    written = growing.path.read_bytes()

    found = []
    for cut in (size + 1, size + 20, whole - 1, whole):
        growing.path.write_bytes(written[:cut])
        found += [kind for kind, _ in follower.walk()]
        assert (EVENTS in found) <= (cut > size + 20)
    assert found == [EVENTS, DETAILS, EVENTS, DETAILS]  # a fact lies between


def test_of_too_much_the_newest_part(tmp_path: Path) -> None:
    """GIVEN more events than a picture is made of WHEN pictures are taken on the way THEN one
    tells of the newest part alone, with all that lives in it, and says how much it leaves out."""
    h = host()
    begin(h)
    growing = Growing(tmp_path / "x.rtrace", h.stream)
    follower = growing.follower()
    before = 0
    for _ in range(12):
        for _ in range(50):
            child = h.stream.fork(h.shell)
            h.stream.die(child)
        look = growing.look()
        follower.walk()
        part = follower.newest(look, 400)
        table = from_chunks(part, part.chunks())
        assert table.complete
        assert table.events + part.left_out == h.stream.events
        assert part.left_out >= before
        before = part.left_out
        assert table.events <= 400 or part.left_out == 0

    assert part.left_out > 400
    assert table.events > 200
    report = build_report(Capture(table))
    (container,) = report["containers"]
    assert container["name"] == "web"  # a fact from before
    assert container["end"]["how"] == "running"
    assert container["began"] == "before"
    assert {d["process"]["tgid"] for d in report["daemons"]} == {600, 612}
    assert report["capture"]["events_dropped"] == part.left_out
    assert [f for f in report["findings"] if f["severity"] == "error"] == []


def test_a_burst_beyond_the_limit(tmp_path: Path) -> None:
    """GIVEN more events since the last look than a picture is made of THEN it shows what lives."""
    h = host()
    growing = Growing(tmp_path / "x.rtrace", h.stream)
    follower = growing.follower()
    begin(h)
    for _ in range(300):
        h.stream.die(h.stream.fork(h.shell))
    look = growing.look()
    follower.walk()
    part = follower.newest(look, 100)
    table = from_chunks(part, part.chunks())

    assert table.events == 0
    assert part.left_out == h.stream.events
    assert len(table.tasks) > 0


def test_damage_is_told(tmp_path: Path) -> None:
    h = host()
    growing = Growing(tmp_path / "x.rtrace", h.stream)
    follower = growing.follower()
    follower.walk()
    with growing.path.open("ab") as file:
        file.write(b"EVTS" + b"\xff" * 12)
    with pytest.raises(DamageError, match="its length is impossible"):
        follower.walk()


def test_segments_that_come_and_go(tmp_path: Path) -> None:
    """GIVEN a bounded recording THEN what is walked over begins with what is kept, and goes on
    from segment to segment, though some are dropped unseen."""
    writer = open_writer(tmp_path / "x.rtrace")
    write_numbered(writer, 0, 30_000)
    follower = Follower(writer.path, bounded=True)
    follower.walk()
    first = writer.segment
    write_numbered(writer, 30_000, 60_000)
    assert writer.segment > first + 8

    chunks = follower.walk()
    events = [content for kind, content in chunks if kind == EVENTS]
    last = events[-1][-EVENT_STRIDE:]
    assert int.from_bytes(last[8:16], "little") == 89_999
    writer.discard()
