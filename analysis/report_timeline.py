"""The report's timeline as data, and the daemons: see docs/report-json.md."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import numpy.typing as npt

from analysis import losses
from analysis.folds import fold
from analysis.host_story import (
    Daemon,
    Others,
    find_daemons,
    find_others,
    host_timeline,
    lines_of,
    tell_others,
)
from analysis.marks import find_triggers, host_marks
from analysis.model import Capture
from analysis.people import daemons_of, people_of, stages_of
from analysis.references import Json, References
from analysis.runs import Container
from analysis.selection import Window
from analysis.steps import Entry
from analysis.timeline import container_timeline

# Names that are counted one by one among the processes of which no step tells.
_NAMES = 12
_EVER = np.iinfo(np.int64).max

Step = tuple[str | None, Entry]  # id of the container, None: of the host


class TimelineBuilder(References):
    """Builds what the report says of the host and of the order in which things happened.

    Attributes:
        triggers: those that fired.
    """

    def __init__(self, capture: Capture) -> None:
        super().__init__(capture)
        self.triggers = find_triggers(self.scene)

    def tell(
        self, chosen: list[Container], only: list[Container] | None, window: Window
    ) -> tuple[list[Step], list[Others]]:
        """Steps of the containers and of the host, and those of whom no step tells.

        Args:
            only: where the report is about some containers only: those. Of the host's steps they
                get what their daemons do and what befalls them.
        """
        scene = self.scene
        stories: list[tuple[str | None, list[Entry]]] = [
            (c.id, container_timeline(scene, c)) for c in chosen
        ]
        host = host_timeline(scene, self.capture.container_list, self._daemons)
        if only is not None:
            host = self._of_daemons(host, only)
        stories.append((None, host + host_marks(self.triggers, self.clocks)))
        told = {pos for _, entries in stories for e in entries for pos in e.processes}
        told |= stages_of(self.capture.container_list)
        steps: list[Step] = []
        for id_, entries in stories:
            seen = [entry for entry in entries if window.has(entry.ts_ns)]
            steps += [(id_, entry) for entry in (*seen, *fold(seen, self._lost))]
        return steps, find_others(scene, told, self.kept(only, window) & self._moved(window))

    def _of_daemons(self, host: list[Entry], only: list[Container]) -> list[Entry]:
        """What befell the daemons of some containers while those were there."""
        result = []
        lives = [(self._life(c), set(self.daemons_of(c))) for c in only]
        for entry in host:
            if entry.kind in ("daemon", "signal") and any(
                life.has(entry.ts_ns) and not daemons.isdisjoint(entry.processes)
                for life, daemons in lives
            ):
                result.append(entry)
        return result

    def _life(self, container: Container) -> Window:
        """From its first step to its last, or to the end if it is not over."""
        times = [entry.ts_ns for entry in container_timeline(self.scene, container)]
        if not times:
            return Window()
        before = any(run.before for run in container.runs)
        return Window(None if before else min(times), max(times) if container.over_ns else None)

    def _moved(self, window: Window) -> npt.NDArray[np.bool_]:
        """By position: was born or ended in the window."""
        scene = self.scene
        born, ended = scene.fork_ns, scene.exit_ns
        since = -1 if window.since_ns is None else window.since_ns
        until = _EVER if window.until_ns is None else window.until_ns
        moved: npt.NDArray[np.bool_] = (born >= 0) & (born >= since) & (born <= until)
        moved |= (ended >= 0) & (ended >= since) & (ended <= until)
        return moved

    def _lost(self, since_ns: int, until_ns: int) -> bool:
        """Events or details may have been lost in that stretch."""
        table = self.capture.table
        windows = losses.with_cut(table.losses, table.cut_ns)
        windows = windows.assign(events=windows["events"] + windows["details"])
        begin, end = np.array([since_ns], np.int64), np.array([until_ns], np.int64)
        return not windows.empty and bool(losses.touched(windows, begin, end)[0])

    def tell_others(self, others: list[Others], window: Window) -> list[Step]:
        result: list[Step] = []
        for found in others:
            for entry in tell_others(self.scene, found):
                if not window.has(entry.ts_ns):  # born before it: it ended in it
                    entry.ts_ns = int(self.scene.exit_ns[entry.processes[0]])
                result.append((found.container, entry))
        return result

    def timeline(self, steps: list[Step]) -> list[Json]:
        """Steps as JSON, by time; folds are numbered in that order."""
        steps = sorted(steps, key=lambda step: step[1].ts_ns)
        folds = [entry for _, entry in steps if entry.kind == "fold"]
        numbers = {id(entry): number for number, entry in enumerate(folds, 1)}
        return [
            {
                "container": container,
                **self.step(entry),
                "main": entry.main,
                "fold": numbers.get(id(entry.fold or entry)),
                "count": entry.count,
                "until_ns": entry.until_ns,
            }
            for container, entry in steps
        ]

    def untold(self, others: Others) -> Json:
        scene = self.scene
        begins = np.maximum(scene.fork_ns[others.positions], scene.table.kept_from_ns)
        return {
            "container": others.container,
            "processes": len(others.positions),
            "from_ns": int(begins.min()),
            "names": [{"name": n, "count": c} for n, c in others.names[:_NAMES]],
        }

    @cached_property
    def _daemons(self) -> list[Daemon]:
        return find_daemons(self.scene)

    def daemons_of(self, container: Container) -> list[int]:
        """Its daemons, and those that were there before or after them in their place."""
        own = daemons_of(container)
        found = {p for pos in own for p in self._lines.get(pos, [pos])}
        return [daemon.pos for daemon in self._daemons if daemon.pos in found]

    @cached_property
    def _lines(self) -> dict[int, list[int]]:
        return lines_of(self._daemons)

    def daemons(self, only: list[Container] | None, window: Window) -> list[Json]:
        scene = self.scene
        lives = None if only is None else [(self._life(c), self.daemons_of(c)) for c in only]
        result = []
        for daemon in self._daemons:
            pos = daemon.pos
            first = scene.table.kept_from_ns if daemon.began_ns is None else daemon.began_ns
            ended = int(scene.exit_ns[pos])
            last = ended if ended >= 0 else max(scene.table.last_ns, first)
            wanted = lives is None or any(
                life.overlaps(first, last) and pos in own for life, own in lives
            )
            if not (wanted and window.overlaps(first, last)):
                continue
            lost = daemon.began_ns is None and not scene.is_older(pos)
            began = "not-seen" if lost else "before" if daemon.began_ns is None else "recorded"
            result.append(
                {
                    "process": self.ref(pos),
                    "unit": daemon.unit,
                    "began": began,
                    "began_ns": daemon.began_ns,
                    "starter": self.ref(daemon.starter),
                    "former": self.ref(daemon.former),
                    "end": self.end(scene.end_of(pos)),
                }
            )
        return result

    def kept(self, only: list[Container] | None, window: Window) -> npt.NDArray[np.bool_]:
        """By position: lived in the window, and belongs to the containers."""
        scene = self.scene
        keep = np.ones(len(scene.ids), bool)
        if only is not None:
            keep[:] = False
            keep[[p for c in only for p in people_of(scene, c)]] = True
        if window.since_ns is not None:
            keep &= (scene.exit_ns < 0) | (scene.exit_ns >= window.since_ns)
        if window.until_ns is not None:
            seen_ns = scene.processes["seen_ns"].fillna(0).to_numpy(np.int64)
            keep &= seen_ns <= window.until_ns
        return keep
