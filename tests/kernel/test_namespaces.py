"""rtrace in a pid or time namespace of its own, as in a container: nothing is taken for another.

Records name processes by their ids in the initial pid namespace, /proc by those of its own.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.kernel.hosts import run
from tests.kernel.recording import RTRACE, Capture, Recorder, boot_ns, read_capture, wait_for
from tests.kernel.test_filters import new_pid_namespace, tell, wait_for_exec
from tracer.abi import Type

pytestmark = pytest.mark.kernel

Build = Callable[[str], Path]
INNER, OUTER = "a" * 64, "b" * 64


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def problems(capture: Capture) -> list[str]:
    return [fact["what"] for fact in capture.json(b"FACT") if fact["kind"] == "problem"]


def bundle(folder: Path, name: str) -> Path:
    """An OCI bundle of a container with this name."""
    made = folder / name
    made.mkdir()
    key = "io.kubernetes.cri."
    annotations = {f"{key}container-type": "container", f"{key}container-name": name}
    config = {"ociVersion": "1.0.2", "annotations": annotations}
    (made / "config.json").write_text(json.dumps(config))
    return made


def containers(capture: Capture) -> dict[str, str | None]:
    """Names of containers by their ids."""
    facts = capture.json(b"FACT")
    return {fact["id"]: fact["name"] for fact in facts if fact["kind"] == "container"}


@pytest.fixture
def shim(build: Build, tmp_path: Path) -> Path:
    """A program that does nothing, by the name of a shim."""
    program = tmp_path / "containerd-shim-runc-v2"
    program.symlink_to(build("crowd"))
    return program


def inside(shell: subprocess.Popen[bytes], line: str, init: int) -> int:
    """Runs something in the background in a namespace; its pid in the initial one."""
    before = set(children(init))
    tell(shell, f"{line} >/dev/null &")
    return wait_for(lambda: [pid for pid in children(init) if pid not in before], line)[0]


@contextmanager
def recorder_inside(
    folder: Path, init: int, shell: subprocess.Popen[bytes], *options: str
) -> Iterator[Capture]:
    """A recorder in that namespace, up to its end."""
    path, errors = folder / "x.rtrace", folder / "stderr"
    words = " ".join((RTRACE, "record", "-o", str(path), *options))
    pid = inside(shell, f"{words} 2>{errors}", init)
    capture = Capture(path)

    def snapshot() -> bool:
        capture.read()
        return bool(capture.of(b"TASK")) and bool(capture.of(b"PROC"))

    wait_for(snapshot, "the start snapshot")
    yield capture
    os.kill(pid, signal.SIGINT)

    def ended() -> bool:
        capture.read()
        return capture.trailer is not None

    wait_for(ended, "the trailer")
    assert capture.whole
    # With a filter the recorder itself is not in its snapshots.
    assert capture.header["pid"] == (None if options else pid)


@pytest.mark.parametrize("mounted", [True, False])
def test_a_pid_namespace_of_its_own(tmp_path: Path, shim: Path, mounted: bool) -> None:
    # GIVEN processes in a pid namespace, with a /proc of its own or not, in one below and outside
    outside = subprocess.Popen(["sleep", "73"])
    try:
        with new_pid_namespace(mount_proc=mounted) as (init, shell):
            sleeper = inside(shell, "sleep 74", init)
            nested = inside(shell, "unshare --pid --fork sleep 75", init)
            deeper = wait_for(lambda: children(nested), "the one below")[0]
            older = f"cd {bundle(tmp_path, 'older')} && exec {shim} -namespace k8s.io -id {INNER}"
            old_shim = inside(shell, f"( {older} )", init)
            # WHEN the host is recorded from in there
            with recorder_inside(tmp_path, init, shell) as capture:
                # and containers begin inside and outside
                younger = f"cd {bundle(tmp_path, 'younger')} && exec {shim} -id {OUTER}"
                inside(shell, f"( {younger} )", init)
                wait_for(lambda: OUTER in read_named(capture), "the younger container")
                host = subprocess.Popen(["sh", "-c", "exit 5", "on-the-host"])
                host.wait()
                wait_for_exec(capture, "sh", "-c", "exit 5", "on-the-host")
    finally:
        outside.kill()
        outside.wait()

    # THEN the snapshots have what is inside, by its ids in the initial namespace
    for phase in ("start", "end"):
        tasks, processes = capture.tasks(phase), capture.processes(phase)
        assert {init, sleeper, nested, deeper, old_shim} <= set(tasks)
        assert outside.pid not in tasks
        assert tasks[sleeper].pidns == capture.header["pidns"]
        # with what /proc says of these and of nobody else
        assert processes[sleeper]["args"] == ["sleep", "74"]
        assert processes[deeper]["args"] == ["sleep", "75"]
        assert processes[init]["args"][0] == "sh"
        assert set(processes) <= set(tasks)
    # and containers have the names that their bundles say.
    named = containers(capture)
    assert (named[INNER], named[OUTER]) == ("older", "younger")
    # What happens on the host is recorded all the same.
    assert capture.event(host.pid, Type.EXIT).exit.exit_code == 5 << 8
    # The capture says so, and the recorder at once.
    (problem,) = [what for what in problems(capture) if "pid namespace" in what]
    assert problem.startswith("rtrace runs in a pid namespace of its own: ")
    assert f"note: {problem}\n" in (tmp_path / "stderr").read_text()


def read_named(capture: Capture) -> dict[str, str | None]:
    capture.read()
    return containers(capture)


def ids_of(pid: int) -> list[int]:
    """Its ids, from the initial pid namespace inwards."""
    status = Path(f"/proc/{pid}/status").read_text()
    return [int(word) for word in status.partition("NSpid:")[2].splitlines()[0].split()]


@contextmanager
def same_id(
    outside: str, inner: str, shell: subprocess.Popen[bytes], init: int
) -> Iterator[subprocess.Popen[bytes]]:
    """Runs one line outside, and one in the namespace with the id that the first has outside.

    A thread of the recorder may be born in there just then, and have the number: then both are
    made anew. So the lines have to wait before they do anything.
    """
    for _ in range(10):
        waiting = subprocess.Popen(["sh", "-c", outside], stdin=subprocess.PIPE)
        try:
            tell(shell, f"echo {waiting.pid - 1} >/proc/sys/kernel/ns_last_pid")
            pid = inside(shell, inner, init)
            if ids_of(pid)[:2] == [pid, waiting.pid]:
                yield waiting
                return
            os.kill(pid, signal.SIGKILL)
        finally:
            waiting.kill()
            waiting.communicate()
    pytest.fail("the number was always another's")


def test_a_process_with_the_same_id_in_there_is_not_taken_for_another(
    tmp_path: Path, shim: Path
) -> None:
    # GIVEN a process outside that will become a shim, and another one inside, whose id there is
    # that of the one outside
    go = tmp_path / "go"
    os.mkfifo(go)
    outside = f"read line; cd {bundle(tmp_path, 'outside')}; exec {shim} -id {OUTER}"
    inner = f"( read line <{go}; cd {bundle(tmp_path, 'inside')}; exec {shim} -id {INNER} )"
    with (
        new_pid_namespace(mount_proc=True) as (init, shell),
        recorder_inside(tmp_path, init, shell) as capture,
        same_id(outside, inner, shell, init) as waiting,
    ):
        # that becomes a shim first
        go.write_text("\n")
        wait_for(lambda: INNER in read_named(capture), "the container inside")
        # WHEN the one outside does
        assert waiting.stdin is not None
        waiting.stdin.close()
        wait_for_exec(capture, str(shim), "-id", OUTER)

    # THEN it does not get the other one's name.
    assert containers(capture)[INNER] == "inside"
    assert containers(capture).get(OUTER) is None


def test_pidns_by_an_id_of_the_namespace(tmp_path: Path) -> None:
    # GIVEN a namespace below that of the recorder
    with new_pid_namespace(mount_proc=True) as (init, shell):
        nested = inside(shell, "unshare --pid --fork --kill-child sh -c 'sleep 76; :'", init)
        below = wait_for(lambda: children(nested), "the one below")[0]
        ids = ids_of(below)
        # WHEN it is recorded, by the id that its process has for the recorder
        with recorder_inside(tmp_path, init, shell, "--pidns", str(ids[1])) as capture:
            pass

    # THEN it is that one, and nothing is missing.
    (sleeper,) = set(capture.tasks("start")) - {below}
    assert capture.processes("start")[sleeper]["args"] == ["sleep", "76"]
    assert ids == [below, ids[1], 1]
    assert not [what for what in problems(capture) if "pid namespace" in what]


def test_a_container_with_the_hosts_pid_namespace(tmp_path: Path) -> None:
    # GIVEN all other namespaces, and /proc and /sys mounted anew
    mounts = "mount -t proc proc /proc; mount -t sysfs -o ro sysfs /sys"
    wrapper = ["unshare", "--mount", "--uts", "--ipc", "--net", "--cgroup"]
    wrapper += ["sh", "-euc", f'{mounts}; exec "$@"', "sh"]
    older = subprocess.Popen(["sleep", "77"])
    try:
        with Recorder(tmp_path, wrapper=wrapper) as recording:
            recording.wait_until_recording()
            recording.settle()
            ended = recording.stop()
    finally:
        older.kill()
        older.wait()

    assert (ended.status, ended.stderr.count("\n")) == (0, 2)
    capture = recording.capture
    assert capture.processes("start")[older.pid]["args"] == ["sleep", "77"]
    assert capture.header["pid"] == recording.pid
    assert capture.header["pidns"] is None
    assert not [what for what in problems(capture) if "namespace" in what or "/proc" in what]


@pytest.mark.parametrize("offset_s", [1_000_000, -1000])
def test_a_time_namespace(tmp_path: Path, offset_s: int) -> None:
    # GIVEN a recorder whose clocks are not the kernel's
    wrapper = ["unshare", "--time", f"--boottime={offset_s}", f"--monotonic={offset_s}", "--fork"]
    older = subprocess.Popen(["sleep", "78"])
    before = boot_ns()
    try:
        done = run([*wrapper, RTRACE, "record", "-o", tmp_path / "x.rtrace", "--", "true"])
        doctor = run([*wrapper, RTRACE, "doctor"])
    finally:
        older.kill()
        older.wait()
    after = boot_ns()

    # THEN all times are the kernel's
    assert done.status == 0
    capture = read_capture(tmp_path / "x.rtrace")
    trailer: dict[str, Any] = capture.trailer or {}
    facts = [fact["ts_ns"] for fact in capture.json(b"FACT")]
    (clock,) = [fact for fact in capture.json(b"FACT") if fact["kind"] == "clock"]
    for ts_ns in (capture.header["clock"]["boot_ns"], trailer["ts_ns"], clock["boot_ns"], *facts):
        assert before <= ts_ns <= after
    # and /proc, which has the namespace's, is understood.
    assert capture.processes("start")[older.pid]["args"] == ["sleep", "78"]
    assert capture.processes("end")[1]
    assert (
        f"ok  namespaces: a time namespace, {offset_s:+g} s: times are corrected" in doctor.stdout
    )
