"""fork, exec, exit, comm and reap, against what programs say about themselves."""

from __future__ import annotations

import os
import resource
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.kernel.recording import (
    Recorder,
    again_if_reap_unseen,
    boot_ns,
    raw_status,
    run_rtrace,
    run_tester,
    start_ticks,
    state,
    wait_for,
)
from tracer import abi
from tracer.abi import DetailType, Flag, Type

pytestmark = pytest.mark.kernel

Build = Callable[[str], Path]
ME = os.getpid()
_TICK_NS = 10_000_000
HOSTILE = b"\x1b[31m\xff\r\n\x07;rm"


def test_a_process_is_named_by_its_tgid_and_its_exact_start(recorder: Recorder) -> None:
    with recorder.window() as seen:
        before = boot_ns()
        pipe = subprocess.PIPE
        process = subprocess.Popen(["cat"], stdin=pipe, stdout=pipe, bufsize=0)
        after = boot_ns()
        ticks = start_ticks(process.pid)
        # Popen() returns within execve(2), which a signal may still end: it has to answer first.
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"x")
        assert process.stdout.read(1) == b"x"
        process.kill()
        process.communicate()

    events = seen.events(process.pid)
    (start_ns,) = {event.start_ns for event in events}
    assert start_ns // _TICK_NS == ticks
    assert before < start_ns < after
    kinds = [Type(event.type) for event in events if event.type not in (Type.SIGNAL, Type.REAP)]
    assert kinds == [Type.FORK, Type.COMM, Type.EXEC, Type.EXIT]


def test_fork_and_exec_name_the_parent(recorder: Recorder) -> None:
    with recorder.window() as seen:
        process = subprocess.Popen(["true"])
        process.wait()

    fork, execed = seen.event(process.pid, Type.FORK), seen.event(process.pid, Type.EXEC)
    assert (fork.fork.parent_tgid, fork.fork.forker_tgid) == (ME, ME)
    assert fork.fork.parent_start_ns == fork.fork.forker_start_ns
    assert fork.fork.parent_start_ns // _TICK_NS == start_ticks()
    assert (fork.fork.ns_tgid, fork.fork.pidns, fork.flags) == (process.pid, 0, 0)
    assert fork.fork.comm == Path("/proc/self/comm").read_bytes().strip()
    assert (execed.exec.parent_tgid, execed.exec.old_tid) == (ME, process.pid)
    assert execed.exec.comm == b"true"
    assert seen.event(process.pid, Type.EXIT).exit.parent_tgid == ME


def test_vfork_without_exec(recorder: Recorder, build: Build) -> None:
    with recorder.window() as seen:
        told = run_tester([build("family"), "vfork"])

    child = told["child"]
    assert seen.event(child, Type.FORK).fork.parent_tgid == told["pid"]
    assert seen.event(child, Type.EXIT).exit.exit_code == 9 << 8
    assert not seen.events(child, Type.EXEC)


def test_clone_parent_gives_the_child_to_the_forkers_parent(
    recorder: Recorder, build: Build
) -> None:
    with recorder.window() as seen:
        told = run_tester([build("family"), "clone-parent"])

    fork = seen.event(told["child"], Type.FORK).fork
    assert (fork.parent_tgid, fork.forker_tgid) == (told["pid"], told["middle"])
    assert seen.event(told["child"], Type.EXIT).exit.parent_tgid == told["pid"]


# --- exits -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "script",
    [
        "exit 0",
        "exit 1",
        "exit 255",
        "kill -KILL $$",
        "kill -TERM $$",
        "ulimit -c 0; kill -SEGV $$",
    ],
)
@again_if_reap_unseen
def test_exit_code_is_what_wait_reports(recorder: Recorder, script: str) -> None:
    with recorder.window() as seen:
        process = subprocess.Popen(["sh", "-c", script])
        status = raw_status(process)

    exit_code = seen.event(process.pid, Type.EXIT).exit.exit_code
    assert exit_code == status
    reap = recorder.wait_for_reap(process.pid)
    assert reap.reap.exit_code == status


def test_core_flag(recorder: Recorder, build: Build, tmp_path: Path) -> None:
    def allow_core() -> None:
        resource.setrlimit(resource.RLIMIT_CORE, (resource.RLIM_INFINITY,) * 2)

    with recorder.window() as seen:
        told = run_tester([build("signals"), "segfault"], cwd=tmp_path, preexec_fn=allow_core)

    # Whether there is a core depends on /proc/sys/kernel/core_pattern; what wait() says does not.
    exited = seen.event(told["pid"], Type.EXIT).exit
    assert exited.exit_code == told.raw_status
    assert exited.exit_code & 0x7F == 11
    assert exited.group_exit == 1
    if Path("/proc/sys/kernel/core_pattern").read_text().strip() == "core":
        assert exited.exit_code & 0x80


def test_exit_group_from_a_thread(recorder: Recorder, build: Build) -> None:
    with recorder.window() as seen:
        told = run_tester([build("threads"), "exit-group"])

    exited = seen.event(told["pid"], Type.EXIT)
    assert exited.exit.exit_code == told.raw_status == 5 << 8
    assert exited.exit.group_exit == 1
    assert not seen.events(told["tid"])


def test_a_process_ends_with_its_last_thread_and_not_with_its_leader(
    recorder: Recorder, build: Build
) -> None:
    with recorder.window() as seen:
        told = run_tester([build("threads"), "leader-first"])

    exited = seen.event(told["pid"], Type.EXIT)
    assert exited.ts_ns > told["boot_ns"]
    assert exited.tid == told["tid"] != told["pid"]
    assert exited.exit.exit_code == told.raw_status


def test_exec_from_a_thread_that_is_not_the_leader(recorder: Recorder, build: Build) -> None:
    with recorder.window() as seen:
        told = run_tester([build("threads"), "exec"])

    first, second = seen.events(told["pid"], Type.EXEC)
    assert first.exec.old_tid == told["pid"]
    assert second.exec.old_tid == told["tid"] != told["pid"]
    assert (second.tgid, second.tid) == (told["pid"], told["pid"])
    assert second.start_ns == first.start_ns
    assert second.exec.comm == b"true"
    assert seen.exec_detail(told["pid"]).args == (b"true", b"from a thread")
    exited = seen.event(told["pid"], Type.EXIT)
    assert exited.exit.exit_code == told.raw_status == 0
    assert exited.ts_ns > second.ts_ns


def test_an_exit_tells_the_child_of_a_subreaper(recorder: Recorder, build: Build) -> None:
    with recorder.window() as seen:
        told = run_tester([build("family"), "subreaper"])

    flags = {name: seen.event(told[name], Type.EXIT).flags for name in ("pid", "middle", "orphan")}
    # The orphan was adopted: what counts is whose child it is when it exits.
    child = Flag.SUBREAPER_CHILD
    assert flags == {"pid": Flag.SUBREAPER, "middle": child, "orphan": child}


# --- reaping -----------------------------------------------------------------------------------


@again_if_reap_unseen
def test_a_zombie_is_reaped_when_it_is_waited_for(recorder: Recorder, build: Build) -> None:
    with recorder.window() as seen:
        told = run_tester([build("family"), "late-wait"])

    exited = seen.event(told["child"], Type.EXIT)
    reap = recorder.wait_for_reap(told["child"])
    assert exited.ts_ns < told["wait_ns"] < reap.ts_ns
    assert reap.start_ns == exited.start_ns


@again_if_reap_unseen
def test_a_zombie_that_nobody_waits_for_is_never_reaped(recorder: Recorder) -> None:
    with recorder.window() as seen:
        zombie = subprocess.Popen(["true"])
        wait_for(lambda: state(zombie.pid) == "Z", "the zombie")
        other = subprocess.Popen(["true"])
        other.wait()
        recorder.wait_for_reap(other.pid)
        reaped = seen.events(zombie.pid, Type.REAP)
        zombie.wait()

    assert seen.event(zombie.pid, Type.EXIT)
    assert not reaped
    assert recorder.wait_for_reap(zombie.pid)


@again_if_reap_unseen
def test_reaped_without_a_wait(recorder: Recorder, build: Build) -> None:
    with recorder.window():
        told = run_tester([build("family"), "autoreap"])

    reap = recorder.wait_for_reap(told["child"])
    assert reap.reap.exit_code == 2 << 8


# --- comm --------------------------------------------------------------------------------------


def test_comm_of_the_process_but_not_of_its_threads(recorder: Recorder, build: Build) -> None:
    with recorder.window() as seen:
        told = run_tester([build("family"), "rename", HOSTILE])

    comms = [event.comm.comm for event in seen.events(told["pid"], Type.COMM)]
    assert comms == [b"family", HOSTILE]
    # Its thread has been joined, and may still be the second to tell that the last one has ended.
    assert seen.events(told["pid"], Type.EXIT)[-1].exit.comm == HOSTILE
    assert seen.events(told["pid"], Type.COMM)[-1].comm.parent_tgid == told["parent"]


def test_comm_written_to_proc_is_cut_at_15_bytes(recorder: Recorder) -> None:
    with recorder.window() as seen:
        process = subprocess.Popen(["sh", "-c", "printf 0123456789abcdefgh >/proc/$$/comm"])
        process.wait()

    assert seen.events(process.pid, Type.COMM)[-1].comm.comm == b"0123456789abcde"


# --- arguments ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param([b"", b"a", b"", b""], id="empty"),
        pytest.param([str(i).encode() for i in range(500)], id="many"),
        pytest.param([b"\xff\xfe", b"\xc3", "ü".encode()], id="invalid UTF-8"),
        pytest.param([b"\x1b[2J\x1b]0;title\x07", b"a\nb\rc\td"], id="escapes"),
    ],
)
def test_arguments_are_recorded_as_they_are(recorder: Recorder, arguments: list[bytes]) -> None:
    with recorder.window() as seen:
        process = subprocess.Popen([b"true", *arguments])
        process.wait()

    (detail,) = [d for d in seen.details(process.pid) if d.type == DetailType.EXEC]
    execed = seen.event(process.pid, Type.EXEC)
    assert detail.args == (b"true", *arguments)
    assert (detail.args_cut, detail.args_total) == (False, 5 + sum(len(a) + 1 for a in arguments))
    assert Path(os.fsdecode(detail.filename)).name == "true"
    assert (detail.ts_ns, detail.start_ns) == (execed.ts_ns, execed.start_ns)


def test_two_megabytes_of_arguments(recorder: Recorder) -> None:
    arguments = [b"true", *(bytes([65 + i]) * 120_000 for i in range(20))]

    def more_stack() -> None:  # a quarter of it may be arguments
        resource.setrlimit(resource.RLIMIT_STACK, (64 << 20, resource.RLIM_INFINITY))

    with recorder.window() as seen:
        process = subprocess.Popen(arguments, preexec_fn=more_stack)
        status = raw_status(process)

    assert status == 0
    detail = seen.exec_detail(process.pid)
    packed = b"".join(argument + b"\0" for argument in arguments)
    assert detail.args_cut
    assert detail.args_total == len(packed) > 2 << 20
    assert detail.args == tuple(packed[: abi.ARGS_MAX].split(b"\0"))


def test_a_script_is_named_by_its_file_and_run_by_its_interpreter(
    recorder: Recorder, tmp_path: Path
) -> None:
    script = tmp_path / "a script"
    script.write_text("#!/bin/sh -e\nexit 7\n")
    script.chmod(0o755)

    with recorder.window() as seen:
        process = subprocess.Popen([script, "x"])
        process.wait()

    detail = seen.exec_detail(process.pid)
    assert detail.filename == os.fsencode(script)
    assert detail.args == (b"/bin/sh", b"-e", os.fsencode(script), b"x")
    assert seen.event(process.pid, Type.EXEC).exec.comm == b"a script"


def test_hostile_names_reach_no_terminal(build: Build, tmp_path: Path) -> None:
    # GIVEN a capture of a process with escape sequences in its comm and its arguments
    program = build("family")
    with Recorder(tmp_path, command=[str(program), "rename", os.fsdecode(HOSTILE)]) as recording:
        ended = recording.stop(None)
    assert ended.status == 0
    assert any(HOSTILE in detail.args for detail in recording.capture.details()), (
        "the arguments are in the capture"
    )

    # WHEN it is shown
    for command in ("dump", "report"):
        shown = run_rtrace(command, recording.path)

        # THEN everything in it is printable
        assert shown.status == 0
        assert all(line.isprintable() for line in shown.stdout.split("\n"))
    assert r"\x1b[31m\xff\r\n\x07;rm" in run_rtrace("dump", recording.path).stdout


def test_no_args(tmp_path: Path) -> None:
    secret = "planted-and-never-recorded"
    older = subprocess.Popen(["sleep", "60", f"0.{int.from_bytes(secret[:4].encode(), 'big')}"])
    older_secret = os.fsencode(older.args[-1])
    try:
        with Recorder(tmp_path, "--no-args", command=["sh", "-c", "exit 0", secret]) as recording:
            assert recording.stop(None).status == 0
    finally:
        older.kill()
        older.wait()

    capture = recording.capture
    (execed,) = [d for d in capture.details() if d.args_total == len(f"sh -c exit 0 {secret} ")]
    assert Path(os.fsdecode(execed.filename)).name == "sh"
    assert execed.args == ()
    assert capture.processes("start")[older.pid]["args"] == []
    assert secret.encode() not in capture.contents()
    assert older_secret not in capture.contents()


# --- pid namespaces ----------------------------------------------------------------------------


def test_ids_in_nested_pid_namespaces(recorder: Recorder) -> None:
    inner = "readlink /proc/self/ns/pid; read pid rest < /proc/self/stat; echo $pid"
    unshare = ["unshare", "--pid", "--fork", "--mount-proc"]

    with recorder.window() as seen:
        outside = subprocess.Popen(
            [*unshare, *unshare, "sh", "-c", inner], stdout=subprocess.PIPE, text=True
        )
        answer = outside.communicate()[0].split()

    pidns = int(answer[0].removeprefix("pid:[").removesuffix("]"))
    assert answer[1] == "1"
    # The second unshare is process 1 of the first namespace, the shell that of the second.
    middle, init, readlink = seen.descendants(outside.pid)
    assert (middle.fork.ns_tgid, init.fork.ns_tgid, readlink.fork.ns_tgid) == (1, 1, 2)
    assert init.fork.pidns == readlink.fork.pidns == pidns
    assert middle.fork.pidns not in (0, pidns)
    assert middle.tgid != 1 != init.tgid
    assert [bool(e.flags & Flag.NS_INIT) for e in (middle, init, readlink)] == [True, True, False]
    execed = seen.event(init.tgid, Type.EXEC)
    assert (execed.exec.ns_tgid, execed.exec.pidns) == (1, pidns)
    assert execed.flags & Flag.NS_INIT
    exits = [seen.event(event.tgid, Type.EXIT) for event in (middle, init, readlink)]
    assert [bool(e.flags & Flag.NS_INIT) for e in exits] == [True, True, False]
