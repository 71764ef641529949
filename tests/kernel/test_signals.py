"""Signals: who sent them, or in whose context the kernel made them."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.kernel.groups import Group
from tests.kernel.recording import Capture, Recorder, run_tester, wait_for
from tracer import abi
from tracer.abi import Context, Origin, Type

pytestmark = pytest.mark.kernel

Build = Callable[[str], Path]
SI_USER, SI_QUEUE, SI_TKILL, SI_KERNEL = 0, -1, -6, 0x80
DELIVERED, IGNORED, ALREADY_PENDING = 0, 1, 2


def signals_to(seen: Capture, tgid: int) -> list[abi.Event]:
    return seen.events(tgid, Type.SIGNAL)


def test_kill_names_its_sender(recorder: Recorder, build: Build) -> None:
    with recorder.window() as seen:
        target = subprocess.Popen(["sleep", "60"])
        sender = run_tester([build("signals"), "kill", str(target.pid), "15"])
        target.wait()

    (event,) = signals_to(seen, target.pid)
    sent = event.signal
    assert (sent.signal, sent.group, sent.result) == (signal.SIGTERM, 1, DELIVERED)
    assert (sent.origin, sent.si_code, sent.si_pid) == (Origin.INFO, SI_USER, sender["pid"])
    assert sent.sender_tgid == sent.sender_tid == sender["pid"]
    assert sent.sender_start_ns == seen.event(sender["pid"], Type.FORK).start_ns
    assert (sent.comm, sent.context) == (b"signals", 0)
    assert seen.event(target.pid, Type.EXIT).exit.exit_code == signal.SIGTERM


def test_sigqueue(recorder: Recorder, build: Build) -> None:
    with recorder.window() as seen:
        target = subprocess.Popen(["sleep", "60"])
        sender = run_tester([build("signals"), "queue", str(target.pid)])
        target.wait()

    (event,) = signals_to(seen, target.pid)
    assert event.signal.signal == signal.SIGRTMIN + 3
    assert (event.signal.si_code, event.signal.si_pid) == (SI_QUEUE, sender["pid"])


def test_tgkill_is_for_one_thread(recorder: Recorder, build: Build) -> None:
    with recorder.window() as seen:
        told = run_tester([build("signals"), "to-thread"])

    (event,) = signals_to(seen, told["pid"])
    assert (event.signal.signal, event.signal.si_code) == (signal.SIGUSR1, SI_TKILL)
    assert (event.tid, event.signal.group) == (told["tid"], 0)
    assert event.signal.result == IGNORED
    assert event.signal.sender_tgid == told["pid"]


def test_a_signal_that_is_pending_already(recorder: Recorder, build: Build) -> None:
    with recorder.window() as seen:
        told = run_tester([build("signals"), "pending"])

    results = [event.signal.result for event in signals_to(seen, told["pid"])]
    assert results == [DELIVERED, ALREADY_PENDING, ALREADY_PENDING]


def test_segmentation_fault_has_no_sender(recorder: Recorder, build: Build, tmp_path: Path) -> None:
    with recorder.window() as seen:
        told = run_tester([build("signals"), "segfault"], cwd=tmp_path)

    (event,) = signals_to(seen, told["pid"])
    assert event.signal.signal == signal.SIGSEGV
    assert event.signal.origin == Origin.INFO
    assert event.signal.si_code > 0  # SEGV_MAPERR: from the kernel
    assert event.signal.si_pid == 0


def test_abort_is_from_the_process_itself(recorder: Recorder, build: Build, tmp_path: Path) -> None:
    with recorder.window() as seen:
        told = run_tester([build("signals"), "abort"], cwd=tmp_path)

    (event,) = signals_to(seen, told["pid"])
    assert event.signal.signal == signal.SIGABRT
    assert event.signal.sender_tgid == told["pid"]


def test_a_timer_is_the_kernels(recorder: Recorder, build: Build) -> None:
    with recorder.window() as seen:
        told = run_tester([build("signals"), "alarm"])

    (event,) = signals_to(seen, told["pid"])
    assert event.signal.signal == signal.SIGALRM
    # Whatever task the timer interrupted is not the sender, and nothing says that it is.
    assert event.signal.origin == Origin.PRIV
    assert (event.signal.si_code, event.signal.si_pid) == (0, 0)


def test_parent_death_signal(recorder: Recorder, build: Build) -> None:
    with recorder.window() as seen:
        told = run_tester([build("signals"), "parent-death"])

    (event,) = signals_to(seen, told["child"])
    assert (event.signal.signal, event.signal.origin) == (signal.SIGTERM, Origin.NOINFO)
    assert event.signal.context == Context.EXITING | Context.PDEATH | Context.GROUP_EXIT
    assert event.signal.sender_tgid == told["middle"]
    assert seen.event(told["child"], Type.EXIT).exit.exit_code == signal.SIGTERM


def test_end_of_a_pid_namespace(recorder: Recorder) -> None:
    # GIVEN a pid namespace whose process 1 has two children
    with recorder.window() as seen:
        outside = subprocess.Popen(
            ["unshare", "--pid", "--fork", "sh", "-c", "sleep 60 & sleep 61 & wait"]
        )

        def sleepers() -> bool:
            recorder.capture.read()
            tgids = [event.tgid for event in seen.descendants(outside.pid)]
            return [
                event.exec.comm for tgid in tgids for event in seen.events(tgid, Type.EXEC)
            ].count(b"sleep") == 2

        wait_for(sleepers, "both children")
        init, *children = [event.tgid for event in seen.descendants(outside.pid)]
        # WHEN process 1 is killed
        os.kill(init, signal.SIGKILL)
        outside.wait()

    # THEN the kernel kills the others, in its context
    assert len(children) == 2
    for child in children:
        (event,) = signals_to(seen, child)
        assert (event.signal.signal, event.signal.origin) == (signal.SIGKILL, Origin.PRIV)
        assert event.signal.context == Context.EXITING | Context.NS_INIT | Context.GROUP_EXIT
        assert event.signal.sender_tgid == init
        assert seen.event(child, Type.EXIT).exit.exit_code == signal.SIGKILL
        # and nobody adopts them
        assert not seen.events(child, Type.REPARENT)
    (event,) = signals_to(seen, init)
    assert event.signal.sender_tgid == os.getpid()


def test_cgroup_kill(recorder: Recorder, group: Callable[[str], Group]) -> None:
    made = group("v2")
    with recorder.window() as seen:
        target = made.popen(["sleep", "60"])
        wait_for(lambda: made.pids() == [target.pid], "the process in its cgroup")
        made.write("cgroup.kill", "1")
        target.wait()

    (event,) = signals_to(seen, target.pid)
    assert (event.signal.signal, event.signal.origin) == (signal.SIGKILL, Origin.NOINFO)
    assert event.signal.context == 0
    assert event.signal.sender_tgid == os.getpid()


def test_oom_in_a_cgroup(recorder: Recorder, group: Callable[[str], Group], build: Build) -> None:
    made = group("memory")
    limit = "memory.max" if made.version == 2 else "memory.limit_in_bytes"
    made.write(limit, str(16 << 20))
    swap = made.directory / ("memory.swap.max" if made.version == 2 else "memory.swappiness")
    if swap.exists():
        swap.write_text("0")

    with recorder.window() as seen:
        victim = made.popen([build("eater"), "4096"], stdout=subprocess.DEVNULL)
        victim.wait()

    assert victim.returncode == -signal.SIGKILL
    oom = seen.event(victim.pid, Type.OOM)
    assert oom.start_ns in (0, seen.event(victim.pid, Type.FORK).start_ns)  # 0: before 6.10
    assert oom.oom.comm in (b"", b"eater")
    (event,) = signals_to(seen, victim.pid)
    assert (event.signal.signal, event.signal.origin) == (signal.SIGKILL, Origin.PRIV)
    assert event.ts_ns <= oom.ts_ns  # the kernel kills first, and marks the victim then
    assert seen.event(victim.pid, Type.EXIT).exit.exit_code == signal.SIGKILL


def test_sigchld_and_its_like_are_not_recorded(recorder: Recorder) -> None:
    with recorder.window() as seen:
        target = subprocess.Popen(["sh", "-c", "true & true & wait; kill -WINCH $$; kill -URG $$"])
        target.wait()

    assert len(seen.events(target.pid, Type.EXEC)) == 1
    assert signals_to(seen, target.pid) == []
    unwanted = {signal.SIGCHLD, signal.SIGURG, signal.SIGWINCH}
    assert not unwanted & {e.signal.signal for e in seen.events(kind=Type.SIGNAL)}
