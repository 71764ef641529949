"""A capture for notebooks and reports: its tables, computed when they are asked for."""

from __future__ import annotations

from functools import cached_property
from os import PathLike

import pandas as pd

from analysis.columns import objects
from analysis.containers import df_containers, find_containers
from analysis.parents import df_parents, df_reparents
from analysis.processes import df_processes
from analysis.progress import Progress, Tell
from analysis.runs import Container
from analysis.scene import Scene
from analysis.table import Table, load


class Capture:
    """An open capture. Times are CLOCK_BOOTTIME ns; a process is the string "tgid:start_ns".

    Attributes:
        table: the records, see `analysis.table.Table`.
        progress: what is told of how far the work is.
    """

    def __init__(self, table: Table, progress: Progress | None = None) -> None:
        self.table, self.progress = table, progress or Progress()

    @cached_property
    def _processes(self) -> pd.DataFrame:
        self.progress.begin("finding processes")
        return df_processes(self.table)

    @cached_property
    def reparents(self) -> pd.DataFrame:
        """Every change of a parent, see `analysis.parents.df_reparents`."""
        processes = self._processes
        self.progress.begin("finding who adopted whom")
        return df_reparents(self.table, processes)

    @cached_property
    def parents(self) -> pd.DataFrame:
        """Parents over time as intervals, see `analysis.parents.df_parents`."""
        return df_parents(self.table, self._processes, self.reparents)

    @cached_property
    def scene(self) -> Scene:
        """Programs, roles, container membership and signals by process."""
        parents = self.parents
        self.progress.begin("finding what each ran")
        return Scene(self.table, self._processes, self.reparents, parents)

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
        scene = self.scene
        self.progress.begin("finding containers")
        return find_containers(scene)

    @cached_property
    def containers(self) -> pd.DataFrame:
        """One row a run of a container, see `analysis.containers.df_containers`."""
        return df_containers(self.scene, self.container_list)


def open_capture(path: str | PathLike[str], on_progress: Tell | None = None) -> Capture:
    """Open a capture for analysis.

    Args:
        on_progress: called now and then with what is being done, in words, and the share of all
            work that is done, 0 to 1; also later, when what is asked for is found.

    Raises:
        CaptureError: not a capture, or of a newer schema. A cut or damaged one is read as
            far as it goes; see ``table.complete`` and ``table.damage``.
    """
    return Capture(*read(path, on_progress))


def read(path: str | PathLike[str], on_progress: Tell | None) -> tuple[Table, Progress]:
    """What a `Capture` is made of."""
    progress = Progress(on_progress)
    progress.begin("reading")
    return load(path, progress.advance), progress
