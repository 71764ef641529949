"""Whether a capture holds a record that a sentence refers to: `rtrace dump` shows only those."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from analysis.columns import int64, stretch
from analysis.identity import identify
from analysis.programs import Programs
from analysis.table import Table
from tracer.abi import Type

Array = npt.NDArray[Any]


class Records:
    """The records of a capture, found by type, time and subject.

    Args:
        once: by name of a type of which a process has one record, the time of each process's; -1.
    """

    def __init__(
        self, table: Table, programs: Programs, once: Mapping[str, npt.NDArray[np.int64]]
    ) -> None:
        self._table, self._programs, self._once = table, programs, once
        # By event: time, tgid and start of each record.
        self._columns: dict[str, tuple[Array, Array, Array]] = {}

    def has(self, event: str, ts_ns: int, pos: int) -> bool:
        """The capture holds it.

        Args:
            event: name of a `tracer.abi.Type`; "TASK": a line of a snapshot. Of an EXEC its detail
                is enough. "SOCK": a look at sockets, begun at ``ts_ns``, in which it has one.
        """
        once = self._once.get(event)
        if once is not None:
            return bool(0 <= ts_ns == once[pos])
        if event == "EXEC":
            return self._programs.executed_at(pos, ts_ns)
        who = identify(self._table)
        tgid, start_ns = int(who.tgid[pos]), int(who.start_ns[pos])
        if event == "SOCK":
            return self._table.sockets.shows(ts_ns, tgid, start_ns)
        times, tgids, starts = self._of(event)
        found = slice(*stretch(times, ts_ns))
        # OOM has no start before Linux 6.10.
        same = (starts[found] == start_ns) | (starts[found] == 0)
        return bool((same & (tgids[found] == tgid)).any())

    def _of(self, name: str) -> tuple[Array, Array, Array]:
        found = self._columns.get(name)
        if found is None:
            table = self._table
            rows: Any = table.tasks if name == "TASK" else table.of(Type[name])
            times = int64(np.asarray(rows["ts_ns"]))
            found = times, np.asarray(rows["tgid"]), np.asarray(rows["start_ns"])
            self._columns[name] = found
        return found
