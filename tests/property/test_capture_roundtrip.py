"""Whatever is written is read; whatever is not a capture ends in a sentence, never otherwise."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.streams import Stream
from tracer.capture_format import JSON_TYPES, dump_json, load_json, pack_frame, pack_prefix
from tracer.capture_reader import CaptureReader
from tracer.capture_writer import CaptureWriter
from tracer.errors import CaptureError

# Machines that run tests are busy: how long one example takes says nothing.
unhurried = settings(deadline=None)

HEADER = {"schema": 1, "clock": {"boot_ns": 1, "wall_ns": 2}}

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(1 << 70), 1 << 70)
    | st.floats(allow_nan=False)
    | st.text(st.characters(categories=None)),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)
storable = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 63), (1 << 64) - 1) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)
# Names of real keys, so that values of wrong types get where they are looked at.
KEYS = ["schema", "clock", "boot_ns", "wall_ns", "host", "phase", "processes", "tgid", "start_ns"]
KEYS += ["args", "kind", "ts_ns", "cpus", "losses", "id", "name", "layout", "event", "payloads"]
likely_objects = st.dictionaries(st.sampled_from(KEYS), json_values)
unknown_types = st.binary(min_size=4, max_size=4).filter(
    lambda kind: kind not in JSON_TYPES | {b"HEAD", b"EVTS", b"TASK", b"SOCK"}
)


def read_bytes(data: bytes) -> tuple[list[tuple[bytes, bytes]], CaptureReader] | CaptureError:
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        try:
            with CaptureReader(file.name) as reader:
                chunks = list(reader.chunks())
                assert reader.complete == (reader.damage is None)
                return chunks, reader
        except CaptureError as error:
            return error


def chunk(kind: bytes, content: bytes) -> bytes:
    payload = zstandard.compress(content)
    return pack_frame(kind, payload, len(content)) + payload


@unhurried
@given(st.lists(st.tuples(unknown_types, st.binary(max_size=300))), st.booleans())
def test_chunks_come_back(chunks: list[tuple[bytes, bytes]], complete: bool) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "x"
        writer = CaptureWriter(path, HEADER)
        for kind, content in chunks:
            writer.write(kind, content)
        if complete:
            writer.close({"ts_ns": 1})
        else:
            writer.abandon()
        with CaptureReader(path) as reader:
            found = list(reader.chunks())
    assert found[: len(chunks)] == chunks
    assert reader.complete == complete


@unhurried
@given(st.dictionaries(st.text(), storable))
def test_facts_come_back(values: dict[str, Any]) -> None:
    fact = values | {"kind": "any", "ts_ns": 1}
    assert load_json(b"FACT", dump_json(fact)) == fact


@unhurried
@given(st.text(st.characters(categories=None)))
def test_any_string_can_be_written_and_printed(text: str) -> None:
    fact = load_json(b"FACT", dump_json({"kind": "any", "ts_ns": 1, "text": text}))
    fact["text"].encode("utf-8")


@unhurried
@given(st.sampled_from(sorted(JSON_TYPES)), json_values | likely_objects)
def test_json_is_checked_or_refused(kind: bytes, value: Any) -> None:
    content = json.dumps(value).encode()
    try:
        checked = load_json(kind, content)
    except CaptureError:
        return
    if kind in (b"FACT", b"LOSS", b"TAIL"):
        assert 0 <= checked["ts_ns"] < 1 << 64


@unhurried
@given(st.binary(max_size=200))
def test_any_bytes(data: bytes) -> None:
    for start in (b"", pack_prefix(), pack_prefix() + chunk(b"HEAD", dump_json(HEADER))):
        result = read_bytes(start + data)
        sentence = str(result) if isinstance(result, CaptureError) else result[1].damage
        assert sentence
        assert "\n" not in sentence


@unhurried
@given(
    st.lists(
        st.tuples(
            st.sampled_from([*sorted(JSON_TYPES), b"EVTS", b"TASK", b"DETL"]),
            st.binary(max_size=200) | likely_objects.map(lambda v: json.dumps(v).encode()),
        )
    )
)
def test_any_content_with_a_right_checksum(chunks: list[tuple[bytes, bytes]]) -> None:
    data = pack_prefix() + chunk(b"HEAD", dump_json(HEADER))
    result = read_bytes(data + b"".join(chunk(*c) for c in chunks))
    assert not isinstance(result, CaptureError)
    assert result[0] == chunks[: len(result[0])]


@unhurried
@given(st.data())
def test_damage_anywhere_leaves_a_prefix(data: st.DataObject) -> None:
    stream = Stream()
    parent = stream.process()
    for _ in range(data.draw(st.integers(0, 5))):
        child = stream.fork(parent)
        stream.exec(child, "/bin/x")
        stream.die(child)
        if data.draw(st.booleans()):
            stream.loss()
    capture = stream.to_bytes()
    intact = read_bytes(capture)
    assert not isinstance(intact, CaptureError)
    position = data.draw(st.integers(0, len(capture) - 1))
    length = data.draw(st.integers(0, 20))
    damaged = capture[:position] + data.draw(st.binary(max_size=20)) + capture[position + length :]
    result = read_bytes(damaged)
    if isinstance(result, CaptureError) or damaged == capture:
        return
    chunks, reader = result
    assert not reader.complete
    assert chunks == intact[0][: len(chunks)]
