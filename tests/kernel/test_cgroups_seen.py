"""Cgroups in the kernel's words: at exec, and when a process is moved."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.kernel.groups import Group
from tests.kernel.recording import Recorder, wait_for
from tracer.abi import Controller, DetailType, Type
from tracer.cgroups import naming_controller, read_hierarchies

pytestmark = pytest.mark.kernel

Groups = Callable[[str], Group]


def test_v2_cgroup_at_exec_and_when_moved(recorder: Recorder, group: Groups) -> None:
    made = group("v2")
    inner = made.below("inner with a space")
    with recorder.window() as seen:
        process = inner.popen(["true"])
        process.wait()

    (attach,) = [d for d in seen.details(process.pid) if d.type == DetailType.ATTACH]
    execed = seen.exec_detail(process.pid)
    assert attach.cgroup == execed.cgroup == os.fsencode(inner.path)
    assert attach.hierarchy == 0
    assert attach.ts_ns < execed.ts_ns
    last_exec = seen.events(process.pid, Type.EXEC)[-1]
    assert last_exec.exec.cgroup_id == inner.directory.stat().st_ino


def test_v1_cgroup_at_exec_and_when_moved(recorder: Recorder, group: Groups) -> None:
    controller = naming_controller(read_hierarchies())
    if controller is Controller.NONE:
        pytest.skip("missing: a cgroup v1 hierarchy (this host has v2 alone)")
    made = group(controller.name.lower())
    with recorder.window() as seen:
        process = made.popen(["cat", "/proc/self/cgroup"], stdout=subprocess.PIPE)
        lines, _ = process.communicate()

    (hierarchy,) = re.findall(rf"^(\d+):[^:]*:{re.escape(made.path)}$", lines.decode(), re.M)
    (attach,) = [d for d in seen.details(process.pid) if d.type == DetailType.ATTACH]
    assert (attach.cgroup, attach.hierarchy) == (os.fsencode(made.path), int(hierarchy))
    first, second = [d for d in seen.details(process.pid) if d.type == DetailType.EXEC]
    assert second.cgroup_v1 == os.fsencode(made.path)
    assert first.cgroup_v1 != second.cgroup_v1
    assert first.cgroup == second.cgroup


def test_snapshots_know_the_cgroup(tmp_path: Path, engine: str, group: Groups) -> None:
    made = group("v2")
    process = made.popen(["sleep", "60"])
    try:
        wait_for(lambda: made.pids() == [process.pid], "the process in its cgroup")
        with Recorder(tmp_path, f"--engine={engine}") as recording:
            recording.wait_until_recording()
            recording.stop()
    finally:
        process.kill()
        process.wait()

    for phase in ("start", "end"):
        assert recording.capture.tasks(phase)[process.pid].cgroup_id == made.directory.stat().st_ino
        assert f"0::{made.path}\n" in recording.capture.processes(phase)[process.pid]["cgroup"]
