"""A capture as a Perfetto trace: what ui.perfetto.dev and trace_processor open.

A track a process, in groups: each container's with whoever serves it, daemons, the rest. Tracks are
those of identities, not of pids, which are used again. See docs/export.md.

Perfetto takes events in any order, sorts by time, and keeps the file's order at the same time: so
where arrows begin comes first, then the tracks, then where arrows end.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, BinaryIO

from analysis.clocks import Clocks
from analysis.columns import rows_of
from analysis.export.perfetto_packets import Packets, number_of
from analysis.export.perfetto_people import DAEMONS, OTHERS, People, container_track
from analysis.findings.find import find_findings
from analysis.frames.story import df_timeline
from analysis.model import Capture
from analysis.runs import Container

Json = dict[str, Any]

_RECORDING, _STORY, _FINDINGS, _LOSSES = "recording", "timeline", "findings", "losses"


def write_perfetto(
    file: BinaryIO,
    capture: Capture,
    about: Mapping[str, Any],
    on_progress: Callable[[str, float], None] | None = None,
) -> None:
    """Writes the trace.

    Args:
        about: what `describe` tells of the capture.
    """
    _Trace(file, capture, on_progress or (lambda what, share: None)).write(about)


class _Trace:
    def __init__(
        self, file: BinaryIO, capture: Capture, on_progress: Callable[[str, float], None]
    ) -> None:
        self.capture, self.scene, self.table = capture, capture.scene, capture.table
        self.packets = Packets(file)
        self.on_progress = on_progress
        self.first_ns, self.last_ns = self.table.kept_from_ns, self.table.last_ns

    def write(self, about: Mapping[str, Any]) -> None:
        for reading in Clocks(self.table).readings:
            if reading.wall_ns:
                self.packets.clock(reading.boot_ns, reading.wall_ns)
        self._write_recording(about)
        self.on_progress("telling the story", 0.0)
        self._write_story()
        self._write_findings()
        self._write_losses()
        self._write_groups()
        people = People(self.scene, self.packets, self.first_ns, self.last_ns)
        self.on_progress("writing arrows", 0.2)
        people.write_sources()
        people.write_lives(lambda share: self.on_progress("writing processes", 0.4 + 0.6 * share))
        people.write_adopters()
        self.packets.close()

    # --- tracks of their own -------------------------------------------------------------------

    def _write_recording(self, about: Mapping[str, Any]) -> None:
        track = number_of(_RECORDING)
        self.packets.track(track, _RECORDING, rank=0)
        args = {
            key: value if isinstance(value, (str, int, type(None))) else str(value)
            for key, value in about.items()
        }
        self.packets.begin(track, self.first_ns, "recorded", _RECORDING, args=args)
        if not self.table.complete:
            args = {"damage": self.table.damage}
            self.packets.instant(track, self.last_ns, "cut here", _RECORDING, args=args)
        self.packets.end(track, self.last_ns)

    def _write_story(self) -> None:
        """The short story: what comes again and again is one step of it."""
        track = number_of(_STORY)
        self.packets.track(track, _STORY, rank=1)
        names = ("ts_ns", "text", "kind", "container", "certainty", "fold", "count", "processes")
        for ts_ns, text, kind, container, certainty, fold, count, processes in rows_of(
            df_timeline(self.capture), names
        ):
            if fold is None or kind == "fold":
                args = {"kind": kind, "container": container, "certainty": certainty}
                args |= {"count": count, "processes": processes}
                self.packets.instant(track, ts_ns, text, _STORY, args=args)

    def _write_findings(self) -> None:
        track = number_of(_FINDINGS)
        self.packets.track(track, _FINDINGS, rank=2)
        ids = self.scene.ids
        for found in find_findings(self.capture):
            args: Json = {"severity": found.severity, "text": found.text, "next": found.next}
            args |= {"certainty": found.certainty, "container": found.container}
            args["processes"] = tuple(ids[pos] for pos in found.processes)
            self.packets.instant(track, found.ts_ns, found.kind, _FINDINGS, args=args)

    def _write_losses(self) -> None:
        """A track a CPU and ring: windows of one do not overlap, but for what they are widened."""
        group = number_of(_LOSSES)
        self.packets.track(group, _LOSSES, rank=3)
        done: dict[tuple[int, str], int] = {}
        for begin, end, cpu, events, details in rows_of(
            self.table.losses, ("from_ns", "to_ns", "cpu", "events", "details")
        ):
            ring = "events" if events else "arguments and cgroups"
            track = number_of(_LOSSES, str(cpu), ring)
            if (cpu, ring) not in done:
                self.packets.track(track, f"{ring} of CPU {cpu}", parent=group, rank=cpu)
            begin = max(begin, done.get((cpu, ring), self.first_ns))
            end = done[cpu, ring] = max(begin, min(end, self.last_ns))
            args = {"lost": events or details}
            self.packets.begin(track, begin, f"{ring} lost", _LOSSES, args=args)
            self.packets.end(track, end)

    # --- groups --------------------------------------------------------------------------------

    def _write_groups(self) -> None:
        for rank, container in enumerate(self.capture.container_list, 4):
            track = container_track(container.id)
            name = f"{container.name or container.id[:12]} ({container.runtime})"
            if container.name:
                name += f" {container.id[:12]}"
            self.packets.track(track, f"container {name}", rank=rank)
            self._write_runs(track, container)
        rank = 4 + len(self.capture.container_list)
        for number, name in enumerate((DAEMONS, OTHERS)):
            self.packets.track(number_of(name), name, rank=rank + number)

    def _write_runs(self, track: int, container: Container) -> None:
        """A slice a run: from the first that was seen of it to its end, or to the next one."""
        phases = [
            {n: ns for n, ns in run.phases.items() if ns is not None} for run in container.runs
        ]
        begins = [min(known.values(), default=None) for known in phases]
        for number, run in enumerate(container.runs):
            begin = begins[number]
            if begin is None:
                begin = self.first_ns
            ends = [*phases[number].values(), begin]
            running = run.end.how in ("running", "not-seen")
            end = self.last_ns if running else max(ends)
            later = [b for b in begins[number + 1 :] if b is not None]
            end = max(begin, min([end, *later]))
            args = {
                "id": container.id,
                "name": container.name,
                "image": container.known.image,
                "runtime": container.runtime,
                "end": self.scene.end_text(run.end),
                **phases[number],
            }
            name = f"run {number + 1}: {self.scene.end_text(run.end)}"
            self.packets.begin(track, begin, name, "container", args=args)
            self.packets.end(track, end)
