"""All tools on all storms, in rounds."""

from __future__ import annotations

import shutil
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

from bench.build import build_storm
from bench.errors import BenchError
from bench.loads import Storm
from bench.machine import describe_machine
from bench.pairs import Pairs
from bench.peers.perf import PerfRecord
from bench.peers.rtrace import Rtrace
from bench.peers.session import Lab, NotReadyError, Run, run_tool
from bench.peers.strace import Strace
from bench.peers.text_tools import BccCallback, Bpftrace, Forkstat, LibbpfTools
from bench.peers.tool import Tool
from bench.recording import bytecode_environment
from bench.stats import Summary
from bench.surroundings import Surroundings

LOADS = ("vfork", "fork", "exec")

_FIRST_PATIENCE_S = 4.0
_PATIENCE_LIMIT_S = 20.0


class Peer(Protocol):
    """A tool to compare."""

    @property
    def name(self) -> str:
        """As the table has it."""

    def version(self) -> str:
        """Its version, "" if it does not tell."""

    def run(self, storm: Storm, lab: Lab) -> Run:
        """One run of a storm.

        Raises:
            BenchError: it does not work here.
        """


class Watcher:
    """A peer that watches the whole host; it gets the time to begin that it has needed so far."""

    def __init__(self, tool: Tool) -> None:
        self._tool = tool
        self._patience_s = _FIRST_PATIENCE_S
        self._slowest_s = 0.0

    @property
    def name(self) -> str:
        """See Peer."""
        return self._tool.name

    def version(self) -> str:
        """See Peer."""
        return self._tool.version()

    def run(self, storm: Storm, lab: Lab) -> Run:
        """See Peer. A run that the tool was not ready for is made again."""
        while True:
            try:
                run = run_tool(self._tool, storm, lab, self._patience_s)
            except NotReadyError:
                self._patience_s *= 2
                if self._patience_s > _PATIENCE_LIMIT_S:
                    raise
                continue
            self._slowest_s = max(self._slowest_s, run.first_event_s)
            self._patience_s = 1.5 * self._slowest_s + 0.3
            return run


@dataclass(frozen=True, slots=True)
class Measured(Pairs):
    """One peer on one load.

    Attributes:
        runs: with the tool.
        processes: that one run makes.
    """

    processes: int = 1
    runs: list[Run] = field(default_factory=list)

    def cpu_us(self, idle_share: float) -> Summary:
        """The tool's CPU time for each process made, microseconds.

        Args:
            idle_share: what it takes anyway, 1: a whole CPU.
        """
        return Summary.of(
            (run.cpu_ns - idle_share * run.wall_ns) / 1e3 / self.processes for run in self.runs
        )

    def end_cpu_ms(self) -> Summary:
        """CPU time from Ctrl-C to the tool's end, milliseconds."""
        return Summary.of(run.end_cpu_ns / 1e6 for run in self.runs)

    def output_bytes(self) -> Summary:
        """What the tool writes for each process made."""
        return Summary.of(run.output_bytes / self.processes for run in self.runs)

    def lost_share(self) -> float:
        """Of all events that the tool should have, 0 to 1."""
        return sum(run.missing for run in self.runs) / sum(run.expected for run in self.runs)

    def reported_lost(self) -> int | None:
        """By the tool's own report; None: it has none."""
        reports = [run.reported_lost for run in self.runs if run.reported_lost is not None]
        return sum(reports) if reports else None

    def as_json(self, idle_share: float) -> dict[str, Any]:
        """For the JSON file."""
        return self.ratios_as_json() | {
            "processes": self.processes,
            "cpu_us_per_process": self.cpu_us(idle_share).as_json(),
            "bytes_per_process": self.output_bytes().as_json(),
            "lost_share": self.lost_share(),
            "reported_lost": self.reported_lost(),
            "runs": [asdict(run) for run in self.runs],
        }


@dataclass(slots=True)
class Standing:
    """What is known of one peer.

    Attributes:
        loads: by the load's name.
        problem: why it could not be measured, if so.
    """

    name: str
    version: str
    loads: dict[str, Measured] = field(default_factory=dict)
    problem: str | None = None

    def first_event_s(self) -> Summary:
        """From its exec to its first event."""
        return Summary.of(run.first_event_s for run in self._runs())

    def idle_share(self) -> float:
        """CPU time that it takes on a quiet host: of the quietest moment."""
        return min(run.idle_share for run in self._runs())

    def rss_bytes(self) -> int:
        """The highest peak."""
        return max(run.rss_bytes for run in self._runs())

    def as_json(self) -> dict[str, Any]:
        """For the JSON file."""
        figures: dict[str, Any] = {"name": self.name, "version": self.version}
        if self.problem is not None:
            return figures | {"problem": self.problem}
        return figures | {
            "first_event_s": self.first_event_s().as_json(),
            "rss_bytes": self.rss_bytes(),
            "idle_cpu_share": self.idle_share(),
            "loads": {
                name: measured.as_json(self.idle_share()) for name, measured in self.loads.items()
            },
        }

    def _runs(self) -> list[Run]:
        return [run for measured in self.loads.values() for run in measured.runs]


def all_peers() -> list[Peer]:
    """rtrace first."""
    watchers: tuple[Tool, ...] = (
        Rtrace("core"),
        Rtrace("bcc"),
        PerfRecord(),
        Bpftrace(),
        LibbpfTools(),
        BccCallback(),
        Forkstat(),
    )
    return [*map(Watcher, watchers), Strace()]


class PeerSuite:
    """Runs everything.

    Args:
        rounds: runs of each tool on each load.
        storm_s: what one run should take.
        directory: for compiled programs and the tools' outputs.
        progress: say on stderr what is being measured.

    Attributes:
        standings: one for each peer.
        notes: what makes the figures doubtful.
    """

    def __init__(self, rounds: int, storm_s: float, directory: Path, *, progress: bool) -> None:
        self._rounds, self._storm_s, self._progress = rounds, storm_s, progress
        self._directory = directory
        self.standings: list[Standing] = []
        self.notes: list[str] = []
        self.surroundings = Surroundings()

    def run(self) -> None:
        """Measures everything.

        Raises:
            BenchError: the storm cannot be compiled.
        """
        bytecode_environment(self._directory)
        self.surroundings.look("before")
        program = build_storm(self._directory)
        mark = Path(shutil.copy(program, self._directory / "rtrace-mark"))
        lab = Lab(self._directory, mark)
        workers: int = describe_machine()["cpus"]
        storms = [Storm(mode, program, workers, self._storm_s) for mode in LOADS]
        entrants = self._try_all(lab, storms[0])
        for number in range(self._rounds):
            for turn, storm in enumerate(storms):
                first = (number * len(storms) + turn) % max(1, len(entrants))
                for peer, standing in entrants[first:] + entrants[:first]:
                    self._say(f"round {number + 1} of {self._rounds}: {storm.name}, {peer.name}")
                    self._measure(peer, standing, storm, lab, traced_first=number % 2 == 1)
        for standing in self.standings:
            if standing.problem is None and len(standing.loads) < len(LOADS):
                standing.problem = "it failed on every run of a load"
        self.surroundings.look("after")
        self.notes += self.surroundings.notes()

    def _try_all(self, lab: Lab, storm: Storm) -> list[tuple[Peer, Standing]]:
        """A first run of each: it warms the caches, and tells what works here."""
        entrants = []
        for peer in all_peers():
            self._say(f"trying {peer.name}")
            standing = Standing(peer.name, peer.version())
            self.standings.append(standing)
            try:
                peer.run(storm, lab)
            except BenchError as error:
                standing.problem = str(error)
            else:
                entrants.append((peer, standing))
        return entrants

    def _measure(
        self, peer: Peer, standing: Standing, storm: Storm, lab: Lab, *, traced_first: bool
    ) -> None:
        """One pair: the storm alone, just before or just after the one that the tool watches."""
        try:
            without = None if traced_first else storm.run()
            run = peer.run(storm, lab)
        except BenchError as error:
            self.notes.append(f"a run of {peer.name} on the {storm.name} storm is missing: {error}")
            return
        measured = standing.loads.setdefault(storm.name, Measured(processes=storm.children))
        measured.without.append(without or storm.run())
        measured.traced.append(run.cost)
        measured.runs.append(run)

    def _say(self, what: str) -> None:
        if self._progress:
            print(f"\r\x1b[K{what} ...", end="", file=sys.stderr, flush=True)
