"""Timelines and frames of random streams, also of what is cut, lossy, filtered or shuffled: they
never raise, leave nobody out, and rest on records that the capture holds."""

from __future__ import annotations

import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import rtrace
from analysis.model import Capture
from analysis.render_text import render_text
from analysis.report import build_report
from analysis.table import TYPE_OFFSET, from_chunks
from analysis.text_safety import width as columns_of
from rtrace.capture import FRAMES, documentation
from tests.found import validator
from tests.kernel_model import Kernel
from tests.property import test_parents
from tests.property.test_findings import SEEDS, SLOW, Chaos
from tests.property.test_parents import events_of, lose, make_table
from tests.streams import Stream
from tracer.abi import Type
from tracer.capture_format import EVENT_STRIDE, EVENTS
from tracer.errors import CaptureError

Json = dict[str, Any]


def check_timeline(capture: Capture, report: Json) -> None:
    """What holds for any timeline."""
    timeline = report["timeline"]
    assert [e["ts_ns"] for e in timeline] == sorted(e["ts_ns"] for e in timeline)
    listed = {process["id"] for process in report["processes"]}
    folds = {e["fold"]: e for e in timeline if e["kind"] == "fold"}
    for entry in timeline:
        assert entry["text"].isprintable()
        assert set(entry["processes"]) <= listed
        assert (entry["count"] is None) == (entry["kind"] != "fold")
        for evidence in entry["evidence"]:
            assert holds(capture, evidence), entry
        if entry["fold"] is not None:
            fold = folds[entry["fold"]]
            assert fold["ts_ns"] <= entry["ts_ns"] <= fold["until_ns"]
            assert fold["container"] == entry["container"]
    for number, fold in folds.items():
        inside = sum(e["fold"] == number for e in timeline) - 1
        assert 3 <= fold["count"] <= inside


def holds(capture: Capture, evidence: Json) -> bool:
    """The record is there; of an exec its detail may be all that is."""
    tgid, ts_ns = int(evidence["id"].split(":")[0]), evidence["ts_ns"]
    sources = [capture.table.of(Type[evidence["event"]])]
    if evidence["event"] == "EXEC":
        sources.append(capture.table.details)
    return any(bool(((s["ts_ns"] == ts_ns) & (s["tgid"] == tgid)).any()) for s in sources)


def check_told(report: Json) -> None:
    """Everybody who came or went is told, counted, a stage of runc, or no process of user space."""
    told = {id_ for e in report["timeline"] for id_ in e["processes"]}
    moved = {
        p["id"]
        for p in report["processes"]
        if (p["fork_ns"] is not None or p["exit_ns"] is not None)
        and not (p["kthread"] or p["stub"])
    }
    counted = sum(u["processes"] for u in report["untold"])
    left = len(moved - told)
    assert counted <= left
    stages = {c["process"]["id"] for run in _runs(report) for c in run["calls"] if c["process"]}
    # What calls of runc made is told as those calls.
    made = {p["id"] for p in report["processes"] if p["forker"] in stages | _stages(report, stages)}
    assert left - counted <= len(made - told)


def _runs(report: Json) -> list[Json]:
    return [run for container in report["containers"] for run in container["runs"]]


def _stages(report: Json, calls: set[str]) -> set[str]:
    """What those calls forked, and what that forked."""
    found = set(calls)
    for _ in range(8):
        found |= {p["id"] for p in report["processes"] if p["forker"] in found}
    return found


def check_texts(report: Json, full: Json) -> None:
    for width, times, built, options in (
        (60, "both", report, {}),
        (80, "auto", report, {"unfold": True}),
        (130, "utc", full, {"full": True}),
    ):
        text = render_text(built, width=width, color=False, times=times, **options)
        assert max(columns_of(line) for line in text.splitlines()) <= width


def check_frames(capture: rtrace.Capture) -> None:
    for name in FRAMES:
        frame = getattr(capture, name)
        assert [(c, str(dtype)) for c, dtype in frame.dtypes.items()] == [
            (column.name, column.dtype) for column in documentation(name)
        ]
    people = capture.processes
    assert people.index.is_unique
    later = people["zombie_until_ns"] >= people["zombie_from_ns"]
    assert later.dropna().all()
    known = set(people.index) | {None}
    assert set(people["reaped_by"]) <= known
    assert set(capture.signals["sender"]) <= known
    fatal = capture.signals.query("fatal")
    assert fatal["target"].is_unique
    # The same that reports name.
    for row in fatal.itertuples():
        by = capture.scene.end_of(people.index.get_loc(row.target)).by
        assert by is not None
        assert by.ts_ns == row.ts_ns


def check_all(capture: rtrace.Capture) -> None:
    report, full = build_report(capture), build_report(capture, full=True)
    for built in (report, full):
        validator().validate(built)
        check_timeline(capture, built)
    check_told(report)
    assert full["untold"] == []
    check_texts(report, full)
    check_frames(capture)


@SLOW
@given(seed=SEEDS)
def test_stories_of_anything(seed: int, tmp_path: Path) -> None:
    chaos = Chaos(seed)
    chaos.run(40)
    chaos.spoil()
    complete = chaos.chance.random() < 0.8
    path = chaos.stream.write(tmp_path / "x.rtrace", complete=complete)
    check_all(rtrace.open_capture(path))


@SLOW
@given(seed=SEEDS, share=st.floats(0.3, 0.99))
def test_stories_of_a_file_that_is_cut_anywhere(seed: int, share: float, tmp_path: Path) -> None:
    chaos = Chaos(seed)
    chaos.run(25)
    chaos.spoil()
    path = chaos.stream.write(tmp_path / "x.rtrace")
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    try:
        capture = rtrace.open_capture(path)
    except CaptureError:
        assume(False)  # in the middle of its header
    check_all(capture)


def table_of(stream: Stream, change: Any) -> Any:
    """A table of the stream's chunks, whose events ``change`` gives back in another order, or
    fewer of them."""
    chunks = [(kind, data) for kind, data in stream.chunks() if kind != EVENTS]
    events = b"".join(data for kind, data in stream.chunks() if kind == EVENTS)
    rows = [events[i : i + EVENT_STRIDE] for i in range(0, len(events), EVENT_STRIDE)]
    reader = SimpleNamespace(
        header=stream.header,
        trailer={"ts_ns": stream.now + 10**9, "losses": []},
        complete=True,
        damage=None,
    )
    return from_chunks(reader, [*chunks, (EVENTS, b"".join(change(rows)))])


@SLOW
@given(seed=SEEDS)
def test_the_order_in_the_file_does_not_matter(seed: int) -> None:
    chaos = Chaos(seed)
    chaos.run(30)
    chaos.spoil()

    def shuffled(rows: list[bytes]) -> list[bytes]:
        return random.Random(seed).sample(rows, len(rows))

    first = rtrace.Capture(table_of(chaos.stream, list))
    second = rtrace.Capture(table_of(chaos.stream, shuffled))
    one, two = build_report(first), build_report(second)
    for key in ("timeline", "daemons", "untold"):
        assert one[key] == two[key]
    for name in FRAMES:
        assert getattr(first, name).equals(getattr(second, name)), name


@SLOW
@given(seed=SEEDS, kinds=st.sets(st.sampled_from(sorted(Type)), min_size=1))
def test_whole_kinds_of_events_may_be_missing(seed: int, kinds: set[Type]) -> None:
    chaos = Chaos(seed)
    chaos.run(30)
    chaos.spoil()
    offset = TYPE_OFFSET

    def without(rows: list[bytes]) -> list[bytes]:
        return [row for row in rows if row[offset] not in kinds]

    check_all(rtrace.Capture(table_of(chaos.stream, without)))


# --- truth -------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.0, 0.02, 0.3])
@test_parents.SLOW
@given(seed=SEEDS)
def test_who_reaped_whom_is_true_where_it_is_confirmed(share: float, seed: int) -> None:
    kernel = Kernel(seed)
    kernel.run(1200)
    chance = random.Random(seed)
    events = lose(events_of(kernel.stream), lambda _: chance.random() < share)
    frame = rtrace.Capture(make_table(kernel.stream, events)).processes
    sure = frame[frame["reaped_certainty"] == "confirmed"]
    truth = {process.id: process.truth for process in kernel.processes}
    for row in sure.itertuples():
        assert row.reaped_by == truth[row.Index][-1][1], row
    if not share:
        reaped = frame[frame["reap_ns"].notna() & frame["fork_ns"].notna()]
        assert reaped["reaped_by"].notna().all()
