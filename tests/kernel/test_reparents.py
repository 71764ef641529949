"""Who adopts orphans: what the orphans see themselves, and what the kernel's rule says."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.kernel.recording import Recorder, again_if_reap_unseen, run_tester
from tracer import abi
from tracer.abi import Flag, Hook, Reason, Type

pytestmark = pytest.mark.kernel

Build = Callable[[str], Path]


def assert_confirmed(
    reaper: abi.Event, reparents: list[abi.Event], new_parent: int, reason: Reason
) -> None:
    """The REAPER event belongs to the REPARENTs, and both say the same."""
    assert reaper.reaper.reaper_tgid == new_parent
    assert reaper.reaper.reason == reason
    assert reaper.reaper.hook in (
        Hook.SIGNAL,
        Hook.PROC_EXIT_CONNECTOR,
        Hook.SCHED_SWITCH,
    )
    assert reaper.reaper.children == len(reparents)
    assert {event.ts_ns for event in reparents} == {reaper.reaper.exit_ns}
    assert reaper.ts_ns >= reaper.reaper.exit_ns
    for event in reparents:
        assert event.reparent.parent_tgid == reaper.tgid
        assert event.reparent.parent_start_ns == reaper.start_ns
        assert event.reparent.reaper_tgid == new_parent
        assert event.reparent.reaper_start_ns == reaper.reaper.reaper_start_ns
        assert event.reparent.reason == reason


def test_a_subreaper_adopts(recorder: Recorder, build: Build) -> None:
    with recorder.window() as seen:
        told = run_tester([build("family"), "subreaper"])

    subreaper, middle, orphan = told["subreaper"], told["middle"], told["orphan"]
    reparent, reaper = seen.event(orphan, Type.REPARENT), seen.event(middle, Type.REAPER)
    assert told["adopted_by"] == subreaper
    assert_confirmed(reaper, [reparent], subreaper, Reason.SUBREAPER)
    assert (reaper.tid, reparent.reparent.parent_tid) == (middle, middle)
    assert not reparent.flags & Flag.ZOMBIE
    # The old parent's exit is at the same time, and the orphan's own exit names the new parent.
    assert seen.event(middle, Type.EXIT).ts_ns <= reparent.ts_ns
    assert seen.event(orphan, Type.EXIT).exit.parent_tgid == subreaper


def test_a_subreaper_is_seen_when_it_matters_and_once(recorder: Recorder, build: Build) -> None:
    with recorder.window() as seen:
        told = run_tester([build("family"), "subreaper"])

    noted = seen.event(told["subreaper"], Type.SUBREAPER)
    assert noted.flags & Flag.SUBREAPER
    assert noted.comm.comm == b"family"
    assert noted.comm.parent_tgid == told["parent"]
    assert noted.ts_ns <= seen.event(told["middle"], Type.FORK).ts_ns
    assert not seen.events(told["middle"], Type.SUBREAPER)


def test_init_of_a_pid_namespace_adopts(recorder: Recorder, build: Build) -> None:
    script = '"$0" orphan & wait; sleep 0.1'
    with recorder.window() as seen:
        outside = subprocess.Popen(
            ["unshare", "--pid", "--fork", "sh", "-c", script, build("family")],
            stdout=subprocess.PIPE,
        )
        assert outside.stdout is not None
        with outside.stdout:
            lines = outside.stdout.read().decode().splitlines()
        outside.wait()

    told = {name: int(value) for name, value in (line.split() for line in lines)}
    assert told["adopted_by"] == 1
    init, *below = seen.descendants(outside.pid)
    assert init.fork.ns_tgid == 1
    inside = {event.fork.ns_tgid: event.tgid for event in below}
    middle, orphan = inside[told["middle"]], inside[told["orphan"]]
    reparent, reaper = seen.event(orphan, Type.REPARENT), seen.event(middle, Type.REAPER)
    assert_confirmed(reaper, [reparent], init.tgid, Reason.INIT)


def test_the_nearest_of_the_hosts_reapers_adopts(recorder: Recorder, build: Build) -> None:
    with recorder.window() as seen:
        told = run_tester([build("family"), "orphan"])

    # Init, or the subreaper that this test happens to run under: the orphan knows which.
    reparent = seen.event(told["orphan"], Type.REPARENT)
    reaper = seen.event(told["middle"], Type.REAPER)
    reason = Reason.INIT if told["adopted_by"] == 1 else Reason.SUBREAPER
    assert_confirmed(reaper, [reparent], told["adopted_by"], reason)


def test_a_thread_of_the_same_process_adopts(recorder: Recorder, build: Build) -> None:
    with recorder.window() as seen:
        told = run_tester([build("threads"), "child-of-thread"])

    reparent = seen.event(told["child"], Type.REPARENT)
    (reaper,) = seen.events(told["pid"], Type.REAPER)
    assert_confirmed(reaper, [reparent], told["pid"], Reason.THREAD)
    assert reparent.reparent.parent_tid == reaper.tid == told["tid"] != told["pid"]
    assert reaper.reaper.reaper_tid == told["pid"]
    # The process goes on, and waits for the child in the end.
    exited = seen.event(told["child"], Type.EXIT)
    assert exited.exit.parent_tgid == told["pid"]
    assert seen.event(told["pid"], Type.EXIT).ts_ns > exited.ts_ns > reparent.ts_ns


@again_if_reap_unseen
def test_a_zombie_is_adopted_too(recorder: Recorder, build: Build) -> None:
    with recorder.window() as seen:
        told = run_tester([build("family"), "subreaper-zombie"])

    reparent = seen.event(told["zombie"], Type.REPARENT)
    reaper = seen.event(told["middle"], Type.REAPER)
    assert_confirmed(reaper, [reparent], told["subreaper"], Reason.SUBREAPER)
    assert reparent.flags & Flag.ZOMBIE
    assert seen.event(told["zombie"], Type.EXIT).exit.parent_tgid == told["middle"]
    reap = recorder.wait_for_reap(told["zombie"])
    assert reap.ts_ns > reparent.ts_ns


def test_all_children_of_a_process_have_one_reaper(recorder: Recorder, build: Build) -> None:
    with recorder.window() as seen:
        told = run_tester([build("family"), "many", "200"])

    middle = told["middle"]
    children = [event.tgid for event in seen.descendants(middle)]
    reparents = [seen.event(child, Type.REPARENT) for child in children]
    assert len(children) == told["waited_for"] == 200
    assert_confirmed(
        seen.event(middle, Type.REAPER), reparents, told["subreaper"], Reason.SUBREAPER
    )
    assert not any(event.flags & Flag.MORE for event in reparents)


def test_a_process_without_children_orphans_nobody(recorder: Recorder) -> None:
    with recorder.window() as seen:
        process = subprocess.Popen(["true"])
        process.wait()

    assert not seen.events(process.pid, Type.REAPER)
    assert not seen.events(process.pid, Type.REPARENT)


def test_more_children_than_are_walked(recorder: Recorder, build: Build) -> None:
    with recorder.window() as seen:
        told = run_tester([build("family"), "many", "1100"])

    middle = told["middle"]
    assert told["waited_for"] == 1100
    start_ns = seen.event(middle, Type.FORK).start_ns
    reparents = [
        e
        for e in seen.events(kind=Type.REPARENT)
        if (e.reparent.parent_tgid, e.reparent.parent_start_ns) == (middle, start_ns)
    ]
    # bpf/events.h: the last of 1024 says that there are more, which went the same way.
    assert len(reparents) == 1024
    assert [bool(e.flags & Flag.MORE) for e in reparents] == [False] * 1023 + [True]
    reaper = seen.event(middle, Type.REAPER)
    assert reaper.flags & Flag.MORE
    assert_confirmed(reaper, reparents, told["subreaper"], Reason.SUBREAPER)
