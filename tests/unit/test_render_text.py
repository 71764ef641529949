"""The text report: what stands first, how wide it is, and that nothing in it does harm."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest

from analysis.model import open_capture
from analysis.render_text import LISTED, render_text
from analysis.render_timeline import TOLD
from analysis.report import build_report
from analysis.text_layout import seconds, span, wrap
from analysis.text_safety import command_line, width
from tests import lives
from tests.lives import CID
from tests.streams import Stream
from tracer.text import printable

SGR = re.compile(r"\x1b\[[0-9;]*m")


def text_of(
    stream: Stream, tmp_path: Path, *, columns: int = 80, complete: bool = True, **options: Any
) -> str:
    path = stream.write(tmp_path / "x.rtrace", complete=complete)
    report = build_report(open_capture(path))
    return render_text(report, width=columns, color=False, **options)


def test_a_whole_life(tmp_path: Path) -> None:
    h = lives.life()
    h.stream.fact("runtime", name="docker", version="20.10.24", source="x", containerd="managed")
    text = text_of(h.stream, tmp_path)
    lines = text.splitlines()
    assert lines[0].startswith("test, kernel 6.1.0-test")
    assert lines[1] == "docker 20.10.24 (starts its own containerd)"
    assert lines[3] == "complete, nothing lost"
    for line in (
        "CONTAINER web  2f1c0a8b9d3e  docker, namespace moby, image nginx",
        "  client     docker (1000): docker run --rm --name web nginx",
        "  daemon     dockerd (600)",
        "  runtime    containerd (612), started by dockerd",
        "  shim       containerd-shim (1002), v2: exited 0",
        "  runc       create, start, delete",
        "  process 1  nginx (1006): exited 0",
        "  took       42 ms to start, ran 51 ms, 10 ms from its exit to the shim's",
        "REPARENTED PROCESSES: 2 (2 confirmed)",
        "  +0.040032  nginx (1006): runc (1003) -> containerd-shim (1002)",
        "               nearest subreaper, confirmed (container web)",
    ):
        assert line in lines
    told = " ".join(text.split())
    assert (
        "runc (1003) exited 0; containerd-shim (1002) adopted nginx (1006), process 1: nearest "
        "subreaper, confirmed" in told
    )


@pytest.mark.parametrize("columns", [20, 60, 80, 100, 132, 300])
def test_it_fits(tmp_path: Path, columns: int) -> None:
    h = lives.host()
    p = lives.begin(h, client="docker run --name web nginx " + "x" * 500, name="n" * 90)
    h.stream.comm(p["init"], "漢字漢字漢")
    lives.end(h)
    for line in text_of(h.stream, tmp_path, columns=columns).splitlines():
        assert width(line) <= max(columns, 60)
        assert line == line.rstrip()


def test_a_wide_terminal_gets_clock_times_and_a_table(tmp_path: Path) -> None:
    text = text_of(lives.life().stream, tmp_path, columns=120)
    assert "  +0.040032  22:13:20.040  runc (1003) exited 0; " in text
    assert re.search(r"seconds +child +old parent +new parent +rule", text)
    assert re.search(r"\+0.040032  nginx \(1006\) +runc \(1003\) .*subreaper, confirmed", text)


def test_losses_and_cuts_come_first(tmp_path: Path) -> None:
    h = lives.host()
    h.stream.lost(5, details=1, cpu=0)
    lives.begin(h)
    lines = text_of(h.stream, tmp_path, complete=False).splitlines()
    assert lines[0].startswith("CUT: ")
    at = next(i for i, line in enumerate(lines) if line.startswith("LOST: "))
    assert lines[at].startswith("LOST: 5 events and 1 detail")
    assert at < next(i for i, line in enumerate(lines) if line.startswith("test, kernel"))
    window = re.compile(r"  the start to \+0\.\d{6} s, cpu 0: 5 events")
    assert any(window.match(line) for line in lines)
    assert not any("nothing lost" in line for line in lines)
    assert any("its end was not seen" in line for line in lines)


def test_what_is_not_known_is_said(tmp_path: Path) -> None:
    h = lives.life(fact=False, client=None)
    text = text_of(h.stream, tmp_path)
    assert "CONTAINER (name not known)  2f1c0a8b9d3e  docker" in text
    assert "container runtimes: none found when recording" in text
    empty = text_of(Stream(), tmp_path)
    assert "no container was seen" in empty
    assert "REPARENTED PROCESSES: none" in empty


def test_containers_that_only_live_take_a_line(tmp_path: Path) -> None:
    h = lives.host(start=False)
    s = h.stream
    line = f"/usr/bin/containerd-shim-runc-v2 -namespace moby -id {CID} -address /run/c.sock"
    shim = s.process("containerd-shim", h.init, exe=line.split()[0], args=line.split())
    s.process("app", shim, ns_tgid=1, pidns=7, exe="/app", cgroup=f"/docker/{CID}")
    s.snapshot("start")
    s.snapshot("end")
    text = " ".join(text_of(s, tmp_path).split())
    assert "CONTAINERS TO WHICH NOTHING HAPPENED (name not known) 2f1c0a8b9d3e docker" in text
    assert "process 1 app (1001) still running at the end" in text


def test_a_storm_of_reparents_is_cut_unless_asked_for(tmp_path: Path) -> None:
    h = lives.host()
    for _ in range(LISTED + 50):
        middle = h.stream.fork(h.shell)
        h.stream.fork(middle, "job")
        h.stream.die(middle)
    short = text_of(h.stream, tmp_path)
    assert f"REPARENTED PROCESSES: {LISTED + 50} ({LISTED + 50} confirmed)" in short
    assert "and 50 more, until +" in short
    assert short.count("job (") == LISTED
    full = text_of(h.stream, tmp_path, full=True)
    assert full.count("job (") == LISTED + 50


def test_a_storm_inside_a_container_hides_nothing_of_its_own_story(tmp_path: Path) -> None:
    h = lives.host()
    p = lives.begin(h)
    for _ in range(TOLD + 30):
        middle = h.stream.fork(p["init"])
        h.stream.fork(middle, "job")
        h.stream.die(middle)
    h.stream.signal(p["shim"], 9, h.shell)
    h.stream.die(p["shim"], signal=9)
    short = text_of(h.stream, tmp_path)
    timeline = short[: short.index("REPARENTED")]
    assert timeline.count("adopted job") == TOLD
    assert "30 more adoptions in the container: `rtrace report --all`" in timeline
    assert "systemd (1) adopted nginx (1006), process 1" in " ".join(timeline.split())


def test_children_that_went_together_stand_together(tmp_path: Path) -> None:
    h = lives.host()
    middle = h.stream.fork(h.shell)
    jobs = [h.stream.fork(middle, "job") for _ in range(3)]
    h.stream.die(middle)
    ids = ", ".join(str(job.tgid) for job in jobs)
    assert f"job ({ids})  bash ({middle.tgid})  systemd (1)" in text_of(h.stream, tmp_path)


def test_kernel_threads_are_counted_only(tmp_path: Path) -> None:
    from tracer.abi import Flag

    h = lives.host()
    helper = h.stream.fork(h.shell, "kworker", flags=int(Flag.KTHREAD))
    child = h.stream.fork(helper, "kchild", flags=int(Flag.KTHREAD))
    h.stream.die(helper)
    text = text_of(h.stream, tmp_path)
    assert "REPARENTED PROCESSES: none" in text
    assert "1 of kernel threads are not listed" in text
    assert child.comm not in text


def test_colour_only_when_asked_for(tmp_path: Path) -> None:
    path = lives.life().stream.write(tmp_path / "x.rtrace")
    report = build_report(open_capture(path))
    plain = render_text(report, width=100, color=False)
    colored = render_text(report, width=100, color=True)
    assert "\x1b" not in plain
    assert "\x1b[" in colored
    assert SGR.sub("", colored) == plain


EVIL = "\x1b]0;owned\x07\x1b[2J\r\n\u202egnp\u2028\ud800\x9b31m\u200b"


def test_nothing_in_it_does_harm(tmp_path: Path) -> None:
    h = lives.host()
    p = lives.begin(h, name=EVIL, client=None)
    h.stream.comm(p["init"], os.fsdecode(b"\x1b[31m\xff\xfe"))
    evil = h.stream.fork(p["init"])
    h.stream.exec(evil, "/bin/x", ["x", "\x1b[31m", "\u202e"], comm=b"\n\x1b[1m")
    h.stream.fork(evil)
    h.stream.die(evil)
    h.stream.header["host"] |= {"hostname": EVIL, "kernel": EVIL, "init": EVIL}
    h.stream.fact("problem", what=EVIL)
    h.stream.fact("runtime", name=EVIL, version=EVIL)
    h.stream.fact("container", id="\x1b[31mid", name=EVIL, image=EVIL, namespace=EVIL)
    lives.end(h)
    text = text_of(h.stream, tmp_path)
    assert all(line.isprintable() for line in text.split("\n"))
    text.encode()  # no surrogates: any terminal's stream takes it


def test_text_is_made_printable() -> None:
    assert printable("nginx ü 漢") == "nginx ü 漢"
    assert printable("a\x1b[0m\tb\x00\x7f\x9b") == "a\\x1b[0m\\tb\\x00\\x7f\\x9b"
    assert printable("\u202e\u2066\U000e0001") == "\\u202e\\u2066\\U000e0001"
    assert printable(printable(EVIL)) == printable(EVIL)


def test_command_lines() -> None:
    assert command_line(["sh", "-c", "echo hi"]) == "sh -c 'echo hi'"
    assert command_line(["sh", "\x1b"]) == 'sh "\\x1b"'
    assert command_line(["x" * 50] * 9, limit=100).endswith("...")
    assert len(command_line(["x" * 500], limit=100)) == 100
    assert command_line([]) == ""


def test_layout() -> None:
    assert wrap("aa bb cc", 5) == ["aa bb", "cc"]
    assert wrap("a" * 12, 5) == ["aaaaa", "aaaaa", "aa"]
    assert wrap("漢字漢", 4) == ["漢字", "漢"]
    assert wrap("", 5) == [""]
    assert seconds(1_204_318_499, sign=True) == "+1.204318"
    assert seconds(-5_000) == "-0.000005"
    assert seconds(999_999_999, digits=3) == "1.000"
    assert [span(n) for n in (900, 915_000, 42_000_000, 1_500_000_000, 7_200_000_000_000)] == [
        "1 us",
        "915 us",
        "42 ms",
        "1.50 s",
        "2:00:00",
    ]


def test_runtimes_that_are_there_several_times(tmp_path: Path) -> None:
    h = lives.life()
    for tgid in (1, 2, 3):
        h.stream.fact("runtime", name="docker", version="26.1.5", source="x", tgid=tgid)
    h.stream.fact("runtime", name="runc", version="1.1", source="x")
    assert text_of(h.stream, tmp_path).splitlines()[1] == "docker 26.1.5 x3, runc 1.1"
