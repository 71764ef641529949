"""Which processes stay in a narrowed capture."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt


class Keep:
    """A set of processes, each ``(tgid, start_ns)``, and of containers by id."""

    def __init__(
        self, processes: Iterable[tuple[int, int]], containers: Iterable[str] = ()
    ) -> None:
        self._all, self._containers = set(processes), frozenset(containers)
        self._starts = np.unique(np.array([start for _, start in self._all], np.uint64))
        self._keys = np.sort(
            self._pack(
                np.array([tgid for tgid, _ in self._all], np.uint64),
                np.array([start for _, start in self._all], np.uint64),
            )
        )

    def __len__(self) -> int:
        return len(self._all)

    def has_one(self, tgid: int, start_ns: int) -> bool:
        return (tgid, start_ns) in self._all

    def has_container(self, id_: str) -> bool:
        return id_ in self._containers

    def has(
        self, tgid: npt.NDArray[np.uint32], start_ns: npt.NDArray[np.uint64]
    ) -> npt.NDArray[np.bool_]:
        """Which of these are in it, one answer each."""
        if not self._all:
            return np.zeros(len(tgid), bool)
        at = np.minimum(np.searchsorted(self._starts, start_ns), len(self._starts) - 1)
        found: npt.NDArray[np.bool_] = self._starts[at] == start_ns
        found &= np.isin(self._pack(tgid.astype(np.uint64), start_ns), self._keys)
        return found

    def _pack(
        self, tgid: npt.NDArray[np.uint64], start_ns: npt.NDArray[np.uint64]
    ) -> npt.NDArray[np.uint64]:
        numbers = np.searchsorted(self._starts, start_ns).astype(np.uint64)
        return (numbers << np.uint64(32)) | tgid
