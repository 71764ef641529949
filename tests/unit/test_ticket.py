"""`rtrace ticket`: what is in the archive, who may read it, and what is read of a stranger's."""

from __future__ import annotations

import errno
import io
import json
import os
import re
import stat
import struct
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from analysis.html.report_page import render_report_page
from analysis.html.stories import choose_targets
from analysis.model import open_capture
from analysis.report import build_report
from analysis.ticket.picture import draw_timeline
from analysis.ticket.summary import render_summary
from analysis.why.answer import build_why
from bench.busy_host import write_capture
from tests.fuzz.parts import Chunk, decode, encode
from tests.kernel.recording import Ended, assert_failed
from tests.redacting import structure
from tests.secrets import all_leaks, every_byte_of_ticket, planted
from tests.streams import Proc, Stream
from tracer.capture_format import RATIO_FREE
from tracer.capture_reader import CaptureReader
from tracer.cli import main
from tracer.errors import RtraceError

GOLDEN = Path(__file__).parent.parent / "golden" / "captures"
INCIDENT = GOLDEN / "bullseye-A-shim-kill.rtrace"
PLACEHOLDER = re.compile(rb"\b(?:secret|user|host|path)-[b-df-hj-np-tv-z2-9]{6}\b")
MEMBERS = ["summary.md", "timeline.png", "report.html", "capture.rtrace"]


Rtrace = Callable[..., Ended]


@pytest.fixture
def rtrace(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Rtrace:
    """`rtrace ...` in this process: pandas and matplotlib are imported once."""

    def run_main(*arguments: str | Path) -> Ended:
        monkeypatch.setattr(sys, "argv", ["rtrace", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capfd.readouterr()
        return Ended(int(ended.value.code or 0), out, err)

    return run_main


def members(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def make(rtrace: Rtrace, tmp_path: Path, capture: Path, *options: str) -> tuple[Path, Ended]:
    target = tmp_path / "t.zip"
    ended = rtrace("ticket", capture, "-o", target, *options)
    assert ended.status == 0, ended.stderr
    return target, ended


def report(rtrace: Rtrace, path: Path, *options: str) -> dict:
    ended = rtrace("report", path, "--format", "json", *options)
    assert ended.status == 0, ended.stderr
    found: dict = json.loads(ended.stdout)
    return found


def test_a_ticket_holds_what_its_reader_needs(rtrace: Rtrace, tmp_path: Path) -> None:
    """GIVEN a docker whose shim was killed, THEN its ticket says so in each of its parts."""
    path, ended = make(rtrace, tmp_path, INCIDENT)
    parts = members(path)
    assert list(parts) == MEMBERS
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.stat().st_size < 10_000_000
    summary = parts["summary.md"].decode()
    assert len(summary) <= 65_536
    for word in ("## Findings", "container-recycled", "## Why", "SIGKILL", "## What this is"):
        assert word in summary
    assert parts["timeline.png"].startswith(b"\x89PNG\r\n\x1a\n")
    assert b"container-recycled" in parts["report.html"]
    for name in MEMBERS:
        assert name in ended.stderr
    assert "redacted names and addresses of hosts" in ended.stderr


def test_the_archive_is_read_as_a_capture(rtrace: Rtrace, tmp_path: Path) -> None:
    path, _ = make(rtrace, tmp_path, INCIDENT)
    (tmp_path / "x.rtrace").write_bytes(INCIDENT.read_bytes())
    assert structure(path) == structure(tmp_path / "x.rtrace")
    for command in (("dump", path), ("why", path, "web"), ("compare", path, INCIDENT)):
        ended = rtrace(*command)
        assert ended.status == 0, ended.stderr
        assert ended.stdout


@pytest.mark.parametrize("mode", ["default", "strict"])
def test_no_planted_secret_is_in_any_byte_of_the_archive(
    rtrace: Rtrace, tmp_path: Path, mode: str
) -> None:
    """WHEN compressed members are opened, and in the capture its chunks."""
    cases = list(planted(99))
    stream = Stream()
    init = stream.process("systemd", tgid=1)
    stream.snapshot("start")
    for case in cases:
        child = stream.fork(init)
        stream.exec(child, f"/usr/bin/{case.args[0]}", case.args)
        stream.die(child, 1)
    stream.snapshot("end")
    path, ended = make(rtrace, tmp_path, stream.write(tmp_path / "x.rtrace"), "--redact", mode)
    content = every_byte_of_ticket(path, tmp_path)
    assert all_leaks(content, (needle for c in cases for needle in c.needles)) == []
    assert "passwords and tokens in options and variables" in ended.stderr


def test_without_redaction_nothing_is_hidden(rtrace: Rtrace, tmp_path: Path) -> None:
    path, ended = make(rtrace, tmp_path, INCIDENT, "--redact", "none")
    assert report(rtrace, path)["capture"]["host"] == report(rtrace, INCIDENT)["capture"]["host"]
    assert ended.stderr.startswith("WARNING: --redact none: passwords and tokens in command lines")
    assert "nothing was redacted: --redact none" in ended.stderr


def test_a_ticket_of_one_container_tells_the_same_of_it(rtrace: Rtrace, tmp_path: Path) -> None:
    """GIVEN many containers on a busy host, one of which has ended."""
    whole = tmp_path / "busy.rtrace"
    write_capture(whole, 15_000, seed=3)
    everything = report(rtrace, whole)
    id_ = next(c["id"] for c in everything["containers"] if c["end"]["how"] == "exited")
    before = report(rtrace, whole, "--container", id_)
    path, _ = make(rtrace, tmp_path, whole, "--container", id_)
    after = report(rtrace, path, "--container", id_)
    keys = ("kind", "severity", "ts_ns", "container", "processes")
    told = [[{k: f[k] for k in keys} for f in r["findings"]] for r in (before, after)]
    assert told[0] == told[1]
    assert [c["phases"] for c in before["containers"]] == [c["phases"] for c in after["containers"]]
    assert [s["text"] for s in before["timeline"] if s["container"]] == [
        s["text"] for s in after["timeline"] if s["container"]
    ]
    assert len(everything["containers"]) > 2
    assert len(report(rtrace, path)["containers"]) == 1
    assert after["capture"]["processes"] < everything["capture"]["processes"] / 2
    why = [json.loads(rtrace("why", c, id_, "--format", "json").stdout) for c in (whole, path)]
    assert why[0]["answer"] == why[1]["answer"]
    assert why[0]["chain"] == why[1]["chain"]


def test_a_ticket_of_some_seconds_has_ancestors_and_killers(rtrace: Rtrace, tmp_path: Path) -> None:
    stream = Stream(step=10**6)
    init = stream.process("systemd", tgid=1)
    stream.snapshot("start")
    early = stream.fork(init)
    stream.exec(early, "/bin/early", "early")
    stream.die(early)
    shell = stream.fork(init)
    stream.exec(shell, "/bin/sh", "sh")
    killer = stream.fork(shell)
    stream.exec(killer, "/bin/killer", "killer")
    stream.wait(5 * 10**9)
    victim = stream.fork(init)
    stream.exec(victim, "/bin/victim", "victim")
    stream.signal(victim, 9, killer)
    stream.die(victim, signal=9)
    stream.wait(5 * 10**9)
    late = stream.fork(init)
    stream.exec(late, "/bin/late", "late")
    stream.snapshot("end")
    path, ended = make(
        rtrace, tmp_path, stream.write(tmp_path / "x.rtrace"), "--since", "4s", "--until", "7s"
    )
    found = report(rtrace, path)
    names = {(p["filename"] or p["comm"]) for p in found["processes"]}
    assert names - {"swapper/0"} == {"systemd", "/bin/sh", "/bin/killer", "/bin/victim"}
    by = next(p for p in found["processes"] if p["filename"] == "/bin/victim")["killed_by"]
    assert by["sender"]["comm"] == "killer"
    assert "left out: 2 of" in ended.stderr
    assert found["capture"]["filter"]["kind"] == "ticket"


def test_what_is_too_large_is_narrowed_and_said(rtrace: Rtrace, tmp_path: Path) -> None:
    """GIVEN thousands of processes that nobody tells of, each with other arguments."""
    stream = Stream()
    init = stream.process("systemd", tgid=1)
    stream.snapshot("start")
    for number in range(1000):
        child = stream.fork(init)
        stream.exec(
            child, "/bin/app", ["app", *(str(number * 7919**k % 10**9) for k in range(1, 9))]
        )
        stream.die(child)
    stream.snapshot("end")
    capture = stream.write(tmp_path / "x.rtrace")
    path, ended = make(rtrace, tmp_path, capture, "--max-size", "140k")
    assert path.stat().st_size < 140 << 10
    assert "to stay small the capture is without processes" in ended.stderr
    assert "capture.rtrace" in members(path)
    assert report(rtrace, path)["capture"]["events"] < 100
    path, ended = make(rtrace, tmp_path, capture, "--max-size", "70k", "--force")
    assert path.stat().st_size < 70 << 10
    for name in ("report.html", "capture.rtrace", "timeline.png"):
        assert f"{name}: the archive would be larger" in ended.stderr
    assert list(members(path)) == ["summary.md"]


def test_the_capture_is_narrowed_before_anything_is_left_out(
    rtrace: Rtrace, tmp_path: Path
) -> None:
    """GIVEN room for the capture, but not for page and picture beside it."""
    stream = Stream()
    init = stream.process("systemd", tgid=1)
    stream.snapshot("start")
    for number in range(1000):
        child = stream.fork(init)
        stream.exec(child, "/bin/app", ["app", *(str(number * 7919**k) for k in range(1, 9))])
        stream.die(child)
    stream.snapshot("end")
    capture = stream.write(tmp_path / "x.rtrace")
    alone = len(members(make(rtrace, tmp_path, capture)[0])["capture.rtrace"])
    room = alone + (64 << 10) + 20_000
    path, ended = make(rtrace, tmp_path, capture, "--max-size", f"{room}", "--force")
    assert path.stat().st_size < room
    assert "to stay small the capture is" in ended.stderr
    assert "capture.rtrace" in members(path)


def test_the_summary_alone_for_a_pipe(
    rtrace: Rtrace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ended = rtrace("ticket", INCIDENT, "--stdout")
    assert ended.status == 0
    assert ended.stdout.startswith("# rtrace report")
    assert ended.stderr.startswith("the summary will hold:")
    assert "redacted names and addresses of hosts" in ended.stderr
    assert "rtrace report" not in ended.stderr
    assert list(tmp_path.iterdir()) == []


def _endings() -> dict[str, Callable[[Stream, Proc], bytes]]:
    def lossy(s: Stream, child: Proc) -> bytes:
        s.lost(5)
        s.die(s.fork(child))
        s.loss()
        return s.to_bytes()

    def bounded(s: Stream, child: Proc) -> bytes:
        s.rotate(drop=True)
        s.die(s.fork(child))
        return s.to_bytes()

    def clock_set(s: Stream, child: Proc) -> bytes:
        s.clock(set_by=3600 * 10**9, suspended=10**9)
        s.die(child)
        return s.to_bytes()

    return {
        "cut": lambda s, child: s.to_bytes()[:-20],
        "lossy": lossy,
        "bounded": bounded,
        "clock set": clock_set,
    }


KINDS = ("cut", "lossy", "bounded", "clock set")


@pytest.mark.parametrize("kind", KINDS)
def test_a_ticket_of_a_capture_that_is_not_whole(rtrace: Rtrace, tmp_path: Path, kind: str) -> None:
    """THEN it tells the same, and says what the capture said of itself."""
    stream = Stream()
    init = stream.process("systemd", tgid=1)
    stream.snapshot("start")
    child = stream.fork(init)
    stream.exec(child, "/usr/bin/app", ["app", "--password", "vk8-Harbour_2"])
    capture = tmp_path / "x.rtrace"
    capture.write_bytes(_endings()[kind](stream, child))
    path, _ = make(rtrace, tmp_path, capture)
    assert structure(path) == structure(capture)
    if kind != "cut":
        assert all_leaks(every_byte_of_ticket(path, tmp_path), ["vk8-Harbour_2"]) == []
    summary = members(path)["summary.md"].decode()
    assert {"cut": "cut", "lossy": "lost"}.get(kind, "") in summary.lower(), summary
    before, after = (open_capture(p).table.header.get("segment") for p in (capture, path))
    assert before == after


def test_two_tickets_of_one_capture_have_no_placeholder_in_common(
    rtrace: Rtrace, tmp_path: Path
) -> None:
    cases = list(planted(7))[:60]
    stream = Stream()
    init = stream.process("systemd", tgid=1)
    stream.snapshot("start")
    for case in cases:
        stream.exec(stream.fork(init), f"/usr/bin/{case.args[0]}", case.args)
    capture = stream.write(tmp_path / "x.rtrace")
    found = []
    for _ in range(2):
        path, _ = make(rtrace, tmp_path, capture, "--force")
        found.append(set(PLACEHOLDER.findall(every_byte_of_ticket(path, tmp_path))))
    assert len(found[0]) == len(found[1]) >= 50
    assert not found[0] & found[1]


def test_all_parts_are_made_of_the_redacted_capture(rtrace: Rtrace, tmp_path: Path) -> None:
    """THEN whoever makes them of the capture in the archive gets the same bytes."""
    path, _ = make(rtrace, tmp_path, INCIDENT)
    parts = members(path)
    (tmp_path / "c.rtrace").write_bytes(parts["capture.rtrace"])
    capture = open_capture(tmp_path / "c.rtrace")
    built = build_report(capture, every_process=True)
    whys = [build_why(capture, target) for target in choose_targets(built)]
    drawn = io.BytesIO()
    draw_timeline(built, drawn)
    assert drawn.getvalue() == parts["timeline.png"]
    assert render_report_page(built, whys).encode() == parts["report.html"]
    told = [
        text.partition("## What this is")[0]
        for text in (render_summary(built, whys[:8], []), parts["summary.md"].decode())
    ]
    assert told[0] == told[1]


def test_a_ticket_of_a_ticket(rtrace: Rtrace, tmp_path: Path) -> None:
    """THEN what was hidden stays hidden, by the names that it has."""
    first, _ = make(rtrace, tmp_path, INCIDENT)
    again = tmp_path / "again.zip"
    ended = rtrace("ticket", first, "-o", again)
    assert ended.status == 0, ended.stderr
    assert structure(again) == structure(first)
    hosts = [report(rtrace, path)["capture"]["host"]["hostname"] for path in (first, again)]
    assert hosts[0] == hosts[1]
    assert "nothing more was redacted: the capture had been redacted before (default)" in (
        ended.stderr
    )
    assert b"redacted before" in members(again)["summary.md"]
    ended = rtrace("ticket", first, "-o", again, "--force", "--redact", "none")
    assert open_capture(again).table.header["redaction"] == "default"


def test_no_room_for_its_parts_is_said_by_its_name(
    rtrace: Rtrace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: object, **keywords: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("analysis.ticket.build.rewrite", full)
    ended = rtrace("ticket", INCIDENT, "-o", tmp_path / "x.zip")
    assert_failed(ended, "parts of the ticket", "no space left", "TMPDIR")
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_overwritten(rtrace: Rtrace, tmp_path: Path) -> None:
    path, _ = make(rtrace, tmp_path, INCIDENT)
    again = rtrace("ticket", INCIDENT, "-o", path)
    assert_failed(again, "it exists", "--force")
    assert make(rtrace, tmp_path, INCIDENT, "--force")[0] == path
    (tmp_path / "target").write_text("mine")
    path.unlink()
    path.symlink_to(tmp_path / "target")
    assert_failed(rtrace("ticket", INCIDENT, "-o", path, "--force"), "not a regular file")
    assert (tmp_path / "target").read_text() == "mine"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_it_belongs_to_who_ran_sudo(
    rtrace: Rtrace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUDO_UID", "4321")
    monkeypatch.setenv("SUDO_GID", "4322")
    target, _ = make(rtrace, tmp_path, INCIDENT)
    assert (target.stat().st_uid, target.stat().st_gid) == (4321, 4322)


def test_wrong_questions_are_one_line(
    rtrace: Rtrace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert_failed(rtrace("ticket", tmp_path / "none.rtrace"), "no such file")
    ended = rtrace("ticket", INCIDENT, "--container", "nobody")
    assert_failed(ended, "no container 'nobody'")
    assert list(tmp_path.iterdir()) == []


# --- archives of strangers ---------------------------------------------------------------------


def archive(
    *files: tuple[str, bytes], mode: int = 0o100600, method: int = zipfile.ZIP_STORED
) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", method) as target:
        for name, content in files:
            member = zipfile.ZipInfo(name)
            member.external_attr = mode << 16
            target.writestr(member, content, method)
    return made.getvalue()


def bomb() -> bytes:
    return archive(("x.rtrace", bytes(70 << 20)), method=zipfile.ZIP_DEFLATED)


def longer_than_declared() -> bytes:
    """The list of members says 100 bytes, the member has more."""
    content = bytearray(archive(("x.rtrace", bytes(5000)), method=zipfile.ZIP_DEFLATED))
    at = content.rfind(b"PK\x01\x02")
    content[at + 24 : at + 28] = (100).to_bytes(4, "little")
    return bytes(content)


def encrypted() -> bytes:
    content = bytearray(archive(("x.rtrace", INCIDENT.read_bytes())))
    for magic, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.rfind(magic) + offset] |= 1
    return bytes(content)


def lying_zip64() -> bytes:
    """The list at the end says one member; what a locator leads to, of zip64, says many."""
    many = archive(*((f"{n}", b"") for n in range(5000)))
    end = many.rfind(b"PK\x05\x06")
    count, length, begin = struct.unpack_from("<HII", many, end + 10)
    record = struct.pack(
        "<4sQHHIIQQQQ", b"PK\x06\x06", 44, 45, 45, 0, 0, count, count, length, begin
    )
    locator = struct.pack("<4sIQI", b"PK\x06\x07", 0, end, 1)
    small = struct.pack("<4sHHHHIIH", b"PK\x05\x06", 0, 0, 1, 1, 60, 0, 0)
    return many[:end] + record + locator + small


def lying_about_its_room() -> bytes:
    """A bomb that says it takes a GiB in the archive, and so would be none."""
    content = bytearray(archive(("x.rtrace", bytes(100 << 20)), method=zipfile.ZIP_DEFLATED))
    at = content.rfind(b"PK\x01\x02") + 20
    content[at : at + 4] = (1 << 30).to_bytes(4, "little")
    return bytes(content)


def nested() -> bytes:
    return archive(("x.rtrace", archive(("x.rtrace", INCIDENT.read_bytes()))))


HOSTILE: dict[str, Callable[[], bytes]] = {
    "outside of itself": lambda: archive(("../x.rtrace", b"x"), ("x.rtrace", b"x")),
    "files outside": lambda: archive(("/etc/x.rtrace", b"x")),
    "outside of": lambda: archive(("a\\..\\..\\x.rtrace", b"x")),
    "links": lambda: archive(("x.rtrace", b"/etc/passwd"), mode=0o120777),
    "several captures": lambda: archive(("x.rtrace", b"x"), ("y.rtrace", b"x")),
    "no capture": lambda: archive(("summary.md", b"x")),
    "too large": bomb,
    "more than 4 GiB": lying_zip64,
    "is too large": lying_about_its_room,
    "it is not a capture": nested,
    "more than 64": lambda: archive(*((f"{n}", b"") for n in range(100)), ("x.rtrace", b"x")),
    "archive": longer_than_declared,
    "encrypted": encrypted,
    "cut": lambda: archive(("x.rtrace", INCIDENT.read_bytes()))[:-30],
    "not a capture": lambda: archive(("x.rtrace", b"anything at all")),
    "it is empty": lambda: archive(("x.rtrace", b"")),
}


@pytest.mark.parametrize("words", HOSTILE)
def test_hostile_archives_are_refused_in_one_line(
    rtrace: Rtrace, tmp_path: Path, words: str
) -> None:
    path = tmp_path / "x.zip"
    path.write_bytes(HOSTILE[words]())
    before = sorted(tmp_path.rglob("*"))
    assert_failed(rtrace("report", path), words)
    assert sorted(tmp_path.rglob("*")) == before


def test_what_an_archive_may_come_to_is_bounded_by_its_own_size(tmp_path: Path) -> None:
    """Chunks that repeat each other are compressed again in an archive."""
    parts = decode(INCIDENT.read_bytes())
    capture = encode([*parts[:2], *[Chunk(b"EVTS", bytes(88 * 47_000))] * 100])
    path = tmp_path / "x.zip"
    path.write_bytes(archive(("x.rtrace", capture), method=zipfile.ZIP_DEFLATED))
    assert path.stat().st_size * 4 < len(capture)
    with CaptureReader(path) as reader:
        total = sum(len(content) for _, content in reader.chunks())
        assert reader.damage is not None
        assert reader.damage.startswith("decompresses to over 200 times its size")
    assert total <= max(RATIO_FREE, 200 * path.stat().st_size)


def test_two_members_of_one_name(rtrace: Rtrace, tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    with pytest.warns(UserWarning, match="Duplicate name"):
        path.write_bytes(archive(("x.rtrace", b"x"), ("x.rtrace", b"y")))
    assert_failed(rtrace("report", path), "same name")


def test_damaged_archives_never_raise(tmp_path: Path) -> None:
    """Every byte of the archive's own structures changed, one at a time."""
    good = archive(("x.rtrace", INCIDENT.read_bytes()), ("summary.md", b"x"))
    path = tmp_path / "x.zip"
    places = [*range(60), *range(len(good) - 230, len(good))]
    refused = 0
    for place in places:
        for value in (255, good[place] ^ 1):
            content = bytearray(good)
            content[place] = value
            path.write_bytes(content)
            try:
                with CaptureReader(path) as reader:
                    list(reader.chunks())
            except RtraceError:
                refused += 1
    assert refused > 100
