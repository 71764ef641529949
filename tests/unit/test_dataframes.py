"""Frames for notebooks: their documentation is true, and so are their rows."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

import pandas as pd
import pytest

import rtrace
from rtrace.capture import FRAMES, documentation
from rtrace.columns import read_columns
from tests import dataframes_page, lives
from tests.lives import CID, Host
from tests.streams import BOOT_NS, Stream
from tracer.abi import Context, Origin

MS, SECOND = 1_000_000, 1_000_000_000


def capture_of(stream: Stream, tmp_path: Path, *, complete: bool = True) -> rtrace.Capture:
    return rtrace.open_capture(stream.write(tmp_path / "incident.rtrace", complete=complete))


def eventful() -> Host:
    """A container that is checked, restarted and killed; a daemon that comes back; losses."""
    h = lives.host(managed=False)
    lives.begin(h)
    for _ in range(4):
        h.stream.die(lives.run_exec(h, h.procs["shim"], CID, "/bin/check"))
        h.stream.wait(SECOND)
    h.stream.signal(h.procs["init"], 15, h.shell)
    h.stream.signal(h.procs["init"], 9, h.shell)
    lives.end(h, signal=9, stop=False)
    lives.begin(h)
    h.stream.die(h.containerd, 1)
    again = h.stream.fork(h.init)
    h.stream.exec(again, "/usr/bin/containerd", cgroup="/system.slice/containerd.service")
    with h.stream.drop():
        h.stream.fork(h.shell)
    h.stream.oom(h.shell)
    h.stream.die(h.shell, signal=9, reap=False)
    h.stream.snapshot("end")
    return h


def empty() -> Stream:
    return Stream()


@pytest.mark.parametrize("make", [eventful, empty])
@pytest.mark.parametrize("frame", FRAMES)
def test_columns_are_as_documented(make: object, frame: str, tmp_path: Path) -> None:
    made = make()  # type: ignore[operator]
    capture = capture_of(made if isinstance(made, Stream) else made.stream, tmp_path)
    found = getattr(capture, frame)
    columns = documentation(frame)
    assert [(name, str(dtype)) for name, dtype in found.dtypes.items()] == [
        (column.name, column.dtype) for column in columns
    ]
    for column in columns:
        assert column.what
        assert column.source
        # A quantity has its unit in its name.
        assert column.name.endswith("_ns") == (column.unit == "ns")
    assert capture.columns(frame).index.tolist() == [column.name for column in columns]


def test_every_frame_has_rows_in_the_eventful_capture(tmp_path: Path) -> None:
    capture = capture_of(eventful().stream, tmp_path)
    assert [frame for frame in FRAMES if getattr(capture, frame).empty] == []


def test_the_page_says_what_the_docstrings_say() -> None:
    """If not: `python -m tests.dataframes_page` writes it."""
    assert dataframes_page.PAGE.read_text() == dataframes_page.page()


def test_a_column_without_unit_or_source_is_no_documentation() -> None:
    with pytest.raises(ValueError, match="not documented"):
        read_columns("x\n\nColumns:\n    a (int64): something [EXIT]\n")
    with pytest.raises(ValueError, match="not documented"):
        read_columns("x\n\nColumns:\n    a (int64; ns): something\n")


def test_a_frame_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(KeyError, match="there are processes, parents"):
        capture_of(empty(), tmp_path).columns("process")


def test_the_example_runs_and_tells_the_truth(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", dataframes_page.PAGE.read_text(), re.DOTALL)
    capture_of(eventful().stream, tmp_path)
    monkeypatch.chdir(tmp_path)
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compile(code, "docs/dataframes.md", "exec"), {})
    text = out.getvalue()
    assert re.search(r"web +1 +was killed by SIGKILL \(9\), sent by bash \(900\) +10\.", text)
    assert re.search(r"web +2 +still running at the end +<?NA", text)
    assert re.search(r"SIGKILL +bash +nginx", text)
    assert re.search(r"\d+ of \d+ adoptions are not certain", text)
    assert "2023-11-14 22:13:20" in text
    assert "docker (1000) ran: docker run --rm --name web nginx" in text


# --- what the rows say -------------------------------------------------------------------------


def test_zombies_and_who_reaped_them(tmp_path: Path) -> None:
    # GIVEN one child that is waited for after 100 ms, one whose parent leaves it to init, and one
    # that nobody waits for
    s = Stream()
    init = s.process("systemd", tgid=1)
    parent = s.fork(init)
    slow, left, never = (s.fork(parent) for _ in range(3))
    ends = [s.die(process, reap=False) for process in (slow, left)]
    s.wait(100 * MS)
    reaped = [s.reap(slow)]
    s.die(parent)
    reaped.append(s.reap(left))
    last = s.fork(init)
    s.die(last, reap=False)
    frame = capture_of(s, tmp_path).processes
    # THEN each has its time as a zombie, and who ended that
    for process, end, reap, by, certainty in zip(
        (slow, left),
        ends,
        reaped,
        (parent.id, init.id),
        # REAP comes late: it may be of before the adoption.
        ("confirmed", "inferred"),
        strict=True,
    ):
        row = frame.loc[process.id]
        assert (row.zombie_from_ns, row.zombie_until_ns) == (end, reap)
        assert row.reaped_by == by
        assert row.reaped_certainty == certainty
        assert row.lifetime_ns == end - process.start_ns
    assert frame.loc[last.id].zombie_until_ns is pd.NA
    assert frame.loc[last.id].reaped_by is None
    alive = frame.loc[never.id]
    assert alive.zombie_from_ns is pd.NA
    assert alive.lifetime_ns is pd.NA
    assert alive.reaped_by is None


def test_units_of_daemons_and_none_of_containers(tmp_path: Path) -> None:
    h = lives.host()
    lives.begin(h)
    h.stream.exec(h.shell, "/bin/sh", cgroup="/user.slice/user-0.slice/session-3.scope")
    frame = capture_of(h.stream, tmp_path).processes
    assert frame.loc[h.shell.id].unit == "session-3.scope"
    assert frame.loc[h.procs["init"].id].unit is None
    assert frame.loc[h.procs["init"].id].container == CID


def test_exec_history(tmp_path: Path) -> None:
    s = Stream()
    init = s.process("systemd", tgid=1)
    old = s.process("old", init, exe="/bin/old", args=["old", "-x"])
    s.snapshot("start")
    shell = s.fork(init)
    first = s.exec(shell, "/bin/sh", "sh -c runc")
    second = s.exec(shell, "/usr/bin/runc", f"runc create {CID}")
    end = s.die(shell)
    execs = capture_of(s, tmp_path).execs
    own = execs[execs.process == shell.id]
    assert own.ts_ns.tolist() == [first, second]
    assert own.until_ns.tolist() == [second, end]
    assert own.filename.tolist() == ["/bin/sh", "/usr/bin/runc"]
    assert own.program.tolist() == ["other", "runc"]
    assert own.verb.tolist() == [None, "create"]
    assert own.container.tolist() == [CID, CID]
    (before,) = execs[execs.process == old.id].itertuples()
    assert before.ts_ns is pd.NA
    assert not before.recorded
    assert before.args == ("old", "-x")


def test_signals_their_senders_and_the_fatal_one(tmp_path: Path) -> None:
    s = Stream()
    init = s.process("systemd", tgid=1)
    killer, target, other = (s.fork(init) for _ in range(3))
    s.signal(target, 15, killer)  # survived
    s.signal(target, 9, killer, result=2)
    s.signal(target, 9, killer)
    s.signal(target, 9, other)  # too late
    s.die(target, signal=9)
    s.signal(other, 15, killer)
    s.signal(other, 15, init)
    death = {"origin": Origin.NOINFO, "context": Context.EXITING | Context.PDEATH}
    s.signal(other, 15, killer, **death)
    s.die(other, signal=15)
    capture = capture_of(s, tmp_path)
    signals = capture.signals
    assert signals.fatal.tolist() == [False, False, True, False, False, False, True]
    assert signals.result.tolist()[:3] == ["delivered", "already-pending", "delivered"]
    last = signals.iloc[-1]
    assert (last.kind, last.sender, last.context) == ("parent-death", None, killer.id)
    assert (signals.iloc[2].sender, signals.iloc[2].context) == (killer.id, None)
    # It is the one that reports name.
    for process in (target, other):
        by = capture.scene.end_of(capture.processes.index.get_loc(process.id)).by
        assert by is not None
        (row,) = signals[(signals.target == process.id) & signals.fatal].itertuples()
        assert row.ts_ns == by.ts_ns


def test_runs_of_a_restarted_container(tmp_path: Path) -> None:
    h = eventful()
    capture = capture_of(h.stream, tmp_path)
    first, second = capture.containers.itertuples()
    assert (first.run, second.run) == (1, 2)
    assert first.runs == second.runs == 2
    assert (first.how, first.cause, first.killed_by) == ("killed", "process", h.shell.id)
    assert (first.calls, first.execs, first.shim_how) == (7, 4, "exited")
    assert (second.how, second.end) == ("running", "still running at the end")
    order = [
        *("client_ns", "shim_start_ns", "shim_ns", "create_ns", "init_ns", "create_exit_ns"),
        *("start_ns", "workload_ns", "exit_ns", "shim_exit_ns"),
    ]
    times = [getattr(first, name) for name in order]
    assert times == sorted(times)
    calls = capture.calls
    assert calls[calls.run == 1].verb.tolist() == [
        "create",
        "start",
        *["exec"] * 4,
        "delete",
    ]
    assert calls[calls.verb == "exec"].exec_process.notna().all()


def test_timeline_and_findings(tmp_path: Path) -> None:
    h = eventful()
    capture = capture_of(h.stream, tmp_path)
    timeline, findings = capture.timeline, capture.findings
    assert timeline.ts_ns.is_monotonic_increasing
    (fold,) = timeline[timeline.kind == "fold"].itertuples()
    assert timeline.loc[fold.Index, "count"] == 4
    assert (timeline["fold"] == fold.fold).sum() > 4
    started = pd.Timestamp("2023-11-14 22:13:20", tz="UTC")
    expected = started + pd.to_timedelta(timeline.ts_ns - BOOT_NS, unit="ns")
    assert (timeline.wall == expected).all()
    known = set(capture.processes.index)
    for ids in (*timeline.processes, *findings.processes):
        assert set(ids) <= known
    assert "container-killed-from-outside" in set(findings.kind)
    assert findings.severity.tolist() == sorted(
        findings.severity, key=["error", "warning", "info"].index
    )


def test_daemons(tmp_path: Path) -> None:
    h = eventful()
    frame = capture_of(h.stream, tmp_path).daemons
    assert frame.role.tolist() == ["dockerd", "containerd", "containerd"]
    again = frame.iloc[2]
    assert (again.unit, again.former) == ("containerd.service", h.containerd.id)
    assert frame.how.tolist() == ["running", "exited", "running"]


def test_losses(tmp_path: Path) -> None:
    losses = capture_of(eventful().stream, tmp_path).losses
    assert losses.events.sum() == 1
    assert (losses.to_ns >= losses.from_ns).all()


def test_no_time_becomes_a_float(tmp_path: Path) -> None:
    """Boot-time ns pass 2**53 after 104 days."""
    start = 2**53 + 1
    s = Stream(start_ns=start)
    init = s.process("systemd", tgid=1)
    child = s.fork(init)
    end = s.die(child)
    row = capture_of(s, tmp_path).processes.loc[child.id]
    assert row.start_ns == child.start_ns
    assert row.exit_ns == row.zombie_from_ns == end
    for value in (row.start_ns, row.exit_ns, row.lifetime_ns):
        assert isinstance(int(value), int)
        assert not isinstance(value, float)


def test_a_capture_that_is_cut(tmp_path: Path) -> None:
    capture = capture_of(eventful().stream, tmp_path, complete=False)
    assert not capture.table.complete
    for frame in FRAMES:
        assert len(getattr(capture, frame)) >= 0
