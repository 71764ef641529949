"""Timeline and findings as frames: one row a step, or a finding."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from analysis.clocks import Clocks
from analysis.columns import frame, objects
from analysis.findings.find import find_findings
from analysis.frames.containers import nullable_ints
from analysis.model import Capture
from analysis.report_timeline import TimelineBuilder
from analysis.scene import Ids
from analysis.selection import Window
from analysis.steps import Evidence

_NOT_A_TIME = np.iinfo(np.int64).min


def df_timeline(capture: Capture) -> pd.DataFrame:
    """All steps of all containers and of the host, by time, the folds too."""
    builder = TimelineBuilder(capture)
    steps, _ = builder.tell(capture.container_list, None, Window())
    entries = builder.timeline(steps)
    ts_ns = [entry["ts_ns"] for entry in entries]
    return frame(
        {
            "ts_ns": np.array(ts_ns, np.int64),
            "wall": _wall(builder.clocks, ts_ns),
            **{
                name: objects(entry[name] for entry in entries)
                for name in ("container", "kind", "text", "certainty")
            },
            "main": np.array([entry["main"] for entry in entries], bool),
            **{
                name: nullable_ints(entry[name] for entry in entries)
                for name in ("fold", "count", "until_ns")
            },
            "processes": objects(tuple(entry["processes"]) for entry in entries),
            "evidence": objects(
                tuple((e["event"], e["ts_ns"], e["id"]) for e in entry["evidence"])
                for entry in entries
            ),
        }
    )


def df_findings(capture: Capture) -> pd.DataFrame:
    """What is wrong, or looks so: the gravest first, then by time."""
    found = find_findings(capture)
    ids = capture.scene.ids
    ts_ns = [finding.ts_ns for finding in found]
    texts = ("kind", "severity", "text", "next", "certainty", "container")
    return frame(
        {
            **{name: objects(getattr(f, name) for f in found) for name in texts[:4]},
            "ts_ns": np.array(ts_ns, np.int64),
            "wall": _wall(Clocks(capture.table), ts_ns),
            **{name: objects(getattr(f, name) for f in found) for name in texts[4:]},
            "processes": objects(tuple(ids[pos] for pos in f.processes) for f in found),
            "evidence": objects(_cited(ids, f.evidence) for f in found),
        }
    )


def _cited(ids: Ids, evidence: Iterable[Evidence]) -> tuple[Any, ...]:
    return tuple((e.event, e.ts_ns, ids[e.pos]) for e in evidence if e.pos >= 0)


def _wall(clocks: Clocks, ts_ns: Iterable[int]) -> pd.DatetimeIndex:
    """Wall clock of boot times; NaT where the capture does not tell."""
    walls, known = clocks.wall_times(np.array(list(ts_ns), np.int64))
    times = np.where(known, walls, _NOT_A_TIME)
    return pd.DatetimeIndex(times.view("datetime64[ns]"), tz="UTC")
