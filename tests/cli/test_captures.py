"""Captures that are empty, cut, damaged, too new or none: one line or what can be read."""

from __future__ import annotations

import contextlib
import json
import os
import random
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.kernel.recording import RTRACE, Ended, assert_failed, run_rtrace
from tests.streams import Stream
from tests.talks import Talks
from tracer.capture_reader import CaptureReader
from tracer.cli import main

COMMANDS = ("report", "dump")


@pytest.fixture(scope="module")
def capture(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A small valid capture."""
    stream = Stream()
    init = stream.process("systemd", tgid=1)
    shim = stream.process("containerd-shim", init, subreaper=True)
    stream.snapshot("start")
    runc = stream.fork(shim)
    stream.exec(runc, "/usr/bin/runc", "runc create abc")
    stream.exec(stream.fork(runc), "/bin/app", ["app", "\x1b[2J", "a\nb"])
    stream.die(runc)
    path = stream.write(tmp_path_factory.mktemp("capture") / "x.rtrace")
    return path.read_bytes()


@pytest.fixture
def run_here(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[..., Ended]:
    """`rtrace ...` in this process: for many of them."""

    def run_main(*arguments: str | Path) -> Ended:
        monkeypatch.setattr(sys, "argv", ["rtrace", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capfd.readouterr()
        return Ended(int(ended.value.code or 0), out, err)

    return run_main


@pytest.fixture
def run(tmp_path: Path, run_here: Callable[..., Ended]) -> Callable[[str, bytes], Ended]:
    """A command on a capture with this content."""
    path = tmp_path / "x.rtrace"

    def run_on(command: str, content: bytes) -> Ended:
        path.write_bytes(content)
        return run_here(command, path)

    return run_on


@pytest.mark.parametrize("command", COMMANDS)
def test_valid(run: Callable[[str, bytes], Ended], capture: bytes, command: str) -> None:
    ended = run(command, capture)

    assert (ended.status, ended.stderr) == (0, "")
    assert all(line.isprintable() for line in ended.stdout.split("\n"))


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "it is empty; give a file that"),
        (b"\x89RTR", "it was cut at byte 4, before its header"),
        (b"\x89RTRACE\n", "it was cut at byte 8, before its header"),
        (b"\x89RTRACE\n" + struct.pack("<II", 1, 0), "it was cut at byte 16, before its header"),
        (b"\x89RTRACE\n" + struct.pack("<II", 0, 0), "damaged"),
        (b"hello, world\n" * 100, "it is not a capture; give a file that"),
        (b"\x7fELF" + bytes(1000), "it is not a capture"),
        (bytes(100_000), "it is not a capture"),
        (b"\x89RTRACE\r\n" + bytes(100), "it is not a capture"),
    ],
)
def test_no_capture(
    run: Callable[[str, bytes], Ended], command: str, content: bytes, why: str
) -> None:
    assert_failed(run(command, content), "cannot read ", why)


@pytest.mark.parametrize("command", COMMANDS)
def test_newer(run: Callable[[str, bytes], Ended], capture: bytes, command: str) -> None:
    newer = capture[:8] + struct.pack("<I", 77) + capture[12:]

    assert_failed(
        run(command, newer),
        "its format is version 77, this rtrace reads up to version 1; read it with a newer rtrace",
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_cut(run: Callable[[str, bytes], Ended], capture: bytes, command: str) -> None:
    statuses = []
    for length in sorted({*range(0, len(capture), 61), len(capture) - 1}):
        ended = run(command, capture[:length])
        statuses.append(ended.status)
        if ended.status:
            assert_failed(ended, "cannot read ")
        else:
            assert ended.stderr == ""
            assert f"cut at byte {length}" in ended.stdout
    # First there is not even a header, then there is.
    assert statuses == sorted(statuses, reverse=True)
    assert set(statuses) == {0, 1}


@pytest.mark.parametrize("command", COMMANDS)
def test_damaged(run: Callable[[str, bytes], Ended], capture: bytes, command: str) -> None:
    chance = random.Random(command)
    whole = run(command, capture).stdout
    for _ in range(40):
        damaged = bytearray(capture)
        damaged[chance.randrange(len(damaged))] ^= 1 << chance.randrange(8)
        ended = run(command, bytes(damaged))
        assert ended.status in (0, 1)
        if ended.status:
            assert_failed(ended, "cannot read ")
        else:
            assert ended.stdout != whole
            assert "byte" in ended.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_something_appended(
    run: Callable[[str, bytes], Ended], capture: bytes, command: str
) -> None:
    ended = run(command, capture + b"appended")

    assert ended.status == 0
    assert f"at byte {len(capture)}" in ended.stdout


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("missing", "there is no such file"),
        ("directory", "it is a directory"),
        ("fifo", "it is not a regular file"),
        ("loop", ""),
        ("missing/file", ""),
        ("x" * 300, ""),
        ("", "there is no such file"),
        ("/dev/null", "it is not a regular file"),
        ("\x1b[31mred", "there is no such file"),
    ],
)
def test_no_file(tmp_path: Path, command: str, name: str, why: str) -> None:
    (tmp_path / "directory").mkdir()
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "loop").symlink_to("loop")

    ended = run_rtrace(command, name, cwd=tmp_path)

    assert_failed(ended, "cannot read ", why)
    assert ended.stdout == ""
    assert "\x1b" not in ended.stderr


@pytest.fixture
def path(tmp_path: Path, capture: bytes) -> Path:
    made = tmp_path / "x.rtrace"
    made.write_bytes(capture)
    return made


@pytest.mark.parametrize("command", COMMANDS)
def test_output_to_a_full_disk(path: Path, command: str) -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [RTRACE, command, path], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )

    assert_failed(Ended(done.returncode, "", done.stderr), "No space left on device")


@pytest.mark.parametrize("command", COMMANDS)
def test_output_to_a_reader_that_is_gone(path: Path, command: str) -> None:
    read, write = os.pipe()
    os.close(read)
    with open(write, "wb") as pipe:
        done = subprocess.run(
            [RTRACE, command, path], stdout=pipe, stderr=subprocess.PIPE, text=True, check=False
        )

    assert (done.returncode, done.stderr) == (0, "")


def test_report_into_a_file(path: Path, tmp_path: Path, run_here: Callable[..., Ended]) -> None:
    shown = run_here("report", path).stdout
    target = tmp_path / "report.txt"

    assert run_here("report", path, "-o", target).status == 0
    assert target.read_text() == shown
    # and not over one that is there
    target.write_text("mine")
    assert_failed(run_here("report", path, "-o", target), "it exists; give another name, or")
    assert target.read_text() == "mine"
    assert run_here("report", path, "-o", target, "--force").status == 0
    assert target.read_text() == shown
    for bad in (tmp_path / "no" / "x", tmp_path):
        assert_failed(run_here("report", path, "--force", "-o", bad), f"cannot write {bad}")


def test_an_unknown_container(path: Path, run_here: Callable[..., Ended]) -> None:
    ended = run_here("report", path, "--container", "no\x1bsuch")

    assert_failed(ended, "no\\x1bsuch")


def test_the_valid_capture_is_valid(path: Path) -> None:
    with contextlib.closing(CaptureReader(path)) as reader:
        assert list(reader.chunks())
        assert reader.complete


@pytest.fixture
def segments(tmp_path: Path) -> Path:
    """What a recorder leaves that was killed: two segments, of which the first is number 2."""
    stream = Stream()
    init = stream.process("systemd", tgid=1)
    app = stream.fork(init, "app")
    folder = tmp_path / "x.rtrace.segments"
    folder.mkdir()
    stream.rotate(drop=True)
    stream.clock(suspended=300 * 10**9)
    stream.write(folder / "000002.rtrace", complete=False)
    stream.rotate(drop=True)
    stream.trigger("oom", app, "the OOM killer chose app")
    stream.die(app, signal=9)
    stream.write(folder / "000003.rtrace", complete=False)
    return folder


def test_report_of_what_a_killed_recorder_left(
    segments: Path, run_here: Callable[..., Ended]
) -> None:
    ended = run_here("report", segments)

    assert (ended.status, ended.stderr) == (0, "")
    lines = ended.stdout.splitlines()
    assert lines[0].startswith("CUT: 000003.rtrace: cut at byte ")
    assert "events before 22:13:20 UTC were dropped (1)" in " ".join(lines)
    assert any(line.startswith("the host was suspended for 300.0 s") for line in lines)
    assert any(line.startswith("trigger: the OOM killer chose app at ") for line in lines)


def test_dump_shows_where_segments_begin(segments: Path, run_here: Callable[..., Ended]) -> None:
    ended = run_here("dump", segments)

    assert (ended.status, ended.stderr) == (0, "")
    lines = ended.stdout.splitlines()
    assert '"segment": {"number": 2' in lines[0]
    assert [line for line in lines if line.startswith("snapshot")] == [
        "snapshot  start, 2 processes"
    ] * 2
    facts = [line.split()[3:] for line in lines if " fact " in line]
    assert [fact[0] for fact in facts] == ["clock", "trigger"]
    assert lines[-1].startswith("damaged   000003.rtrace: cut at byte ")


def test_dump_of_sockets(tmp_path: Path, run_here: Callable[..., Ended]) -> None:
    """A name is anybody's bytes."""
    stream = Stream()
    talks = Talks(stream)
    client, server = stream.process("sh"), stream.process("dockerd")
    talks.connect(client, server, b"/run/\x1b[2J\xff\n.sock")
    talks.look("end", cut=True)
    ended = run_here("dump", stream.write(tmp_path / "x.rtrace"))
    assert ended.status == 0
    lines = [line for line in ended.stdout.splitlines() if "socket" in line[:40]]
    assert lines[0].endswith(", 2, and more that were not kept")
    assert len(lines) == 3
    assert "\x1b" not in ended.stdout


def test_why(path: Path, run_here: Callable[..., Ended]) -> None:
    text, data = run_here("why", path, "1000"), run_here("why", path, "1000", "--format", "json")

    assert (text.status, text.stderr, data.status) == (0, "", 0)
    assert all(line.isprintable() for line in text.stdout.split("\n"))
    assert json.loads(data.stdout)["target"]["process"]["tgid"] == 1000


def test_why_nothing_that_is_there(path: Path, run_here: Callable[..., Ended]) -> None:
    ended = run_here("why", path, "no\x1bsuch")

    assert_failed(ended, r"no process or container 'no\x1bsuch'")


def test_why_of_a_cut_capture(
    capture: bytes, tmp_path: Path, run_here: Callable[..., Ended]
) -> None:
    path = tmp_path / "cut.rtrace"
    for length in range(len(capture) // 2, len(capture), 97):
        path.write_bytes(capture[:length])
        ended = run_here("why", path, "1000")
        if ended.status:
            assert_failed(ended, "")
        else:
            assert ended.stdout.startswith(f"CUT: cut at byte {length}")


def test_names_of_files_are_shown_and_nothing_else(
    tmp_path: Path, capture: bytes, run_here: Callable[..., Ended]
) -> None:
    """A stranger's file may be called anything, and a shell's * gives all of a folder."""
    folder = tmp_path / "x"
    folder.mkdir()
    good, bad = folder / "a\x07\u202e\nb.rtrace", folder / "c\x07\u202e\nb.rtrace"
    good.write_bytes(capture)
    bad.write_bytes(b"x")
    for status, *arguments in (
        (0, "ticket", good, "-o", tmp_path / "d\x07\u202e\nb.zip"),
        (0, "compare", folder),
        (1, "compare", folder, "--fail-on-change"),
        (1, "report", bad),
        (1, "report", good, "-o", bad),
        (1, "export", good, "--to", "csv", "-o", bad),
        (2, "report", good, bad),
        (2, "report", good, "--format", bad),
    ):
        ended = run_here(*arguments)
        assert ended.status == status
        assert "\\x07\\u202e\\nb." in ended.stderr
        assert all(line.isprintable() for line in ended.stderr.split("\n"))


@pytest.mark.parametrize("command", COMMANDS)
def test_output_to_a_closed_stdout(path: Path, command: str) -> None:
    ended = run_without(">&-", command, path)
    assert_failed(ended, "cannot write the output: ", "Bad file descriptor")


def test_closed_streams_are_not_written_into_what_is_opened_instead(
    path: Path, tmp_path: Path
) -> None:
    """GIVEN the numbers of stdout and stderr free THEN no file gets them."""
    ended = run_without("<&- >&- 2>&-", "export", path, "--to", "jsonl", "-o", tmp_path / "x")
    assert ended == Ended(0, "", "")
    run_rtrace("export", path, "--to", "jsonl", "-o", tmp_path / "y")
    assert (tmp_path / "x").read_bytes() == (tmp_path / "y").read_bytes()


def run_without(closed: str, *arguments: str | Path) -> Ended:
    """`rtrace ...` with some of its standard streams closed, by a shell."""
    shell = ["sh", "-c", f'exec "$0" "$@" {closed}', RTRACE, *map(str, arguments)]
    done = subprocess.run(shell, capture_output=True, text=True)
    return Ended(done.returncode, done.stdout, done.stderr)
