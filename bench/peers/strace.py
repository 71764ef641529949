"""strace -f, which does not watch the host but starts the storm itself."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import time
from pathlib import Path

from bench.build import STORM_NAME
from bench.errors import BenchError
from bench.loads import Storm
from bench.peers.records import EXEC, EXIT, FORK, Output, Record, expected_records
from bench.peers.session import Lab, Run
from bench.peers.tool import ask_version, find_program
from bench.processes import read_peak_rss

# "PID call(...) = result", or in two lines: the second is "PID <... call resumed>) = result".
_FORKED = re.compile(rb"\d+ +(?:<\.\.\. )?(?:v?fork|clone3?)\b.*= (\d+)$")
_EXECUTED = re.compile(rb"\d+ +(?:<\.\.\. )?execve\b.* = 0$")
_ENDED = b"+++ "
_SYSCALLS = "trace=process"
_LOOK_S = 0.05


class Strace:
    """`strace -f -e trace=process -o FILE storm ...`"""

    name = "strace -f"
    kinds = (FORK, EXEC, EXIT)

    def version(self) -> str:
        """See Tool."""
        return ask_version("strace", "--version")

    def run(self, storm: Storm, lab: Lab) -> Run:
        """One run of a storm under strace.

        Its CPU time is what its process and all below it took, less what the storm took. The
        first event is the execve of a program that strace starts.

        Raises:
            BenchError: strace is not installed, or is not allowed to trace.
        """
        first_event_s = self._measure_start(lab)
        path = lab.directory / "strace.out"
        command = self._command(path)
        told = lab.directory / "storm.out"
        with told.open("wb") as output:
            process = subprocess.Popen(
                [*command, *storm.command], stdout=output, stderr=subprocess.DEVNULL
            )
        rss_bytes = 0
        while True:
            pid, status, usage = os.wait4(process.pid, os.WNOHANG)
            if pid:
                break
            # ru_maxrss would have this program's, which strace was started from.
            with contextlib.suppress(BenchError):
                rss_bytes = max(rss_bytes, read_peak_rss(process.pid))
            time.sleep(_LOOK_S)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise BenchError(f"strace ended with status {process.returncode}")
        cost = storm.parse_cost(told.read_bytes())
        output_read = Output([read_trace(path)], None)
        expected = expected_records(storm, self.kinds)
        return Run(
            cost=cost,
            cpu_ns=max(0, round((usage.ru_utime + usage.ru_stime) * 1e9) - cost.cpu_ns),
            wall_ns=cost.wall_ns,
            idle_share=0.0,
            end_cpu_ns=0,
            rss_bytes=rss_bytes,
            output_bytes=output_read.storm_bytes(),
            expected=sum(expected.values()),
            missing=output_read.missing(expected),
            reported_lost=None,
            first_event_s=first_event_s,
        )

    def _command(self, path: Path, *options: str) -> list[str]:
        strace = find_program("strace", "strace")
        return [strace, "-f", "-e", _SYSCALLS, *options, "-o", str(path)]

    def _measure_start(self, lab: Lab) -> float:
        path = lab.directory / "start.out"
        start = time.time()
        done = subprocess.run(
            [*self._command(path, "-ttt"), lab.mark], capture_output=True, check=False
        )
        if done.returncode:
            raise BenchError.from_output("strace", done.stderr)
        return float(path.read_text().split()[1]) - start


def read_trace(path: Path) -> list[Record]:
    """Each line has its share, since most calls are two: begun and resumed."""
    lines = path.read_bytes().splitlines(keepends=True)
    found = [record for line in lines if (record := _parse(line.rstrip()))]
    size = sum(map(len, lines)) / max(1, len(found))
    return [record._replace(size=size) for record in found]


def _parse(line: bytes) -> Record | None:
    pid = int(line.split(None, 1)[0])
    if match := _FORKED.match(line):
        return Record(FORK, int(match[1]), STORM_NAME, 0)
    if _EXECUTED.match(line):
        return Record(EXEC, pid, STORM_NAME, 0)
    if _ENDED in line:
        return Record(EXIT, pid, STORM_NAME, 0)
    return None
