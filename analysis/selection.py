"""Which part of a capture a report is about: a container, a stretch of time."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from analysis.columns import MAX
from analysis.runs import Container
from analysis.scene import Scene
from tracer.errors import CaptureError
from tracer.text import printable


@dataclass(frozen=True)
class Window:
    """Part of a capture to report, boot-time ns; None: open."""

    since_ns: int | None = None
    until_ns: int | None = None

    def has(self, ts_ns: int) -> bool:
        return self.overlaps(ts_ns, ts_ns)

    def mask(self, ts_ns: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """`has` of many times."""
        since = -1 if self.since_ns is None else self.since_ns
        until = MAX if self.until_ns is None else self.until_ns
        return (ts_ns >= since) & (ts_ns <= until)

    def overlaps(self, first_ns: int, last_ns: int) -> bool:
        return (self.since_ns is None or last_ns >= self.since_ns) and (
            self.until_ns is None or first_ns <= self.until_ns
        )


def find_container(containers: list[Container], wanted: str) -> Container:
    """The container with this name, this id, or the only one whose id begins so.

    Raises:
        CaptureError: none or several; its line names the close ones, or all that match.
    """
    found = match_containers(containers, wanted)
    shown = printable(wanted)
    if len(found) == 1:
        return found[0]
    if found:
        listed = ", ".join(container_label(c) for c in found[:10])
        more = f" and {len(found) - 10} more" if len(found) > 10 else ""
        raise CaptureError(
            f"cannot choose a container by '{shown}'",
            f"it fits {len(found)}: {listed}{more}",
            "give more of the id",
        )
    if not containers:
        raise CaptureError(
            f"no container '{shown}'", "the capture holds no container", "leave out --container"
        )
    # By name, id and short id: whichever the user mistyped.
    words = {key: c for c in containers for key in (c.id, c.id[:12], c.name) if key}
    close = difflib.get_close_matches(wanted, list(words), n=5, cutoff=0.6)
    labels = list(dict.fromkeys(container_label(words[key]) for key in close))
    if labels:
        step = f"did you mean {' or '.join(labels)}?"
    else:
        listed = ", ".join(container_label(c) for c in containers[:5])
        more = f" and {len(containers) - 5} more" if len(containers) > 5 else ""
        step = f"there are {listed}{more}" if len(containers) > 1 else f"there is {listed}"
    raise CaptureError(f"no container '{shown}'", "no name or id in the capture fits it", step)


def match_containers(containers: list[Container], wanted: str) -> list[Container]:
    """Containers with this name or id; if there are none, those whose id begins so."""
    exact = [c for c in containers if wanted in (c.name, c.id)]
    return exact or [c for c in containers if wanted and c.id.startswith(wanted)]


def container_label(container: Container) -> str:
    short = printable(container.id[:12])
    return f"{printable(container.name)} ({short})" if container.name else short


def is_in_window(scene: Scene, container: Container, window: Window) -> bool:
    """Any part of its life is in the window."""
    if window == Window() or not container.runs:
        return window == Window()
    for run in container.runs:
        first = run.anchor_ns if run.anchor_ns is not None else -1
        known = [ts for ts in run.phases.values() if ts is not None]
        over = run.end.how in ("exited", "killed")
        last = max(known, default=first) if over else scene.table.last_ns
        if window.overlaps(min(first, *known) if known else first, last):
            return True
    return False
