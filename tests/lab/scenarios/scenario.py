"""What a scenario is, and which there are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tests.lab.lab import Setup
from tests.lab.scene import Scene

Play = Callable[[Scene], None]


@dataclass(frozen=True, slots=True)
class Scenario:
    """Something that is done in a lab.

    Attributes:
        play: does it; its text is the documentation of what was done.
        suites, topologies: where it makes sense.
        live_restore: whether it is also to be seen with docker's live-restore.
    """

    name: str
    play: Play
    suites: tuple[str, ...]
    topologies: str
    live_restore: bool

    def fits(self, setup: Setup) -> bool:
        """Whether it is to be recorded there."""
        return (
            setup.suite in self.suites
            and setup.topology in self.topologies
            and (self.live_restore or not setup.live_restore)
        )


SCENARIOS: dict[str, Scenario] = {}


def scenario(
    name: str,
    *,
    suites: tuple[str, ...] = ("bullseye", "bookworm", "trixie", "sid"),
    topologies: str = "ABCD",
    live_restore: bool = False,
) -> Callable[[Play], Play]:
    """Puts a function into SCENARIOS."""

    def register(play: Play) -> Play:
        SCENARIOS[name] = Scenario(name, play, suites, topologies, live_restore)
        return play

    return register
