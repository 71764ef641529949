"""What is lost is counted and located, and what need not be lost is not."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from analysis import table
from tests.kernel.recording import Recorder, boot_ns, run_rtrace, run_tester
from tracer.abi import Type

pytestmark = pytest.mark.kernel

Build = Callable[[str], Path]
_SECOND_NS = 1_000_000_000


def test_losses_are_counted_and_located(tmp_path: Path, build: Build, engine: str) -> None:
    # GIVEN a recorder with a tiny buffer that stands still during a storm
    with Recorder(tmp_path, f"--engine={engine}", "--buffer", "64KiB") as recording:
        recording.wait_until_recording()
        stopped_ns = boot_ns()
        recording.process.send_signal(signal.SIGSTOP)
        told = run_tester([build("storm"), "fork", "1000"])
        recording.process.send_signal(signal.SIGCONT)
        continued_ns = boot_ns()
        # One event on each CPU, so that there is something behind the losses.
        for cpu in os.sched_getaffinity(0):
            subprocess.run(["taskset", "-c", str(cpu), "true"], check=True)
        ended = recording.stop()

    # THEN the losses are in the trailer, in chunks before it and in the events
    capture = recording.capture
    trailer = capture.trailer
    assert ended.status == 0
    assert trailer is not None
    lost = sum(events for events, _ in trailer["losses"])
    seen = sum(event["forker_tgid"] == told["pid"] for event in capture.payload_rows(Type.FORK))
    assert lost > 0
    assert lost + capture.count() >= 2 * told["count"]
    assert seen < told["count"]
    assert capture.json(b"LOSS")[-1]["cpus"] == trailer["losses"]
    for rows, _ in capture.rows():
        for cpu in range(len(trailer["losses"])):
            counters = rows["cpu_lost"][rows["cpu"] == cpu].tolist()
            assert all(count <= trailer["losses"][cpu][0] for count in counters)
    # and in the analysis, at the right time
    windows = table.load(recording.path).losses
    assert windows["events"].sum() == lost
    during = windows[(windows["to_ns"] > stopped_ns) & (windows["from_ns"] < continued_ns)]
    assert during["events"].sum() > told["count"]
    # and said at once, by the recorder and by the report.
    assert f" {lost:,} LOST" in ended.stderr
    report = run_rtrace("report", recording.path)
    assert report.stdout.startswith(f"LOST: {lost:,} events")


def test_a_vfork_storm_on_all_cpus_loses_nothing(tmp_path: Path, build: Build, engine: str) -> None:
    cpus = sorted(os.sched_getaffinity(0))
    with Recorder(tmp_path, f"--engine={engine}") as recording:
        recording.wait_until_recording()
        storms = [
            subprocess.Popen(
                ["taskset", "-c", str(cpu), build("storm"), "vfork", "3000"],
                stdout=subprocess.PIPE,
                text=True,
            )
            for cpu in cpus
        ]
        counts = {}
        for storm in storms:
            assert storm.stdout is not None
            with storm.stdout:
                told = dict(line.split() for line in storm.stdout.read().splitlines())
            storm.wait()
            counts[storm.pid] = int(told["count"])
        ended = recording.stop()

    capture = recording.capture
    assert capture.whole
    assert "LOST" not in ended.stderr
    assert capture.trailer is not None
    assert all(pair == [0, 0] for pair in capture.trailer["losses"])
    assert not capture.of(b"LOSS")
    forks, exits = capture.payload_rows(Type.FORK), capture.payload_rows(Type.EXIT)
    for pid, count in counts.items():
        assert count > 1000
        assert (forks["forker_tgid"] == pid).sum() == count
        assert (exits["parent_tgid"] == pid).sum() == count
    assert capture.trailer["events"] == capture.count()


@pytest.mark.parametrize("attempt", range(10))
def test_kill_9_costs_a_second_at_most(tmp_path: Path, build: Build, attempt: int) -> None:
    # GIVEN a recorder that the scheduler prefers, as other work should not decide this
    wrapper = ["nice", "-n", "-15"]
    storm = subprocess.Popen([build("storm"), "fork", "60000"], stdout=subprocess.DEVNULL)
    try:
        with Recorder(tmp_path, wrapper=wrapper) as recording:
            recording.wait_until_recording()
            time.sleep(attempt * 0.077)
            # WHEN it is killed
            killed_ns = boot_ns()
            recording.process.kill()
            recording.process.wait()
    finally:
        storm.kill()
        storm.wait()

    # THEN the capture can be read, up to a second before that at most
    recording.capture.read()
    capture = recording.capture
    assert capture.trailer is None
    last_ns = max((int(rows["ts_ns"].max()) for rows, _ in capture.rows()), default=0)
    first_ns = min(task.ts_ns for task in capture.tasks("start").values())
    assert max(last_ns, first_ns) > killed_ns - _SECOND_NS
    if attempt in (0, 9):
        for command in ("report", "dump"):
            shown = run_rtrace(command, recording.path)
            assert shown.status == 0
            assert "cut at byte" in shown.stdout
