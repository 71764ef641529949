"""100,000 processes that are alive when the recorder starts: it starts, and knows them all."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from tests.kernels.checks.result import Result
from tests.kernels.plan import Plan
from tests.kernels.programs import INSIDE
from tests.kernels.recording import RTRACE

_LIMIT_S = 2400


def run(folder: Path) -> None:
    """Records `true` in the crowd, and watches the recorder."""
    count = Plan.read(folder.parent).crowd
    for name in ("pid_max", "threads-max"):
        Path("/proc/sys/kernel", name).write_text(str(4 * count))
    figures: dict[str, int | float] = {}
    with subprocess.Popen(
        [INSIDE / "crowd", str(count)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as crowd:
        assert crowd.stdout is not None
        for _line in range(2):
            name, value_text = crowd.stdout.readline().split()
            figures[name] = int(value_text)
        begun = time.monotonic()
        figures["begun_ns"] = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        capture = folder / "crowd.rtrace"
        with open(folder / "crowd.txt", "w") as said:
            recorder = subprocess.Popen(
                [RTRACE, "record", "-o", capture, "--", "true"], stdout=said, stderr=said
            )
            while recorder.poll() is None and time.monotonic() < begun + _LIMIT_S:
                figures["peak_rss_kib"] = _peak_rss_kib(recorder.pid) or figures["peak_rss_kib"]
                time.sleep(0.2)
            recorder.kill()
        figures["seconds"] = time.monotonic() - begun
        figures["status"] = recorder.wait()
    (folder / "crowd.json").write_text(json.dumps(figures))


def judge(folder: Path) -> Iterator[Result]:
    """Everyone is in both snapshots, with what /proc knows of them; nothing is lost.

    What /proc knows is read while the recording goes on. A short one ends before that is done: the
    rest is then in the snapshot at the end.
    """
    from analysis.table import load
    from tracer.abi import Type
    from tracer.capture_format import PHASES, TASK_PHASE
    from tracer.capture_reader import CaptureReader
    from tracer.snapshot import decode_tasks

    figures = json.loads((folder / "crowd.json").read_text())
    tasks: list[set[tuple[int, int]]] = [set(), set()]
    described: list[set[tuple[int, int]]] = [set(), set()]
    times: list[list[int]] = [[], []]
    first_ns = int(load(folder / "crowd.rtrace").of(Type.FORK)["ts_ns"].min())
    with CaptureReader(folder / "crowd.rtrace") as reader:
        for kind, content in reader.chunks():
            if kind == b"TASK":
                phase = TASK_PHASE.unpack_from(content)[0]
                records = decode_tasks(content[TASK_PHASE.size :])
                mine = [task for task in records if task.parent_tgid == figures["pid"]]
                tasks[phase] |= {(task.tgid, task.start_ns) for task in mine}
                times[phase] += [task.ts_ns for task in records]
            elif kind == b"PROC":
                document = json.loads(content)
                phase = PHASES.index(document["phase"])
                described[phase] |= {(p["tgid"], p["start_ns"]) for p in document["processes"]}
        trailer = reader.trailer
        complete = reader.complete
    assert trailer is not None
    lost = any(map(any, trailer["losses"]))
    everyone = all(len(found) == figures["made"] for found in tasks)
    known = len(tasks[0] & (described[0] | described[1]))
    ok = (
        figures["status"] == 0
        and figures["made"] == Plan.read(folder.parent).crowd
        and complete
        and not lost
        and everyone
        and known == figures["made"]
    )
    walk_s = [(max(found) - min(found)) / 1e9 for found in times]
    yield Result(
        "a crowd at the start",
        ok,
        f"{len(tasks[0]):,} in the snapshot at the start ({known:,} with arguments), "
        f"{len(tasks[1]):,} at the end; first event after "
        f"{(first_ns - figures['begun_ns']) / 1e9:.1f} s, iterator {walk_s[0]:.1f} s, all "
        f"{figures['seconds']:.0f} s (emulated), peak RSS "
        f"{figures['peak_rss_kib'] / 1024:.0f} MiB, {'some' if lost else 'no'} events lost",
    )


def _peak_rss_kib(pid: int) -> int:
    """VmHWM; 0 when it has ended."""
    try:
        with open(f"/proc/{pid}/status") as file:
            return next(int(line.split()[1]) for line in file if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        return 0
