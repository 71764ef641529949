"""How far the work on a capture is, for whoever wants to show it."""

from __future__ import annotations

from collections.abc import Callable

# What is done, and which share of the time it takes: measured on a million events of a busy host.
PHASES = {
    "reading": 44,
    "finding processes": 12,
    "finding who adopted whom": 8,
    "finding what each ran": 10,
    "finding containers": 4,
    "telling what happened": 8,
    "looking for what is wrong": 4,
    "writing": 10,
}

Tell = Callable[[str, float], None]


class Progress:
    """Phases of the work, in the order of PHASES; a phase may be left out.

    Args:
        tell: called with the phase's words and the share of all work that is done, 0 to 1.
    """

    def __init__(self, tell: Tell | None = None) -> None:
        self._tell, self._done, self._phase = tell, 0.0, ""

    def begin(self, phase: str) -> None:
        """A phase begins: all that come before it are done."""
        if self._tell is not None:
            names = list(PHASES)
            done = sum(PHASES[name] for name in names[: names.index(phase)])
            self._phase, self._done = phase, max(done / sum(PHASES.values()), self._done)
            self._tell(phase, self._done)

    def advance(self, share: float) -> None:
        """That share of the phase is done."""
        if self._tell is not None and self._phase:
            part = PHASES[self._phase] / sum(PHASES.values())
            self._tell(self._phase, self._done + part * min(max(share, 0.0), 1.0))
