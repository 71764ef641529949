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


@pytest.mark.parametrize("mode", ["v1", "v2", "none"])
def test_hosts_of_each_kind(tmp_path: Path, group: Groups, mode: str) -> None:
    # GIVEN a host on which only these hierarchies are mounted
    kinds = {"v1": "cgroup2", "v2": "cgroup", "none": "cgroup cgroup2"}
    script = (
        "for kind in $1; do awk -v kind=$kind '$3 == kind { print $2 }' /proc/mounts | sort -r | "
        'while read -r mount; do umount --lazy "$mount"; done; done; shift; exec "$@"'
    )
    mounted = {hierarchy.version for hierarchy in read_hierarchies()}
    if {"v1": 1, "v2": 2}.get(mode, max(mounted)) not in mounted:
        pytest.skip(f"missing: a cgroup {mode} hierarchy")
    wrapper = ["unshare", "--mount", "sh", "-euc", script, "sh", kinds[mode]]
    made = [group("pids" if version == 1 else "v2") for version in sorted(mounted)]
    enter = "".join(f'echo $$ >"{one.directory}/cgroup.procs"; ' for one in made)

    # WHEN something runs in a cgroup of each
    with Recorder(tmp_path, wrapper=wrapper) as recording:
        recording.wait_until_recording()
        subprocess.run(["sh", "-c", f'{enter}exec "$@"', "sh", "true", mode], check=True)
        recording.settle()
        recording.stop()

    # THEN the kind is known, and names come from v1 where there is v1.
    capture = recording.capture
    assert capture.header["host"]["cgroup"] == mode
    (detail,) = [d for d in capture.details() if d.args == (b"true", mode.encode())]
    paths = {one.version: os.fsencode(one.path) for one in made}
    assert detail.cgroup_v1 == (paths[1] if mode == "v1" else b"")
    assert detail.cgroup == paths.get(2, b"")  # the kernel has it, mounted or not


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
