"""Captures as they should be, and files that are no captures, cut, damaged or malicious.

Whatever a file holds, opening and reading it ends, in bounded memory, with the right chunks and a
sentence about why there are not more, or with one CaptureError.
"""

from __future__ import annotations

import os
import re
import socket
import struct
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import pytest
import zstandard

from tests.streams import Stream
from tracer import abi
from tracer.capture_format import (
    FRAME,
    JSON_DEPTH,
    RAW_LIMIT,
    STORED_LIMIT,
    dump_json,
    pack_frame,
    pack_prefix,
)
from tracer.capture_reader import CaptureReader
from tracer.errors import CaptureError

SMALL_HEADER: dict[str, Any] = {"schema": abi.SCHEMA, "clock": {"boot_ns": 1, "wall_ns": 2}}
Chunks = list[tuple[bytes, bytes]]


def small_stream() -> Stream:
    stream = Stream()
    stream.header = SMALL_HEADER
    init = stream.process("init", tgid=1)
    stream.snapshot("start")
    stream.exec(stream.fork(init), "/bin/true")
    stream.fact("problem", what="none")
    stream.loss()
    return stream


def chunk(kind: bytes, content: bytes, **frame: Any) -> bytes:
    """One chunk, with a right checksum; ``payload``, ``raw``, ``stored`` may lie."""
    payload = frame.get("payload")
    if payload is None:
        payload = zstandard.compress(content)
    head = pack_frame(kind, payload, frame.get("raw", len(content)))
    if "stored" in frame:
        head = FRAME.pack(kind, frame["stored"], len(content), 0)[:-4]
        head += struct.pack("<I", zlib.crc32(payload, zlib.crc32(head)))
    return head + payload


def capture(*chunks: bytes, header: Any = None) -> bytes:
    return b"".join([pack_prefix(), chunk(b"HEAD", dump_json(header or SMALL_HEADER)), *chunks])


TAIL = chunk(b"TAIL", b'{"ts_ns":5}')
EVENT = chunk(b"EVTS", bytes(88))


def read(path: Path) -> tuple[Chunks, CaptureReader]:
    with CaptureReader(path) as reader:
        return list(reader.chunks()), reader


def read_bytes(tmp_path: Path, data: bytes) -> tuple[Chunks, CaptureReader]:
    path = tmp_path / "x.rtrace"
    path.write_bytes(data)
    return read(path)


def refusal(tmp_path: Path, data: bytes) -> str:
    with pytest.raises(CaptureError) as caught:
        read_bytes(tmp_path, data)
    assert "\n" not in str(caught.value)
    assert str(tmp_path / "x.rtrace") in str(caught.value)
    return str(caught.value)


# --- as it should be -----------------------------------------------------------------------------


def test_complete_capture(tmp_path: Path) -> None:
    stream = small_stream()
    chunks, reader = read(stream.write(tmp_path / "x.rtrace"))
    assert chunks[:-1] == list(stream.chunks())
    assert chunks[-1][0] == b"TAIL"
    assert reader.header == SMALL_HEADER
    assert reader.complete
    assert reader.damage is None
    assert reader.trailer is not None
    assert reader.trailer["events"] == 3


def test_reading_twice_gives_the_same(tmp_path: Path) -> None:
    with CaptureReader(small_stream().write(tmp_path / "x")) as reader:
        first = list(reader.chunks())
        next(reader.chunks())
        assert not reader.complete
        assert list(reader.chunks()) == first
        assert reader.complete


def test_closed_reader(tmp_path: Path) -> None:
    reader = CaptureReader(small_stream().write(tmp_path / "x"))
    reader.close()
    reader.close()
    with pytest.raises(CaptureError, match="it is closed"):
        list(reader.chunks())


def test_chunks_of_unknown_types_are_no_damage(tmp_path: Path) -> None:
    chunks, reader = read_bytes(tmp_path, capture(EVENT, chunk(b"NEWS", b"?"), EVENT, TAIL))
    assert [kind for kind, _ in chunks] == [b"EVTS", b"NEWS", b"EVTS", b"TAIL"]
    assert reader.complete


def test_zstd_frames_need_not_declare_their_length(tmp_path: Path) -> None:
    payload = zstandard.ZstdCompressor(write_content_size=False).compress(bytes(88))
    chunks, reader = read_bytes(tmp_path, capture(chunk(b"EVTS", bytes(88), payload=payload), TAIL))
    assert chunks[0] == (b"EVTS", bytes(88))
    assert reader.complete


@pytest.mark.parametrize("write_content_size", [True, False])
def test_chunk_of_the_largest_size(tmp_path: Path, write_content_size: bool) -> None:
    content = os.urandom(1 << 20) * 16
    assert len(content) == RAW_LIMIT
    compressor = zstandard.ZstdCompressor(level=-50, write_content_size=write_content_size)
    payload = compressor.compress(content)
    chunks, reader = read_bytes(tmp_path, capture(chunk(b"NEWS", content, payload=payload), TAIL))
    assert chunks[0][1] == content
    assert reader.complete


def test_empty_chunk(tmp_path: Path) -> None:
    chunks, reader = read_bytes(tmp_path, capture(chunk(b"EVTS", b""), TAIL))
    assert chunks[0] == (b"EVTS", b"")
    assert reader.complete


# --- no capture at all ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "it is empty; give a file"),
        (b"hello", "it is not a capture"),
        (b"\x7fELF" + bytes(100), "it is not a capture"),
        (bytes(5000), "it is not a capture"),
        (b"\x89RTR", "cut at byte 4, before its header"),
        (pack_prefix()[:-1], "cut at byte 15, before its header"),
        (pack_prefix(), "cut at byte 16, before its header"),
        (pack_prefix(0), "its first 16 bytes are damaged"),
        (pack_prefix()[:-1] + b"\1", "its first 16 bytes are damaged"),
        (pack_prefix() + TAIL, "it does not begin with a header"),
        (b"\x89RTRACE\r\n" + bytes(100), "it is not a capture"),
    ],
)
def test_not_a_capture(tmp_path: Path, data: bytes, message: str) -> None:
    assert message in refusal(tmp_path, data)


def test_newer_schema_names_both_versions(tmp_path: Path) -> None:
    message = refusal(tmp_path, pack_prefix(abi.SCHEMA + 6) + b"who knows")
    assert f"version {abi.SCHEMA + 6}" in message
    assert f"up to version {abi.SCHEMA}; read it with a newer rtrace" in message


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(CaptureError, match="there is no such file"):
        CaptureReader(tmp_path / "x")
    with pytest.raises(CaptureError, match="null byte"):
        CaptureReader("a\0b")


@pytest.mark.timeout(10)
def test_not_a_regular_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(CaptureError, match="it is a directory"):
        CaptureReader(tmp_path)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
    (tmp_path / "link").symlink_to("/dev/zero")
    for name in ("fifo", "socket", "link", "/dev/null", "/dev/zero"):
        with pytest.raises(CaptureError, match="it is not a regular file; give a file"):
            CaptureReader(tmp_path / name)
    # A regular file, in which nothing is at 0.
    with pytest.raises(CaptureError, match="cannot read /proc/self/mem: Input/output error"):
        CaptureReader("/proc/self/mem")


def test_unreadable_file(tmp_path: Path) -> None:
    path = small_stream().write(tmp_path / "x")
    path.chmod(0)
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)  # root may read everything
    try:
        with pytest.raises(CaptureError, match="permission denied"):
            CaptureReader(path)
    finally:
        os.seteuid(user)


@pytest.mark.parametrize(
    "header",
    [
        b"[]",
        b"17",
        b"null",
        b"",
        b"{",
        b'{"schema":1}',
        b'{"schema":1,"clock":7}',
        b'{"schema":1,"clock":{"boot_ns":1}}',
        b'{"schema":1,"clock":{"boot_ns":-1,"wall_ns":1}}',
        b'{"schema":1,"clock":{"boot_ns":true,"wall_ns":1}}',
        b'{"schema":1,"clock":{"boot_ns":1.0,"wall_ns":1}}',
        b'{"schema":2,"clock":{"boot_ns":1,"wall_ns":1}}',
        b'{"schema":1,"clock":{"boot_ns":1,"wall_ns":1},"host":[]}',
        b'{"schema":1,"clock":{"boot_ns":1,"wall_ns":1},"argv":"x"}',
        b'{"schema":1,"clock":{"boot_ns":1,"wall_ns":1},"argv":[1]}',
        b'{"schema":1,"clock":{"boot_ns":1,"wall_ns":1},"layout":[]}',
        b'{"schema":1,"clock":{"boot_ns":1,"wall_ns":1},"filter":{"pid":1}}',
        b'{"schema":1,"clock":{"boot_ns":1,"wall_ns":1},"triggers":"oom"}',
        b'{"schema":1,"clock":{"boot_ns":1,"wall_ns":1},"losses":[[1]]}',
        b'{"schema":1,"clock":{"boot_ns":1,"wall_ns":1},"segment":{"number":1}}',
        b'{"schema":1,"clock":{"boot_ns":1,"wall_ns":1},'
        b'"segment":{"number":0,"began_ns":1,"events_before":0}}',
        b'\xff{"schema":1,"clock":{"boot_ns":1,"wall_ns":1}}',
    ],
)
def test_wrong_header(tmp_path: Path, header: bytes) -> None:
    assert "its header is wrong" in refusal(tmp_path, pack_prefix() + chunk(b"HEAD", header))


def test_records_of_another_layout_are_refused(tmp_path: Path) -> None:
    header = SMALL_HEADER | {"layout": abi.layout_description()}
    assert read_bytes(tmp_path, capture(TAIL, header=header))[1].complete
    header["layout"]["event"]["payloads"]["EXIT"]["offsets"][-1] += 4
    message = refusal(tmp_path, capture(TAIL, header=header))
    assert "EXIT.comm differs" in message
    header["layout"] = {"task": abi.task_layout() | {"itemsize": 88}}
    assert "the size of task differs" in refusal(tmp_path, capture(TAIL, header=header))


@pytest.mark.parametrize(
    "layout",
    [
        {},
        {"event": 1},
        {"event": {"payloads": []}},
        {"task": []},
        {"event": {"payloads": {"EXIT": 1}}},
    ],
)
def test_layouts_that_say_nothing(tmp_path: Path, layout: Any) -> None:
    assert read_bytes(tmp_path, capture(TAIL, header=SMALL_HEADER | {"layout": layout}))[1].complete


# --- cut and damaged -----------------------------------------------------------------------------


def test_cut_at_every_byte(tmp_path: Path) -> None:
    path = small_stream().write(tmp_path / "x.rtrace")
    data = path.read_bytes()
    whole, _ = read(path)
    ends = [16]
    while ends[-1] < len(data):
        ends.append(ends[-1] + 16 + FRAME.unpack_from(data, ends[-1])[1])
    for size in reversed(range(len(data))):
        os.truncate(path, size)
        if size < ends[1]:
            with pytest.raises(CaptureError, match="it is empty" if size == 0 else "cut at byte"):
                CaptureReader(path)
            continue
        chunks, reader = read(path)
        assert chunks == whole[: sum(end <= size for end in ends[2:])]
        assert not reader.complete
        assert reader.damage is not None
        assert reader.damage.startswith(f"cut at byte {size}")


def test_every_flipped_bit_is_noticed(tmp_path: Path) -> None:
    path = small_stream().write(tmp_path / "x.rtrace")
    data = path.read_bytes()
    whole, _ = read(path)
    for position in range(len(data)):
        for bit in range(8):
            damaged = bytearray(data)
            damaged[position] ^= 1 << bit
            path.write_bytes(damaged)
            try:
                chunks, reader = read(path)
            except CaptureError:
                continue  # the beginning was hit
            assert not reader.complete
            assert reader.damage
            assert chunks == whole[: len(chunks)]
            assert len(chunks) < len(whole)


@pytest.mark.parametrize(
    ("chunks", "message"),
    [
        ([EVENT], "cut at byte .*: the trailer is missing"),
        ([EVENT, TAIL, EVENT], "there is more after the trailer"),
        ([EVENT, TAIL, TAIL], "there is more after the trailer"),
        ([EVENT, TAIL, b"x"], "cut at byte"),
        ([EVENT, chunk(b"HEAD", dump_json(SMALL_HEADER)), TAIL], "is a second header"),
        ([EVENT, bytes(4096)], "its checksum is wrong"),
        ([EVENT, chunk(b"EVTS", bytes(87)), TAIL], "does not hold whole events"),
        ([EVENT, chunk(b"TASK", bytes(7)), TAIL], "does not hold a snapshot"),
        ([EVENT, chunk(b"TASK", bytes(9)), TAIL], "does not hold a snapshot"),
        ([EVENT, chunk(b"TASK", b"\2" + bytes(7)), TAIL], "does not hold a snapshot"),
        ([EVENT, chunk(b"SOCK", bytes(15)), TAIL], "does not hold a snapshot of sockets"),
        ([EVENT, chunk(b"SOCK", bytes(17)), TAIL], "does not hold a snapshot of sockets"),
        ([EVENT, chunk(b"SOCK", bytes(8) + b"\3" + bytes(7)), TAIL], "does not hold a snapshot"),
    ],
)
def test_stops_with_a_sentence(tmp_path: Path, chunks: list[bytes], message: str) -> None:
    found, reader = read_bytes(tmp_path, capture(*chunks))
    assert found[0] == (b"EVTS", bytes(88))
    assert not reader.complete
    assert reader.damage is not None
    assert re.search(message, reader.damage)


# --- malicious -----------------------------------------------------------------------------------


def damage_of(tmp_path: Path, *chunks: bytes) -> str:
    """Damage of a capture with an event and then these chunks, read in bounded memory."""
    path = tmp_path / "x.rtrace"
    path.write_bytes(capture(EVENT, *chunks, TAIL))
    tracemalloc.start()
    try:
        found, reader = read(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert found == [(b"EVTS", bytes(88))]
    assert peak < 64 << 20
    assert reader.damage is not None
    assert "\n" not in reader.damage
    return reader.damage


def bomb(size: int, **options: Any) -> bytes:
    """A zstd frame of ``size`` zeros."""
    return zstandard.ZstdCompressor(**options).compress(bytes(size))


def test_bomb_that_declares_its_size(tmp_path: Path) -> None:
    payload = bomb(256 << 20)
    assert len(payload) < 64 << 10
    assert "length is impossible" in damage_of(
        tmp_path, chunk(b"EVTS", b"", payload=payload, raw=256 << 20)
    )
    for raw in (0, 88, RAW_LIMIT):
        assert "another length" in damage_of(
            tmp_path, chunk(b"EVTS", b"", payload=payload, raw=raw)
        )


@pytest.mark.parametrize("raw", [0, 1, 88, RAW_LIMIT])
def test_bomb_that_does_not_declare_its_size(tmp_path: Path, raw: int) -> None:
    payload = bomb(256 << 20, write_content_size=False)
    damage_of(tmp_path, chunk(b"EVTS", b"", payload=payload, raw=raw))


def test_bomb_in_a_second_zstd_frame(tmp_path: Path) -> None:
    payload = zstandard.compress(bytes(88)) + bomb(256 << 20)
    damage_of(tmp_path, chunk(b"EVTS", b"", payload=payload, raw=88))


def test_zstd_window_larger_than_any_chunk(tmp_path: Path) -> None:
    # Decompressing may need as much memory as the window, whatever comes out.
    parameters = zstandard.ZstdCompressionParameters(window_log=27, write_content_size=False)
    compressor = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    payload = compressor.compress(bytes(88)) + compressor.flush()
    assert zstandard.get_frame_parameters(payload).window_size == 1 << 27
    assert "cannot be decompressed" in damage_of(
        tmp_path, chunk(b"EVTS", bytes(88), payload=payload)
    )


def test_bomb_of_many_chunks(tmp_path: Path) -> None:
    path = tmp_path / "x.rtrace"
    path.write_bytes(capture(*[chunk(b"EVTS", bytes(88 << 17))] * 1000, TAIL))
    with CaptureReader(path) as reader:
        total = sum(len(content) for _, content in reader.chunks())
        assert total <= max(16 << 20, 200 * path.stat().st_size)
        assert reader.damage is not None
        assert reader.damage.startswith("decompresses to over 200 times its size")


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"x",
        b"\x28\xb5\x2f\xfd",
        zstandard.compress(bytes(88))[:-1],
        b"\x50\x2a\x4d\x18" + bytes(4),
    ],
)
@pytest.mark.parametrize("raw", [0, 88])
def test_payload_that_is_no_zstd_frame(tmp_path: Path, payload: bytes, raw: int) -> None:
    found, reader = read_bytes(
        tmp_path, capture(EVENT, chunk(b"EVTS", b"", payload=payload, raw=raw))
    )
    assert all(content in (b"", bytes(88)) for _, content in found)
    assert reader.damage


@pytest.mark.parametrize("raw", [0, 87, 89, RAW_LIMIT, RAW_LIMIT + 1, (1 << 32) - 1])
@pytest.mark.parametrize("write_content_size", [True, False])
def test_lies_about_the_length(tmp_path: Path, raw: int, write_content_size: bool) -> None:
    payload = bomb(88, write_content_size=write_content_size)
    damage_of(tmp_path, chunk(b"EVTS", b"", payload=payload, raw=raw))


@pytest.mark.parametrize("stored", [STORED_LIMIT, STORED_LIMIT + 1, (1 << 32) - 1])
def test_lies_about_the_stored_length(tmp_path: Path, stored: int) -> None:
    assert damage_of(tmp_path, chunk(b"EVTS", bytes(88), stored=stored))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0",
        b"[]",
        b"7",
        b'"x"',
        b"NaN",
        b"{",
        b"{}",
        b"{'kind':'x'}",
        b'{"kind":7,"ts_ns":1}',
        b'{"kind":"x"}',
        b'{"kind":"x","ts_ns":"1"}',
        b'{"kind":"x","ts_ns":1.5}',
        b'{"kind":"x","ts_ns":false}',
        b'{"kind":"x","ts_ns":-1}',
        b'{"kind":"x","ts_ns":18446744073709551616}',
        b'{"kind":"x","ts_ns":1,"more":18446744073709551616}',
        b'{"kind":"x","ts_ns":1,"more":-9223372036854775809}',
        b'{"kind":"x","ts_ns":1,"more":' + b"9" * 4000 + b"}",
        b'{"kind":"x","ts_ns":1,"more":' + b"9" * 400_000 + b"}",
        b'{"kind":"x","ts_ns":1,"more":NaN}',
        b'{"kind":"x","ts_ns":1,"more":[Infinity]}',
        b'{"kind":"x","ts_ns":1,"more":1e999}',
        b'{"kind":"x","ts_ns":1,"more":"\xff"}',
        b'{"kind":"x","ts_ns":1,"more":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"kind":"x","ts_ns":1,"more":' + b'{"a":' * 600_000,
        b'{"kind":"x","ts_ns":1,"more":' + b"[" * JSON_DEPTH + b"]" * JSON_DEPTH + b"}",
        b'{"kind":"container","ts_ns":1}',
        b'{"kind":"container","ts_ns":1,"id":5}',
        b'{"kind":"container","ts_ns":1,"id":"a","name":[]}',
        b'{"kind":"container","ts_ns":1,"id":"a","labels":"x"}',
        b'{"kind":"runtime","ts_ns":1,"name":"docker","tgid":4294967296}',
        b'{"kind":"problem","ts_ns":1}',
        b'{"kind":"clock","ts_ns":1,"boot_ns":1,"wall_ns":2}',
        b'{"kind":"clock","ts_ns":1,"boot_ns":1,"wall_ns":2,"monotonic_ns":-1}',
        b'{"kind":"trigger","ts_ns":1,"trigger":"oom","at_ns":1,"tgid":1,"start_ns":1}',
        b'{"kind":"trigger","ts_ns":1,"trigger":[],"at_ns":1,"tgid":1,"start_ns":1,"what":""}',
        b'{"kind":"oom","ts_ns":1,"tgid":1,"constraint":"memcg","cgroup":5}',
        b'{"kind":"oom","ts_ns":1,"tgid":1,"constraint":"memcg","limit_bytes":"1"}',
        b'{"kind":"x","ts_ns":1,"more":[' + b"[]," * 1_400_000 + b"[]]}",
    ],
    ids=lambda content: repr(content[:60]),
)
def test_fact_that_is_none(tmp_path: Path, content: bytes) -> None:
    assert "(FACT) is wrong" in damage_of(tmp_path, chunk(b"FACT", content))


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        (b"LOSS", b'{"ts_ns":1,"cpus":[1,2]}'),
        (b"LOSS", b'{"ts_ns":1,"cpus":[[1,2,3]]}'),
        (b"LOSS", b'{"ts_ns":1,"cpus":[[1,"2"]]}'),
        (b"LOSS", b'{"ts_ns":1,"cpus":{}}'),
        (b"LOSS", b'{"ts_ns":1,"cpus":[' + b"[1,1]," * 8192 + b"[1,1]]}"),
        (b"TAIL", b"{}"),
        (b"TAIL", b'{"ts_ns":1,"command_status":"0"}'),
        (b"TAIL", b'{"ts_ns":1,"losses":[[]]}'),
        (b"PROC", b'{"phase":"middle","processes":[]}'),
        (b"PROC", b'{"phase":[],"processes":[]}'),
        (b"PROC", b'{"phase":"end"}'),
        (b"PROC", b'{"phase":"end","processes":[7]}'),
        (b"PROC", b'{"phase":"end","processes":[{"tgid":1}]}'),
        (b"PROC", b'{"phase":"end","processes":[{"tgid":1,"start_ns":2,"args":"x"}]}'),
        (b"PROC", b'{"phase":"end","processes":[{"tgid":1,"start_ns":2,"args":[null]}]}'),
        (b"PROC", b'{"phase":"end","processes":[{"tgid":1,"start_ns":2,"exe":1}]}'),
    ],
)
def test_wrong_json(tmp_path: Path, kind: bytes, content: bytes) -> None:
    assert f"({kind.decode()}) is wrong" in damage_of(tmp_path, chunk(kind, content))


@pytest.mark.parametrize(
    "content",
    [
        b'{"kind":"of a later version","ts_ns":1}',
        b'{"kind":"container","ts_ns":1,"id":"a","name":null,"more":[{}]}',
        b'{"kind":"x","ts_ns":18446744073709551615,"more":-9223372036854775808}',
        b'{"kind":"x","ts_ns":1,"ts_ns":2}',
        b'{"kind":"\\ud800","ts_ns":1,"\\udfff":"\\u0000\\u001b[2J"}',
    ],
)
def test_facts_that_are_allowed(tmp_path: Path, content: bytes) -> None:
    chunks, reader = read_bytes(tmp_path, capture(chunk(b"FACT", content), TAIL))
    assert chunks[0] == (b"FACT", content)
    assert reader.complete


def test_read_error_is_a_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = small_stream().write(tmp_path / "x.rtrace")
    with CaptureReader(path) as reader:
        offset = reader._first.offset

        def pread(fd: int, size: int, position: int) -> bytes:
            raise OSError(5, "Input/output error")

        monkeypatch.setattr(os, "pread", pread)
        assert list(reader.chunks()) == []
        assert reader.damage == f"cannot be read at byte {offset}: Input/output error"
