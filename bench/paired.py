"""A load without and with a recorder, in turns, so that whatever else goes on hits both."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from bench.loads import Load
from bench.pairs import Pairs
from bench.recording import Outcome, Setup, recording
from bench.stats import Summary


@dataclass(frozen=True, slots=True)
class Paired(Pairs):
    """What came of it.

    Attributes:
        outcomes: of each recording.
    """

    outcomes: list[Outcome] = field(default_factory=list)

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
        figures = self.ratios_as_json() | {
            "events": sum(outcome.sizes.events for outcome in self.outcomes),
            "lost": self.lost(),
            "ring_peak_bytes": max(outcome.ring_peak_bytes for outcome in self.outcomes),
            "rss_bytes": max(outcome.rss_bytes for outcome in self.outcomes),
        }
        if self.has_cpu:
            figures |= {
                "recorder_ns_per_event": self.recorder_ns_per_event(idle_share).as_json(),
                "bytes_per_event": self.bytes_per_event().as_json(),
            }
        return figures


def measure_paired(load: Load, setup: Setup, rounds: int, limit_s: float) -> Paired:
    """Runs the load 2 x rounds times: A B, then B A, and so on.

    Args:
        limit_s: after so many seconds no further pair is begun.

    Raises:
        BenchError: no recorder starts, or the load does not run.
    """
    result = Paired()
    end = time.monotonic() + limit_s
    for number in range(rounds):
        if number and time.monotonic() > end:
            break
        for recorded in (False, True) if number % 2 == 0 else (True, False):
            if not recorded:
                result.without.append(load.run())
                continue
            with recording(setup) as current:
                result.traced.append(load.run())
            assert current.outcome is not None
            result.outcomes.append(current.outcome)
    return result
