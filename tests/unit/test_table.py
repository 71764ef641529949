"""Captures as columns: exact, sorted, and safe whatever a capture holds."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from analysis import losses
from analysis.details import DETAIL_COLUMNS
from analysis.losses import SLACK_NS, touched
from analysis.table import Table, from_chunks, load
from tests.streams import Stream
from tracer import abi
from tracer.abi import Type
from tracer.capture_format import DETAILS, EVENTS, PROCESSES, TASKS
from tracer.errors import CaptureError


def read(stream: Stream, folder: Path, *, complete: bool = True) -> Table:
    return load(stream.write(folder / "x.rtrace", complete=complete))


def test_events_by_type_and_time(tmp_path: Path) -> None:
    s = Stream()
    shell = s.process("sh")
    late = s.fork(shell, at=s.now + 5000)
    early = s.fork(shell, at=s.now - 1000)
    s.exit(late, 3)

    table = read(s, tmp_path)

    forks = table.of(Type.FORK)
    assert forks["tgid"].tolist() == [early.tgid, late.tgid]
    assert set(abi.event_layout(Type.FORK)["names"]) <= set(forks.dtype.names or ())
    assert table.of(Type.EXIT)["exit_code"].tolist() == [3 << 8]
    assert len(table.of(Type.OOM)) == 0
    assert (table.events, table.first_ns) == (3, int(forks["ts_ns"][0]))
    assert table.complete
    assert table.cut_ns is None


def test_events_at_one_time_are_ordered_by_process(tmp_path: Path) -> None:
    s = Stream()
    shell = s.process("sh")
    for tgid in (900, 700, 800):
        s.fork(shell, at=s.now, tgid=tgid, start_ns=5)
    assert read(s, tmp_path).of(Type.FORK)["tgid"].tolist() == [700, 800, 900]


def test_details(tmp_path: Path) -> None:
    s = Stream()
    shell = s.process("sh")
    first, second = s.fork(shell), s.fork(shell)
    s.exec(first, "/bin/a", ["a", "", "b c"], cgroup="/x/y", cgroup_v1="/pids/z", args_total=9000)
    s.exec(second, "/bin/a", [b"\xff\x1b".decode("latin1")])
    s.attach(second, "/moved", hierarchy=4)

    details = read(s, tmp_path).details

    assert details.columns.tolist() == list(DETAIL_COLUMNS)
    assert details["type"].tolist() == ["EXEC", "EXEC", "ATTACH"]
    assert details["args"][0] == ("a", "", "b c")
    assert details["cgroup"].tolist() == ["/x/y", "", "/moved"]
    assert details["cgroup_v1"].tolist() == ["/pids/z", "", ""]
    assert details["args_cut"].tolist() == [True, False, False]
    assert details["hierarchy"].tolist() == [0, 0, 4]
    assert details["tgid"].tolist() == [first.tgid, second.tgid, second.tgid]


def test_texts_that_are_not_utf8_stay_printable(tmp_path: Path) -> None:
    s = Stream()
    shell = s.process("sh")
    s.exec(shell, b"/bin/\xff\xfe".decode("utf-8", "surrogateescape"))
    details = read(s, tmp_path).details
    assert details["filename"].tolist() == [r"/bin/\xff\xfe"]


def test_snapshots_and_proc(tmp_path: Path) -> None:
    s = Stream()
    s.process("sh", exe="/bin/sh", args=["sh", "-c"])
    s.snapshot("start")
    s.snapshot("end")

    table = read(s, tmp_path)

    assert table.tasks["phase"].tolist() == ["start", "end"]
    assert table.tasks["comm"].tolist() == ["sh", "sh"]
    assert table.procs["args"].tolist() == [("sh", "-c")] * 2
    assert table.procs["exe"].tolist() == ["/bin/sh"] * 2


def test_a_snapshot_in_several_chunks(tmp_path: Path) -> None:
    """GIVEN events and /proc in between THEN it is one snapshot; the next begins at the lowest."""
    s = Stream()
    first, second, third = (s.process(name) for name in "abc")
    s.task("start", first)
    begin = s.now
    s.comm(first, "x")
    s.task("start", second, third)
    end = s.now
    s.proc("start", first)
    s.task("start", first, third)
    s.proc("start", first)
    s.task("end", third)
    s.proc("end", third)

    table = read(s, tmp_path)

    assert [(x.phase, x.begin_ns, x.end_ns) for x in table.snapshots] == [
        ("start", begin, end),
        ("start", end + s.step, end + 2 * s.step),
        ("end", end + 3 * s.step, end + 3 * s.step),
    ]
    assert table.procs["ts_ns"].tolist() == [x.begin_ns for x in table.snapshots]


def test_no_losses_no_windows(tmp_path: Path) -> None:
    s = Stream()
    s.fork(s.process("sh"))
    assert read(s, tmp_path).losses.empty


def test_losses_are_between_two_events_of_a_cpu(tmp_path: Path) -> None:
    s = Stream(step=10_000_000)
    shell = s.process("sh")
    s.fork(shell)
    before = s.now
    s.wait(10**9)
    s.lost(7)
    s.fork(shell)
    after = s.now
    s.fork(shell, cpu=1)

    windows = read(s, tmp_path).losses

    assert windows[["cpu", "events", "details"]].values.tolist() == [[0, 7, 0]]
    assert windows["from_ns"].tolist() == [before - SLACK_NS]
    assert windows["to_ns"].tolist() == [after + SLACK_NS]


def test_losses_that_only_a_total_tells(tmp_path: Path) -> None:
    s = Stream(step=10_000_000)
    s.fork(s.process("sh"))
    last = s.now
    s.lost(5, 2)
    s.loss()
    total = s.now

    windows = read(s, tmp_path).losses

    assert windows[["from_ns", "events", "details"]].values.tolist() == [
        [0, 0, 2],
        [last - SLACK_NS, 5, 0],
    ]
    assert windows["to_ns"].tolist() == [total + SLACK_NS] * 2
    begin, end = np.array([0, last, total * 2]), np.array([last // 2, total, total * 3])
    assert touched(windows, begin, end).tolist() == [False, True, False]


def test_more_losses_than_anybody_reads_are_told_as_fewer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(losses, "MOST", 10)
    s = Stream()
    for total in range(1, 40):
        s.wait(10**9)
        s.json(b"LOSS", {"ts_ns": s.now, "cpus": [[total, 0], [0, total]]})
    s.trailer["losses"] = [[39, 0], [0, 39]]
    found = load(s.write(tmp_path / "x")).losses
    assert len(found) <= 10
    assert (found["cpu"] == -1).any()
    assert (found["events"].sum(), found["details"].sum()) == (39, 39)
    moments = np.arange(s.start_ns + 10**9, s.now, 10**9)
    assert touched(found, moments, moments).all()


def test_of_facts_no_more_is_kept_than_the_format_names(tmp_path: Path) -> None:
    s = Stream()
    s.fact("container", id="c", name="web", labels={"a": "b", "c": {"d": [1]}}, more=[[]] * 1000)
    s.fact("runtime", name="docker", more={"x": 1})
    s.fact("unheard of", more=[[]] * 1000)
    container, runtime = load(s.write(tmp_path / "x")).facts
    assert container.keys() == {"kind", "ts_ns", "id", "name", "labels"}
    assert container["labels"] == {"a": "b", "c": "{'d': [1]}"}
    assert runtime.keys() == {"kind", "ts_ns", "name"}


def test_a_cut_capture(tmp_path: Path) -> None:
    s = Stream()
    s.fork(s.process("sh"))
    table = read(s, tmp_path, complete=False)
    assert not table.complete
    assert table.trailer is None
    assert table.cut_ns == s.now - SLACK_NS


def test_progress(tmp_path: Path) -> None:
    s = Stream()
    shell = s.process("sh")
    s.fork(shell)
    s.flush()
    s.fork(shell)
    seen: list[float] = []
    load(s.write(tmp_path / "x.rtrace"), seen.append)
    assert seen == sorted(seen)
    assert 0 < seen[0] <= seen[-1] <= 1


def test_not_a_capture(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"no")
    with pytest.raises(CaptureError):
        load(tmp_path / "x")


def test_odd_contents() -> None:
    s = Stream()
    s.event(200, s.process("unknown type"))
    s.chunk(EVENTS, b"\xff" * 50)
    s.chunk(DETAILS, b"\xff" * 60)
    s.chunk(DETAILS, b"")
    s.chunk(TASKS, b"\1")
    s.chunk(TASKS, bytes([9]) + bytes(7 + abi.TASK_SIZE))
    s.chunk(b"ODD!", b"?")
    s.json(b"FACT", {"kind": "x", "ts_ns": 1})

    # The reader refuses these; the table does not rely on it.
    reader = SimpleNamespace(header=s.header, trailer=None, complete=False, damage="odd")
    table = from_chunks(reader, s.chunks())

    assert table.events == 0
    assert table.details.empty
    assert table.tasks.empty
    assert table.procs.empty
    assert not table.facts


@pytest.mark.parametrize(
    ("kind", "odd"),
    [
        (PROCESSES, {}),
        (PROCESSES, {"phase": "start", "processes": [1, {"tgid": "x", "start_ns": -1}]}),
        (b"LOSS", {"ts_ns": "now", "cpus": [[1], 2, ["x", None], [2**80, 1]]}),
    ],
)
def test_json_of_a_wrong_shape_is_refused(kind: bytes, odd: dict[str, Any]) -> None:
    s = Stream()
    s.json(kind, odd)
    reader = SimpleNamespace(header=s.header, trailer=None, complete=False, damage="odd")

    with pytest.raises(CaptureError):
        from_chunks(reader, s.chunks())


def test_events_that_the_trailer_counts_and_nobody_finds() -> None:
    s = Stream()
    s.fork(s.process("a"), "b")
    trailer = {"events": 5, "losses": []}
    reader = SimpleNamespace(header=s.header, trailer=trailer, complete=True, damage=None)

    table = from_chunks(reader, s.chunks())

    assert not table.complete
    assert table.damage == "its trailer counts 5 events, and there are 1"
