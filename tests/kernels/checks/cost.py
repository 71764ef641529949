"""What the hooks that confirm reparents cost: a switch with sched_switch, an exit with others.

Emulated: only ratios between hooks mean anything, and those on real hardware are smaller.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from tests.kernels.bpf_stats import program_stats
from tests.kernels.checks.result import Result
from tests.kernels.plan import Plan
from tests.kernels.programs import INSIDE
from tests.kernels.recording import RTRACE, tell_host
from tracer.confirmation import Confirmation

_TURNS = 5
_ROUND_TRIPS = 4_000
_STORM_MS = 1000
_STATS = Path("/proc/sys/kernel/bpf_stats_enabled")


def run(folder: Path) -> None:
    """Ping-pong without and with each hook in turns; then the kernel's own count of the program.

    The best of some runs counts: whatever else the host does makes them slower.
    """
    figures: dict[str, dict[str, list[float]]] = {
        hook.value: {"ratios": [], "switch_runs": [], "exit_runs": [], "run_ns": []}
        for hook in Confirmation
    }
    for _round in range(Plan.read(folder.parent).cost_rounds):
        for hook in Confirmation:
            without = [_ping_pong() for _ in range(_TURNS)]
            with _recorder(folder, hook):
                seen = figures[hook.value]
                recorded = [_ping_pong() for _ in range(_TURNS)]
                seen["ratios"].append(min(recorded) / min(without))
                _STATS.write_text("1")
                try:
                    before = program_stats(hook.program)
                    _ping_pong()
                    between = program_stats(hook.program)
                    done = subprocess.run(
                        [INSIDE / "storm", "fork", str(_STORM_MS)],
                        check=True,
                        capture_output=True,
                        text=True,
                    )
                    after = program_stats(hook.program)
                finally:
                    _STATS.write_text("0")
                children = int(dict(map(str.split, done.stdout.splitlines()))["count"])
                tell_host(f"  measured {hook.value}")
                seen["switch_runs"].append((between.runs - before.runs) / _ROUND_TRIPS / 2)
                seen["exit_runs"].append((after.runs - between.runs) / children)
                runs, run_ns = after.runs - before.runs, after.run_ns - before.run_ns
                seen["run_ns"].append(run_ns / runs if runs else 0.0)
    (folder / "cost.json").write_text(json.dumps(figures, indent=1))


def judge(folder: Path) -> Iterator[Result]:
    """A figure, and no bar; but each hook must run when it has to."""
    figures = json.loads((folder / "cost.json").read_text())
    for name, seen in figures.items():
        ratio, run_ns, switches, exits = (
            choose(seen[key])
            for key, choose in (
                ("ratios", median),
                ("run_ns", min),
                ("switch_runs", median),
                ("exit_runs", median),
            )
        )
        per_switch = name == Confirmation.SCHED_SWITCH.value
        ok = exits >= 0.9 and (switches >= 0.9) == per_switch
        yield Result(
            f"cost of {name}",
            ok,
            f"pipe ping-pong x {ratio:.2f}; {run_ns:,.0f} ns a run (emulated); runs "
            f"{switches:.2f} times a switch, {exits:.2f} times a fork storm's child",
        )


def _ping_pong() -> float:
    """Seconds for the round trips."""
    done = subprocess.run(
        [INSIDE / "pingpong", str(_ROUND_TRIPS)], check=True, capture_output=True, text=True
    )
    return int(done.stdout) / 1e9


@contextlib.contextmanager
def _recorder(folder: Path, hook: Confirmation) -> Iterator[None]:
    """A recorder of the whole machine, from when it records."""
    capture = folder / f"{hook.value}.rtrace"
    command = [RTRACE, "record", "--force", "-o", str(capture), "--engine", "core"]
    with (
        open(folder / f"{hook.value}.txt", "w") as said,
        subprocess.Popen([*command, "--confirm", hook.value], stdout=said, stderr=said) as recorder,
    ):
        try:
            deadline = time.monotonic() + 120
            while not capture.exists() or capture.stat().st_size < 1000:
                if recorder.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"the recorder did not start, see {said.name}")
                time.sleep(0.1)
            time.sleep(1.0)
            yield
        finally:
            recorder.terminate()
            recorder.wait(120)
    capture.unlink()
