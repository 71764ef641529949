"""What `rtrace export` takes, format by format, beside `rtrace report` on the same capture.

The capture is that of a busy host (`bench.busy_host`). Outputs go to the temporary directory, and
are removed as soon as they have been weighed.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.analysis import Readings, run_command
from bench.busy_host import write_capture
from bench.machine import rtrace_command
from bench.stats import Summary

_FEW = 2000
_EVENTS = ("--table", "events", "--table", "details")
FORMATS = {
    "perfetto": ("--to", "perfetto"),
    "jsonl": ("--to", "jsonl"),
    "parquet, events and details": ("--to", "parquet", *_EVENTS),
    "csv, events and details": ("--to", "csv", *_EVENTS),
    "parquet, all tables": ("--to", "parquet"),
    "csv, all tables": ("--to", "csv"),
}


@dataclass
class Export:
    """Runs of one format, and the size of what they wrote."""

    readings: Readings
    output_bytes: int = 0

    def as_json(self) -> dict[str, Any]:
        """For the JSON file."""
        return {**self.readings.as_json(), "output_bytes": self.output_bytes}


@dataclass(frozen=True, slots=True)
class Exports:
    """All formats, by the keys of FORMATS, and reports as text in between."""

    report: Readings
    formats: dict[str, Export]

    @classmethod
    def of(cls, events: int) -> Exports:
        """Nothing measured yet, on a capture of so many events."""
        formats = {name: Export(Readings(events, [])) for name in FORMATS}
        return cls(Readings(events, []), formats)

    def cpu_ratio(self, name: str) -> Summary:
        """CPU time of exports by that of the reports of the same rounds."""
        pairs = zip(self.formats[name].readings.runs, self.report.runs, strict=True)
        return Summary.of(export.cpu_s / report.cpu_s for export, report in pairs)

    def as_json(self) -> dict[str, Any]:
        """For the JSON file."""
        formats = {name: found.as_json() for name, found in self.formats.items()}
        return {"report": self.report.as_json(), "formats": formats}


def measure_exports(directory: Path, events: int, rounds: int) -> Exports:
    """Makes the capture, and writes it in each format so many times, in turns.

    Raises:
        BenchError: rtrace fails.
    """
    capture = directory / "busy.rtrace"
    try:
        write_capture(capture, _FEW)
        _measure(capture, Exports.of(_FEW), 1)  # so that bytecode is cached
        found = Exports.of(write_capture(capture, events))
        _measure(capture, found, rounds)
    finally:
        capture.unlink(missing_ok=True)
    return found


def _measure(capture: Path, found: Exports, rounds: int) -> None:
    output = capture.with_name("exported")
    for _ in range(rounds):
        found.report.runs.append(run_command([rtrace_command(), "report", str(capture)]))
        for name, options in FORMATS.items():
            command = [rtrace_command(), "export", str(capture), *options, "-o", str(output)]
            export = found.formats[name]
            export.readings.runs.append(run_command(command))
            export.output_bytes = _remove(output)


def _remove(output: Path) -> int:
    """Takes a file or folder away; how many bytes were in it."""
    if output.is_file():
        size = output.stat().st_size
        output.unlink()
        return size
    size = sum(path.stat().st_size for path in output.iterdir())
    shutil.rmtree(output)
    return size
