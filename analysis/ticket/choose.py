"""Which processes a ticket is about: those asked for, who made and killed them, and ancestors.

All that is recorded of a chosen process stays, from its birth to its end: so what `report` and
`why` say of it does not change.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from analysis.model import Capture
from analysis.people import daemons_of, people_of
from analysis.redaction.keep import Keep
from analysis.references import Json
from analysis.selection import Window, find_container, is_in_window

# How far it is narrowed when all would be too much, in this order.
STEPS = (
    "everything",
    "without processes of no container that the report does not tell of",
    "only processes that the report tells of",
)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a ticket is to be about: a container (name, id, beginning of an id), boot times."""

    container: str | None = None
    since_ns: int | None = None
    until_ns: int | None = None


def choose(capture: Capture, report: Json, wanted: Wanted, step: int) -> Keep | None:
    """Whom the capture of a ticket holds; None: everybody.

    Args:
        report: what `analysis.report.build_report` gave of that container and those times.
        step: number of one of STEPS.

    Raises:
        CaptureError: no container, or several, match.
    """
    window = Window(wanted.since_ns, wanted.until_ns)
    everybody = wanted.container is None and window == Window()
    if everybody and step == 0:
        return None
    scene = capture.scene
    chosen = [c for c in capture.container_list if is_in_window(scene, c, window)]
    if wanted.container is not None:
        chosen = [find_container(capture.container_list, wanted.container)]
    told = {process["id"] for process in report["processes"]} if step else set()
    named = _named(report)
    people = {scene.ids.find(id_) for id_ in named}
    if step < 2:
        people |= {p for c in chosen for p in people_of(scene, c)}
    if step == 0 and wanted.container is None:
        people |= set(np.flatnonzero(_alive_in(capture, window)).tolist())
    people |= {pos for c in chosen for pos in daemons_of(c)}
    people |= {scene.ids.find(id_) for id_ in told}
    people = _with_ancestors_and_killers(capture, people)
    processes = [(int(scene.tgid[pos]), int(scene.start_ns[pos])) for pos in sorted(people)]
    return Keep(processes, [c.id for c in chosen])


def _named(report: Json) -> set[str]:
    """Processes that findings and the timeline name."""
    named = {id_ for finding in report["findings"] for id_ in finding["processes"]}
    return named | {id_ for step in report["timeline"] for id_ in step["processes"]}


def _alive_in(capture: Capture, window: Window) -> npt.NDArray[np.bool_]:
    scene = capture.scene
    alive = np.ones(len(scene.ids), bool)
    if window.since_ns is not None:
        alive &= (scene.exit_ns < 0) | (scene.exit_ns >= window.since_ns)
    if window.until_ns is not None:
        born = np.where(scene.fork_ns >= 0, scene.fork_ns, 0)
        alive &= born <= window.until_ns
    return alive


def _with_ancestors_and_killers(capture: Capture, people: Iterable[int]) -> set[int]:
    """And whose children they were at any time, and who sent them what ended them."""
    scene = capture.scene
    found: set[int] = set()
    todo = list(people)
    while todo:
        pos = todo.pop()
        if pos < 0 or pos in found:
            continue
        found.add(pos)
        todo.append(int(scene.programs.forker[pos]))
        todo += scene.parents_of(pos)
        todo += [signal.sender for signal in scene.signals.to(pos)]
    return found
