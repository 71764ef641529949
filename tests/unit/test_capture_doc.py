"""docs/capture-format.md: its reader reads, and it names what the code has."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.streams import Stream
from tracer import abi, capture_format
from tracer.capture_format import JSON_TYPES

DOC = (Path(__file__).resolve().parents[2] / "docs" / "capture-format.md").read_text()


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Path:
    (code,) = re.findall(r"^```python\n(.*?)^```", DOC, flags=re.DOTALL | re.MULTILINE)
    assert len(code.splitlines()) <= 45
    path = tmp_path_factory.mktemp("doc") / "reader.py"
    path.write_text(code)
    return path


def run(example: Path, capture: Path) -> list[str]:
    # From another folder and isolated: nothing of rtrace can be imported.
    command = [sys.executable, "-I", str(example), str(capture)]
    result = subprocess.run(command, cwd=example.parent, capture_output=True, text=True, check=True)
    assert result.stderr == ""
    return result.stdout.splitlines()


def storm() -> tuple[Stream, list[str]]:
    stream = Stream()
    init = stream.process("init", tgid=1)
    stream.snapshot("start")
    expected = []
    for _ in range(3):
        child = stream.fork(init)
        expected.append(f"{stream.now} FORK {child.id}")
        stream.exec(child, "/bin/init")
        expected.append(f"{stream.now} EXEC {child.id}")
        stream.flush()
    late = stream.comm(child, "early", at=stream.start_ns)
    return stream, [f"{late} COMM {child.id}", *expected]


def test_example_reads_a_capture(example: Path, tmp_path: Path) -> None:
    stream, expected = storm()
    assert run(example, stream.write(tmp_path / "x")) == expected


def test_example_reads_a_cut_capture(example: Path, tmp_path: Path) -> None:
    stream, expected = storm()
    path = stream.write(tmp_path / "x", complete=False)
    assert run(example, path) == ["stopped early: no trailer", *expected]
    path.write_bytes(path.read_bytes()[:-1])
    assert run(example, path)[0] == "stopped early: cut inside a chunk"


def test_doc_names_what_the_code_has() -> None:
    assert f"This is **schema {abi.SCHEMA}**" in DOC
    for event_type in abi.Type:
        assert f"{event_type.name} {event_type.value}" in DOC
    for chunk_type in [*JSON_TYPES, b"EVTS", b"DETL", b"TASK"]:
        assert f"| `{chunk_type.decode()}` |" in DOC
    assert f"at most {capture_format.STORED_LIMIT >> 20} MiB" in DOC
    assert f"at most {capture_format.RAW_LIMIT >> 20} MiB" in DOC
    assert f"within {capture_format.CHUNK_BYTES >> 20} MiB" in DOC
    assert f"JSON to {capture_format.JSON_LIMIT >> 20} MiB a chunk" in DOC
    assert f"nesting ({capture_format.JSON_DEPTH})" in DOC
    assert f"to {capture_format.RATIO_LIMIT} times the size" in DOC
    assert f"or {capture_format.RATIO_FREE >> 20} MiB" in DOC
    assert f"Records of {capture_format.EVENT_STRIDE} bytes" in DOC


def test_doc_names_every_json_field() -> None:
    def names(shape: object) -> set[str]:
        if isinstance(shape, dict):
            keys = {key.removesuffix("?") for key in shape}
            return keys.union(*map(names, shape.values()))
        return set().union(*map(names, shape)) if isinstance(shape, list) else set()

    for shape in (*capture_format._SHAPES.values(), *capture_format._FACT_SHAPES.values()):
        for name in names(shape):
            assert re.search(rf"\b{name}\b", DOC), name
