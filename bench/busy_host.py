"""Captures of any size that look like those of a busy docker host; the same seed, the same bytes.

    python -m bench.busy_host big.rtrace --events 10000000

Containers start, are checked, build software, are killed and end; scripts fork on the host. See
`bench.scenes`. The real writer makes the file, in chunks as large as the recorder's.
"""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.scenes import SCENES, quiet
from bench.stamps import FIRST_TGID, Copy, Stamp
from tests.streams import BOOT_NS, WALL_NS, Proc
from tracer.capture_format import FACT
from tracer.capture_writer import CaptureWriter

Array = npt.NDArray[Any]

EVENTS_PER_S = 20_000  # of a host that builds software on two CPUs
_PID_MAX = 4_194_304
_WINDOW_NS = 500_000_000  # the recorder writes twice a second
# The ring is not in order of time: as measured.
_LATE_SHARE, _LATE_NS = 0.002, 74_000
_PACES = (0.8, 1.4)


@dataclass(frozen=True, slots=True)
class Plan:
    """When which scene begins: ``stamps[scene[i]]`` at ``starts[i]``, in order of time."""

    starts: npt.NDArray[np.int64]
    scene: npt.NDArray[np.int64]


def make_plan(stamps: list[Stamp], events: int, random: np.random.Generator) -> Plan:
    """As many copies of each scene as its share of the events is, spread over the time."""
    duration_ns = events * 1_000_000_000 // EVENTS_PER_S
    scene: list[int] = []
    for number, (stamp, kind) in enumerate(zip(stamps, SCENES, strict=True)):
        copies = events * kind.weight / stamp.events
        # What is left of a copy is one with that probability.
        scene += [number] * (int(copies) + int(random.random() < copies % 1))
    starts = BOOT_NS + 1_000_000 + np.sort(random.integers(0, duration_ns, len(scene)))
    return Plan(starts, random.permutation(np.array(scene, np.int64)))


@dataclass
class _Held:
    """What was made and is not yet due."""

    ts_ns: list[npt.NDArray[np.int64]] = field(default_factory=list)
    events: list[Array] = field(default_factory=list)
    details: list[tuple[int, bytes]] = field(default_factory=list)
    facts: list[dict[str, Any]] = field(default_factory=list)

    def add(self, copy: Copy) -> None:
        self.ts_ns.append(copy.ts_ns)
        self.events.append(copy.events)
        self.details += copy.details
        self.facts += copy.facts

    def write_until(self, writer: CaptureWriter, end_ns: int, random: np.random.Generator) -> None:
        if self.ts_ns:
            ts_ns, events = np.concatenate(self.ts_ns), np.concatenate(self.events)
            due = ts_ns < end_ns
            self.ts_ns, self.events = [ts_ns[~due]], [events[~due]]
            late = random.random(int(due.sum())) < _LATE_SHARE
            order = np.argsort(ts_ns[due] + late * _LATE_NS, kind="stable")
            writer.write_events(events[due][order].tobytes())
        self.details.sort(key=lambda detail: detail[0])
        count = next(
            (i for i, (at, _) in enumerate(self.details) if at >= end_ns), len(self.details)
        )
        writer.write_details(b"".join(record for _, record in self.details[:count]), count)
        del self.details[:count]
        for fact in self.facts:
            writer.write_json(FACT, fact)
        self.facts.clear()


def write_capture(path: str | os.PathLike[str], events: int, seed: int = 1) -> int:
    """Writes a capture of about so many events.

    Returns:
        how many there are.
    """
    random = np.random.default_rng(seed)
    stamps = [Stamp(scene.play().stream) for scene in SCENES]
    plan = make_plan(stamps, events, random)
    header = quiet().stream.header
    writer = CaptureWriter(path, header, force=True)
    _write_snapshot(writer, "start", BOOT_NS, [])
    held, living = _Held(), list[Proc]()
    tgid, end_ns, now = FIRST_TGID, BOOT_NS, BOOT_NS
    for number, (start_ns, scene) in enumerate(
        zip(plan.starts.tolist(), plan.scene.tolist(), strict=True)
    ):
        while now + _WINDOW_NS <= start_ns:
            now += _WINDOW_NS
            held.write_until(writer, now, random)
        stamp = stamps[scene]
        tgid = tgid if tgid + stamp.processes < _PID_MAX else FIRST_TGID
        copy = stamp.copy(start_ns, tgid, number, random.uniform(*_PACES), random)
        tgid += stamp.processes
        end_ns = max(end_ns, int(copy.ts_ns.max()) + 1)
        held.add(copy)
        living += copy.living
    while now < end_ns:
        now += _WINDOW_NS
        held.write_until(writer, now, random)
    _write_snapshot(writer, "end", now, living)
    writer.close(
        {
            "ts_ns": now + 1_000_000,
            "wall_ns": WALL_NS + now + 1_000_000 - BOOT_NS,
            "reason": "signal",
            "command_status": None,
            "losses": [[0, 0]] * header["host"]["cpus"],
            "snapshot_end": True,
        }
    )
    return writer.events_written


def _write_snapshot(writer: CaptureWriter, phase: str, now: int, living: list[Proc]) -> None:
    """The host's own processes, and those of the scenes that live on."""
    host = quiet().stream
    host.now = now
    host.processes += living
    host.snapshot(phase)
    for kind, content in host.chunks():
        writer.write(kind, content)


def main() -> None:
    """Parses the command line, writes."""
    parser = argparse.ArgumentParser(prog="python -m bench.busy_host", description=__doc__)
    parser.add_argument("path", type=Path)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    events = write_capture(options.path, options.events, options.seed)
    print(f"{events:,} events, {options.path.stat().st_size / events:.1f} bytes each")


if __name__ == "__main__":
    main()
