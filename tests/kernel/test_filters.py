"""--pidns and --cgroup: what is inside is recorded, and of the others no more than a name."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.kernel.groups import Group
from tests.kernel.recording import (
    Capture,
    Recorder,
    assert_failed,
    run_rtrace,
    wait_for,
)
from tracer.abi import DetailType, Type

pytestmark = pytest.mark.kernel

ME = os.getpid()
OUTSIDE = ("planted-in-a-bystander", "planted-in-the-sender", "planted-in-its-parent")


@contextmanager
def new_pid_namespace(*, mount_proc: bool = False) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """Process 1 of a pid namespace, a shell that runs what it reads; its pid, and its parent."""
    options = ["--pid", "--fork", *(["--mount-proc"] if mount_proc else [])]
    outside = subprocess.Popen(["unshare", *options, "sh"], stdin=subprocess.PIPE)
    children = Path(f"/proc/{outside.pid}/task/{outside.pid}/children")
    try:
        init = int(wait_for(lambda: children.read_text().split(), "the namespace's process 1")[0])
        yield init, outside
    finally:
        assert outside.stdin is not None
        outside.stdin.close()
        outside.wait()


def tell(shell: subprocess.Popen[bytes], line: str) -> None:
    assert shell.stdin is not None
    shell.stdin.write(line.encode() + b"\n")
    shell.stdin.flush()


def wait_for_exec(capture: Capture, *args: str) -> int:
    """The process that was started with these arguments."""
    wanted = tuple(os.fsencode(argument) for argument in args)

    def find() -> list[int]:
        capture.read()
        return [d.tgid for d in capture.details() if d.args == wanted]

    return wait_for(find, f"the exec of {args}")[-1]


def wait_for_exit(capture: Capture, tgid: int) -> None:
    def find() -> bool:
        capture.read()
        return bool(capture.events(tgid, Type.EXIT))

    wait_for(find, f"the exit of {tgid}")


def assert_only_inside(capture: Capture, first: set[int]) -> None:
    """Subjects of events are the first ones and their descendants; all others are stubs."""
    inside, stubs = set(first), set()
    for event in capture.events():
        if event.type == Type.STUB:
            stubs.add(event.tgid)
        elif event.type == Type.FORK and event.fork.forker_tgid in inside | stubs:
            inside.add(event.tgid)
        else:
            assert event.tgid in inside, Type(event.type)
    assert not inside & stubs
    assert {detail.tgid for detail in capture.details()} <= inside
    for phase in ("start", "end"):
        assert set(capture.tasks(phase)) <= inside
        assert set(capture.processes(phase)) <= inside


def test_pidns(tmp_path: Path, engine: str) -> None:
    # GIVEN a recording of one pid namespace
    bystander = subprocess.Popen(["sh", "-c", "sleep 60; :", OUTSIDE[0]])
    try:
        with (
            new_pid_namespace() as (init, shell),
            Recorder(tmp_path, f"--engine={engine}", "--pidns", str(init)) as recording,
        ):
            recording.wait_until_recording()
            capture = recording.capture

            # WHEN something happens in it, below it, and outside
            tell(shell, "/bin/true inside &")
            tell(shell, "unshare --pid --fork sh -c 'exit 3' below &")
            tell(shell, "sleep 61 &")
            target = wait_for_exec(capture, "sleep", "61")
            below = wait_for_exec(capture, "sh", "-c", "exit 3", "below")
            other = subprocess.Popen(["sh", "-c", "exit 0", OUTSIDE[0]])
            other.wait()
            leaver = subprocess.Popen(["sh", "-c", "sleep 1 & exit 0", OUTSIDE[0]])
            leaver.wait()
            # and somebody outside kills a process inside
            send = f'sh -c "kill -TERM {target}; :" {OUTSIDE[1]}; :'
            killer = subprocess.Popen(["sh", "-c", send, OUTSIDE[2]])
            killer.wait()
            wait_for_exit(capture, target)
            # and somebody outside starts a process inside
            nsenter = subprocess.Popen(["nsenter", f"--target={init}", "--pid", "true", "entered"])
            nsenter.wait()
            entered = wait_for_exec(capture, "true", "entered")
            wait_for_exit(capture, entered)
            assert recording.stop().status == 0
    finally:
        bystander.kill()
        bystander.wait()

    # THEN what is inside was recorded, also in a namespace below
    assert capture.event(below, Type.EXIT).exit.exit_code == 3 << 8
    assert capture.event(target, Type.EXIT).exit.exit_code == signal.SIGTERM
    assert capture.event(target, Type.FORK).fork.parent_tgid == init
    # and nothing of the others
    assert_only_inside(capture, {init})
    assert not capture.events(other.pid)
    assert not capture.events(bystander.pid)
    # but who sent the signal and who started the process, by their names
    sent = capture.event(target, Type.SIGNAL).signal
    assert sent.comm == b"sh"
    stubs = {event.tgid: event.comm for event in capture.events(kind=Type.STUB)}
    assert stubs[sent.sender_tgid].comm == b"sh"
    assert stubs[sent.sender_tgid].parent_tgid == killer.pid
    assert stubs[nsenter.pid].comm == b"nsenter"
    # (not of those whose children are taken over outside)
    assert leaver.pid not in stubs
    assert capture.event(entered, Type.FORK).fork.parent_tgid == nsenter.pid
    # with all ancestors
    tgid, chain = sent.sender_tgid, []
    while tgid in stubs:
        chain.append(tgid)
        tgid = stubs[tgid].parent_tgid
    assert chain[:3] == [sent.sender_tgid, killer.pid, ME]
    assert chain[-1] == 1
    assert stubs[ME].comm == Path("/proc/self/comm").read_bytes().strip()
    # and nowhere with arguments.
    for secret in OUTSIDE:
        assert secret.encode() not in capture.contents()
    assert capture.header["filter"]["kind"] == "pidns"
    assert capture.header["filter"]["pid"] == init


def test_pidns_snapshots_hold_only_what_is_inside(tmp_path: Path, engine: str) -> None:
    with new_pid_namespace() as (init, shell):
        tell(shell, "sleep 62 &")
        children = Path(f"/proc/{init}/task/{init}/children")
        sleeper = int(wait_for(lambda: children.read_text().split(), "the child")[0])
        with Recorder(tmp_path, f"--engine={engine}", f"--pidns={init}") as recording:
            recording.wait_until_recording()
            recording.stop()

    tasks = recording.capture.tasks("start")
    assert set(tasks) == {init, sleeper}
    assert (tasks[init].ns_tgid, tasks[init].level, tasks[sleeper].ns_tgid) == (1, 1, 2)
    assert tasks[init].pidns == tasks[sleeper].pidns == recording.capture.header["filter"]["pidns"]
    assert set(recording.capture.processes("start")) == {init, sleeper}
    stubs = {event.tgid for event in recording.capture.events(kind=Type.STUB)}
    assert {shell.pid, ME} <= stubs


@pytest.mark.parametrize(
    ("hierarchy", "form"),
    [
        ("v2", "directory"),
        ("pids", "directory"),
        ("memory", "directory"),
        ("v2", "proc"),
        ("pids", "proc"),
    ],
)
def test_cgroup(
    tmp_path: Path, engine: str, group: Callable[[str], Group], hierarchy: str, form: str
) -> None:
    # GIVEN a recording of one cgroup
    made = group(hierarchy)
    inner = made.below("inner")
    path = str(made.directory) if form == "directory" else made.path
    older = inner.popen(["sleep", "63"])
    wait_for(lambda: made.pids() == [older.pid], "the process in its cgroup")
    with Recorder(tmp_path, f"--engine={engine}", "--cgroup", path) as recording:
        recording.wait_until_recording()
        capture = recording.capture

        # WHEN something happens in it, below it, and outside
        process = made.popen(["sh", "-c", "/bin/true child; exit 3", "inside"])
        process.wait()
        lower = inner.popen(["true", "lower"])
        lower.wait()
        other = subprocess.Popen(["sh", "-c", "exit 0", OUTSIDE[0]])
        other.wait()
        wait_for_exit(capture, lower.pid)
        older.kill()
        older.wait()
        wait_for_exit(capture, older.pid)
        assert recording.stop().status == 0

    # THEN the capture has the processes since they were moved into it
    attach = [d for d in capture.details(process.pid) if d.type == DetailType.ATTACH]
    assert [os.fsdecode(d.cgroup) for d in attach] == [made.path]
    assert capture.exec_detail(process.pid).args == (
        b"sh",
        b"-c",
        b"/bin/true child; exit 3",
        b"inside",
    )
    assert not capture.events(process.pid, Type.FORK)
    assert capture.event(process.pid, Type.EXIT).exit.exit_code == 3 << 8
    (child,) = [e for e in capture.events(kind=Type.FORK) if e.fork.parent_tgid == process.pid]
    assert capture.exec_detail(child.tgid).args == (b"/bin/true", b"child")
    assert capture.event(lower.pid, Type.EXIT)
    # and nothing of the others.
    assert set(capture.tasks("start")) == {older.pid}
    assert_only_inside(capture, {older.pid, process.pid, lower.pid})
    assert OUTSIDE[0].encode() not in capture.contents()
    stubs = {event.tgid: event.comm.comm for event in capture.events(kind=Type.STUB)}
    assert stubs[ME] == Path("/proc/self/comm").read_bytes().strip()
    assert capture.header["filter"]["id"] == made.directory.stat().st_ino


def test_pidns_of_a_dead_process(tmp_path: Path) -> None:
    process = subprocess.Popen(["true"])
    process.wait()

    ended = run_rtrace("record", "-o", tmp_path / "x", "--pidns", str(process.pid))

    assert_failed(ended, str(process.pid), "there is no such process; give")
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("path", ["/no/such/cgroup", "/", "", "/etc", "../../../etc"])
def test_missing_cgroup(tmp_path: Path, path: str) -> None:
    ended = run_rtrace("record", "-o", tmp_path / "x", "--duration=1ms", "--cgroup", path)

    assert_failed(ended, "cannot filter by the cgroup")
    assert not (tmp_path / "x").exists()
