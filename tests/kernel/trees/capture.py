"""A capture's parents in the comparator's terms."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import pandas as pd

from analysis.parents import df_parents, df_reparents
from analysis.processes import df_processes
from analysis.table import load
from tests.kernel.trees.comparator import Certainty, Interval, ProcessId

_NEVER_NS = 1 << 62


def read_history(path: Path, *, use_snapshots: bool = False) -> dict[ProcessId, list[Interval]]:
    """The parents of each process of a capture.

    Args:
        use_snapshots: False withholds the parents in the snapshots from the analysis.
    """
    table = load(path)
    processes = df_processes(table)
    reparents = df_reparents(table, processes, use_snapshots=use_snapshots)
    parents = df_parents(table, processes, reparents, use_snapshots=use_snapshots)
    history: dict[ProcessId, list[Interval]] = defaultdict(list)
    columns = ["child", "parent", "from_ns", "settled_ns", "certainty"]
    for child, parent, begin_ns, settled_ns, certainty in parents[columns].itertuples(index=False):
        known = isinstance(parent, str)
        history[_numbers(child)].append(
            Interval(
                from_lo_ns=int(begin_ns),
                from_hi_ns=_NEVER_NS if settled_ns is pd.NA else int(settled_ns),
                parent_tgid=_numbers(parent)[0] if known else None,
                parent_start_ns=_numbers(parent)[1] if known else None,
                certainty=Certainty(certainty),
            )
        )
    return dict(history)


def _numbers(identity: str) -> ProcessId:
    tgid, _, start_ns = identity.partition(":")
    return int(tgid), int(start_ns)
