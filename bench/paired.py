"""A load without and with a recorder, in turns, so that whatever else goes on hits both."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.loads import Cost, Load
from bench.recording import Outcome, recording
from bench.stats import Summary


@dataclass(frozen=True, slots=True)
class Paired:
    """What came of it.

    Attributes:
        without, with_recorder: each run's cost, pair by pair.
        outcomes: of each recording.
    """

    without: list[Cost]
    with_recorder: list[Cost]
    outcomes: list[Outcome]

    def wall_ratio(self) -> Summary:
        """Slowdown in wall time, of each pair."""
        return Summary.of(b.wall_ns / a.wall_ns for a, b in self._pairs())

    def cpu_ratio(self) -> Summary:
        """Slowdown in CPU time of the load itself, of each pair."""
        return Summary.of(b.cpu_ns / a.cpu_ns for a, b in self._pairs())

    def best_cpu_ratio(self) -> float:
        """Of the cheapest runs: least disturbed, where others use the machine too."""
        return min(b.cpu_ns for b in self.with_recorder) / min(a.cpu_ns for a in self.without)

    def best_wall_ratio(self) -> float:
        """Of the fastest runs."""
        return min(b.wall_ns for b in self.with_recorder) / min(a.wall_ns for a in self.without)

    def recorder_ns_per_event(self, idle_share: float) -> Summary:
        """See Outcome.ns_per_event."""
        return Summary.of(outcome.ns_per_event(idle_share) for outcome in self.outcomes)

    def bytes_per_event(self) -> Summary:
        """Of the capture, details included."""
        return Summary.of(
            (outcome.sizes.events_bytes + outcome.sizes.details_bytes) / outcome.sizes.events
            for outcome in self.outcomes
        )

    def lost(self) -> int:
        """Records lost, all recordings together."""
        return sum(outcome.lost for outcome in self.outcomes)

    def as_json(self, idle_share: float) -> dict[str, Any]:
        """For the JSON file."""
        figures: dict[str, Any] = {
            "wall_ratio": self.wall_ratio().as_json(),
            "best_wall_ratio": self.best_wall_ratio(),
            "without_wall_ns": [cost.wall_ns for cost in self.without],
            "with_wall_ns": [cost.wall_ns for cost in self.with_recorder],
            "events": sum(outcome.sizes.events for outcome in self.outcomes),
            "lost": self.lost(),
            "ring_peak_bytes": max(outcome.ring_peak_bytes for outcome in self.outcomes),
            "rss_bytes": max(outcome.rss_bytes for outcome in self.outcomes),
        }
        if all(cost.cpu_ns for cost in self.without):
            figures |= {
                "cpu_ratio": self.cpu_ratio().as_json(),
                "best_cpu_ratio": self.best_cpu_ratio(),
                "without_cpu_ns": [cost.cpu_ns for cost in self.without],
                "with_cpu_ns": [cost.cpu_ns for cost in self.with_recorder],
                "recorder_ns_per_event": self.recorder_ns_per_event(idle_share).as_json(),
                "bytes_per_event": self.bytes_per_event().as_json(),
            }
        return figures

    def _pairs(self) -> list[tuple[Cost, Cost]]:
        return list(zip(self.without, self.with_recorder, strict=True))


def measure_paired(load: Load, directory: Path, rounds: int, limit_s: float) -> Paired:
    """Runs the load 2 x rounds times: A B, then B A, and so on.

    Args:
        limit_s: after so many seconds no further pair is begun.

    Raises:
        BenchError: no recorder starts, or the load does not run.
    """
    result = Paired([], [], [])
    end = time.monotonic() + limit_s
    for number in range(rounds):
        if number and time.monotonic() > end:
            break
        for recorded in (False, True) if number % 2 == 0 else (True, False):
            if not recorded:
                result.without.append(load.run())
                continue
            with recording(directory) as current:
                result.with_recorder.append(load.run())
            assert current.outcome is not None
            result.outcomes.append(current.outcome)
    return result
