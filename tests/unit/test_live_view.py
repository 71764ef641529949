"""Rows and lines of the screen of `record --live`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from screen.last_events import KEPT, LastEvents, Line
from screen.link import Status
from screen.picture import Picture
from screen.view import (
    BAD,
    DIM,
    GOOD,
    NEW_S,
    Findings,
    Row,
    Rows,
    age_text,
    began_ns,
    event_lines,
    filter_text,
    head_text,
    make_rows,
)
from tests.growing import picture_of
from tests.lives import CID, Host, begin, end, host
from tests.streams import BOOT_NS, Stream
from tracer.capture_format import DETAILS, EVENTS

HOSTILE = "a\x1b]0;owned\x07[b]x[/b]\n\u202egpj"
MINUTE = 60_000_000_000


def rows_of(h: Host, tmp_path: Path) -> Rows:
    return make_rows(picture_of(tmp_path / "x.rtrace", h.stream), Findings(), 0.0)


@pytest.fixture
def shim_killed(tmp_path: Path) -> Picture:
    """A container whose shim was killed a minute ago."""
    h = host()
    people = begin(h)
    h.stream.signal(people["shim"], 9, h.shell)
    h.stream.die(people["shim"], signal=9)
    h.stream.wait(MINUTE)
    return picture_of(tmp_path / "x.rtrace", h.stream)


def test_a_container_that_runs(tmp_path: Path) -> None:
    h = host()
    people = begin(h)
    rows = rows_of(h, tmp_path)

    (web,) = rows.containers
    assert web.key == CID
    assert web.tone == GOOD
    name, id_, state, init, shim, _, runs, by = web.cells
    assert (name, id_, state, runs, by) == ("web", CID[:12], "running", "1", "")
    assert (init, shim) == (str(people["init"].tgid), str(people["shim"].tgid))
    assert [row.cells[:4] for row in rows.daemons] == [
        ("dockerd", "600", "", "running"),
        ("containerd", "612", "(dockerd's)", "running"),
    ]


def test_a_container_that_has_ended(tmp_path: Path) -> None:
    h = host()
    people = begin(h)
    h.stream.signal(people["init"], 15, h.shell)
    end(h, signal=15, stop=False)
    (web,) = rows_of(h, tmp_path).containers

    assert web.tone == BAD
    assert web.cells[2] == "SIGTERM"
    assert web.cells[4] == f"{people['shim'].tgid} exited"
    assert web.cells[7] == "sent by bash (900)"


def test_a_container_without_its_shim(shim_killed: Picture) -> None:
    rows = make_rows(shim_killed, Findings(), 0.0)

    assert rows.containers[0].cells[2] == "no shim"
    assert rows.containers[0].tone == BAD
    assert rows.findings[0].cells[0] == "error"
    assert "shim" in rows.findings[0].cells[3]


def test_daemons_that_came_again_count_as_one(tmp_path: Path) -> None:
    h = host()
    s = h.stream
    dead = h.dockerd
    for _ in range(2):
        s.die(dead)
        s.wait(1_000_000)
        dead = s.fork(h.init)
        s.exec(dead, "/usr/sbin/dockerd", "/usr/sbin/dockerd -H fd://")
    rows = rows_of(h, tmp_path).daemons

    (dockerd,) = [row for row in rows if row.cells[0] == "dockerd"]
    assert dockerd.cells[1] == str(dead.tgid)
    assert dockerd.cells[5] == "2"


def test_what_is_new_and_what_is_over(shim_killed: Picture, tmp_path: Path) -> None:
    def errors(picture: Picture, now_s: float) -> list[Row]:
        return [row for row in findings.rows(picture, now_s) if row.cells[0] == "error"]

    findings = Findings()
    h = host()
    begin(h)
    well = picture_of(tmp_path / "y.rtrace", h.stream)
    assert errors(well, 0.0) == []

    rows = errors(shim_killed, 1.0)
    assert {row.cells[1] for row in rows} == {"NEW"}
    later = errors(shim_killed, 1.0 + NEW_S)
    assert {row.cells[1] for row in later} == {""}

    over = [row for row in findings.rows(well, 90.0) if row.cells[0] == "over"]
    assert over
    assert {(row.cells[0], row.cells[1], row.tone, row.key) for row in over} == {
        ("over", "", DIM, "")
    }
    assert {row.cells[3] for row in over} >= {row.cells[3] for row in rows}
    assert errors(shim_killed, 91.0) == later


def test_what_the_first_picture_has_is_not_new(shim_killed: Picture) -> None:
    assert {row.cells[1] for row in Findings().rows(shim_killed, 0.0)} == {""}


@pytest.mark.parametrize("wanted", ["web", "WEB", CID[:8], "600", "dockerd 600"])
def test_filter(tmp_path: Path, wanted: str) -> None:
    h = host()
    begin(h)
    begin(h, cid="7" * 64, name="db")
    kept = rows_of(h, tmp_path).filtered(wanted)

    of_docker = wanted in ("600", "dockerd 600")
    assert [row.cells[0] for row in kept.containers] == ([] if of_docker else ["web"])
    assert [row.cells[0] for row in kept.daemons] == (["dockerd"] if of_docker else [])


def test_filter_finds_findings_by_the_containers_name(shim_killed: Picture) -> None:
    rows = make_rows(shim_killed, Findings(), 0.0)
    assert rows.filtered("web").findings
    assert rows.filtered("no such thing") == Rows()


def test_stories(shim_killed: Picture) -> None:
    rows = make_rows(shim_killed, Findings(), 0.0)
    container, finding, daemon = rows.containers[0], rows.findings[0], rows.daemons[0]

    story = shim_killed.tell(container.kind, container.key, 80)
    assert "TIMELINE" in story
    assert "was killed by SIGKILL (9)" in story
    told = shim_killed.tell(finding.kind, finding.key, 80)
    assert told.startswith("error ")
    assert "next: " in told
    assert "dockerd (600) " in shim_killed.tell(daemon.kind, daemon.key, 80)


def test_nothing_hostile_comes_through(tmp_path: Path) -> None:
    h = host()
    s = h.stream
    people = begin(h, name=HOSTILE)
    s.comm(people["init"], HOSTILE[:15])
    child = s.fork(people["init"])
    s.exec(child, f"/bin/{HOSTILE}", [HOSTILE, HOSTILE])
    picture = picture_of(tmp_path / "x.rtrace", s)
    events = LastEvents()
    events.add(s.chunks())

    rows = make_rows(picture, Findings(), 0.0)
    texts = [cell for row in (*rows.containers, *rows.daemons) for cell in row.cells]
    texts += event_lines(events.lines, "")
    texts += picture.tell("container", CID, 80).split("\n")
    texts.append(head_text(f"/tmp/{HOSTILE}", Status(), 0.0, ""))
    texts.append(filter_text({"filter": {"kind": "cgroup", "path": HOSTILE}}))
    assert any("owned" in text for text in texts)
    assert all(text.isprintable() for text in texts)


# --- lines -------------------------------------------------------------------------------------


def test_head_line() -> None:
    status = Status(events=1_234_567, rate=321.4, lost=0, bytes=3 << 20)
    assert head_text("x.rtrace", status, 754.0, "") == (
        "12:34  1,234,567 events  321/s  nothing lost  3.0 MiB  x.rtrace"
    )
    text = head_text("x", replace(status, lost=5, dropped=9), 1.0, "cgroup /a")
    assert "5 LOST" in text
    assert "3.0 MiB kept, 9 events dropped" in text
    assert text.endswith("only cgroup /a")


def test_what_is_recorded() -> None:
    assert filter_text({}) == ""
    assert filter_text({"filter": {"kind": "pidns", "pid": 7}}) == "the pid namespace of 7"
    assert began_ns(Stream().header) == BOOT_NS
    segment = {"segment": {"number": 3, "began_ns": 5, "events_before": 1}}
    assert began_ns({**Stream().header, **segment}) == 5


def test_age_line(shim_killed: Picture) -> None:
    assert age_text(None, 0.0) == "looking at what lives ..."
    assert age_text(shim_killed, 3.2) == "as of 3 s ago"
    part = replace(shim_killed, left_out=12_345)
    assert "12,345 older events, before " in age_text(part, 0.0)


def test_last_events_of_a_container_by_its_name(tmp_path: Path) -> None:
    h = host()
    people = begin(h)
    h.stream.die(h.stream.fork(h.shell))
    picture = picture_of(tmp_path / "x.rtrace", h.stream)
    tgids = picture.tgids_of([CID])
    assert tgids >= {people["init"].tgid, people["shim"].tgid}
    assert not tgids & {600, 612, 900}

    events = LastEvents()
    assert events.add(h.stream.chunks())
    kept = event_lines(events.lines, "no such text", tgids)
    assert kept
    assert len(kept) < len(event_lines(events.lines, ""))


def test_of_a_storm_the_newest(tmp_path: Path) -> None:
    s = Stream()
    shell = s.process("sh", tgid=5)
    for _ in range(2000):
        s.die(s.fork(shell))
    last = s.fork(shell)
    events = LastEvents()
    events.add(s.chunks())
    assert 0 < len(events.lines) <= KEPT
    assert events.lines[-1].tgid == last.tgid
    assert [line.ts_ns for line in events.lines] == sorted(line.ts_ns for line in events.lines)


def test_arguments_beside_their_exec() -> None:
    s = Stream()
    s.exec(s.fork(s.process("sh", tgid=5)), "/bin/ls", "ls -l")
    events = LastEvents()
    events.add(chunk for chunk in s.chunks() if chunk[0] in (EVENTS, DETAILS))
    assert [line.text.split()[0] for line in events.lines] == ["fork", "exec", "args"]
    assert all(isinstance(line, Line) for line in events.lines)
    assert not events.add([])
