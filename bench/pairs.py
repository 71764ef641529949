"""What a load costs without and with a tracer, run by run in pairs, and the ratios of that."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from bench.loads import Cost
from bench.stats import Summary


@dataclass(frozen=True, slots=True)
class Pairs:
    """The runs of one load.

    Attributes:
        without, traced: each run's cost, pair by pair.
    """

    without: list[Cost] = field(default_factory=list)
    traced: list[Cost] = field(default_factory=list)

    @property
    def has_cpu(self) -> bool:
        """Whether the load tells its CPU time."""
        return all(cost.cpu_ns for cost in self.without)

    def wall_ratio(self) -> Summary:
        """Slowdown in wall time, of each pair."""
        return Summary.of(b.wall_ns / a.wall_ns for a, b in self._pairs())

    def cpu_ratio(self) -> Summary:
        """Slowdown in CPU time of the load itself, of each pair."""
        return Summary.of(b.cpu_ns / a.cpu_ns for a, b in self._pairs())

    def best_cpu_ratio(self) -> float:
        """Of the cheapest runs: least disturbed, where others use the machine too."""
        return min(b.cpu_ns for b in self.traced) / min(a.cpu_ns for a in self.without)

    def best_wall_ratio(self) -> float:
        """Of the fastest runs."""
        return min(b.wall_ns for b in self.traced) / min(a.wall_ns for a in self.without)

    def ratios_as_json(self) -> dict[str, Any]:
        """For the JSON file, with every run."""
        figures: dict[str, Any] = {
            "wall_ratio": self.wall_ratio().as_json(),
            "best_wall_ratio": self.best_wall_ratio(),
            "without_wall_ns": [cost.wall_ns for cost in self.without],
            "with_wall_ns": [cost.wall_ns for cost in self.traced],
        }
        if self.has_cpu:
            figures |= {
                "cpu_ratio": self.cpu_ratio().as_json(),
                "best_cpu_ratio": self.best_cpu_ratio(),
                "without_cpu_ns": [cost.cpu_ns for cost in self.without],
                "with_cpu_ns": [cost.cpu_ns for cost in self.traced],
            }
        return figures

    def _pairs(self) -> list[tuple[Cost, Cost]]:
        return list(zip(self.without, self.traced, strict=True))
