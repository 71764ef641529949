"""Runs of containers, their calls, and daemons, as frames. Loops run over runs and calls."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pandas as pd

from analysis.columns import frame, nullable, objects
from analysis.containers import df_containers, exec_process
from analysis.host_story import find_daemons
from analysis.runs import Container, Run
from analysis.scene import End, Scene


def df_runs(scene: Scene, containers: list[Container]) -> pd.DataFrame:
    """`analysis.containers.df_containers`, with how often and why each run ended."""
    result = df_containers(scene, containers)
    # A container of which no process was seen has a row, too.
    runs = [(c, run) for c in containers for run in c.runs or [Run()]]
    by = [_sender(run.end) for _, run in runs]
    causes = [_cause(run.end) for _, run in runs]
    shims = [run.shim_end for _, run in runs]
    extra = {
        "runs": _ints(len(c.runs) for c, _ in runs),
        "began": objects(_began(scene, run) for _, run in runs),
        "calls": _ints(len(run.calls) for _, run in runs),
        "execs": _ints(len(run.execs) for _, run in runs),
        "cause": objects(causes),
        "killed_by": objects(None if pos is None else scene.ids[pos] for pos in by),
        "end": objects(scene.end_text(run.end) for _, run in runs),
        "shim_how": objects(None if end is None else end.how for end in shims),
    }
    return frame({**{name: _plain(result[name]) for name in result.columns}, **extra})


def _began(scene: Scene, run: Run) -> str:
    if run.before:
        return "before"
    lost = run.init is None or scene.born_ns(run.init) is None
    return "not-seen" if lost else "recorded"


def _cause(end: End) -> str | None:
    if end.oom:
        return "oom"
    return None if end.by is None else end.by.kind


def _sender(end: End) -> int | None:
    by = end.by
    return None if by is None or by.kind != "process" or by.sender < 0 else by.sender


def df_calls(scene: Scene, containers: Iterable[Container]) -> pd.DataFrame:
    """One row a call of runc or crun for a container, by container, run, time."""
    rows = list(_calls(scene, containers))
    columns: dict[str, Any] = {}
    for name in ("container", "verb", "argument", "process", "exec_process"):
        columns[name] = objects(row[name] for row in rows)
    for name in ("run",):
        columns[name] = _ints(row[name] for row in rows)
    for name in ("ts_ns", "exit_ns", "exit_status", "exit_signal"):
        columns[name] = nullable_ints(row[name] for row in rows)
    for name in ("exec_exit_ns", "exec_status", "exec_signal"):
        columns[name] = nullable_ints(row[name] for row in rows)
    order = ("container", "run", "ts_ns", "process", "verb", "argument", "exit_ns", "exit_status")
    rest = ("exit_signal", "exec_process", "exec_exit_ns", "exec_status", "exec_signal")
    return frame({name: columns[name] for name in (*order, *rest)})


def _calls(scene: Scene, containers: Iterable[Container]) -> Iterator[dict[str, Any]]:
    for container in containers:
        for number, run in enumerate(container.runs, 1):
            for call in run.calls:
                end = scene.end_of(call.pos)
                made = exec_process(scene, call) if call.verb == "exec" else None
                made_end = End("not-seen") if made is None else scene.end_of(made)
                yield {
                    "container": container.id,
                    "run": number,
                    "ts_ns": call.ts_ns if call.ts_ns >= 0 else None,
                    "process": scene.ids[call.pos],
                    "verb": call.verb,
                    "argument": call.argument,
                    "exit_ns": end.ts_ns,
                    "exit_status": end.status,
                    "exit_signal": end.signal,
                    "exec_process": None if made is None else scene.ids[made],
                    "exec_exit_ns": made_end.ts_ns,
                    "exec_status": made_end.status,
                    "exec_signal": made_end.signal,
                }


def df_daemons(scene: Scene) -> pd.DataFrame:
    """One row a daemon, and an init that came or went, in the order of their birth."""
    found = find_daemons(scene)
    ids = objects([*scene.ids.tolist(), None])
    ends = [scene.end_of(daemon.pos) for daemon in found]
    return frame(
        {
            "process": objects(ids[daemon.pos] for daemon in found),
            "role": objects(scene.roles[daemon.pos] for daemon in found),
            "unit": objects(daemon.unit for daemon in found),
            "began_ns": nullable_ints(daemon.began_ns for daemon in found),
            "starter": objects(ids[daemon.starter] for daemon in found),
            "former": objects(ids[daemon.former] for daemon in found),
            "how": objects(end.how for end in ends),
            "exit_ns": nullable_ints(end.ts_ns for end in ends),
            "end": objects(scene.end_text(end) for end in ends),
        }
    )


def _plain(column: pd.Series[Any]) -> Any:
    return column.array if isinstance(column.dtype, pd.Int64Dtype) else column.to_numpy()


def _ints(values: Iterable[int]) -> Any:
    return np.fromiter(values, np.int64)


def nullable_ints(values: Iterable[int | None]) -> Any:
    found = list(values)
    known = np.array([value is not None for value in found], bool)
    return nullable(np.array([value or 0 for value in found], np.int64), known)
