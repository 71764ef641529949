"""Hosts on which /proc, /sys or a part of the kernel is missing, hidden or limited."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.kernel.conftest import missing
from tests.kernel.groups import make_group
from tests.kernel.hosts import in_mount_namespace, run
from tests.kernel.recording import (
    RTRACE,
    Capture,
    Recorder,
    assert_failed,
    read_capture,
    run_rtrace,
)
from tracer.abi import Type

pytestmark = pytest.mark.kernel


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


@pytest.mark.parametrize(
    ("what", "cause"),
    [
        ("umount --lazy /sys", "/sys is not mounted; mount -t sysfs sysfs /sys"),
        ("mount -t tmpfs none /sys", "/sys is not mounted; mount -t sysfs sysfs /sys"),
    ],
)
def test_no_sysfs(tmp_path: Path, what: str, cause: str) -> None:
    script = f'{what}; "$@"'

    record = run(in_mount_namespace(script, RTRACE, "record", "-o", tmp_path / "x.rtrace"))
    doctor = run(in_mount_namespace(script, RTRACE, "doctor"))

    assert_failed(record, f"cannot load the BPF programs: {cause}")
    assert not (tmp_path / "x.rtrace").exists()
    assert (doctor.status, doctor.stderr) == (1, "")
    assert "-   BTF: /sys is not mounted\n    mount -t sysfs sysfs /sys\n" in doctor.stdout


def test_read_only_sysfs(tmp_path: Path) -> None:
    # As in a container without --privileged.
    script = 'mount -o remount,bind,ro /sys; ! mkdir /sys/fs/cgroup/x 2>/dev/null; "$@"'
    path = tmp_path / "x.rtrace"
    command = (RTRACE, "record", "-o", path, "--", "true", "read-only")

    record = run(in_mount_namespace(script, *command))

    assert record.status == 0
    capture = read_capture(path)
    assert capture.whole
    assert [d for d in capture.details() if d.args == (b"true", b"read-only")]


def test_no_proc(tmp_path: Path) -> None:
    # GIVEN a chroot without /proc
    script = 'mount -t tmpfs none /proc; "$@"'
    path = tmp_path / "x.rtrace"
    older = subprocess.Popen(["sleep", "72"])
    try:
        record = run(in_mount_namespace(script, RTRACE, "record", "-o", path, "--", "true", "1"))
        doctor = run(in_mount_namespace(script, RTRACE, "doctor"))
    finally:
        older.kill()
        older.wait()

    # THEN the kernel tells all the same, and what it does not is said
    assert record.status == 0
    capture = read_capture(path)
    assert capture.whole
    assert [d for d in capture.details() if d.args == (b"true", b"1")]
    assert capture.tasks("start")[older.pid].comm == b"sleep"
    assert capture.processes("start") == {}
    (problem,) = [what for what in problems(capture) if what.startswith("/proc does not show ")]
    assert "(it is not mounted here)" in problem
    assert doctor.status == 0
    assert "-   /proc: does not show all processes: it is not mounted here\n" in doctor.stdout


def problems(capture: Capture) -> list[str]:
    return [fact["what"] for fact in capture.json(b"FACT") if fact["kind"] == "problem"]


@pytest.mark.parametrize(
    ("limit", "words"),
    [
        ("--nofile=36:36", "cannot .*: only 36 files may be open; raise the limit"),
        ("--nofile=12:12", "cannot load the BPF programs: only 12 files may be open; raise the"),
        ("--as=70000000", "cannot map a ring buffer of 16,777,216 bytes: not enough memory; give"),
    ],
)
def test_limits_that_are_too_low(tmp_path: Path, limit: str, words: str) -> None:
    ended = run(["prlimit", limit, RTRACE, "record", "-o", tmp_path / "x.rtrace"])

    assert_failed(ended)
    assert re.search(words, ended.stderr)
    assert "ulimit -" in ended.stderr
    assert not (tmp_path / "x.rtrace").exists()


@pytest.mark.parametrize("limit", ["--nofile=20:1000", "--memlock=0:0"])
def test_limits_that_suffice(tmp_path: Path, limit: str) -> None:
    # GIVEN a root that may not raise them itself
    wrapper = ["setpriv", "--bounding-set=-sys_resource", "prlimit", limit]
    with Recorder(tmp_path, wrapper=wrapper, command=["true"]) as recording:
        ended = recording.stop(None)

    assert ended.status == 0
    assert recording.capture.whole


@pytest.mark.parametrize("bound", [[], ["--max-size=4MiB"]])
def test_no_more_threads(tmp_path: Path, bound: list[str]) -> None:
    # pids.max of a cgroup, as systemd's TasksMax: unlike ulimit -u it binds root too.
    group = make_group("pids")
    if group is None:
        missing("a writable cgroup hierarchy with the pids controller")
    with group:
        group.write("pids.max", "1")
        enter = f'echo $$ >"{group.directory}/cgroup.procs" && exec "$@"'
        command = [RTRACE, "record", "-o", tmp_path / "x.rtrace", *bound]
        ended = run(["sh", "-c", enter, "sh", *command])

    assert_failed(ended, "cannot start a thread: there may be no more of them; raise the limit")
    assert list(tmp_path.iterdir()) == []


def test_no_more_processes_for_the_command(tmp_path: Path) -> None:
    group = make_group("pids")
    if group is None:
        missing("a writable cgroup hierarchy with the pids controller")
    with group:
        group.write("pids.max", "6")  # the recorder and five of its threads
        enter = f'echo $$ >"{group.directory}/cgroup.procs" && exec "$@"'
        path = tmp_path / "x.rtrace"
        ended = run(["sh", "-c", enter, "sh", RTRACE, "record", "-o", path, "--", "true"])

    assert ended.status == 125
    *_, last = ended.stderr.splitlines()
    assert last == "rtrace: cannot run true: Resource temporarily unavailable"
    # What was recorded until then is complete, and says what could not be looked up.
    capture = read_capture(path)
    assert capture.whole
    assert capture.processes("start")
    assert [what for what in problems(capture) if what.startswith("cannot start a thread")]


@pytest.mark.parametrize(
    ("mode", "ok"), [("none", True), ("integrity", True), ("confidentiality", False)]
)
def test_lockdown_as_doctor_sees_it(tmp_path: Path, mode: str, ok: bool) -> None:
    # Lockdown lasts until the next boot: here the file that tells of it is another one, and the
    # kernel refuses nothing.
    words = "none integrity confidentiality".replace(mode, f"[{mode}]")
    script = (
        'mount -t tmpfs none "$1"; echo "$2" >"$1/lockdown"; mount --bind "$1" '
        '/sys/kernel/security; "$3" doctor'
    )

    doctor = run(in_mount_namespace(script, tmp_path, words, RTRACE))

    assert (doctor.status, doctor.stderr) == (0 if ok else 1, "")
    told = (
        mode if ok else "the kernel is locked down (confidentiality): BPF may not read its memory"
    )
    assert f"{'ok ' if ok else 'NO '} lockdown: {told}\n" in doctor.stdout


def test_doctor_on_this_host() -> None:
    doctor = run_rtrace("doctor")

    assert (doctor.status, doctor.stderr) == (0, "")
    assert "ok  BPF programs: load and attach; reparents are confirmed by " in doctor.stdout
