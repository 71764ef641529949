"""A capture as a Perfetto trace: what ui.perfetto.dev and trace_processor open.

A track a process, in groups: each container's with whoever serves it, daemons, the rest. Tracks are
those of identities, not of pids, which are used again. See docs/export.md.

Perfetto takes events in any order, sorts by time, and keeps the file's order at the same time: so
where arrows begin comes first, then the tracks, then where arrows end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, BinaryIO

import numpy as np

from analysis.clocks import Clocks
from analysis.columns import rows_of
from analysis.export.perfetto_packets import Packets, number_of
from analysis.findings.find import find_findings
from analysis.frames.history import df_signals
from analysis.frames.story import df_timeline
from analysis.model import Capture
from analysis.runs import Container
from analysis.scene import Scene
from tracer.runtime_args import base_name

Json = dict[str, Any]
# When, what, category, args, arrows that end here.
Mark = tuple[int, str, str, Json, list[int]]

_RECORDING, _STORY, _FINDINGS, _LOSSES = "recording", "timeline", "findings", "losses"
_DAEMONS, _OTHERS = "daemons and commands of runtimes", "other processes"


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
        self.signals = rows_of(
            df_signals(self.scene),
            (
                *("ts_ns", "target", "sender", "name"),
                *("kind", "context", "result", "to_process", "fatal"),
            ),
        )
        self.reparents = rows_of(
            capture.reparents,
            ("ts_ns", "until_ns", "child", "from_", "to", "reason", "certainty", "evidence"),
        )

    def write(self, about: Mapping[str, Any]) -> None:
        for reading in Clocks(self.table).readings:
            if reading.wall_ns:
                self.packets.clock(reading.boot_ns, reading.wall_ns)
        self._write_recording(about)
        self._write_story()
        self._write_findings()
        self._write_losses()
        self._write_groups()
        self._write_sources()
        _Lives(self).write()
        self._write_adopters()
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
        for number, name in enumerate((_DAEMONS, _OTHERS)):
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

    # --- arrows --------------------------------------------------------------------------------

    def _write_sources(self) -> None:
        """Marks at forkers, senders, and parents that ended."""
        scene, ids = self.scene, self.scene.ids
        forkers = scene.processes["forker"].tolist()
        for pos in np.flatnonzero(scene.fork_ns >= 0).tolist():
            if forkers[pos] is not None:
                # The kernel reads start_boottime before the event is recorded.
                at = min(int(scene.start_ns[pos]), int(scene.fork_ns[pos]))
                self.packets.instant(
                    process_track(forkers[pos]),
                    max(at, self.first_ns),
                    f"fork {scene.label(pos)}",
                    "fork",
                    args={"child": ids[pos]},
                    flows=[number_of("fork", ids[pos])],
                )
        for number, row in enumerate(self.signals):
            ts_ns, target, sender, name, _, _, result, _, _ = row
            if sender is not None:
                args = {"target": target, "result": result}
                whom = scene.label(ids.find(target))
                mark = f"{name} to {whom}"
                flows = [number_of("signal", str(number))]
                track = process_track(sender)
                self.packets.instant(track, ts_ns, mark, "signal", args=args, flows=flows)
        for number, row in enumerate(self.reparents):
            ts_ns, _, child, old, new, reason, certainty, evidence = row
            if old is None:
                continue  # nobody knows whose child it was
            mark = f"loses {scene.label(ids.find(child))}"
            args = {"child": child, "to": new, "reason": reason, "certainty": certainty}
            args["evidence"] = evidence
            flows = [number_of("reparent", str(number))] if new is not None else []
            track = process_track(old)
            self.packets.instant(track, ts_ns, mark, "reparent", args=args, flows=flows)

    def _write_adopters(self) -> None:
        """Marks at new parents, when they were observed."""
        scene, ids = self.scene, self.scene.ids
        for number, row in enumerate(self.reparents):
            ts_ns, until_ns, child, old, new, reason, certainty, evidence = row
            if new is not None:
                mark = f"adopts {scene.label(ids.find(child))}"
                args = {"child": child, "from": old, "reason": reason, "certainty": certainty}
                args["evidence"] = evidence
                at = ts_ns if until_ns is None else max(ts_ns, until_ns)
                ends = [number_of("reparent", str(number))] if old is not None else []
                track = process_track(new)
                self.packets.instant(track, at, mark, "reparent", args=args, ends=ends)


class _Lives:
    """The track of each process: its life, what it ran, what happened to it, its time as a zombie.

    What begins or ends at the same time on a track is written in the order in which it nests.
    """

    def __init__(self, trace: _Trace) -> None:
        self.trace, self.scene, self.packets = trace, trace.scene, trace.packets
        self._marks: dict[str, list[Mark]] = {}

    def write(self) -> None:
        self._mark_signals()
        self._mark_reparents()
        scene, count = self.scene, len(self.scene.ids)
        certainty = self._certainty()
        for pos in range(count):
            if pos % 1024 == 0:
                self.trace.on_progress("writing", pos / count)
            self._write(scene, pos, certainty.get(pos))

    def _mark_signals(self) -> None:
        for number, row in enumerate(self.trace.signals):
            ts_ns, target, sender, name, kind, context, result, to_process, fatal = row
            args = {"kind": kind, "sender": sender, "context": context, "result": result}
            args |= {"to_process": bool(to_process), "fatal": bool(fatal)}
            flows = [number_of("signal", str(number))] if sender is not None else []
            self._marks.setdefault(target, []).append((ts_ns, name, "signal", args, flows))
        for pos, ts_ns in self.scene.oom_ns.items():
            mark: Mark = (ts_ns, "chosen by the OOM killer", "oom", {}, [])
            self._marks.setdefault(self.scene.ids[pos], []).append(mark)

    def _mark_reparents(self) -> None:
        scene = self.scene
        for ts_ns, _, child, old, new, reason, certainty, evidence in self.trace.reparents:
            whom = scene.label(scene.ids.find(new)) if new is not None else "nobody known"
            args = {"from": old, "to": new, "reason": reason, "certainty": certainty}
            args["evidence"] = evidence
            mark: Mark = (ts_ns, f"adopted by {whom}", "reparent", args, [])
            self._marks.setdefault(child, []).append(mark)

    def _certainty(self) -> dict[int, str]:
        """How sure the first parent is, by position."""
        rows = rows_of(self.trace.capture.parents, ("child_no", "certainty"))
        return dict(reversed(rows))

    def _write(self, scene: Scene, pos: int, certainty: str | None) -> None:
        id_, packets = scene.ids[pos], self.packets
        track = process_track(id_)
        role = scene.roles[pos]
        packets.track(
            track,
            scene.label(pos) + (f" {role}" if role != "other" else ""),
            parent=self._group(pos),
            rank=pos,
        )
        begin, end = self._life(pos)
        for _, _, event in sorted(self._events(scene, pos, certainty, begin, end), key=_in_order):
            event(track)

    def _events(
        self, scene: Scene, pos: int, certainty: str | None, begin: int, end: int
    ) -> Iterator[tuple[int, int, Callable[[int], None]]]:
        """(time, place among those of the same time, what writes it)."""
        packets, id_ = self.packets, scene.ids[pos]
        born = int(scene.fork_ns[pos]) >= 0
        ended = scene.end_of(pos)
        first = int(scene.first_parent[pos])
        args = {
            "id": id_,
            "role": scene.roles[pos],
            "container": self._container(pos),
            "start_ns": int(scene.start_ns[pos]),
            "parent": scene.ids[first] if first >= 0 else None,
            "parent_certainty": certainty,
            "args": tuple(scene.args(pos)),
            "end": scene.end_text(ended),
            "exit_status": ended.status,
            "exit_signal": ended.signal,
            "began": "recorded" if born else "before, or not seen",
        }
        ends = [number_of("fork", id_)] if born else []
        name = scene.name(pos) or "?"
        yield begin, 0, lambda t: packets.begin(t, begin, name, "process", args=args, ends=ends)
        yield end, 5, lambda t: packets.end(t, end)
        yield from self._programs(scene, pos, begin, end)
        for ts_ns, mark, category, about, flows in self._marks.get(id_, ()):
            yield ts_ns, 3, _marker(packets, ts_ns, mark, category, about, flows)
        exit_ns, reap_ns = int(scene.exit_ns[pos]), int(scene.reap_ns[pos])
        # Its reaping may not have been recorded: no zombie without a proof.
        until = self.trace.last_ns if scene.at_end.zombies[pos] else reap_ns
        if exit_ns >= 0 and until > end:
            waited = {"reaped": reap_ns >= 0}
            yield end, 6, lambda t: packets.begin(t, end, "zombie", "zombie", args=waited)
            yield until, 8, lambda t: packets.end(t, until)

    def _programs(
        self, scene: Scene, pos: int, begin: int, end: int
    ) -> Iterator[tuple[int, int, Callable[[int], None]]]:
        """A slice for each program that it executed; nothing for one that it never replaced."""
        packets, programs = self.packets, scene.programs
        rows = [row for row in programs.rows(pos) if programs.executed[row]]
        times = [min(max(int(programs.from_ns[row]), begin), end) for row in rows]
        for row, since, until in zip(rows, times, [*times[1:], end], strict=False):
            if until > since:
                args = {"filename": programs.filename[row], "args": tuple(programs.args[row])}
                name = base_name(programs.filename[row]) or "?"
                yield since, 2, _beginner(packets, since, name, args)
                yield until, 1 if until < end else 4, _ender(packets, until)

    def _life(self, pos: int) -> tuple[int, int]:
        """When its slice begins and ends: within the recording."""
        scene, trace = self.scene, self.trace
        begin = int(scene.fork_ns[pos])
        begin = max(begin, trace.first_ns)
        end = next((int(ns) for ns in (scene.exit_ns[pos], scene.gone_ns[pos]) if ns >= 0), -1)
        return begin, max(begin, trace.last_ns if end < 0 else end)

    def _group(self, pos: int) -> int:
        container = self._container(pos)
        if container is not None:
            return container_track(container)
        return number_of(_OTHERS if self.scene.roles[pos] == "other" else _DAEMONS)

    def _container(self, pos: int) -> str | None:
        membership = self.scene.membership
        number = int(membership.serves[pos])
        number = number if number >= 0 else int(membership.inside[pos])
        return membership.ids[number] if number >= 0 else None


def process_track(id_: str) -> int:
    """Number of the track of a process."""
    return number_of("process", id_)


def container_track(id_: str) -> int:
    """Number of the track of a container, below which its processes are."""
    return number_of("container", id_)


def _in_order(event: tuple[int, int, Any]) -> tuple[int, int]:
    return event[:2]


def _marker(
    packets: Packets,
    ts_ns: int,
    name: str,
    category: str,
    args: Mapping[str, Any],
    ends: list[int],
) -> Callable[[int], None]:
    return lambda track: packets.instant(track, ts_ns, name, category, args=args, ends=ends)


def _beginner(
    packets: Packets, ts_ns: int, name: str, args: Mapping[str, Any]
) -> Callable[[int], None]:
    return lambda track: packets.begin(track, ts_ns, name, "exec", args=args)


def _ender(packets: Packets, ts_ns: int) -> Callable[[int], None]:
    return lambda track: packets.end(track, ts_ns)
