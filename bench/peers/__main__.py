"""`python -m bench.peers`: measures, prints the tables, and exits with 0 once it has begun."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path

from bench.errors import BenchError
from bench.machine import describe_machine, machine_line, rtrace_command
from bench.peers.report import render_load, render_overview
from bench.peers.suite import LOADS, PeerSuite

_ROUNDS, _QUICK_ROUNDS = 7, 1
_STORM_S, _QUICK_STORM_S = 0.6, 0.3


def main() -> None:
    """Parses the command line, measures, reports."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.peers", description="rtrace beside other tools, on the same storms."
    )
    parser.add_argument("--quick", action="store_true", help="a first idea, in two minutes")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write all figures to FILE too")
    parser.add_argument(
        "--rounds", metavar="N", type=int, help=f"runs of each (default: {_ROUNDS})"
    )
    options = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("bench: tracing needs root; run make bench-peers, or sudo")
    if not os.path.exists(rtrace_command()):
        sys.exit(f"bench: there is no {rtrace_command()}; run make bench-peers")
    rounds = options.rounds or (_QUICK_ROUNDS if options.quick else _ROUNDS)
    storm_s = _QUICK_STORM_S if options.quick else _STORM_S

    begun = time.monotonic()
    machine = describe_machine()
    with tempfile.TemporaryDirectory(prefix="rtrace-bench-") as scratch:
        suite = PeerSuite(max(1, rounds), storm_s, Path(scratch), progress=sys.stderr.isatty())
        try:
            suite.run()
        except BenchError as error:
            sys.exit(f"bench: {error}")
        except KeyboardInterrupt:
            sys.exit("bench: interrupted")
    seconds = time.monotonic() - begun

    if sys.stderr.isatty():
        print("\r\x1b[K", end="", file=sys.stderr)
    tools = ", ".join(f"{s.name} {s.version}" for s in suite.standings if s.version)
    print(f"{machine_line(machine)}; {rounds} rounds, {seconds:.0f} s")
    print(f"{tools}")
    for note in suite.notes:
        print(f"note: {note}")
    print(
        "\nvfork / fork / exec storm; CPU of the storm is a ratio, the rest is for each process:\n"
    )
    print(render_overview(suite.standings))
    for load in LOADS:
        print(f"\n{load} storm:\n\n{render_load(suite.standings, load)}")
    if options.json is not None:
        document = {
            "bench_peers": 1,
            "machine": machine,
            "plan": {"rounds": rounds, "storm_s": storm_s},
            "seconds": seconds,
            "notes": suite.notes,
            "surroundings": suite.surroundings.as_json(),
            "peers": [standing.as_json() for standing in suite.standings],
        }
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(document, indent=2) + "\n")


if __name__ == "__main__":
    main()
