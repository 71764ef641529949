"""`python -m bench`: measures, prints the table, and always exits with 0 once it has begun."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
import tempfile
import time
from pathlib import Path

from bench.machine import describe_machine, machine_line, rtrace_command
from bench.recording import Setup
from bench.suite import Plan, Suite
from bench.table import render_table

DEFAULT = Plan(
    rounds=15,
    storm_s=0.8,
    pipe_s=0.8,
    flood_s=2.0,
    idle_s=1.5,
    commands=9,
    events=1_000_000,
    reports=3,
    exports=1,
)
QUICK = Plan(
    rounds=3,
    storm_s=0.4,
    pipe_s=0.4,
    flood_s=1.0,
    idle_s=0.5,
    commands=3,
    events=200_000,
    reports=1,
    exports=1,
)


def main() -> None:
    """Parses the command line, measures, reports."""
    parser = argparse.ArgumentParser(
        prog="python -m bench", description="What recording and reports cost on this machine."
    )
    parser.add_argument("--quick", action="store_true", help="a first idea, in a minute")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write all figures to FILE too")
    parser.add_argument(
        "--rounds", metavar="N", type=int, help=f"pairs for each ratio (default: {DEFAULT.rounds})"
    )
    parser.add_argument(
        "--engine", choices=("core", "bcc"), default="core", help="of the recorder that is measured"
    )
    parser.add_argument(
        "--events", metavar="N", type=int, help="of the capture of reports and exports"
    )
    for name, what in (("analysis", "reports"), ("exports", "exports")):
        parser.add_argument(
            f"--{name}",
            dest="alone",
            action="store_const",
            const=name,
            default="",
            help=f"measure {what}, nothing else",
        )
    options = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("bench: recording needs root; run make bench, or sudo")
    if not os.path.exists(rtrace_command()):
        sys.exit(f"bench: there is no {rtrace_command()}; run make bench")
    plan = QUICK if options.quick else DEFAULT
    if options.rounds is not None:
        plan = plan.with_rounds(max(1, options.rounds))
    if options.events is not None:
        plan = dataclasses.replace(plan, events=max(10_000, options.events))
    plan = dataclasses.replace(plan, alone=options.alone)

    begun = time.monotonic()
    machine = describe_machine()
    with tempfile.TemporaryDirectory(prefix="rtrace-bench-") as scratch:
        suite = Suite(plan, Setup(Path(scratch), options.engine), progress=sys.stderr.isatty())
        try:
            suite.run()
        except KeyboardInterrupt:
            sys.exit("bench: interrupted")
    seconds = time.monotonic() - begun

    print(
        f"{machine_line(machine)}; engine {options.engine}, {plan.rounds} rounds, {seconds:.0f} s, "
        f"load average {os.getloadavg()[1]:.1f} (5 minutes)"
    )
    if sys.stderr.isatty():
        print("\r\x1b[K", end="", file=sys.stderr)
    for note in suite.notes:
        print(f"note: {note}")
    print()
    print(render_table(suite.rows))
    if options.json is not None:
        document = {
            "bench": 1,
            "machine": machine,
            "engine": options.engine,
            "plan": plan.as_json(),
            "seconds": seconds,
            "notes": suite.notes,
            "results": suite.results,
            "table": [row.as_json() for row in suite.rows],
        }
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(document, indent=2) + "\n")


if __name__ == "__main__":
    main()
