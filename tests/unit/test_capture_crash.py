"""What is left of a capture when the writing process is killed or the disk is full.

The full disk is a small tmpfs in a mount namespace of the test's own.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tracer.capture_reader import CaptureReader

ROOT = Path(__file__).resolve().parents[2]

# Writes chunks of rising numbers for ever; says on stdout which were written.
ENDLESS = """
import os, sys
from tests.streams import Stream
from tracer.capture_writer import CaptureWriter

writer = CaptureWriter(sys.argv[1], Stream().header)
size = int(sys.argv[2])
for number in range(10**9):
    content = number.to_bytes(8, "little") + os.urandom(size)
    writer.write(b"TEST", content)
    os.write(1, number.to_bytes(8, "little"))
"""

# Writes until the disk is full, then makes room and tries again.
FULL = """
import os, sys
from tests.streams import Stream
from tracer.capture_reader import CaptureReader
from tracer.capture_writer import CaptureWriter
from tracer.errors import CaptureError

path, header = sys.argv[1] + "/x.rtrace", Stream().header
writer = CaptureWriter(path, header)
written = 0
try:
    while True:
        writer.write(b"TEST", written.to_bytes(8, "little") + os.urandom(50_000 + written))
        written += 1
except CaptureError as error:
    print(error)
assert writer.closed
assert os.path.getsize(path) == writer.bytes_written > 0
writer.close({"ts_ns": 1})
with CaptureReader(path) as reader:
    numbers = [int.from_bytes(content[:8], "little") for _, content in reader.chunks()]
    assert numbers == list(range(written)), (numbers, written)
    assert "the trailer is missing" in reader.damage, reader.damage

# No room even for the header: no file is left.
with open(sys.argv[1] + "/filler", "wb", buffering=0) as filler:
    try:
        while True:
            filler.write(bytes(4096))
    except OSError:
        pass
try:
    CaptureWriter(sys.argv[1] + "/y.rtrace", header)
except CaptureError as error:
    print(error)
assert not os.path.exists(sys.argv[1] + "/y.rtrace")
"""


def run(code: str, *arguments: str, wrapper: tuple[str, ...] = ()) -> subprocess.Popen[bytes]:
    command = [*wrapper, sys.executable, "-c", code, *arguments]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE)


@pytest.mark.parametrize("size", [10, 20_000, 2_000_000])
def test_kill_9_loses_nothing_that_was_written(tmp_path: Path, size: int) -> None:
    chance = random.Random(size)
    for attempt in range(8):
        path = tmp_path / f"{attempt}.rtrace"
        with run(ENDLESS, str(path), str(size)) as process:
            assert process.stdout is not None
            seen = process.stdout.read(8)  # it has begun
            time.sleep(chance.uniform(0, 0.05))
            process.kill()
            seen += process.stdout.read()
        acknowledged = int.from_bytes(seen[len(seen) // 8 * 8 - 8 :][:8], "little")
        with CaptureReader(path) as reader:
            numbers = [int.from_bytes(content[:8], "little") for _, content in reader.chunks()]
        assert numbers == list(range(len(numbers)))
        assert len(numbers) in (acknowledged + 1, acknowledged + 2)
        assert not reader.complete
        assert reader.damage is not None
        assert reader.damage.startswith(f"cut at byte {path.stat().st_size}")
        path.unlink()


def test_full_disk(tmp_path: Path) -> None:
    unshare = ("unshare", "--mount") if os.geteuid() == 0 else ("unshare", "-r", "--mount")
    if not shutil.which("unshare") or subprocess.run([*unshare, "true"], check=False).returncode:
        if os.environ.get("CI") or os.environ.get("RTRACE_REQUIRE_KERNEL"):
            pytest.fail("missing: a mount namespace (root, or user namespaces)")
        pytest.skip("missing: a mount namespace (root, or user namespaces)")
    mount = 'mount -t tmpfs -o size=1m none "$0" && exec "$@"'
    with run(FULL, str(tmp_path), wrapper=(*unshare, "sh", "-c", mount, str(tmp_path))) as process:
        assert process.stdout is not None
        lines = process.stdout.read().decode().splitlines()
    assert process.returncode == 0
    assert len(lines) == 2
    assert all("the disk is full; make room" in line for line in lines)
    assert list(tmp_path.iterdir()) == []


def test_file_size_limit(tmp_path: Path) -> None:
    wrapper = ("sh", "-c", 'ulimit -f 100 && exec "$@"', "sh")
    with run(ENDLESS, str(tmp_path / "x"), "3000", wrapper=wrapper) as process:
        assert process.stdout is not None
        written = len(process.stdout.read()) // 8
    assert process.returncode == 1
    with CaptureReader(tmp_path / "x") as reader:
        assert len(list(reader.chunks())) == written > 1
    assert reader.damage is not None
    assert "the trailer is missing" in reader.damage
