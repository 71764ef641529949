"""Who lived at a moment, and what /proc said of them: the TASK and PROC chunks of a capture.

A bounded recording takes a snapshot whenever it begins a new segment, so that a capture may hold
several at its "start": the first is where it begins, each later one an observation.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.columns import as_int, frame, int64, objects, texts
from tracer import abi

Array = npt.NDArray[Any]

PHASES = {0: "start", 1: "end"}
PROC_COLUMNS = ("phase", "ts_ns", "tgid", "start_ns", "exe", "args", "args_cut", "cgroup")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One walk of the task iterator: from its first record to its last, boot-time ns."""

    phase: str
    begin_ns: int
    end_ns: int


class Snapshots:
    """Collects the chunks in the order of the capture."""

    def __init__(self) -> None:
        self._tasks: list[tuple[str, Array]] = []
        self._procs: list[tuple[Any, ...]] = []
        self._found: list[Snapshot] = []
        self._begun: dict[Any, int] = dict.fromkeys(PHASES.values(), -1)
        self._last_tgid = 0

    def add_tasks(self, content: bytes) -> None:
        """A TASK chunk. The iterator walks by tgid: one that goes on behind the last one, in the
        same phase, is of the same snapshot. Events may lie in between."""
        dtype = np.dtype(abi.task_layout())  # type: ignore[call-overload]
        phase = PHASES.get(int.from_bytes(content[:8], "little"))
        count = max(len(content) - 8, 0) // abi.TASK_SIZE
        if phase is None or not count:
            return
        rows = np.frombuffer(content, dtype, count, 8)
        self._tasks.append((phase, rows))
        times = int64(rows["ts_ns"])
        begin, end = int(times.min()), int(times.max())
        first, highest = int(rows["tgid"][0]), int(rows["tgid"].max())
        if self._found and self._found[-1].phase == phase and first > self._last_tgid:
            last = self._found.pop()
            begin, end = min(begin, last.begin_ns), max(end, last.end_ns)
        self._found.append(Snapshot(phase, begin, end))
        self._begun[phase] = begin
        self._last_tgid = highest

    def add_procs(self, found: dict[str, Any]) -> None:
        """A PROC chunk: it tells of the last snapshot of its phase before it."""
        phase, processes = found.get("phase"), found.get("processes")
        if phase not in PHASES.values() or not isinstance(processes, list):
            return
        ts_ns = self._begun[phase]
        for process in processes:
            if not isinstance(process, dict) or not as_int(process.get("tgid")):
                continue
            args = process.get("args")
            exe, group = process.get("exe"), process.get("cgroup")
            self._procs.append(
                (
                    phase,
                    ts_ns,
                    as_int(process.get("tgid")),
                    as_int(process.get("start_ns")),
                    exe if isinstance(exe, str) else None,
                    tuple(str(a) for a in args) if isinstance(args, list) else (),
                    bool(process.get("args_cut")),
                    group if isinstance(group, str) else "",
                )
            )

    def list(self) -> list[Snapshot]:
        """Snapshots in order of time; those that show nobody are left out."""
        return sorted(self._found, key=lambda s: (s.begin_ns, s.end_ns))

    def df_tasks(self) -> pd.DataFrame:
        """Fields of ``abi.Task``, and phase "start" or "end", by ts_ns."""
        dtype = np.dtype(abi.task_layout())  # type: ignore[call-overload]
        rows = np.concatenate([np.empty(0, dtype)] + [rows for _, rows in self._tasks])
        data: dict[str, Any] = {}
        for name in dtype.names:
            values = np.ascontiguousarray(rows[name])
            data[name] = texts(values) if name == "comm" else int64(values)
        data["phase"] = objects([phase for phase, rows in self._tasks for _ in range(len(rows))])
        order = np.lexsort((data["start_ns"], data["tgid"], data["ts_ns"]))
        order = order[data["tgid"][order] != 0]
        return frame({name: values[order] for name, values in data.items()})

    def df_procs(self) -> pd.DataFrame:
        """Columns PROC_COLUMNS, in the order of the capture.

        ts_ns is when the snapshot began that a row belongs to, -1 if there is none: /proc was
        read then or somewhat later, but before the next snapshot.
        """
        columns: Iterable[tuple[Any, ...]] = zip(*self._procs, strict=True)
        if not self._procs:
            columns = ((),) * len(PROC_COLUMNS)
        data: dict[str, Any] = {}
        for name, values in zip(PROC_COLUMNS, columns, strict=True):
            if name in ("ts_ns", "tgid", "start_ns"):
                data[name] = np.array(values, np.int64)
            elif name == "args_cut":
                data[name] = np.array(values, bool)
            else:
                data[name] = objects(values)
        return frame(data)
