"""Exports captures in tests, and reads what came of it."""

from __future__ import annotations

import json
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import rtrace
from analysis.export.describe import describe
from analysis.export.folder import Folder
from analysis.export.json_lines import json_lines
from analysis.export.overview import look_over
from analysis.export.perfetto import write_perfetto
from rtrace.capture import FRAMES, documentation
from tests.streams import Stream
from tracer.capture_reader import CaptureReader

GOLDEN = Path(__file__).parent / "golden" / "captures"


def lines_of(path: Path) -> list[dict[str, Any]]:
    """The capture as JSON lines, parsed: each is one object on one line."""
    with CaptureReader(path) as reader:
        overview = look_over(reader)
        text = b"".join(bytes(p) for p in json_lines(reader, overview, describe(overview)))
    assert text.endswith(b"\n")
    return [json.loads(line) for line in text[:-1].split(b"\n")]


def tables_of(path: Path, folder: Path, kind: str) -> Path:
    """The folder, with all tables in it."""
    folder.mkdir()

    def create(name: str) -> BinaryIO:
        return open(folder / name, "xb")

    capture = rtrace.open_capture(path)
    with CaptureReader(path) as reader:
        overview = look_over(reader)
        made = Folder(create, kind, describe(overview))
        made.write_events(reader, overview, ("events", "details"))
        made.write_about()
        for name in FRAMES:
            made.write_frame(name, getattr(capture, name), documentation(name), overview)
    return folder


def trace_of(path: Path) -> bytes:
    """The capture as a Perfetto trace."""
    file, capture = BytesIO(), rtrace.open_capture(path)
    write_perfetto(file, capture, describe(capture.table))
    return file.getvalue()


# What a stranger may have put into names and arguments.
HOSTILE = [
    "a\nb\r\x1b[2J\x00",
    '","event":"forged"}',
    "=HYPERLINK(1)",
    "<script>hit()</script>",
    "\u202egpj.exe",
    "\udc80 half \ud83d",
    b"\xff\xfe not UTF-8",
    "x" * 4096,
    "\N{COLLISION SYMBOL}",
    "",
]


def hostile() -> Stream:
    """A capture with odd names everywhere, in the kernel's records and in those of /proc."""
    stream = Stream()
    init = stream.process("systemd", tgid=1)
    odd = stream.process("\x1b]0;x\x07", init, exe="/\ud800", args=["\ud800", "=1+1", "a\nb"])
    stream.snapshot("start")
    for text in HOSTILE:
        child = stream.fork(odd, comm="=c\n\x7f")
        raw = text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
        stream.exec(child, "/bin/\n=x", [raw.replace(b"\0", b"")], comm="@sum\t")
        stream.attach(child, "/\x1b[31m/=x")
        stream.signal(child, 9, odd)
        stream.die(child, signal=9)
    stream.snapshot("end")
    return stream


def lossy() -> Stream:
    """A capture in which events and details were lost, on two CPUs."""
    stream = Stream()
    init = stream.process("systemd", tgid=1)
    stream.snapshot("start")
    for number in range(40):
        child = stream.fork(init, cpu=number % 2)
        if number % 10 == 5:
            with stream.drop():
                stream.exec(child, "/bin/true", cpu=number % 2)
        else:
            stream.exec(child, "/bin/true", cpu=number % 2)
        stream.die(child)
    return stream
