"""Show what is in a log: python -m tests.kernel.trees LOG"""

from __future__ import annotations

import sys
from pathlib import Path

from tests.kernel.trees.comparator import compare
from tests.kernel.trees.log import read_log
from tests.kernel.trees.oracle import find_history


def main() -> None:
    """Print how often each scenario happened, and whether the log agrees with itself."""
    log = read_log(Path(sys.argv[1]))
    for what, count in sorted(log.shares().items()):
        print(f"{count:9,} {what}")
    durations_ms = sorted((r.end_ns - r.begin_ns) / 1e6 for r in log.rounds)
    print(
        f"{len(log.rounds)} rounds, {sum(r.planned for r in log.rounds):,} processes planned, "
        f"{sum(r.dropped_records for r in log.rounds)} records dropped, "
        f"{log.unfinished_records} unfinished, {log.unidentified} processes unidentified; "
        f"median round {durations_ms[len(durations_ms) // 2]:.0f} ms, "
        f"longest {durations_ms[-1]:.0f} ms"
    )
    processes = log.processes()
    print(compare(processes, find_history(processes)).summary())


if __name__ == "__main__":
    main()
