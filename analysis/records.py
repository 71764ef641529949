"""Whether a capture holds a record that a sentence refers to: `rtrace dump` shows only those."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from analysis.columns import int64
from analysis.table import Table
from tracer.abi import Type


class Records:
    """The records of a capture, found by type, time and subject."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._times: dict[str, npt.NDArray[np.int64]] = {}

    def has(self, event: str, ts_ns: int, tgid: int, start_ns: int) -> bool:
        """The capture holds it.

        Args:
            event: name of a `tracer.abi.Type`; "TASK": a line of a snapshot. Of an EXEC its detail
                is enough. "SOCK": a look at sockets, begun at ``ts_ns``, in which it has one.
        """
        if event == "SOCK":
            return self._table.sockets.shows(ts_ns, tgid, start_ns)
        rows: Any = self._table.tasks if event == "TASK" else self._table.of(Type[event])
        found = self._find(event, rows, ts_ns, tgid, start_ns)
        if not found and event == "EXEC":
            found = self._find("details", self._table.details, ts_ns, tgid, start_ns)
        return found

    def _find(self, name: str, rows: Any, ts_ns: int, tgid: int, start_ns: int) -> bool:
        times = self._times.get(name)
        if times is None:
            times = self._times[name] = int64(np.asarray(rows["ts_ns"]))
        begin, end = np.searchsorted(times, [ts_ns, ts_ns + 1]).tolist()
        tgids, starts = (np.asarray(rows[key][begin:end]) for key in ("tgid", "start_ns"))
        # OOM has no start before Linux 6.10.
        same = (starts == start_ns) | (starts == 0)
        return bool(np.any(same & (tgids == tgid)))
