"""perf record on the three tracepoints, read with perf script."""

from __future__ import annotations

import re
import struct
import subprocess
from collections.abc import Sequence
from pathlib import Path

from bench.build import STORM_NAME
from bench.errors import BenchError
from bench.peers.records import EXEC, EXIT, FORK, Output, Record
from bench.peers.tool import Command, ask_version, find_program, with_tracefs

_EVENTS = ",".join(f"sched:sched_process_{kind}" for kind in (FORK, EXEC, EXIT))
# struct perf_file_header (tools/perf/util/header.h): offset and size of the data section.
_DATA_SECTION, _DATA_SECTION_OFFSET = struct.Struct("<QQ"), 40
_RECORD = re.compile(
    rb"sched_process_(?:"
    rb"(fork): comm=(.*) pid=\d+ child_comm=.* child_pid=(\d+)"
    rb"|(exit): comm=(.*) pid=(\d+) .*"
    rb"|(exec): filename=(.*) pid=(\d+) .*)"
)
_LOST = re.compile(rb"lost (\d+) (?:chunks|events|samples)")


class PerfRecord:
    """`perf record -a -e sched:...`; the command lines of processes are not in it, only comm."""

    name = "perf record"
    kinds = (FORK, EXEC, EXIT)

    def version(self) -> str:
        """See Tool."""
        return ask_version("perf", "--version")

    def commands(self, directory: Path) -> list[Command]:
        """See Tool."""
        perf = find_program("linux-perf", "perf")
        data = directory / "perf.data"
        argv = [perf, "record", "-a", "-e", _EVENTS, "-o", str(data)]
        return [Command(with_tracefs(argv), directory / "perf.out", data)]

    def read(self, commands: Sequence[Command], bytes_before: int) -> Output:
        """See Tool.

        A record's size is the file's growth since the storm began, divided by the records since
        then: besides the samples perf writes forks, execs and exits that its kernel side reports.
        """
        path = commands[0].data
        done = subprocess.run(
            ["perf", "script", "-i", path, "-F", "event,trace"], capture_output=True, check=False
        )
        if done.returncode:
            raise BenchError.from_output("perf script", done.stderr)
        found = [record for line in done.stdout.splitlines() if (record := parse_line(line))]
        since = next((i for i, record in enumerate(found) if record.name == STORM_NAME), 0)
        grown = max(0, _end_of_data(path) - bytes_before)
        size = grown / max(1, len(found) - since)
        lost = sum(int(number) for number in _LOST.findall(done.stderr))
        return Output([[record._replace(size=size) for record in found]], lost)


def parse_line(line: bytes) -> Record | None:
    """Of perf script's output; None: another event."""
    match = _RECORD.search(line)
    if match is None:
        return None
    kind, name, pid = (field for field in match.groups() if field is not None)
    return Record(kind.decode(), int(pid), name.rpartition(b"/")[2].decode("utf-8", "replace"), 0.0)


def _end_of_data(path: Path) -> int:
    """Where the records end: after them come tables that do not grow with a storm."""
    with path.open("rb") as file:
        file.seek(_DATA_SECTION_OFFSET)
        offset, size = _DATA_SECTION.unpack(file.read(_DATA_SECTION.size))
    return int(offset + size)
