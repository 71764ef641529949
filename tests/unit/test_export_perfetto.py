"""The packets of a trace, held against what the capture says: chromium is not needed for this."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from perfetto.protos.perfetto.trace.perfetto_trace_pb2 import Trace, TrackEvent

import rtrace
from analysis.export import perfetto_people
from analysis.scene import Scene
from tests.exported import GOLDEN, hostile, trace_of

CAPTURES = sorted(GOLDEN.glob("*-shim-kill.rtrace"))


def packets_of(path: Path) -> Any:
    return Trace.FromString(trace_of(path)).packet


def notes_of(event: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for note in event.debug_annotations:
        kind = note.WhichOneof("value")
        words = [word.string_value for word in note.array_values]
        found[note.name] = getattr(note, kind) if kind else words
    return found


@pytest.mark.parametrize("path", CAPTURES, ids=lambda path: path.stem)
def test_each_life_says_what_the_scene_knows(path: Path) -> None:
    scene: Scene = rtrace.open_capture(path).scene
    lives = {}
    for packet in packets_of(path):
        event = packet.track_event
        if event.type == TrackEvent.TYPE_SLICE_BEGIN and event.categories == ["process"]:
            notes = notes_of(event)
            lives[notes["id"]] = notes, event.name
    assert list(lives) == scene.ids.tolist()
    for pos, (notes, name) in enumerate(lives.values()):
        ended, parent = scene.end_of(pos), int(scene.first_parent[pos])
        assert name == (scene.name(pos) or "?")
        assert notes["end"] == scene.end_text(ended)
        assert notes.get("exit_status") == ended.status
        assert notes.get("exit_signal") == ended.signal
        assert notes["role"] == scene.roles[pos]
        assert notes.get("parent") == (scene.ids[parent] if parent >= 0 else None)
        assert notes.get("args", []) == list(scene.args(pos))
        assert (notes["began"] == "recorded") == (scene.fork_ns[pos] >= 0)


def test_blocks_make_no_difference(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = hostile().write(tmp_path / "x.rtrace")
    for each in (path, CAPTURES[0]):
        monkeypatch.undo()
        whole = on_tracks(each)
        monkeypatch.setattr(perfetto_people, "_BLOCK", 3)
        assert on_tracks(each) == whole


def on_tracks(path: Path) -> dict[int, list[bytes]]:
    """What is on each track, in the order in which Perfetto takes it."""
    found: defaultdict[int, list[Any]] = defaultdict(list)
    for packet in packets_of(path):
        if packet.HasField("track_event"):
            found[packet.track_event.track_uuid].append(packet)
        else:
            found[0].append(packet)
    return {
        track: [p.SerializeToString() for p in sorted(packets, key=lambda p: p.timestamp)]
        for track, packets in found.items()
    }


def test_arrows_begin_before_they_end(tmp_path: Path) -> None:
    for path in (*CAPTURES, hostile().write(tmp_path / "x.rtrace")):
        begun: set[int] = set()
        ended: set[int] = set()
        for packet in packets_of(path):
            event = packet.track_event
            begun.update(event.flow_ids)
            assert set(event.terminating_flow_ids) <= begun
            ended.update(event.terminating_flow_ids)
        assert begun == ended


def test_words_with_odd_characters(tmp_path: Path) -> None:
    names: list[str] = []
    for packet in packets_of(hostile().write(tmp_path / "x.rtrace")):
        notes = notes_of(packet.track_event)
        names += [packet.track_event.name, *notes.get("args", []), str(notes.get("filename", ""))]
    assert names
    assert all(name.isprintable() for name in names)
    assert "a\\nb\\r\\x1b[2J" in names
