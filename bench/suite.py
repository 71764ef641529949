"""All benchmarks, in the order in which they run."""

from __future__ import annotations

import contextlib
import dataclasses
import sys
from collections.abc import Iterator
from typing import Any

from bench.analysis import Readings, measure_analysis
from bench.build import build_flood, build_storm
from bench.busy_host import EVENTS_PER_S
from bench.commands import measure_command, measure_report, measure_starts
from bench.errors import BenchError
from bench.exports import measure_exports
from bench.flood import FloodRun, measure_flood
from bench.loads import Load, SchedPipe, Storm
from bench.machine import describe_machine, last_cpu
from bench.page import measure_page
from bench.paired import Paired, measure_paired
from bench.recording import (
    BUFFER_BYTES,
    RECORDING_S,
    Outcome,
    Setup,
    bytecode_environment,
    measure_idle,
)
from bench.stats import Summary
from bench.surroundings import Surroundings
from bench.table import Row
from bench.watch import measure_watch
from tracer.engine import DETAILS_RING_BYTES

# The bars of DESIGN 6.
START_S = 0.30
RSS_MB = 30.0
EVENT_US = 0.3
TRIGGER_US = 0.05
FLOOD_RATE = 1_000_000
STORM_RATIO = 1.03
PIPE_RATIO = 1.05
EVENT_BYTES = 20.0
HELP_S = 0.15
REPORT_S = 1.5
ANALYSIS_RATE = 2_000_000
ANALYSIS_MB = 2000
PAGE_MB = 5.0
PAINT_S = 3.0
ZOOM_MS = 200.0

_FLOOD_RATES = (500_000, 1_000_000, 1_500_000, 2_000_000, 3_000_000, 4_000_000)
# What others do meanwhile counts too, so the quietest of some recordings is taken, if it is quiet.
_IDLE_ATTEMPTS = 3
_QUIET_RATE = 500  # events/s
# Once more, if something was lost: a machine that others use may starve the recorder.
_FLOOD_ATTEMPTS = 2
_MAPPED_BYTES = 2 * (BUFFER_BYTES + DETAILS_RING_BYTES)


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """How much to measure.

    Attributes:
        rounds: pairs of runs for each ratio.
        storm_s, pipe_s, flood_s, idle_s: duration of one run each.
        commands: runs of each command that is timed.
        events: of the capture that the analysis is measured on.
        reports: runs of each of its commands.
        exports: runs of each format of an export.
        alone: "analysis" or "exports": measure nothing else. "": everything.
    """

    rounds: int
    storm_s: float
    pipe_s: float
    flood_s: float
    idle_s: float
    commands: int
    events: int
    reports: int
    exports: int
    alone: str = ""

    def limit_s(self, run_s: float) -> float:
        """How long the pairs of one load may take: twice what they do on a quiet machine."""
        return 2 * self.rounds * (2 * run_s + RECORDING_S)

    def with_rounds(self, rounds: int) -> Plan:
        """The same plan with another number of pairs."""
        return dataclasses.replace(self, rounds=rounds)

    def as_json(self) -> dict[str, Any]:
        """For the JSON file."""
        return dataclasses.asdict(self)


class Suite:
    """Runs everything; what cannot be measured becomes a row that says why.

    Args:
        setup: how recorders are started; compiled programs go to its directory too.
        progress: say on stderr what is being measured.

    Attributes:
        rows: the table.
        results: all figures, keys as in docs/benchmarks.md.
        notes: what makes the figures doubtful.
    """

    def __init__(self, plan: Plan, setup: Setup, *, progress: bool) -> None:
        self._plan, self._setup, self._progress = plan, setup, progress
        self._directory = setup.directory
        self._cpus: int = describe_machine()["cpus"]
        self._peak_rss = 0
        self._idle_share = 0.0
        self._storm_lost = 0
        # The design's bars for the start and for memory are for the core engine.
        self._start_bar = START_S if setup.engine == "core" else None
        self._rss_bar = RSS_MB if setup.engine == "core" else None
        self.rows: list[Row] = []
        self.results: dict[str, Any] = {}
        self.notes: list[str] = []

    def run(self) -> None:
        """Measures everything."""
        bytecode_environment(self._directory)
        self._say("others")
        surroundings = Surroundings()
        surroundings.look("before")
        alone = self._plan.alone
        if not alone:
            self._measure_recording()
        if alone != "exports":
            self._measure_analysis()
        if alone != "analysis":
            self._measure_exports()
        self._say("others")
        surroundings.look("after")
        self.results |= surroundings.as_json()
        self.notes += surroundings.notes()

    def _measure_recording(self) -> None:
        """The recorder, and small things."""
        with self._or_row("exec'd to first event possible", "s", self._start_bar):
            self._measure_start()
        with self._or_row("recorder", "", None):
            idle = self._measure_idle()
            self._measure_storms()
            self._measure_triggers()
            self._measure_pipes()
            self._measure_floods()
            self._add_memory(idle)
        self._measure_commands()
        self._measure_page()

    def _measure_start(self) -> None:
        self._say("start")
        starts = measure_starts(self._setup, self._plan.commands)
        first = Summary.of(start.first_event for start in starts)
        attached = Summary.of(start.attached for start in starts)
        self.results["start"] = {
            "first_event_s": first.as_json(),
            "attached_s": attached.as_json(),
        }
        self._row("exec'd to first event possible", "s", self._start_bar, first, digits=3)
        self._row("exec'd to everything attached", "s", None, attached, digits=3)

    def _measure_idle(self) -> Outcome:
        self._say("idle")
        tries = [measure_idle(self._setup, self._plan.idle_s) for _ in range(_IDLE_ATTEMPTS)]
        idle = min(tries, key=lambda outcome: outcome.cpu_ns)
        if idle.events_per_second > _QUIET_RATE:
            self.notes.append("the host was never quiet: nothing is taken off the recorder's CPU")
        else:
            self._idle_share = idle.cpu_share
        self.results["idle"] = {
            "cpu_share": idle.cpu_share,
            "events_per_second": idle.events_per_second,
            "rss_bytes": idle.rss_bytes,
        }
        share = _one(idle.cpu_share * 100)
        note = f"{idle.events_per_second:,.0f} events/s"
        self._row("recorder's CPU on a quiet host", "% of one CPU", None, share, note)
        return idle

    def _measure_storms(self) -> None:
        program = build_storm(self._directory)
        for mode in ("vfork", "fork", "exec"):
            self._say(f"{mode} storm")
            storm = Storm(mode, program, self._cpus, self._plan.storm_s)
            paired = self._measure_pair(storm, self._plan.storm_s)
            name = f"{mode} storm"
            bar = STORM_RATIO if mode != "fork" else None
            rate = storm.children / min(cost.wall_ns for cost in paired.traced) * 1e9
            note = f"best runs {paired.best_cpu_ratio():.3f}; up to {rate:,.0f} processes/s"
            self._row(f"{name}: CPU with / without", "", bar, paired.cpu_ratio(), note, digits=3)
            self._row(f"{name}: wall time with / without", "", None, paired.wall_ratio(), digits=3)
            self._row(
                f"{name}: recorder's CPU an event",
                "us",
                EVENT_US,
                paired.recorder_ns_per_event(self._idle_share).scaled(1e-3),
                note="drain and write" + (", 1 detail in 5 events" if mode == "exec" else ""),
            )
            self._row(
                f"{name}: capture", "B/event", EVENT_BYTES, paired.bytes_per_event(), digits=1
            )
            self._storm_lost += paired.lost()
        self._row("storms: records lost", "", 0, _one(self._storm_lost), digits=0)

    def _measure_triggers(self) -> None:
        self._say("triggers")
        for containers in (0, 1000):
            cost = measure_watch(containers, self._plan.rounds)
            self.results[f"triggers_{containers}_containers_ns"] = cost.as_json()
            what = f"triggers, {containers:,} containers: CPU an event"
            note = "added by --trigger"
            self._row(what, "us", TRIGGER_US, cost.scaled(1e-3), note, digits=3)

    def _measure_pipes(self) -> None:
        for cpu, what in ((None, "sched pipe"), (last_cpu(), "sched pipe on one CPU")):
            with self._or_row(f"{what}: with / without", "", PIPE_RATIO):
                self._say(what)
                paired = self._measure_pair(SchedPipe(self._plan.pipe_s, cpu), self._plan.pipe_s)
                note = f"best runs {paired.best_wall_ratio():.3f}"
                ratio = paired.wall_ratio()
                self._row(f"{what}: with / without", "", PIPE_RATIO, ratio, note, digits=3)

    def _measure_analysis(self) -> None:
        events = self._plan.events
        what = f"report of {events:,} events: events a second of CPU"
        with self._or_row(what, "events/s", ANALYSIS_RATE, at_least=True, digits=0):
            self._say(what)
            found = measure_analysis(self._directory, events, self._plan.reports)
            self.results["analysis"] = found.as_json()
            self._add_readings(f"report of {events:,} events", found.report, ANALYSIS_RATE)
            ten_seconds = f"the same, ten seconds of it (of {events / EVENTS_PER_S:,.0f})"
            self._add_readings(ten_seconds, found.window)
            self._add_readings("the same, one container", found.container)
            if found.perf is None:
                raise BenchError(f"perf script: {found.perf_problem}")
            self._add_readings(f"perf script of {found.perf.events:,} events", found.perf)

    def _add_readings(self, what: str, found: Readings, bar: float | None = None) -> None:
        note = f"{found.rate('wall_s').median:,.0f} events/s of wall time"
        rate = f"{what}: events a second of CPU"
        self._row(rate, "events/s", bar, found.rate(), note, at_least=True, digits=0)
        # The bar for memory is for ten million events.
        rss_bar = ANALYSIS_MB if bar is not None and found.events > 9_000_000 else None
        self._row(f"{what}: peak RSS", "MB", rss_bar, _one(found.rss_bytes / 1e6), digits=0)

    def _measure_exports(self) -> None:
        events = self._plan.events
        with self._or_row(f"exports of {events:,} events", "", None):
            self._say(f"exports of {events:,} events")
            found = measure_exports(self._directory, events, self._plan.exports)
            self.results["exports"] = found.as_json()
            report = found.report
            self._row(
                "report beside exports: peak RSS",
                "MB",
                None,
                _one(report.rss_bytes / 1e6),
                digits=0,
            )
            for name, export in found.formats.items():
                cpu_s = Summary.of(run.cpu_s for run in export.readings.runs).median
                size = export.output_bytes / report.events
                note = f"{cpu_s:.1f} s of CPU, {size:.1f} B/event"
                what = f"export to {name}"
                self._row(f"{what}: CPU / report's", "", None, found.cpu_ratio(name), note)
                rss = _one(export.readings.rss_bytes / 1e6)
                self._row(f"{what}: peak RSS", "MB", None, rss, digits=0)

    def _measure_pair(self, load: Load, run_s: float) -> Paired:
        paired = measure_paired(load, self._setup, self._plan.rounds, self._plan.limit_s(run_s))
        self.results[load.name] = paired.as_json(self._idle_share)
        self._peak_rss = max(self._peak_rss, self.results[load.name]["rss_bytes"])
        return paired

    def _measure_floods(self) -> None:
        what = "highest lossless rate, synthetic"
        runs: list[FloodRun] = []
        with self._or_row(what, "events/s", FLOOD_RATE, at_least=True, digits=0):
            program = build_flood(self._directory)
            for rate in _FLOOD_RATES:
                for _ in range(_FLOOD_ATTEMPTS):
                    self._say(f"{rate:,} synthetic events/s")
                    run = measure_flood(
                        self._setup, program, rate, self._plan.flood_s, self._idle_share
                    )
                    runs.append(run)
                    if not run.lost:
                        break
                if runs[-1].lost:
                    break
            self.results["flood"] = [run.as_json() for run in runs]
            best = max((run.made_rate for run in runs if not run.lost), default=0.0)
            note = f"{self._plan.flood_s:g} s a step"
            # The producer is never exactly at the rate asked for.
            measured = _one(round(best, -4))
            self._row(what, "events/s", FLOOD_RATE, measured, note, at_least=True, digits=0)
            costs = [run.recorder_ns_per_event for run in runs if run.asked_rate == FLOOD_RATE]
            if costs:
                cost = Summary.of(costs).scaled(1e-3)
                self._row("synthetic, 1 M/s: recorder's CPU an event", "us", EVENT_US, cost)
            self._peak_rss = max([self._peak_rss, *(run.rss_bytes for run in runs)])

    def _add_memory(self, idle: Outcome) -> None:
        for when, rss in (("quiet host", idle.rss_bytes), ("all loads", self._peak_rss)):
            self._row(
                f"peak RSS less the rings, {when}",
                "MB",
                self._rss_bar,
                _one((rss - _MAPPED_BYTES) / 1e6),
                note=f"total {rss / 1e6:.1f} MB",
                digits=1,
            )
        self.results["rings_mapped_bytes"] = _MAPPED_BYTES

    def _measure_commands(self) -> None:
        with self._or_row("rtrace --help", "s", HELP_S):
            self._say("rtrace --help")
            seconds = measure_command(["--help"], self._plan.commands)
            self.results["help_s"] = seconds.as_json()
            self._row("rtrace --help", "s", HELP_S, seconds, digits=3)
        with self._or_row("rtrace report, small capture", "s", REPORT_S):
            self._say("rtrace report")
            seconds = measure_report(self._directory, self._plan.commands)
            self.results["report_s"] = seconds.as_json()
            self._row("rtrace report, small capture", "s", REPORT_S, seconds, digits=3)

    def _measure_page(self) -> None:
        with self._or_row("HTML report, 10,000 processes", "", None):
            self._say("HTML report")
            cost = measure_page(self._directory, max(1, self._plan.commands // 3))
            self.results["page"] = {
                "bytes": cost.bytes,
                "processes": cost.processes,
                "paint_s": cost.paint_s.as_json(),
                "ready_s": cost.ready_s.as_json(),
                "zoom_s": cost.zoom_s.as_json(),
            }
            what = "HTML report, 10,000 processes"
            size = _one(cost.bytes / 1e6)
            self._row(f"{what}: size", "MB", PAGE_MB, size, f"{cost.processes:,}", digits=1)
            self._row(f"{what}: first paint", "s", PAINT_S, cost.paint_s)
            self._row(f"{what}: picture ready", "s", None, cost.ready_s)
            self._row(f"{what}: zoom step", "ms", ZOOM_MS, cost.zoom_s.scaled(1e3), digits=0)

    def _row(
        self,
        what: str,
        unit: str,
        bar: float | None,
        measured: Summary,
        note: str = "",
        *,
        at_least: bool = False,
        digits: int = 2,
    ) -> None:
        self.rows.append(Row(what, unit, bar, measured, note, at_least, digits))

    @contextlib.contextmanager
    def _or_row(
        self, what: str, unit: str, bar: float | None, *, at_least: bool = False, digits: int = 2
    ) -> Iterator[None]:
        """What cannot be measured is told in the table, and the rest goes on."""
        try:
            yield
        except BenchError as error:
            note = f"not measured: {error}"
            self.rows.append(Row(what, unit, bar, None, note, at_least, digits))

    def _say(self, what: str) -> None:
        if self._progress:
            print(f"\r\x1b[K{what} ...", end="", file=sys.stderr, flush=True)


def _one(value: float) -> Summary:
    return Summary.of([value])
