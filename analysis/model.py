"""A capture for notebooks and reports: its tables, computed when they are asked for."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from os import PathLike

import pandas as pd

from analysis.columns import objects
from analysis.containers import df_containers, find_containers
from analysis.parents import df_parents, df_reparents
from analysis.processes import df_processes
from analysis.runs import Container
from analysis.scene import Scene
from analysis.table import Table, load


class Capture:
    """An open capture. Times are CLOCK_BOOTTIME ns; a process is the string "tgid:start_ns".

    Attributes:
        table: the records, see `analysis.table.Table`.
    """

    def __init__(self, table: Table) -> None:
        self.table = table

    @cached_property
    def _processes(self) -> pd.DataFrame:
        return df_processes(self.table)

    @cached_property
    def reparents(self) -> pd.DataFrame:
        """Every change of a parent, see `analysis.parents.df_reparents`."""
        return df_reparents(self.table, self._processes)

    @cached_property
    def parents(self) -> pd.DataFrame:
        """Parents over time as intervals, see `analysis.parents.df_parents`."""
        return df_parents(self.table, self._processes, self.reparents)

    @cached_property
    def scene(self) -> Scene:
        """Programs, roles, container membership and signals by process."""
        return Scene(self.table, self._processes, self.reparents, self.parents)

    @cached_property
    def processes(self) -> pd.DataFrame:
        """Every process, see `analysis.processes.df_processes`, and besides:

        role: role token, see docs/report-json.md.
        container: id of the container that it serves (a shim, runc) or is in; None: in none.
        """
        scene = self.scene
        membership = scene.membership
        names = objects([*membership.ids, None])
        serves, inside = membership.serves, membership.inside
        numbers = [
            s if s >= 0 else i for s, i in zip(serves.tolist(), inside.tolist(), strict=True)
        ]
        index = self._processes.index
        return self._processes.assign(
            role=pd.Series(scene.roles, index, dtype=object),
            container=pd.Series(names[numbers], index, dtype=object),
        )

    @cached_property
    def container_list(self) -> list[Container]:
        """Containers as objects, see `analysis.containers`."""
        return find_containers(self.scene)

    @cached_property
    def containers(self) -> pd.DataFrame:
        """One row a run of a container, see `analysis.containers.df_containers`."""
        return df_containers(self.scene, self.container_list)


def open_capture(
    path: str | PathLike[str], on_progress: Callable[[int], None] | None = None
) -> Capture:
    """Open a capture for analysis.

    Args:
        on_progress: called now and then with the number of events read so far.

    Raises:
        CaptureError: not a capture, or of a newer schema. A cut or damaged one is read as
            far as it goes; see ``table.complete`` and ``table.damage``.
    """
    return Capture(load(path, on_progress))
