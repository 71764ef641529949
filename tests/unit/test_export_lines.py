"""Events as JSON lines: each once, in order, with what the records and the frames say."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import rtrace
from analysis.clocks import Clocks
from analysis.export import stream as export_stream
from analysis.export.overview import look_over
from tests.exported import GOLDEN, HOSTILE, hostile, lines_of, lossy
from tests.streams import Stream
from tracer.abi import Type
from tracer.capture_reader import CaptureReader

CAPTURES = ["bookworm-A-shim-kill", "bullseye-C-restart", "trixie-B-exec"]
NOT_EVENTS = ("capture", "end", "loss", "attach", "args")


def of_kind(lines: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [line for line in lines if line["event"] == kind]


@pytest.mark.parametrize("name", CAPTURES)
def test_lines_are_the_events_of_a_real_capture(name: str) -> None:
    path = GOLDEN / f"{name}.rtrace"
    table = rtrace.open_capture(path).table

    lines = lines_of(path)

    counts = Counter(line["event"] for line in lines if line["event"] not in NOT_EVENTS)
    assert counts == {t.name.lower(): len(table.of(t)) for t in Type if len(table.of(t))}
    times = [line["ts_ns"] for line in lines[1:-1]]
    assert times == sorted(times)
    assert lines[0]["event"] == "capture"
    assert lines[0]["export_schema"] == 1
    assert lines[-1] == {
        "event": "end",
        "events": table.events,
        "complete": True,
        "damage": None,
        "lost_events": 0,
        "lost_details": 0,
    }


@pytest.mark.parametrize("name", CAPTURES)
def test_lines_say_what_frames_say(name: str) -> None:
    path = GOLDEN / f"{name}.rtrace"
    capture = rtrace.open_capture(path)

    lines = lines_of(path)

    execs = capture.execs[capture.execs["recorded"]].sort_values(["ts_ns", "process"])
    found = sorted((e["ts_ns"], e["process"], tuple(e["args"])) for e in of_kind(lines, "exec"))
    assert found == list(zip(execs["ts_ns"], execs["process"], execs["args"], strict=True))
    signals = capture.signals
    names = ["ts_ns", "target", "sender", "context", "name", "kind", "result"]
    keys = ["ts_ns", "process", "sender", "context", "signal_name", "kind", "result"]
    rows = [tuple(line[key] for key in keys) for line in of_kind(lines, "signal")]
    assert rows == list(signals[names].itertuples(index=False, name=None))
    ended = {line["process"]: line["exit_status"] for line in of_kind(lines, "exit")}
    known = capture.processes["exit_status"].dropna()
    assert ended == known[capture.processes["exit_ns"].notna()].to_dict()
    clocks, wall = Clocks(capture.table), {e["process"]: e["wall"] for e in of_kind(lines, "fork")}
    for id_, fork_ns in capture.processes["fork_ns"].dropna().items():
        expected = pd.Timestamp(clocks.wall_ns(fork_ns), tz="UTC")
        assert pd.Timestamp(wall[id_]) == expected


def test_hostile_names_stay_within_their_line_and_their_value(tmp_path: Path) -> None:
    path = hostile().write(tmp_path / "x.rtrace")

    lines = lines_of(path)

    args = [line["args"] for line in of_kind(lines, "exec")]
    raw = [t if isinstance(t, bytes) else t.encode("utf-8", "surrogatepass") for t in HOSTILE]
    assert args == [[r.replace(b"\0", b"").decode("utf-8", "backslashreplace")[:8192]] for r in raw]
    assert not of_kind(lines, "forged")
    assert {line["comm"] for line in of_kind(lines, "exec")} == {"@sum\t"}
    assert {line["cgroup"] for line in of_kind(lines, "attach")} == {"/\x1b[31m/=x"}


def test_losses_are_lines_and_the_same_as_those_of_the_frame(tmp_path: Path) -> None:
    path = lossy().write(tmp_path / "x.rtrace")

    lines = lines_of(path)

    frame = rtrace.open_capture(path).losses
    keys = ["ts_ns", "until_ns", "cpu", "lost_events", "lost_details"]
    found = [tuple(line[key] for key in keys) for line in of_kind(lines, "loss")]
    assert sorted(found) == sorted(frame.itertuples(index=False, name=None))
    assert frame["events"].sum() == lines[-1]["lost_events"] == lines[0]["lost_events"] > 0
    assert frame["details"].sum() == lines[-1]["lost_details"] > 0


def test_a_cut_capture_says_so_and_gives_what_it_holds(tmp_path: Path) -> None:
    whole = (GOLDEN / "bookworm-A-shim-kill.rtrace").read_bytes()
    path = tmp_path / "x.rtrace"
    path.write_bytes(whole[: len(whole) * 2 // 3])

    lines = lines_of(path)

    table = rtrace.open_capture(path).table
    assert not table.complete
    assert lines[-1]["complete"] is False
    assert lines[-1]["damage"] == lines[0]["damage"] == table.damage
    assert sum(line["event"] not in NOT_EVENTS for line in lines) == table.events


def test_arguments_without_their_exec_are_a_line_of_their_own(tmp_path: Path) -> None:
    stream = Stream()
    init = stream.process("systemd", tgid=1)
    stream.exec(init, "/bin/a", ["a", "1"])
    stream.exec(init, "/bin/b", ["b"], detail=False)
    with stream.drop():
        lost_ns = stream.exec(init, "/bin/c")
    stream.detail(1, init, lost_ns, filename="/bin/c", args=b"c\0-x\0", args_total=5)

    lines = lines_of(stream.write(tmp_path / "x.rtrace"))

    assert [(e["filename"], e["args"]) for e in of_kind(lines, "exec")] == [
        ("/bin/a", ["a", "1"]),
        (None, None),
    ]
    (alone,) = of_kind(lines, "args")
    assert (alone["ts_ns"], alone["args"], alone["process"]) == (lost_ns, ["c", "-x"], init.id)


def test_an_oom_without_a_start_names_nobody(tmp_path: Path) -> None:
    stream = Stream()
    child = stream.fork(stream.process("systemd", tgid=1))
    stream.oom(child, start_ns=0)

    (oom,) = of_kind(lines_of(stream.write(tmp_path / "x.rtrace")), "oom")

    assert (oom["process"], oom["tgid"]) == (None, child.tgid)


def test_windows_give_what_one_window_gives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # GIVEN minutes in chunks of two seconds, with events that came late
    stream = Stream(step=40_000_000)
    init = stream.process("systemd", tgid=1)
    for number in range(300):
        child = stream.fork(init)
        stream.exec(child, "/bin/x", ["x", str(number)])
        stream.die(child)
        stream.comm(init, "late", at=stream.now - 50_000_000)
        if number % 7 == 0:
            stream.loss()
    path = stream.write(tmp_path / "x.rtrace")
    whole = lines_of(path)

    # WHEN as little as possible waits
    monkeypatch.setattr(export_stream, "ENOUGH", 1)
    windows = lines_of(path)

    # THEN nothing is lost, or out of order, or without its arguments
    assert windows == whole
    times = [line["ts_ns"] for line in windows[1:-1]]
    assert times == sorted(times)
    assert [line["args"][1] for line in of_kind(windows, "exec")] == [str(n) for n in range(300)]


def test_no_more_waits_than_allowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where all claim to be of the same time, and no detail ever comes."""
    stream = Stream(step=0)
    init = stream.process("systemd", tgid=1)
    for _ in range(40):
        stream.comm(init, "x")
        stream.loss()
    path = stream.write(tmp_path / "x.rtrace")
    monkeypatch.setattr(export_stream, "ENOUGH", 1)
    monkeypatch.setattr(export_stream, "WAITING", 8)
    waiting = []
    split = export_stream._split

    def measured(rows: Any, before: int) -> Any:
        waiting.append(len(rows))
        return split(rows, before)

    monkeypatch.setattr(export_stream, "_split", measured)

    assert len(of_kind(lines_of(path), "comm")) == 40
    assert max(waiting) < 20


@pytest.mark.parametrize("name", CAPTURES)
def test_the_overview_is_that_of_the_whole_table(name: str) -> None:
    path = GOLDEN / f"{name}.rtrace"
    table = rtrace.open_capture(path).table

    with CaptureReader(path) as reader:
        overview = look_over(reader)

    assert overview.events == table.events
    assert (overview.complete, overview.damage) == (table.complete, table.damage)
    assert overview.losses.equals(table.losses)
