"""The behaviours of a capture: the registry of those that answer one question each."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator

from analysis.behaviours import begins, daemons, ends
from analysis.behaviours.behaviour import (
    QUESTIONS,
    UNKNOWN_SHAPE,
    Behaviour,
    Occurrence,
)
from analysis.behaviours.view import View
from analysis.model import Capture
from analysis.text_layout import count
from tracer.text import printable

FINDERS: dict[str, Callable[[View], Iterator[Occurrence]]] = {
    "start": begins.starts,
    "dockerd-exit": daemons.dockerd_exits,
    "containerd-exit": daemons.containerd_exits,
    "shim-exit": ends.shim_exits,
    "container-exit": ends.container_exits,
    "restart": begins.restarts,
    "exec": begins.execs,
    "reap": ends.reapings,
}


def find_behaviours(
    capture: Capture,
    wanted: Callable[[Occurrence], bool] = lambda occurrence: True,
    containers: Collection[str] | None = None,
) -> list[Behaviour]:
    """The answers to all QUESTIONS, also those that the capture says nothing of.

    Args:
        wanted: occurrences that are to count.
        containers: ids of those that are asked about; None: all.
    """
    view = View(capture, containers)
    doubts = _doubts(view)
    result = []
    for question in QUESTIONS:
        found = [o for o in FINDERS[question.id](view) if wanted(o)]
        found.sort(key=lambda occurrence: (occurrence.ts_ns, occurrence.subject))
        shapes = {occurrence.shape for occurrence in found} or {view.capture_shape}
        shape = shapes.pop() if len(shapes) == 1 else UNKNOWN_SHAPE
        result.append(Behaviour(question, shape, view.shim_version, found, doubts))
    return result


def _doubts(view: View) -> list[str]:
    """What the capture lacks, so that something may have happened that it does not show."""
    table, found = view.table, []
    lost = int(table.losses["events"].sum() + table.losses["details"].sum())
    if lost:
        found.append(f"{count(lost, 'event')} lost: what happened then may be missing")
    if table.cut_ns is not None:
        found.append("the capture is cut: what came later is missing")
    kept = table.header.get("filter")
    if isinstance(kept, dict):
        kind = printable(str(kept.get("kind") or "filter"))[:20]
        found.append(f"only what is inside of a filter ({kind}) was recorded")
    segment = table.header.get("segment")
    if isinstance(segment, dict) and segment.get("events_before"):
        found.append("what came before the part that a bounded recording has kept is missing")
    if table.header.get("no_args") is True:
        found.append("arguments were not recorded: requests of clients are not known")
    return found
