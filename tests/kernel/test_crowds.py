"""Many processes, all numbers taken, and numbers that are used again at once."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from analysis.model import open_capture
from tests.kernel.hosts import in_mount_namespace
from tests.kernel.recording import Recorder, run_tester, wait_for
from tracer.abi import Type

pytestmark = pytest.mark.kernel

Build = Callable[[str], Path]
# A test of more would keep others from their work: docs/bad-hosts.md has 25,000.
_MANY = 3000


def test_thousands_of_processes_at_the_start(tmp_path: Path, build: Build) -> None:
    # GIVEN thousands of processes
    crowd = subprocess.Popen([build("crowd"), str(_MANY)], stdout=subprocess.PIPE)
    assert crowd.stdout is not None
    try:
        told = [crowd.stdout.readline().split()[1] for _ in range(2)]
        assert told == [b"%d" % crowd.pid, b"%d" % _MANY]
        # WHEN a recording begins and ends
        with Recorder(tmp_path) as recording:
            # It has begun when the kernel's part is there: /proc is read meanwhile.
            recording.wait_until_recording()
            assert not recording.capture.of(b"PROC")
            capture = recording.capture

            def shown() -> bool:
                capture.read()
                return len(capture.processes("start")) > _MANY

            wait_for(shown, "all of /proc")
            recording.settle()
            assert recording.stop().status == 0
    finally:
        crowd.kill()
        crowd.wait()

    # THEN both snapshots have all of them, once each, with their parent and their program.
    assert capture.whole
    for phase in ("start", "end"):
        tasks, processes = capture.tasks(phase), capture.processes(phase)
        members = {tgid for tgid, task in tasks.items() if task.parent_tgid == crowd.pid}
        assert len(members) == _MANY
        assert members <= set(processes)
        assert {processes[tgid]["exe"] for tgid in members} == {str(build("crowd"))}
    sizes = [len(chunk) for chunk in capture.of(b"PROC")]
    assert max(sizes) <= 1 << 20


def has_pid_max_of_namespaces() -> bool:
    """Linux 6.14; before it, writing to it in a namespace would change the host's."""
    found = re.match(r"(\d+)\.(\d+)", platform.release())
    return found is not None and (int(found[1]), int(found[2])) >= (6, 14)


def test_all_ids_are_taken(tmp_path: Path, build: Build) -> None:
    if not has_pid_max_of_namespaces():
        pytest.skip("missing: a kernel with a pid_max for each pid namespace (6.14)")
    # GIVEN a pid namespace with few ids
    script = (
        "exec unshare --pid --fork --kill-child --mount-proc sh -euc '"
        'echo 350 >/proc/sys/kernel/pid_max; "$1" 400 & wait $!\' sh "$1"'
    )
    with Recorder(tmp_path) as recording:
        recording.wait_until_recording()
        # WHEN somebody in there wants more
        command = in_mount_namespace(script, build("crowd"))
        inside = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert inside.stdout is not None
        try:
            recording_of, made = (int(inside.stdout.readline().split()[1]) for _ in range(2))
        finally:
            inside.kill()
            inside.wait()
        recording.settle()
        assert recording.stop().status == 0

    # THEN the recording goes on, and has who was born: those who were not are no processes.
    capture = recording.capture
    assert capture.whole
    assert 300 < made < 350
    (crowd,) = [
        d for d in capture.details() if d.args == (os.fsencode(build("crowd")), b"400")
    ]  # fmt: skip
    assert recording_of < 350
    forks = capture.payload_rows(Type.FORK)
    born = forks[
        (forks["parent_tgid"] == crowd.tgid) & (forks["parent_start_ns"] == crowd.start_ns)
    ]
    assert len(born) == made
    assert len(set(born["ns_tgid"].tolist())) == made


def test_an_id_that_is_used_again_at_once(tmp_path: Path, build: Build) -> None:
    # GIVEN processes with one id, a fraction of a millisecond apart
    count = 100
    with Recorder(tmp_path) as recording:
        recording.wait_until_recording()

        def reuse() -> dict[str, int]:
            told = run_tester([build("reuse"), str(count)])
            return told.values if told.raw_status == 0 else {}

        told = wait_for(reuse, "an id that nobody else takes")
        recording.settle()
        assert recording.stop().status == 0

    # THEN each is a process of its own, by its start, with its own end.
    forks = recording.capture.payload_rows(Type.FORK)
    own = forks["parent_tgid"] == told["popen_pid"]
    starts = forks["start_ns"][own & (forks["tgid"] == told["tgid"])].tolist()
    assert len(starts) == len(set(starts)) == count
    processes = open_capture(recording.path).processes
    mine = processes[(processes["tgid"] == told["tgid"]) & processes["start_ns"].isin(starts)]
    assert sorted(code >> 8 for code in mine["exit_code"].tolist()) == list(range(count))
    assert (mine["exit_ns"] > mine["start_ns"]).all()
