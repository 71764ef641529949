"""A capture as those look at it who ask how an engine behaves: lives of containers, in engines."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from analysis.behaviours.behaviour import MANAGED, SERVICE, UNKNOWN_SHAPE, Outcome
from analysis.columns import int64
from analysis.findings.finding import Case
from analysis.model import Capture
from analysis.roles import SHIMS
from analysis.runs import Container, Run
from analysis.scene import Adoption
from analysis.signals import Signal
from analysis.why.requests import find_client
from analysis.why.runtime import is_runtime
from analysis.why.story import name_container

Ints = npt.NDArray[np.int64]

_SHAPES = {"containerd-managed": MANAGED, "containerd": SERVICE}
# A process that was sent a signal ends within that, if it ends by it.
_OBEYED_NS = 30_000_000_000
# Between the signals of one `kill`, or of systemd to all of a unit.
_TOGETHER_NS = 50_000_000


@dataclass(frozen=True, slots=True)
class Life:
    """One life of a container under a shim. Processes are positions."""

    container: Container
    run: Run
    shim: int
    init: int | None

    @property
    def name(self) -> str:
        return name_container(self.container)


class View:
    """Lives of containers, and what happened to their processes.

    Args:
        containers: ids of those that are asked about; None: all.
    """

    def __init__(self, capture: Capture, containers: Collection[str] | None = None) -> None:
        self.case, self._containers = Case(capture), containers
        self.scene, self.story, self.table = self.case.scene, self.case.story, self.case.table

    @cached_property
    def lives(self) -> list[Life]:
        """Those of the containers that are asked about."""
        asked = self._containers
        return [life for life in self._lives if asked is None or life.container.id in asked]

    @cached_property
    def _lives(self) -> list[Life]:
        """Runs that have a shim; conmon is none, the claims are about docker."""
        return [
            Life(container, run, run.shim, run.init)
            for container, run in self.case.runs()
            if run.shim is not None and self.scene.roles[run.shim] in SHIMS
        ]

    @cached_property
    def by_container(self) -> dict[str, list[Life]]:
        """Lives of each container, in order."""
        found: dict[str, list[Life]] = {}
        for life in self.lives:
            found.setdefault(life.container.id, []).append(life)
        return found

    @cached_property
    def by_shim(self) -> dict[int, list[Life]]:
        found: dict[int, list[Life]] = {}
        for life in self._lives:
            found.setdefault(life.shim, []).append(life)
        return found

    def also_served(self, life: Life, ts_ns: int) -> int:
        """How many other containers of its shim (a pod) were there then, and stayed."""
        inits, containers = self._served[life.shim]
        began, ended = self.scene.start_ns[inits], self.scene.exit_ns[inits]
        there = (began <= ts_ns) & ~((ended >= 0) & (ended <= ts_ns))
        there &= inits != (-1 if life.init is None else life.init)
        return len(np.unique(containers[there]))

    @cached_property
    def _served(self) -> dict[int, tuple[Ints, Ints]]:
        """Of each shim every process 1, and the number of its container."""
        numbers: dict[str, int] = {}
        found = {}
        for shim, lives in self.by_shim.items():
            known = [life for life in lives if life.init is not None]
            ids = [numbers.setdefault(life.container.id, len(numbers)) for life in known]
            found[shim] = (
                np.array([life.init for life in known], np.int64),
                np.array(ids, np.int64),
            )
        return found

    def running(self, ts_ns: int) -> list[Life]:
        """Lives whose process 1 may have been there at a time."""
        began, ended = self._spans
        there = (began <= ts_ns) & ((ended < 0) | (ended >= ts_ns))
        return [self.lives[i] for i in np.flatnonzero(there).tolist()]

    @cached_property
    def _spans(self) -> tuple[Ints, Ints]:
        """Start and exit of the process 1 of each life; without one it never was there."""
        inits = np.array([-1 if life.init is None else life.init for life in self.lives], np.int64)
        began = np.where(inits < 0, np.iinfo(np.int64).max, self.scene.start_ns[inits])
        return began, self.scene.exit_ns[inits]

    def zombies(self, life: Life) -> list[int]:
        """What is a zombie of a container at the end, or its shim, and should have been reaped."""
        return self._zombies.get(life.container.id, []) + [life.shim] * bool(
            self.case.unreaped[life.shim]
        )

    @cached_property
    def _zombies(self) -> dict[str, list[int]]:
        found: dict[str, list[int]] = {}
        membership = self.scene.membership
        for pos in np.flatnonzero(self.case.unreaped & (membership.inside >= 0)).tolist():
            found.setdefault(membership.ids[membership.inside[pos]], []).append(pos)
        return found

    def members_at(self, life: Life, ts_ns: int) -> list[int]:
        """Processes of that life in the container, process 1 apart, that lived at a time. They
        began after process 1, and before that of the next life."""
        scene = self.scene
        if life.init is None:
            return []
        members, starts, heads = self._members[life.container.id]
        began = scene.start_ns[life.init]
        later = heads[np.searchsorted(heads, began, side="right") :]
        until = min(np.searchsorted(starts, ts_ns, side="right"), len(starts))
        if len(later):
            until = min(until, np.searchsorted(starts, later[0]))
        found = members[np.searchsorted(starts, began) : until]
        found = found[found != life.init]
        ended = scene.exit_ns[found]
        there = ((ended < 0) | (ended >= ts_ns)) & scene.were_alive(found, ts_ns)
        result: list[int] = np.sort(found[there]).tolist()
        return result

    @cached_property
    def _members(self) -> dict[str, tuple[Ints, Ints, Ints]]:
        """Of each container its members in order of their starts, these starts, and those of its
        processes 1."""
        start_ns = self.scene.start_ns
        heads: dict[str, list[int]] = {}
        for life in self._lives:
            if life.init is not None:
                heads.setdefault(life.container.id, []).append(int(start_ns[life.init]))
        found = {}
        for container, starts in heads.items():
            members = np.array(self.scene.membership.members(container), np.int64)
            members = members[np.argsort(start_ns[members], kind="stable")]
            found[container] = members, start_ns[members], np.sort(np.array(starts, np.int64))
        return found

    @property
    def last_ns(self) -> int:
        """Until when things were seen to be as they were."""
        return self.table.last_ns

    # --- shapes --------------------------------------------------------------------------------

    def shape(self, life: Life) -> str:
        """Whether the containerd above a container is dockerd's child, by the events."""
        manager = life.run.manager
        if manager is not None and self.scene.roles[manager] in _SHAPES:
            return _SHAPES[self.scene.roles[manager]]
        # The last one known, where that which started it is not.
        near = [p for p in self.containerds if self.scene.pidns[p] == self.scene.pidns[life.shim]]
        shapes = {_SHAPES[self.scene.roles[p]] for p in near}
        return shapes.pop() if len(shapes) == 1 else UNKNOWN_SHAPE

    @cached_property
    def containerds(self) -> list[int]:
        return self.scene.positions(*_SHAPES)

    @cached_property
    def capture_shape(self) -> str:
        """That of the outermost engine."""
        inside = self.scene.membership.inside
        outer = [p for p in self.containerds if inside[p] < 0] or self.containerds
        shapes = {_SHAPES[self.scene.roles[p]] for p in outer}
        return shapes.pop() if len(shapes) == 1 else UNKNOWN_SHAPE

    @cached_property
    def shim_version(self) -> str | None:
        """v1 or v2; None: there is no shim, or there are both."""
        found = {self.scene.roles[life.shim] for life in self._lives}
        return found.pop().removeprefix("shim-") if len(found) == 1 else None

    # --- adoptions -----------------------------------------------------------------------------

    @cached_property
    def _until_ns(self) -> npt.NDArray[np.int64]:
        return int64(self.scene.reparents["until_ns"].fillna(-1).to_numpy(np.int64))

    def taken_over(
        self, child: int, since_ns: int, until_ns: int, old: set[int]
    ) -> Adoption | None:
        """The first adoption of a process from one of some in a stretch of time."""
        for adoption in self.scene.adoptions_of(child):
            new = adoption.reason != "thread" and adoption.new != adoption.old
            if new and adoption.old in old and since_ns <= adoption.ts_ns <= until_ns:
                return adoption
        return None

    def reparented(self, adoption: Adoption, since_ns: int | None = None) -> Outcome:
        """An adoption as an outcome, ``since_ns`` being what is asked about."""
        seen = int(self._until_ns[adoption.row])
        return Outcome(
            "reparented",
            adoption.ts_ns,
            None if since_ns is None else max(adoption.ts_ns - since_ns, 0),
            old=adoption.old,
            new=adoption.new,
            latency_ns=seen - adoption.ts_ns if seen >= 0 else None,
            certainty=adoption.certainty,
        )

    def is_systemd(self, pos: int) -> bool:
        """The host's init, or a user's manager, which adopts as a subreaper."""
        return pos >= 0 and (self.scene.roles[pos] == "init" or self.scene.comm[pos] == "systemd")

    # --- ends ----------------------------------------------------------------------------------

    def ended(self, pos: int, since_ns: int, by: int = -1) -> Outcome | None:
        """The end of a process as an outcome; None if it was not seen."""
        end = self.scene.end_of(pos)
        if end.ts_ns is None or end.how not in ("exited", "killed"):
            return None
        if by < 0 and end.by is not None and end.by.kind in ("process", "kernel-call"):
            by = end.by.sender
        return Outcome(end.how, end.ts_ns, max(end.ts_ns - since_ns, 0), end=end, by=by)

    def orders(self, pos: int) -> list[Signal]:
        """Signals of a runtime to a process that may have ended it, in order."""
        ended = int(self.scene.exit_ns[pos])
        return [
            s
            for s in self.scene.signals.to(pos)
            if s.kind in ("process", "kernel-call")
            and s.sender >= 0
            and s.sender != pos
            and (ended < 0 or 0 <= ended - s.ts_ns <= _OBEYED_NS)
            and is_runtime(self.story, s.sender)
        ]

    def asked_by(self, life: Life, ts_ns: int) -> int | None:
        """The client that wanted the container to end at that time."""
        return find_client(self.story, life.container, ts_ns)

    def same_hand(self, first: int, second: int) -> bool:
        """The process that killed the second sent the first a signal, too, at the same time."""
        told = ("process", "kernel-call")  # kill(), or a write to cgroup.kill
        by = self.scene.end_of(second).by
        if by is None or by.kind not in told or by.sender < 0:
            return False
        return any(
            s.sender == by.sender
            and s.kind in told
            and s.signal in (2, 3, 9, 15)
            and abs(s.ts_ns - by.ts_ns) <= _TOGETHER_NS
            for s in self.scene.signals.to(first)
        )
