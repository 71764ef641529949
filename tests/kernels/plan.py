"""What to run on a machine, and how much of it: read on both sides."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

_NAME = "plan.json"


@dataclass(frozen=True, slots=True)
class Plan:
    """How much of it.

    Attributes:
        checks: names, in this order.
        rounds: random trees for each hook that confirms reparents.
        crowd: processes that live when a recording starts.
        cost_rounds: measurements of each hook.
        test_engines: with which the recorder's own tests run.
    """

    checks: list[str]
    rounds: int = 40
    crowd: int = 100_000
    cost_rounds: int = 3
    test_engines: tuple[str, ...] = ("core", "bcc")

    @classmethod
    def quick(cls, checks: list[str]) -> Plan:
        """For a look, or for a machine that others use too."""
        return cls(checks, rounds=8, crowd=10_000, cost_rounds=1, test_engines=("core",))

    @classmethod
    def read(cls, folder: Path) -> Plan:
        """The plan in a folder."""
        return cls(**json.loads((folder / _NAME).read_text()))

    def write(self, folder: Path) -> None:
        """Leaves it in a folder."""
        (folder / _NAME).write_text(json.dumps(asdict(self)))
