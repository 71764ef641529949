"""What a notebook wants to know of a process besides the columns that the report needs."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis import losses
from analysis.columns import nullable, objects
from analysis.scene import Scene
from analysis.why.lineage import unit_in

Array = npt.NDArray[Any]
CONFIRMED, INFERRED = "confirmed", "inferred"
_EVER = np.iinfo(np.int64).max
_LATE_NS = 1_000_000_000  # REAP comes some 15 ms late, on a busy host more


def with_ends(processes: pd.DataFrame, scene: Scene) -> pd.DataFrame:
    """``processes`` and: unit, lifetime_ns, zombie_from_ns, zombie_until_ns, reaped_by,
    reaped_certainty."""
    ended, reaped = scene.exit_ns, scene.reap_ns
    known = ended >= 0
    released = reaped >= 0
    # REAP is the release of the last reference: it cannot be before the exit, but for skew.
    until = np.maximum(reaped, ended)
    last = np.full(len(ended), -1, np.int64)
    child = scene.parents["child_no"].to_numpy(np.int64)
    last[child] = np.arange(len(child))  # sorted by child and time: the last interval stays
    at = np.where(released, last, -1)
    parents = np.append(scene.parents["parent_no"].to_numpy(np.int64), -1)
    parent = parents[at]  # -1: the last one, not known
    ids = objects([*scene.ids.tolist(), None])
    sure = objects([*scene.parents["certainty"].tolist(), None])
    certainty = sure[np.where(parent >= 0, at, -1)]
    certainty[_may_have_moved(scene, at, until) & (certainty == CONFIRMED)] = INFERRED
    index = processes.index
    return processes.assign(
        unit=pd.Series(_units(scene), index, dtype=object),
        lifetime_ns=pd.Series(
            nullable(np.maximum(ended - scene.start_ns, 0), known), index, dtype="Int64"
        ),
        zombie_from_ns=pd.Series(nullable(ended, known), index, dtype="Int64"),
        zombie_until_ns=pd.Series(nullable(until, released), index, dtype="Int64"),
        reaped_by=pd.Series(ids[parent], index, dtype=object),
        reaped_certainty=pd.Series(certainty, index, dtype=object),
    )


def _may_have_moved(
    scene: Scene, at: npt.NDArray[np.int64], until: npt.NDArray[np.int64]
) -> npt.NDArray[np.bool_]:
    """The one before or after the last parent may have reaped it.

    The last parent had ended before, and that it gave the zombie away is among lost events: without
    losses it has reaped it, since the end of a parent lists all that it leaves. Or the process
    ended while it was given to its last parent: REAP comes late, and may be of before.

    Args:
        at: row of each process's last parent, -1. until: when each was reaped.
    """
    table, parents = scene.table, scene.parents
    left = np.append(parents["until_ns"].fillna(-1).to_numpy(np.int64), -1)[at]
    early = (left >= 0) & (left < until)
    windows = losses.with_cut(table.losses, table.cut_ns)
    lost = early & losses.touched(windows, left, until)
    settled = np.append(parents["settled_ns"].fillna(_EVER).to_numpy(np.int64), _EVER)[at]
    adopted = np.append(parents["how"].to_numpy(object) != "fork", False)[at]
    around = adopted & (settled > scene.exit_ns) & (settled > until - _LATE_NS)
    return lost | around


def _units(scene: Scene) -> Array:
    """systemd unit of each process, each distinct path read once; None: in none."""
    outside = scene.membership.inside < 0
    result = np.full(len(scene.ids), None, object)
    for column in ("cgroup_v1", "cgroup"):  # v2 comes last and stays
        codes, uniques = pd.factorize(scene.processes[column], use_na_sentinel=True)
        units = objects([*(unit_in(path) for path in uniques), None])
        found = units[codes]
        known = outside & (found != None)  # noqa: E711 - by element
        result[known] = found[known]
    return result
