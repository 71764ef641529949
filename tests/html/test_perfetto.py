"""Perfetto's own trace processor reads what `rtrace export --to perfetto` writes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from playwright.sync_api import Browser

import rtrace
from tests.export_page import blocks
from tests.exported import GOLDEN, hostile, lossy, trace_of
from tests.perfetto_reader import TraceProcessor
from tests.streams import Stream

pytestmark = pytest.mark.browser

CAPTURE = GOLDEN / "bookworm-A-shim-kill.rtrace"
TRACKS = """
    SELECT s.id, s.ts, s.dur, s.depth, s.name, s.category, t.name track, p.name parent, s.arg_set_id
    FROM slice s JOIN track t ON s.track_id = t.id LEFT JOIN track p ON t.parent_id = p.id
"""
FLOWS = """
    SELECT a.name a_name, at.name a_track, a.ts a_ts, b.name b_name, bt.name b_track, b.ts b_ts,
        b.arg_set_id args
    FROM flow f
    JOIN slice a ON f.slice_out = a.id JOIN track at ON a.track_id = at.id
    JOIN slice b ON f.slice_in = b.id JOIN track bt ON b.track_id = bt.id
"""


@pytest.fixture(scope="module")
def incident(browser: Browser) -> Iterator[TraceProcessor]:
    reader = TraceProcessor(browser, trace_of(CAPTURE))
    yield reader
    reader.close()


@pytest.fixture(scope="module")
def capture() -> rtrace.Capture:
    return rtrace.open_capture(CAPTURE)


def errors(reader: TraceProcessor) -> list[dict[str, object]]:
    """What the trace processor found to be wrong with a trace, or dropped."""
    return reader.query("SELECT name, value FROM stats WHERE severity != 'info' AND value != 0")


def args_of(reader: TraceProcessor, arg_set_id: int) -> dict[str, object]:
    rows = reader.query(f"SELECT key, display_value v FROM args WHERE arg_set_id = {arg_set_id}")
    return {str(row["key"]).removeprefix("debug."): row["v"] for row in rows}


def test_nothing_is_wrong_with_it(incident: TraceProcessor) -> None:
    assert errors(incident) == []
    # A slice that nothing ends has no duration.
    assert incident.query("SELECT name FROM slice WHERE dur < 0") == []


def test_each_process_has_a_track_and_a_life(
    incident: TraceProcessor, capture: rtrace.Capture
) -> None:
    lives = incident.query(f"{TRACKS} WHERE s.category = 'process'")

    assert len(lives) == len(capture.processes)
    by_id = {args_of(incident, row["arg_set_id"])["id"]: row for row in lives}
    table = capture.table
    for id_, row in capture.processes.iterrows():
        life, born, ended = by_id[id_], row["fork_ns"], row["exit_ns"]
        begin = table.kept_from_ns if pd.isna(born) else int(born)
        assert life["ts"] == begin
        if not pd.isna(ended):
            assert life["ts"] + life["dur"] == max(int(ended), begin)
        assert str(life["track"]).startswith(f"{life['name']} ({row['tgid']})")
    init = next(row for row in lives if "container-init" in str(row["track"]))
    assert str(init["parent"]).startswith("container web (docker)")
    assert "killed by SIGKILL" in str(args_of(incident, init["arg_set_id"])["end"])


def test_programs_nest_in_lives_and_zombies_follow(
    incident: TraceProcessor, capture: rtrace.Capture
) -> None:
    programs = incident.query(f"{TRACKS} WHERE s.category = 'exec'")
    assert {row["depth"] for row in programs} == {1}
    assert len(programs) == capture.execs["recorded"].sum()

    zombies = incident.query(f"{TRACKS} WHERE s.category = 'zombie'")
    people = capture.processes
    waited = people[people["zombie_until_ns"] > people["zombie_from_ns"]]
    assert sorted((z["ts"], z["dur"], z["depth"]) for z in zombies) == sorted(
        (int(z), int(u - z), 0)
        for z, u in zip(waited["zombie_from_ns"], waited["zombie_until_ns"], strict=True)
    )


def test_arrows_are_forks_signals_and_reparents(
    incident: TraceProcessor, capture: rtrace.Capture
) -> None:
    flows = incident.query(FLOWS)

    moved = [f for f in flows if str(f["b_name"]).startswith("adopts ")]
    reparents = capture.reparents[capture.reparents["to"].notna()]
    assert len(moved) == len(reparents)
    for flow, (_, row) in zip(
        sorted(moved, key=lambda f: (f["a_ts"], f["b_name"])),
        sorted(reparents.iterrows(), key=lambda r: (r[1]["ts_ns"], r[1]["child"])),
        strict=True,
    ):
        args = args_of(incident, flow["args"])
        assert (args["reason"], args["certainty"]) == (row["reason"], row["certainty"])
        assert (args["from"], args["child"]) == (row["from_"], row["child"])
    sent = capture.signals["sender"].notna().sum()
    assert sum(str(f["b_name"]).startswith("SIG") for f in flows) == sent
    forks = [f for f in flows if str(f["a_name"]).startswith("fork ")]
    assert len(forks) == capture.processes["fork_ns"].notna().sum()
    for flow in forks:
        assert flow["a_name"] == f"fork {' '.join(str(flow['b_track']).split(' ')[:2])}"
    assert len(flows) == len(moved) + len(forks) + sent


def test_findings_and_the_story_have_tracks(
    incident: TraceProcessor, capture: rtrace.Capture
) -> None:
    found = incident.query(f"{TRACKS} WHERE t.name = 'findings' ORDER BY s.ts")
    assert [row["name"] for row in found] == capture.findings.sort_values("ts_ns")["kind"].tolist()
    story = incident.query(f"{TRACKS} WHERE t.name = 'timeline'")
    steps = capture.timeline
    assert len(story) == len(steps[steps["fold"].isna() | (steps["kind"] == "fold")])


def test_wall_times_are_known(incident: TraceProcessor, capture: rtrace.Capture) -> None:
    clock = capture.table.header["clock"]
    rows = incident.query("SELECT clock_name, clock_value, ts FROM clock_snapshot ORDER BY ts")
    wall = {"clock_name": "REALTIME", "clock_value": clock["wall_ns"], "ts": clock["boot_ns"]}
    assert wall in rows


def test_the_recipe_of_the_page_runs(incident: TraceProcessor, capture: rtrace.Capture) -> None:
    (sql,) = (b for b in blocks("sql") if b.startswith("-- perfetto"))

    assert len(incident.query(sql)) == capture.signals["sender"].notna().sum()


def test_recycled_tgids_are_tracks_of_their_own(browser: Browser, tmp_path: Path) -> None:
    stream = Stream()
    init = stream.process("systemd", tgid=1)
    for name in ("first", "second"):
        child = stream.fork(init, comm=name, tgid=77)
        stream.die(child)
    reader = TraceProcessor(browser, trace_of(stream.write(tmp_path / "x.rtrace")))

    names = [r["name"] for r in reader.query("SELECT name FROM track WHERE name LIKE '%(77)%'")]

    assert sorted(map(str, names)) == ["first (77)", "second (77)"]
    reader.close()


def test_hostile_names_and_losses_are_read(browser: Browser, tmp_path: Path) -> None:
    reader = TraceProcessor(browser, trace_of(hostile().write(tmp_path / "x.rtrace")))
    assert errors(reader) == []
    names = [str(row["name"]) for row in reader.query("SELECT name FROM track")]
    assert all(name.isprintable() for name in names)
    reader.close()

    lost = lossy().write(tmp_path / "y.rtrace", complete=False)
    reader = TraceProcessor(browser, trace_of(lost))
    assert errors(reader) == []
    windows = reader.query(f"{TRACKS} WHERE s.category = 'losses' AND s.dur >= 0")
    assert len(windows) == len(rtrace.open_capture(lost).losses) > 0
    assert reader.query("SELECT name FROM slice WHERE name = 'cut here'")
    reader.close()
