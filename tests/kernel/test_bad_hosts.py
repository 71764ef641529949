"""Hosts on which something is missing, full, hidden or hanging."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

import tracer
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

pytestmark = pytest.mark.kernel

Build = Callable[[str], Path]


def run(command: Sequence[str | Path], **keywords: Any) -> Ended:
    """Any command; `rtrace` in it never shows a traceback."""
    done = subprocess.run(
        [str(part) for part in command],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
        **keywords,
    )
    assert "Traceback" not in done.stderr
    return Ended(done.returncode, done.stdout, done.stderr)


def in_mount_namespace(script: str, *arguments: str | Path) -> list[str]:
    """Runs a shell script that may mount what it likes: nobody else sees it."""
    return ["unshare", "--mount", "sh", "-euc", script, "sh", *map(str, arguments)]


# --- disks -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("with_command", "status"), [(False, 1), (True, 125)])
def test_full_disk(tmp_path: Path, build: Build, with_command: bool, status: int) -> None:
    # GIVEN a small disk, and a copy of what is on it afterwards
    disk, saved = tmp_path / "disk", tmp_path / "saved.rtrace"
    disk.mkdir()
    script = (
        'disk=$1 saved=$2; shift 2; mount -t tmpfs -o size=1m none "$disk"; status=0; '
        '"$@" || status=$?; cp "$disk/x.rtrace" "$saved"; exit $status'
    )
    # WHEN a storm of forks is recorded onto it
    load = [str(build("storm")), "fork", "60000"]
    # As COMMAND it goes on until rtrace has given the capture up.
    until = f"while ls -l /proc/$PPID/fd | grep -q x.rtrace; do {build('storm')} fork 1000; done"
    storm = subprocess.Popen(["sleep", "0"] if with_command else load, stdout=subprocess.DEVNULL)
    try:
        with Recorder(
            tmp_path,
            path=disk / "x.rtrace",
            command=["sh", "-c", until] if with_command else [],
            wrapper=in_mount_namespace(script, disk, saved),
        ) as recording:
            ended = recording.stop(None)
    finally:
        storm.kill()
        storm.wait()

    # THEN rtrace says so in one line, which is the last
    assert ended.status == status
    *_, last = ended.stderr.splitlines()
    assert last.startswith("rtrace: cannot write more to ")
    assert "the disk is full; make room" in last
    assert sum(line.startswith("rtrace: ") for line in ended.stderr.splitlines()) == 1
    # and what was written can be read, and is all there was up to then.
    capture = read_capture(saved)
    assert capture.trailer is None
    assert f" {capture.count():,} events, " in ended.stderr
    assert not capture.of(b"LOSS")
    forks, exits = capture.payload_rows(Type.FORK), capture.payload_rows(Type.EXIT)
    parent = most_frequent(exits["parent_tgid"].tolist())
    born = set(forks["tgid"][forks["forker_tgid"] == parent].tolist())
    ended_too = set(exits["tgid"][exits["parent_tgid"] == parent].tolist())
    assert len(born) > 100
    assert len(ended_too - born) <= 1  # one may be older than the recording
    report = run_rtrace("report", saved)
    assert report.status == 0
    assert "cut at byte" in report.stdout


def most_frequent(values: list[int]) -> int:
    """The most frequent one: here the storm, since nobody else has so many children."""
    return max(set(values), key=values.count)


def test_missing_directory(tmp_path: Path) -> None:
    ended = run_rtrace("record", "-o", tmp_path / "no" / "x.rtrace")

    assert_failed(ended, f"cannot write {tmp_path}/no/x.rtrace: ")


def test_file_that_exists(tmp_path: Path) -> None:
    path = tmp_path / "x.rtrace"
    path.write_text("mine")

    assert_failed(run_rtrace("record", "-o", path), "it exists; give another name, or --force")
    assert path.read_text() == "mine"
    assert run_rtrace("record", "-o", path, "--force", "--duration=1ms").status == 0
    assert read_capture(path).whole


@pytest.mark.parametrize("kind", ["directory", "link", "dangling link", "device"])
def test_force_replaces_nothing_but_a_file(tmp_path: Path, kind: str) -> None:
    path, target = tmp_path / "x.rtrace", tmp_path / "target"
    if kind == "directory":
        path.mkdir()
    elif kind == "device":
        path = Path("/dev/null")
    else:
        path.symlink_to(target)
        if kind == "link":
            target.write_text("mine")

    ended = run_rtrace("record", "--force", "--duration=1ms", "-o", path)

    assert_failed(ended, f"cannot write {path}: ")
    assert path.is_dir() == (kind == "directory")
    assert path.is_char_device() == (kind == "device")
    assert not target.exists() or target.read_text() == "mine"


def test_directory_that_may_not_be_written_to(tmp_path: Path) -> None:
    # Root without the capability that lets it write everywhere.
    folder = tmp_path / "theirs"
    folder.mkdir(mode=0o700)
    os.chown(folder, 65534, 65534)
    limited = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]

    ended = run([*limited, RTRACE, "record", "-o", folder / "x.rtrace"])

    assert_failed(ended, f"cannot write {folder}/x.rtrace: ", "is not writable")


def test_read_only_disk(tmp_path: Path) -> None:
    script = 'mount -t tmpfs -o ro none "$1"; "$2" record -o "$1/x.rtrace"'

    ended = run(in_mount_namespace(script, tmp_path, RTRACE))

    assert_failed(ended, "ead-only file system")


@pytest.mark.parametrize("what", ["file", "directory"])
def test_file_that_vanishes(tmp_path: Path, what: str) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    with Recorder(tmp_path, path=folder / "x.rtrace") as recording:
        recording.wait_until_recording()
        if what == "file":
            recording.path.unlink()
        else:
            shutil.rmtree(folder)
        while recording.process.poll() is None:  # each of these makes something to write
            subprocess.run(["sleep", "0.05"], check=True)
        ended = recording.stop(None)

    assert ended.status == 1
    assert ended.stderr.splitlines()[-1].startswith(
        f"rtrace: cannot write more to {recording.path}"
    )
    assert "removed" in ended.stderr


# --- rights ------------------------------------------------------------------------------------


@pytest.fixture
def nobody(tmp_path: Path) -> Iterator[Callable[..., Ended]]:
    """Runs rtrace as a user who may do nothing, wherever the checkout is."""
    folder = Path(tempfile.mkdtemp(prefix="rtrace-test-"))
    folder.chmod(0o755)
    (folder / "packages").mkdir()
    home = folder / "home"
    home.mkdir()
    os.chown(home, 65534, 65534)
    checkout = Path(tracer.__file__).parents[1]
    for package in ("tracer", "analysis"):
        shutil.copytree(checkout / package, folder / package)
    subprocess.run(["chmod", "-R", "a+rX", folder], check=True)
    code = "from tracer.cli import main; main()"
    script = (
        'packages=$1 folder=$2; shift 2; mount --bind "$packages" "$folder/packages"; '
        'cd "$folder/home"; export PYTHONDONTWRITEBYTECODE=1 '
        'PYTHONPATH="$folder:$folder/packages"; exec setpriv --reuid=65534 --regid=65534 '
        '--clear-groups --inh-caps=-all --bounding-set=-all "$@"'
    )
    rtrace_command = [os.path.realpath(sys.executable), "-c", code]

    def rtrace(*arguments: str | Path) -> Ended:
        packages = sysconfig.get_path("purelib")
        return run(in_mount_namespace(script, packages, folder, *rtrace_command, *arguments))

    try:
        yield rtrace
    finally:
        shutil.rmtree(folder)


def test_without_root(nobody: Callable[..., Ended], tmp_path: Path) -> None:
    # GIVEN a capture
    with Recorder(tmp_path, command=["true"]) as recording:
        recording.stop(None)
    shared = Path(tempfile.mkdtemp(prefix="rtrace-test-"))
    try:
        shared.chmod(0o755)
        shutil.copy(recording.path, shared / "x.rtrace")
        (shared / "x.rtrace").chmod(0o644)
        # THEN anybody can report it, or dump it
        report = nobody("report", shared / "x.rtrace")
        assert (report.status, report.stderr) == (0, "")
        assert report.stdout == run_rtrace("report", shared / "x.rtrace").stdout
        assert nobody("dump", shared / "x.rtrace").status == 0
        # but not if it is somebody else's
        (shared / "x.rtrace").chmod(0o600)
        assert_failed(nobody("report", shared / "x.rtrace"), "permission denied; read it as")
    finally:
        shutil.rmtree(shared)
    # and nobody but root can record.
    assert_failed(nobody("record", "-o", "x.rtrace"), "cannot load the BPF programs", "as root")
    assert_failed(nobody("record", "-o", "x", "--", "true"), "as root", status=125)
    doctor = nobody("doctor")
    assert (doctor.status, doctor.stderr) == (1, "")
    assert "NO  privileges: uid 65534 may not load BPF programs\n    run it with sudo" in (
        doctor.stdout
    )


# --- kernels -----------------------------------------------------------------------------------


def test_no_tracefs(tmp_path: Path) -> None:
    script = (
        "for folder in /sys/kernel/debug /sys/kernel/tracing; do "
        '[ ! -d $folder ] || mount -t tmpfs none $folder; done; "$@"'
    )
    path = tmp_path / "x.rtrace"

    record = run(
        in_mount_namespace(script, RTRACE, "record", "-o", path, "--", "true", "no-tracefs")
    )
    doctor = run(in_mount_namespace(script, RTRACE, "doctor"))

    assert record.status == 0
    (detail,) = [d for d in read_capture(path).details() if d.args == (b"true", b"no-tracefs")]
    assert read_capture(path).event(detail.tgid, Type.EXIT).exit.exit_code == 0
    assert doctor.status == 0
    assert "-   tracefs: not mounted, and not needed" in doctor.stdout


def test_doctor_on_this_host() -> None:
    doctor = run_rtrace("doctor")

    assert (doctor.status, doctor.stderr) == (0, "")
    assert "ok  BPF programs: load and attach; reparents are confirmed by " in doctor.stdout


# --- daemons -----------------------------------------------------------------------------------


@pytest.fixture
def deaf_dockerd(build: Build, tmp_path: Path) -> Iterator[int]:
    """A process that is called dockerd, and never answers."""
    program, socket = tmp_path / "dockerd", tmp_path / "docker.sock"
    shutil.copy(build("deaf"), program)
    daemon = subprocess.Popen([program, "-H", f"unix://{socket}"], stdout=subprocess.DEVNULL)
    try:
        wait_for(socket.exists, "the daemon's socket")
        yield daemon.pid
    finally:
        daemon.kill()
        daemon.wait()


def problems_about(recording: Recorder, pid: int) -> list[dict[str, Any]]:
    facts = recording.capture.json(b"FACT")
    return [f for f in facts if f["kind"] == "problem" and f"({pid})" in f["what"]]


def test_a_daemon_that_hangs_is_a_problem_and_not_in_the_way(
    tmp_path: Path, deaf_dockerd: int
) -> None:
    with Recorder(tmp_path) as recording:
        # Recording has begun before the daemon was given up.
        recording.wait_until_recording()
        kinds = [kind for kind, _ in recording.capture.chunks]

        def problem() -> list[dict[str, Any]]:
            recording.capture.read()
            return problems_about(recording, deaf_dockerd)

        (fact,) = wait_for(problem, "the problem in the capture")
        assert recording.stop().status == 0

    assert kinds[0] == b"TASK"
    assert "dockerd" in fact["what"]
    assert "did not end its answer" in fact["what"]
    snapshot_ns = max(task.ts_ns for task in recording.capture.tasks("start").values())
    assert fact["ts_ns"] > snapshot_ns
    assert recording.capture.whole


def test_a_daemon_that_hangs_does_not_keep_a_recording_from_its_end(
    tmp_path: Path, deaf_dockerd: int
) -> None:
    with Recorder(tmp_path, "--duration=1ms") as recording:
        ended = recording.stop(None)

    assert ended.status == 0
    assert recording.capture.whole
    facts = recording.capture.json(b"FACT")
    assert [fact for fact in facts if fact["kind"] == "problem"]
