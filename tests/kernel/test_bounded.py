"""Bounded recordings of a real host: what is kept, what is known of it, and how it may end."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from analysis import table
from analysis.model import open_capture
from tests.kernel.recording import (
    DEADLINE_S,
    RTRACE,
    Ended,
    Recorder,
    assert_failed,
    read_capture,
    run_rtrace,
    wait_for,
)
from tracer.abi import Type
from tracer.capture_format import TASKS
from tracer.capture_reader import CaptureReader
from tracer.errors import CaptureError

pytestmark = pytest.mark.kernel

Build = Callable[[str], Path]
_BOUND = 1 << 20


class Bounded(Recorder):
    """`rtrace record --max-size`, running.

    Attributes:
        segments: its directory.
        largest: most bytes that were seen in it.
    """

    def __init__(self, folder: Path, *options: str, **keywords: Any) -> None:
        super().__init__(folder, "--max-size", str(_BOUND), *options, **keywords)
        self.segments = Path(f"{self.path}.segments")
        self.largest = 0
        self._ended = threading.Event()
        self._watch = threading.Thread(target=self._look, daemon=True)
        self._watch.start()

    def wait_until_recording(self) -> None:
        def snapshot() -> bool:
            assert self.process.poll() is None, self.stderr_path.read_text()
            return TASKS in dict(self.chunks())

        wait_for(snapshot, "the start snapshot")

    def chunks(self) -> list[tuple[bytes, bytes]]:
        """What it keeps now."""
        with contextlib.suppress(CaptureError), CaptureReader(self.segments) as reader:
            return list(reader.chunks())
        return []

    def numbers(self) -> list[int]:
        """Numbers of the segments that are there."""
        return sorted(int(path.stem) for path in self.segments.glob("*.rtrace"))

    def outlive(self, churn: Callable[[], object]) -> None:
        """Lets something happen again and again, until nothing is kept of what is kept now."""
        newest = self.numbers()[-1]
        deadline = time.monotonic() + DEADLINE_S
        while self.numbers()[0] <= newest:
            assert time.monotonic() < deadline, f"segment {newest} is still there"
            churn()

    def _look(self) -> None:
        # The newest first, since the others only go: what is found is never more than there was.
        while not self._ended.wait(0.002):
            with contextlib.suppress(OSError):
                names = sorted(os.listdir(self.segments), reverse=True)
                paths = [self.segments / name for name in names if name.endswith(".rtrace")]
                self.largest = max(self.largest, sum(path.stat().st_size for path in paths))

    def __exit__(self, *exception: object) -> None:
        self._ended.set()
        self._watch.join()
        super().__exit__(*exception)


def execs() -> None:
    """Processes with arguments that cannot be compressed."""
    for _ in range(20):
        subprocess.run(["true", os.urandom(4000).replace(b"\0", b"x")], check=True)


@pytest.fixture
def sleeper() -> Iterator[Callable[[str], subprocess.Popen[bytes]]]:
    """Processes that live on."""
    started: list[subprocess.Popen[bytes]] = []

    def start(seconds: str) -> subprocess.Popen[bytes]:
        started.append(subprocess.Popen(["sleep", seconds]))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


def report(path: Path) -> dict[str, Any]:
    shown = run_rtrace("report", path, "--format", "json")
    assert shown.status == 0, shown.stderr
    built: dict[str, Any] = json.loads(shown.stdout)
    return built


def saves(folder: Path) -> list[Path]:
    return sorted(folder.glob("x-*.rtrace"))


def test_what_is_kept_knows_what_lives(
    tmp_path: Path, sleeper: Callable[[str], subprocess.Popen[bytes]]
) -> None:
    # GIVEN a process that is older than the recording, and one that is born into it and then
    # becomes another's child
    older = sleeper("3601")
    with Bounded(tmp_path) as recording:
        recording.wait_until_recording()
        script = f"sleep 3602 & echo $! >{tmp_path}/orphan"
        subprocess.run(["sh", "-c", script], check=True)
        orphan = int((tmp_path / "orphan").read_text())
        try:
            # WHEN so much happens that all of that is dropped
            recording.outlive(execs)
            oldest = recording.numbers()[0]
            ended = recording.stop()
            new_parent = int(Path(f"/proc/{orphan}/stat").read_text().split(") ")[1].split()[1])
        finally:
            os.kill(orphan, signal.SIGKILL)

    # THEN there never was more than asked for, and it is one capture now
    assert ended.status == 0
    assert 0 < recording.largest <= _BOUND
    assert recording.path.stat().st_size <= _BOUND
    assert not recording.segments.exists()
    header, trailer = recording.capture.header, recording.capture.trailer
    assert recording.capture.whole
    assert trailer is not None
    assert header["segment"]["number"] >= oldest > 1
    assert header["max_bytes"] == _BOUND
    assert trailer["events"] == recording.capture.count()
    # which says how much there was,
    dropped = header["segment"]["events_before"]
    where, following = ended.stderr.splitlines()
    assert where.startswith(f"{recording.path}: {trailer['events']:,} events, ")
    assert where.endswith(f" kept, {dropped:,} events dropped")
    assert following == f"next: rtrace report {recording.path}"
    # and what the older processes are, and whose children.
    capture = open_capture(recording.path)
    processes, parents = capture.processes, capture.parents
    for pid, seconds, parent in ((older.pid, "3601", os.getpid()), (orphan, "3602", new_parent)):
        assert not recording.capture.events(pid, Type.FORK)
        process = processes[processes["tgid"] == pid].iloc[-1]
        assert process["args"] == ("sleep", seconds)
        last = parents[parents["child"] == process.name].iloc[-1]
        assert last["parent"].split(":")[0] == str(parent)


def test_losses_that_were_dropped_are_not_of_this_capture(tmp_path: Path, build: Build) -> None:
    # GIVEN a recording that has lost something
    with Bounded(tmp_path, "--buffer", "64KiB") as recording:
        recording.wait_until_recording()
        recording.process.send_signal(signal.SIGSTOP)
        subprocess.run([build("storm"), "fork", "500"], stdout=subprocess.DEVNULL, check=True)
        recording.process.send_signal(signal.SIGCONT)
        # WHEN that is dropped; with so small a buffer there may be losses at any time
        recording.outlive(execs)
        ended = recording.stop()

    # THEN HEAD has them, and only what came later counts.
    before = recording.capture.header["losses"]
    assert recording.capture.trailer is not None
    after = recording.capture.trailer["losses"]
    assert ended.status == 0
    assert sum(events for events, _ in before) > 0
    assert [len(before), len(after)] == [len(after)] * 2
    lost = sum(new[0] - old[0] for old, new in zip(before, after, strict=True))
    assert table.load(recording.path).losses["events"].sum() == lost


# --- saves -----------------------------------------------------------------------------------


@pytest.mark.parametrize("bounded", [True, False])
def test_sigusr1_saves_and_the_recording_goes_on(tmp_path: Path, bounded: bool) -> None:
    with (Bounded if bounded else Recorder)(tmp_path) as recording:
        recording.wait_until_recording()
        early = subprocess.Popen(["true", "early"])
        early.wait()
        recording.process.send_signal(signal.SIGUSR1)
        wait_for(lambda: "saved" in recording.stderr_path.read_text(), "the save")
        late = subprocess.Popen(["true", "late"])
        late.wait()
        ended = recording.stop()

    (saved,) = saves(tmp_path)
    capture = read_capture(saved)
    assert saved.name.endswith("-saved.rtrace")
    assert saved.stat().st_mode & 0o777 == 0o600
    assert capture.whole
    assert capture.trailer is not None
    assert capture.trailer["reason"] == "saved"
    assert capture.trailer["events"] == capture.count()
    assert capture.event(early.pid, Type.EXIT)
    assert os.getpid() in capture.tasks("end")
    assert capture.processes("end")[recording.pid]["args"]
    assert not capture.events(late.pid)
    said, where, _ = ended.stderr.splitlines()
    assert said.startswith(f"saved {saved}: {capture.count():,} events, ")
    assert where.startswith(f"{recording.path}: ")
    assert recording.capture.event(early.pid, Type.EXIT)
    assert recording.capture.event(late.pid, Type.EXIT)
    assert recording.capture.trailer is not None
    assert recording.capture.trailer["reason"] == "signal"


def test_snapshot_of_a_recording_in_a_storm(tmp_path: Path, build: Build) -> None:
    with Bounded(tmp_path) as recording:
        recording.wait_until_recording()
        recording.outlive(execs)
        storm = subprocess.Popen([build("storm"), "fork", "60000"], stdout=subprocess.DEVNULL)
        try:
            shown = run_rtrace("snapshot", "--pid", str(recording.pid), "-o", tmp_path / "y")
        finally:
            storm.kill()
            storm.wait()
        ended = recording.stop()

    assert shown.status == 0, shown.stderr
    capture = read_capture(tmp_path / "y")
    assert shown.stdout.startswith(f"{tmp_path / 'y'}: {capture.count():,} events, ")
    assert shown.stderr == f"next: rtrace report {tmp_path / 'y'}\n"
    assert capture.whole
    assert capture.trailer is not None
    assert capture.trailer["events"] == capture.count() > 0
    assert report(tmp_path / "y")["capture"]["complete"]
    assert f"saved {tmp_path / 'y'}: " in ended.stderr
    assert recording.largest <= _BOUND


def test_snapshot_never_writes_over_anything(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "target")
    with Bounded(tmp_path) as recording:
        recording.wait_until_recording()
        pid = str(recording.pid)
        for name in ("mine", "link"):
            refused = run_rtrace("snapshot", "--pid", pid, "-o", name, cwd=tmp_path)
            assert_failed(refused, f"cannot write {tmp_path}/{name}: it exists")
        missing = run_rtrace("snapshot", "--pid", pid, "-o", tmp_path / "no" / "x")
        assert_failed(missing, "there is no directory")
        assert run_rtrace("snapshot", "--pid", pid).status == 0
        recording.stop()
    assert (tmp_path / "mine").read_text() == "mine"
    assert not (tmp_path / "target").exists()
    assert len(saves(tmp_path)) == 1


def test_a_recorder_that_stands_still(tmp_path: Path) -> None:
    with Recorder(tmp_path) as recording:
        recording.wait_until_recording()
        recording.process.send_signal(signal.SIGSTOP)
        shown = run_rtrace("snapshot", "--pid", str(recording.pid))
        recording.process.send_signal(signal.SIGCONT)
        assert_failed(shown, f"cannot save the recording of {recording.pid}: it says nothing for")
        assert recording.stop().status == 0


def test_old_saves_are_removed(tmp_path: Path) -> None:
    with Bounded(tmp_path, "--keep", "2") as recording:
        recording.wait_until_recording()
        for _ in range(3):
            shown = run_rtrace("snapshot", "--pid", str(recording.pid))
            assert shown.status == 0
        ended = recording.stop()
    assert len(saves(tmp_path)) == 2
    assert sum("removed " in line for line in ended.stderr.splitlines()) == 1


# --- ends ------------------------------------------------------------------------------------


def test_kill_9_and_the_next_one(tmp_path: Path) -> None:
    # GIVEN a recording that goes on
    with Bounded(tmp_path) as recording:
        recording.wait_until_recording()
        recording.outlive(execs)
        # THEN nobody else may write there
        refused = run_rtrace("record", "-o", recording.path, "--max-size", "1MiB")
        assert_failed(refused, "another recorder is writing there; give another name")
        marker = subprocess.Popen(["true"])
        marker.wait()
        time.sleep(0.7)
        # WHEN it is killed
        recording.process.kill()
        recording.process.wait()
    shown = run_rtrace("report", recording.segments)
    assert shown.status == 0
    assert shown.stdout.startswith("CUT: ")
    kept, _ = read_segments(recording.segments)
    # THEN what it kept is saved by the next one, which begins anew.
    ended = run_rtrace("record", "-o", recording.path, "--max-size", "1MiB", "--duration", "200ms")
    (saved,) = saves(tmp_path)
    said, where, _ = ended.stderr.splitlines()
    assert ended.status == 0
    assert said.startswith(f"saved {saved}: ")
    assert where.startswith(f"{recording.path}: ")
    capture = read_capture(saved)
    assert capture.event(marker.pid, Type.EXIT)
    assert capture.chunks == kept
    assert not recording.segments.exists()
    assert read_capture(recording.path).whole


def read_segments(folder: Path) -> tuple[list[tuple[bytes, bytes]], str | None]:
    with CaptureReader(folder) as reader:
        return list(reader.chunks()), reader.damage


def run(command: Sequence[str | Path]) -> Ended:
    done = subprocess.run(
        [str(part) for part in command],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert "Traceback" not in done.stderr
    return Ended(done.returncode, done.stdout, done.stderr)


def test_a_disk_without_room_to_join(tmp_path: Path) -> None:
    # GIVEN a disk that has room for the segments, but not for the capture beside them
    disk, kept = tmp_path / "disk", tmp_path / "kept"
    disk.mkdir()
    script = (
        'mount -t tmpfs -o size=1200k none "$1"; status=0; '
        '"$2" record -o "$1/x.rtrace" --max-size 1MiB -- "$3" -c "$4" "$1" || status=$?; '
        'ls -A "$1"; cp -r "$1/x.rtrace.segments" "$5"; exit $status'
    )
    # Slow enough that what is not written yet when it ends does not exceed the bound.
    program = (
        "import glob, os, subprocess, sys, time\n"
        "while sum(map(os.path.getsize, glob.glob(sys.argv[1] + '/*/0*'))) < 700000:\n"
        "    subprocess.run(['true', os.urandom(4000).replace(b'\\0', b'x')])\n"
        "    time.sleep(0.01)"
    )
    namespace = ["unshare", "--mount", "sh", "-euc", script, "sh"]
    # WHEN it ends
    ended = run([*namespace, disk, RTRACE, sys.executable, program, kept])
    # THEN the error says where everything is, and it can be read there
    segments = f"{disk}/x.rtrace.segments"
    assert ended.status == 125
    assert ended.stderr.splitlines()[-1] == (
        f"rtrace: cannot write {disk}/x.rtrace: the disk is full; "
        f"what was recorded is in {segments}, and can be read there"
    )
    assert f"next: rtrace report {segments}" in ended.stderr
    assert ended.stdout.splitlines()[-1:] == ["x.rtrace.segments"]
    assert run_rtrace("report", kept).status == 0
    chunks, damage = read_segments(kept)
    assert damage is None
    assert chunks[-1][0] == b"TAIL"
    # and is saved when there is room again.
    shutil.copytree(kept, tmp_path / "x.rtrace.segments")
    (tmp_path / "x.rtrace.segments").chmod(0o700)
    again = run_rtrace(
        "record", "-o", tmp_path / "x.rtrace", "--max-size", "1MiB", "--duration", "1ms"
    )
    assert again.status == 0
    (saved,) = saves(tmp_path)
    assert read_capture(saved).chunks == chunks


@pytest.mark.parametrize("size", ["1023KiB", "1", "0", "-1", "much"])
def test_bounds_that_make_no_sense(tmp_path: Path, size: str) -> None:
    ended = run_rtrace("record", "-o", tmp_path / "x", f"--max-size={size}")
    assert ended.status == 2
    assert list(tmp_path.iterdir()) == []


def test_a_directory_of_somebody_else(tmp_path: Path) -> None:
    theirs = tmp_path / "x.segments"
    theirs.mkdir(mode=0o700)
    os.chown(theirs, 1234, 1234)
    ended = run_rtrace("record", "-o", tmp_path / "x", "--max-size", "1MiB")
    assert_failed(ended, f"cannot write to {theirs}: it may be changed by somebody else")
    assert theirs.is_dir()


def test_no_directory_is_left_where_recording_is_not_possible(tmp_path: Path) -> None:
    ended = run_rtrace("record", "-o", tmp_path / "x", "--max-size=1MiB", "--cgroup", "/none")
    assert ended.status == 1
    script = 'mount -t tmpfs none /sys/kernel/btf; "$@"'
    command = [RTRACE, "record", "-o", tmp_path / "x", "--max-size=1MiB", "--engine=core"]
    assert run(["unshare", "--mount", "sh", "-euc", script, "sh", *command]).status == 1
    assert list(tmp_path.iterdir()) == []


def test_who_is_outside_the_filter_is_told_of_again(tmp_path: Path) -> None:
    # GIVEN a bounded recording of one pid namespace
    program = (
        "import os, subprocess; input()\n"
        "while True: subprocess.run(['true', os.urandom(4000).replace(b'\\0', b'x')])"
    )
    command = ["unshare", "--pid", "--fork", "--kill-child", sys.executable, "-c", program]
    outside = subprocess.Popen(command, stdin=subprocess.PIPE)
    assert outside.stdin is not None
    try:
        children = Path(f"/proc/{outside.pid}/task/{outside.pid}/children")
        init = int(wait_for(lambda: children.read_text().split(), "process 1")[0])
        with Bounded(tmp_path, "--pidns", str(init)) as recording:
            recording.wait_until_recording()
            # WHEN its beginning is dropped
            outside.stdin.write(b"\n")
            outside.stdin.flush()
            recording.outlive(lambda: time.sleep(0.1))
            ended = recording.stop()
    finally:
        outside.kill()
        outside.stdin.close()
        outside.wait()

    # THEN the parent of the namespace's process 1 is still known by name
    assert ended.status == 0
    assert recording.capture.header["segment"]["number"] > 1
    stubs = recording.capture.events(outside.pid, Type.STUB)
    assert {bytes(stub.comm.comm) for stub in stubs} == {b"unshare"}
    parents = open_capture(recording.path).parents
    of_init = parents[parents["child"].str.startswith(f"{init}:")]
    assert of_init.iloc[-1]["parent"].split(":")[0] == str(outside.pid)
