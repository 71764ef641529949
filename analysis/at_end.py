"""Who lived, and who was a zombie, when the recording ended: the snapshot at its end.

Events alone do not tell it. A REAP is not seen where it was lost, nor on kernels that run no BPF in
the context of process 1 (docs/engines.md): who was not seen being reaped need not be a zombie.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from analysis.identity import identify

if TYPE_CHECKING:
    from analysis.scene import Scene

Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]


class AtEnd:
    """State of each process then, by position.

    Attributes:
        ns: when the snapshot was taken; None: there is none, so that nothing is known of the
            state then: nobody is ``alive`` or a zombie.
        shows_all: who was recorded and is not in it was not there. From within a pid namespace
            the recorder's snapshot does not show those outside, whose events it has.
    """

    def __init__(self, scene: Scene) -> None:
        self.scene, self.table = scene, scene.table
        ends = [s for s in self.table.snapshots if s.phase == "end"]
        self.ns: int | None = ends[-1].begin_ns if ends and self.table.complete else None
        self.shows_all = self.ns is not None and not self.table.header.get("pidns")

    @cached_property
    def alive(self) -> Bools:
        """Shown, and its end was not seen."""
        scene = self.scene
        ended = (scene.exit_ns >= 0) | (scene.reap_ns >= 0)
        found: Bools = self._shown(zombies=False) & ~ended
        return found

    @cached_property
    def zombies(self) -> Bools:
        """Shown as a zombie: not the leader of threads that live."""
        scene = self.scene
        ended = (scene.exit_ns >= 0) | (scene.gone_ns >= 0)
        found: Bools = self._shown(zombies=True) & ended & (scene.reap_ns < 0)
        return found

    def shown_ns(self, pos: int) -> int:
        """When the snapshot saw a process; -1: it did not."""
        return self._shown_at.get(pos, -1)

    def is_zombie(self, pos: int) -> bool | None:
        """Whether it was one; None: not known."""
        known = self.shows_all or (self.ns is not None and pos in self._shown_at)
        return bool(self.zombies[pos]) if known else None

    def is_released(self, pos: int) -> bool:
        """It was waited for by then: its REAP was seen, or it had ended and is not shown."""
        scene = self.scene
        if scene.reap_ns[pos] >= 0:
            return True
        ended = max(int(scene.exit_ns[pos]), int(scene.gone_ns[pos]))
        return self.shows_all and 0 <= ended < (self.ns or 0) and pos not in self._shown_at

    @cached_property
    def _shown_at(self) -> dict[int, int]:
        rows = self._rows
        codes, times = identify(self.table).of("tasks")[rows], self.table.tasks["ts_ns"]
        return dict(zip(codes.tolist(), times.to_numpy()[rows].tolist(), strict=True))

    def _shown(self, *, zombies: bool) -> Bools:
        found = np.zeros(len(self.scene.ids), bool)
        if self.ns is not None:
            dead = self.table.tasks["exit_state"].to_numpy() != 0
            rows = self._rows[dead[self._rows] == zombies]
            found[identify(self.table).of("tasks")[rows]] = True
        return found

    @cached_property
    def _rows(self) -> Ints:
        """Rows of that snapshot."""
        return np.flatnonzero(self.table.tasks["phase"].to_numpy(object) == "end").astype(np.int64)
