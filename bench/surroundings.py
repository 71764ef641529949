"""What others did to the machine while it was measured."""

from __future__ import annotations

from typing import Any

from bench.machine import other_recorders, others_load, steal_ticks

_LOOK_S = 1.0
_BUSY = 0.05
_STEAL_TICKS = 100


class Surroundings:
    """Looks before and after a run."""

    def __init__(self) -> None:
        self._looks: dict[str, dict[str, float]] = {}
        self._steal_ticks = -steal_ticks()

    def look(self, when: str) -> None:
        """Takes a second. ``when``: "before" or "after"."""
        self._looks[when] = {"load": others_load(_LOOK_S), "recorders": other_recorders()}
        if when == "after":
            self._steal_ticks += steal_ticks()

    def notes(self) -> list[str]:
        """What makes the figures doubtful, after both looks."""
        notes = []
        for when, look in self._looks.items():
            if look["load"] > _BUSY:
                notes.append(
                    f"{when} the run others kept the CPUs busy to {look['load']:.0%}: measure again"
                )
            if look["recorders"]:
                notes.append(f"{when} the run another rtrace ran: it burdens all runs")
        if self._steal_ticks > _STEAL_TICKS:
            notes.append(f"the hypervisor took {self._steal_ticks / 100:.0f} s away")
        return notes

    def as_json(self) -> dict[str, Any]:
        """For the JSON file, after both looks."""
        looks: dict[str, Any] = {f"others_{when}": look for when, look in self._looks.items()}
        return looks | {"steal_ticks": self._steal_ticks}
