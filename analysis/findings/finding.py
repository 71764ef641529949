"""A finding, and what all of them are found in: the capture, and its state at the end."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from analysis import losses
from analysis.model import Capture
from analysis.roles import RUNTIME_CALLS, SHIMS
from analysis.runs import Container, Run
from analysis.scene import Adoption
from analysis.steps import Evidence
from analysis.text_layout import span
from analysis.why.story import CONFIRMED, DOUBT, INFERRED, Story

Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]

ERROR, WARNING, INFO = "error", "warning", "info"
SEVERITIES = (ERROR, WARNING, INFO)

# How long a runtime may take for what it always does: cleaning up behind an end.
GRACE_NS = 5_000_000_000
# How long a parent may take to wait for a child. REAP itself comes up to 15 ms late.
UNREAPED_NS = 1_000_000_000
# Processes and references that one finding names; its sentence has the number of all.
LISTED = 20

DAEMONS = ("dockerd", "containerd", "containerd-managed")
MONITORS = (*SHIMS, "conmon")
# Below these a container's process is where it belongs.
KEEPERS = (*MONITORS, *RUNTIME_CALLS, "shim-start", "runc-init", "podman")
# These end containers, and each other, as part of their work.
ACTORS = (*KEEPERS, *DAEMONS, "ctr", "docker-client", "kubelet", "cri-dockerd")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong, or that looks wrong and is not.

    Attributes:
        kind: token, see docs/report-json.md.
        severity: one of SEVERITIES. info: by design, or worth knowing.
        text: one sentence, harmless to print.
        next: what to look at or to do next.
        ts_ns: when it came to that, or was seen.
        processes: positions of those that it is about, LISTED at most.
        evidence: LISTED at most.
        certainty: as in the timeline.
        container: its id, if it is about one.
    """

    kind: str
    severity: str
    text: str
    next: str
    ts_ns: int
    processes: list[int]
    evidence: list[Evidence] = field(default_factory=list)
    certainty: str = CONFIRMED
    container: str | None = None


class Case:
    """A capture as those look at it who find something.

    Attributes:
        story: gives names to processes, and has the runs by process 1 and by shim.
        at_end: what the snapshot at the end shows.
        filtered: processes are missing that the recorder was told to leave out.
    """

    def __init__(self, capture: Capture) -> None:
        self.capture, self.scene, self.table = capture, capture.scene, capture.table
        self.story = Story(capture)
        self.at_end = self.scene.at_end
        self.filtered = bool(self.table.header.get("filter"))

    # --- the state at the end ------------------------------------------------------------------

    @cached_property
    def unreaped(self) -> Bools:
        """Zombies that somebody should have waited for by the end."""
        scene, ended = self.scene, np.maximum(self.scene.exit_ns, self.scene.gone_ns)
        # Simple inits (of virtual machines, of sandboxes) look for the dead every second or two.
        by_init = (scene.last_parent >= 0) & (scene.roles[scene.last_parent] == "init")
        since = np.where(by_init, GRACE_NS, UNREAPED_NS)
        found: Bools = self.at_end.zombies & (ended <= (self.at_end.ns or 0) - since)
        return found

    @cached_property
    def is_known(self) -> Bools:
        """What it is is known: its program, or that it is an init; of one outside of the filter
        only its number is."""
        scene = self.scene
        known: Bools = (scene.programs.last >= 0) | (scene.roles == "init")
        known &= ~scene.processes["stub"].to_numpy(bool)
        return known

    def living(self, *roles: str) -> list[int]:
        """Processes with one of these roles that live at the end."""
        return [pos for pos in self.scene.positions(*roles) if self.at_end.alive[pos]]

    def has_living_child(self, pos: int) -> bool:
        return bool(self._living_children[pos])

    @cached_property
    def _living_children(self) -> Ints:
        parents = self.scene.last_parent[self.at_end.alive]
        return np.bincount(parents[parents >= 0], minlength=len(self.scene.ids)).astype(np.int64)

    def age(self, ts_ns: int) -> int:
        """Time from a moment to the end; 0 if the state at the end is not known."""
        return 0 if self.at_end.ns is None else max(self.at_end.ns - ts_ns, 0)

    # --- how sure ------------------------------------------------------------------------------

    @cached_property
    def windows(self) -> Any:
        """Stretches in which records may be missing, as `losses.windows`, and what a cut took.

        Without its detail an exec is no call of runc: details count as events here.
        """
        found = losses.with_cut(self.table.losses, self.table.cut_ns)
        return found.assign(events=found["events"] + found["details"])

    def lost_between(self, since_ns: int, until_ns: int) -> bool:
        """Events or details may have been lost in that stretch."""
        if self.windows.empty:
            return False
        begin, end = np.array([since_ns], np.int64), np.array([until_ns], np.int64)
        return bool(losses.touched(self.windows, begin, end)[0])

    def surety(self, since_ns: int, until_ns: int | None = None, sure: str = CONFIRMED) -> str:
        """Certainty of a conclusion on that stretch (up to the end): ``sure`` if nothing was lost
        in it."""
        until_ns = self.table.last_ns if until_ns is None else until_ns
        lossy = self.lost_between(since_ns, until_ns)
        return max(sure, INFERRED, key=DOUBT.index) if lossy else sure

    # --- evidence ------------------------------------------------------------------------------

    def cite(self, event: str, ts_ns: int | None, pos: int) -> list[Evidence]:
        """A reference to a record; none if the capture does not hold it."""
        if ts_ns is None or ts_ns < 0 or pos < 0 or not self.scene.holds(event, ts_ns, pos):
            return []
        return [Evidence(event, ts_ns, pos)]

    def cite_end(self, pos: int) -> list[Evidence]:
        """Exit of a process, and the signal that ended it."""
        end = self.scene.end_of(pos)
        found = self.cite("EXIT", end.ts_ns, pos) or self.cite(
            "REAP", int(self.scene.reap_ns[pos]), pos
        )
        if end.by is not None:
            found = self.cite("SIGNAL", end.by.ts_ns, pos) + found
        return found

    def cite_state(self, pos: int) -> list[Evidence]:
        """The line of the snapshot at the end."""
        ts_ns = self.at_end.shown_ns(pos)
        return [Evidence("TASK", ts_ns, pos)] if ts_ns >= 0 else []

    def cite_adoption(self, adoption: Adoption) -> list[Evidence]:
        return self.cite("REPARENT", adoption.ts_ns, adoption.child)

    # --- words ---------------------------------------------------------------------------------

    def name(self, pos: int) -> str:
        return self.story.name(pos) if pos >= 0 else "a process not known"

    def names(self, people: list[int], limit: int = 3) -> str:
        """ "a (1), b (2), c (3) and 4 more"."""
        shown = ", ".join(self.scene.label(pos) for pos in people[:limit])
        return f"{shown} and {len(people) - limit} more" if len(people) > limit else shown

    def how(self, pos: int) -> str:
        """ "exited 1", "was killed by SIGKILL (9), sent by sh (812)"."""
        return self.scene.end_text(self.scene.end_of(pos))

    def ago(self, ts_ns: int) -> str:
        return f"{span(self.age(ts_ns))} before the end"

    def ask_why(self, pos: int) -> str:
        return f"`rtrace why CAPTURE {self.scene.ids[pos]}`"

    @cached_property
    def _containers(self) -> dict[str, Container]:
        return {container.id: container for container in self.capture.container_list}

    def container(self, number: int) -> Container | None:
        """A container by its number in the membership; -1: none."""
        ids = self.scene.membership.ids
        return self._containers.get(ids[number]) if number >= 0 else None

    def runs(self) -> Iterator[tuple[Container, Run]]:
        for container in self.capture.container_list:
            for run in container.runs:
                yield container, run


Finder = Callable[[Case], Iterable[Finding]]


def listed(items: Iterable[Any]) -> list[Any]:
    """The first LISTED of them, each once, without -1 and None."""
    found = [item for item in dict.fromkeys(items) if item is not None and item != -1]
    return found[:LISTED]
