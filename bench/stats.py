"""Medians with their spread."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True)
class Summary:
    """Of one figure, measured several times. Quartiles are the extremes of up to three values.

    Attributes:
        count: how many times.
    """

    median: float
    low_quartile: float
    high_quartile: float
    count: int

    @classmethod
    def of(cls, values: Iterable[float]) -> Summary:
        """Of at least one value."""
        ordered = sorted(values)
        low, high = ordered[0], ordered[-1]
        if len(ordered) > 3:
            low, _, high = statistics.quantiles(ordered, n=4, method="inclusive")
        return cls(statistics.median(ordered), low, high, len(ordered))

    def scaled(self, factor: float) -> Summary:
        """In another unit."""
        return Summary(
            self.median * factor,
            self.low_quartile * factor,
            self.high_quartile * factor,
            self.count,
        )

    def as_json(self) -> dict[str, float]:
        """For the JSON file."""
        return asdict(self)
