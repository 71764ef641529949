"""Whether a capture holds a record that a sentence refers to: `rtrace dump` shows only those."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from analysis.columns import int64
from analysis.table import Table
from tracer.abi import Type

Array = npt.NDArray[Any]
_DETAILS = "details"


class Records:
    """The records of a capture, found by type, time and subject."""

    def __init__(self, table: Table) -> None:
        self._table = table
        # By event: time, tgid and start of each record.
        self._columns: dict[str, tuple[Array, Array, Array]] = {}

    def has(self, event: str, ts_ns: int, tgid: int, start_ns: int) -> bool:
        """The capture holds it.

        Args:
            event: name of a `tracer.abi.Type`; "TASK": a line of a snapshot. Of an EXEC its detail
                is enough. "SOCK": a look at sockets, begun at ``ts_ns``, in which it has one.
        """
        if event == "SOCK":
            return self._table.sockets.shows(ts_ns, tgid, start_ns)
        found = self._find(event, ts_ns, tgid, start_ns)
        if not found and event == "EXEC":
            found = self._find(_DETAILS, ts_ns, tgid, start_ns)
        return found

    def _find(self, name: str, ts_ns: int, tgid: int, start_ns: int) -> bool:
        times, tgids, starts = self._of(name)
        begin, end = int(times.searchsorted(ts_ns)), int(times.searchsorted(ts_ns + 1))
        if begin == end:
            return False
        # OOM has no start before Linux 6.10.
        same = (starts[begin:end] == start_ns) | (starts[begin:end] == 0)
        return bool((same & (tgids[begin:end] == tgid)).any())

    def _of(self, name: str) -> tuple[Array, Array, Array]:
        found = self._columns.get(name)
        if found is None:
            table = self._table
            rows: Any = {"TASK": table.tasks, _DETAILS: table.detail_rows.rows}.get(name)
            rows = table.of(Type[name]) if rows is None else rows
            times = int64(np.asarray(rows["ts_ns"]))
            found = times, np.asarray(rows["tgid"]), np.asarray(rows["start_ns"])
            self._columns[name] = found
        return found
