"""Captures on disks that are full, read-only, limited or gone, and names that are taken."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.kernel.hosts import in_mount_namespace, run
from tests.kernel.recording import RTRACE, Recorder, assert_failed, read_capture, run_rtrace
from tracer.abi import Type

pytestmark = pytest.mark.kernel

Build = Callable[[str], Path]


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


def test_file_that_may_not_become_larger(tmp_path: Path, build: Build) -> None:
    limit = 512 << 10
    storm = subprocess.Popen([build("storm"), "fork", "60000"], stdout=subprocess.DEVNULL)
    try:
        with Recorder(tmp_path, wrapper=["prlimit", f"--fsize={limit}"]) as recording:
            ended = recording.stop(None)
    finally:
        storm.kill()
        storm.wait()

    assert ended.status == 1
    assert ended.stderr.splitlines()[-1] == (
        f"rtrace: cannot write more to {recording.path}: the file may not become larger; "
        "raise the limit (ulimit -f); what is in the capture can be read"
    )
    capture = read_capture(recording.path)
    assert 0 < recording.path.stat().st_size <= limit
    assert capture.count() > 100
    assert f" {capture.count():,} events, " in ended.stderr


@pytest.fixture(scope="module")
def failing_disk(build: Build) -> Path:
    """A library that lets system calls on captures fail."""
    library = build("storm").with_name("failing_disk.so")
    source = Path(__file__).with_name("failing_disk.c")
    command = ["gcc", "-O1", "-Wall", "-Werror", "-shared", "-fPIC", "-o", library, source]
    subprocess.run(command, check=True)
    return library


def failing(
    library: Path, call: str, error: int, after: int = 1, name: str = ".rtrace"
) -> dict[str, str]:
    """The environment in which it fails."""
    return os.environ | {
        "LD_PRELOAD": str(library),
        "FAIL_CALL": call,
        "FAIL_ERRNO": str(error),
        "FAIL_AFTER": str(after),
        "FAIL_NAME": name,
    }


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (errno.EIO, "input/output error; what is in the capture can be read"),
        (errno.EDQUOT, "the disk quota is used up; make room; what is in the capture"),
    ],
)
def test_disk_that_fails(tmp_path: Path, failing_disk: Path, error: int, words: str) -> None:
    environment = failing(failing_disk, "pwrite", error, after=8)
    with Recorder(tmp_path, env=environment) as recording:
        while recording.process.poll() is None:  # each of these makes something to write
            subprocess.run(["sleep", "0.05"], check=True)
        ended = recording.stop(None)

    assert ended.status == 1
    *_, last = ended.stderr.splitlines()
    assert last.startswith(f"rtrace: cannot write more to {recording.path}: {words}")
    # The part of a chunk that was written is taken back.
    report = run_rtrace("report", recording.path)
    assert report.status == 0
    assert "the trailer is missing" in report.stdout
    assert len(read_capture(recording.path).chunks) > 3


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        ("close", errno.ENOSPC, "the disk is full"),  # as NFS does, which keeps writes back
        ("fsync", errno.EIO, "input/output error"),
    ],
)
def test_disk_that_says_only_at_the_end_that_it_could_not(
    tmp_path: Path, failing_disk: Path, call: str, error: int, words: str
) -> None:
    environment = failing(failing_disk, call, error)
    with Recorder(tmp_path, "--duration=1ms", env=environment) as recording:
        ended = recording.stop(None)

    assert ended.status == 1
    last = ended.stderr.splitlines()[-1]
    assert last.startswith(f"rtrace: cannot write more to {recording.path}: {words}")


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (("report", "--format=html"), " (deleted)"),  # it has no name yet
        (("export", "--to=csv", "--table=processes"), ".csv"),
    ],
)
def test_output_that_the_disk_has_not_got(
    tmp_path: Path, failing_disk: Path, words: Sequence[str], name: str
) -> None:
    # GIVEN an output that is there
    capture, folder = tmp_path / "x.rtrace", tmp_path / "folder"
    assert run_rtrace("record", "--duration=1ms", "-o", capture).status == 0
    folder.mkdir()
    command = [RTRACE, words[0], capture, *words[1:], "--force", "-o", folder / "out"]
    assert run(command).status == 0
    before = (folder / "out").stat().st_ino
    # WHEN the disk cannot keep what is to replace it
    ended = run(command, env=failing(failing_disk, "fsync", errno.EIO, name=name))
    # THEN that is said, and it stays.
    assert_failed(ended, f"cannot write {folder}/out: input/output error")
    assert [(p.name, p.stat().st_ino) for p in folder.iterdir()] == [("out", before)]


@pytest.mark.parametrize("how", ["umount --lazy", "mv"])
def test_file_that_is_somewhere_else_at_the_end(tmp_path: Path, how: str) -> None:
    disk, other = tmp_path / "disk", tmp_path / "other.rtrace"
    disk.mkdir()
    leave = 'umount --lazy "$1"' if how == "umount --lazy" else 'mv "$1/x.rtrace" "$2"'
    mount = 'mount -t tmpfs none "$1"; ' if how == "umount --lazy" else ""
    script = f'{mount}"$3" record -o "$1/x.rtrace" -- sh -c \'{leave}\' sh "$1" "$2"'

    ended = run(in_mount_namespace(script, disk, other, RTRACE))

    # What was recorded may be lost, so that is a failure; but the file was written to its end.
    assert ended.status == 125
    *_, last = ended.stderr.splitlines()
    assert last == (
        f"rtrace: cannot find {disk}/x.rtrace any more: it was moved, or its disk was unmounted; "
        "look for it there"
    )
    assert other.exists() == (how == "mv")
    if how == "mv":
        assert read_capture(other).whole
