"""A capture for notebooks and reports: its tables, computed when they are asked for."""

from __future__ import annotations

from functools import cached_property
from os import PathLike

import numpy as np
import pandas as pd

from analysis.columns import Rows, objects
from analysis.containers import df_containers, find_containers
from analysis.control_path import ControlPath, df_connections
from analysis.parents import find_parents, find_reparents
from analysis.processes import find_processes
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
    def reparents(self) -> pd.DataFrame:
        """Every change of a parent, see `analysis.parents.find_reparents`."""
        return self.scene.reparents.frame()

    @cached_property
    def parents(self) -> pd.DataFrame:
        """Parents over time as intervals, see `analysis.parents.find_parents`."""
        return self.scene.parents.frame()

    @cached_property
    def scene(self) -> Scene:
        """Programs, roles, container membership and signals by process."""
        self.progress.begin("finding processes")
        processes = find_processes(self.table)
        self.progress.begin("finding who adopted whom")
        reparents = find_reparents(self.table, processes)
        parents = find_parents(self.table, processes, reparents)
        self.progress.begin("finding what each ran")
        return Scene(self.table, processes, reparents, parents)

    @cached_property
    def processes(self) -> pd.DataFrame:
        """Every process, see `analysis.processes.find_processes`, and besides:

        role: role token, see docs/report-json.md.
        container: id of the container that it serves (a shim, runc) or is in; None: in none.
        """
        return self.processes_at(slice(None))

    def processes_at(self, rows: Rows) -> pd.DataFrame:
        """Some rows of ``processes``: of millions, objects are made for these alone."""
        scene = self.scene
        membership = scene.membership
        names = objects([*membership.ids, None])
        serves, inside = membership.serves[rows], membership.inside[rows]
        found = scene.processes.frame(rows)
        return found.assign(
            role=pd.Series(scene.roles[rows], found.index, dtype=object),
            container=pd.Series(
                names[np.where(serves >= 0, serves, inside)], found.index, dtype=object
            ),
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

    @cached_property
    def control_path(self) -> ControlPath:
        """Who talked to whom, see `analysis.control_path`."""
        return ControlPath(self.scene)

    @cached_property
    def connections(self) -> pd.DataFrame:
        """Who was connected to whom, see `analysis.control_path.df_connections`."""
        return df_connections(self.scene, self.control_path)


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
