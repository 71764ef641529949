"""`python -m tests.lab`: labs by hand, and recordings of scenarios (docs/lab.md)."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from pathlib import Path

from tests.debian import BootstrapError
from tests.lab import golden
from tests.lab.lab import Lab, LabError, Setup, collect_garbage, names
from tests.lab.recording import record, recorded_name
from tests.lab.roots import SUITES, hold_root
from tests.lab.scenarios import SCENARIOS
from tests.lab.topologies import TOPOLOGIES

CHECKOUT = Path(__file__).resolve().parents[2]
RTRACE = ".venv/bin/rtrace"


def main() -> int:
    """Parses the command line and runs. Exit status: 0; 1 it failed; 2 wrong usage."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.lab", description="Docker engines under a real systemd."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    build = commands.add_parser("build", help="make the root file systems that are missing")
    build.add_argument("suite", nargs="+", choices=SUITES)
    boot = commands.add_parser("boot", help="start a lab; it stays until it is stopped")
    _add_setup(boot)
    boot.add_argument("--name", help="[default: the suite's]")
    for name, text in (
        ("ps", "its processes, with host pids"),
        ("pid", "host pid of its systemd, for `rtrace record --pidns`"),
        ("stop", "end a lab"),
    ):
        commands.add_parser(name, help=text).add_argument("name")
    enter = commands.add_parser("exec", help="run a command in a lab")
    enter.add_argument("name")
    enter.add_argument("words", nargs=argparse.REMAINDER, metavar="COMMAND")
    commands.add_parser("list", help="the labs that run")
    commands.add_parser("gc", help="remove what killed labs left")
    scenes = commands.add_parser("record", help="play scenarios in labs of their own, recorded")
    _add_setup(scenes)
    scenes.add_argument("--scenario", action="append", choices=sorted(SCENARIOS))
    scenes.add_argument("-o", "--output", type=Path, default=Path("build/lab"), metavar="FOLDER")
    again = commands.add_parser("golden", help="record the golden captures anew")
    again.add_argument("--only", metavar="TEXT", default="", help="those whose names have TEXT")
    options = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("lab: namespaces and mounts need root; run it with sudo")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    os.chdir(CHECKOUT)  # the command line is in each capture: it has no path of this machine
    try:
        return int(_COMMANDS[options.command](options) or 0)
    except (BootstrapError, LabError, AssertionError) as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1


def _add_setup(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("suite", choices=SUITES)
    parser.add_argument("--topology", choices=TOPOLOGIES, default="A")
    parser.add_argument("--live-restore", action="store_true")


def _setup(options: argparse.Namespace) -> Setup:
    return Setup(options.suite, options.topology, options.live_restore)


def _build(options: argparse.Namespace) -> None:
    for suite in options.suite:
        with hold_root(suite) as (root, _):
            print(root)


def _boot(options: argparse.Namespace) -> None:
    lab = Lab.boot(_setup(options), options.name or options.suite, outlives=True)
    versions = ", ".join(f"{name} {version}" for name, version in lab.versions().items())
    print(f"lab {lab.name}: {versions}; topology {lab.setup.topology}; systemd is {lab.pid}")


def _exec(options: argparse.Namespace) -> int:
    command = Lab.find(options.name).command(*options.words or ["bash"])
    sys.stdout.flush()
    os.execvp(command[0], command)


def _ps(options: argparse.Namespace) -> None:
    tgids = Lab.find(options.name).processes()
    columns = "pid,ppid,stat,comm,args"
    os.execvp("ps", ["ps", "-o", columns, "--forest", "-p", ",".join(map(str, tgids))])


def _record(options: argparse.Namespace) -> int:
    setup = _setup(options)
    chosen = options.scenario or [name for name, one in SCENARIOS.items() if one.fits(setup)]
    options.output.mkdir(parents=True, exist_ok=True)
    failed = 0
    for name in chosen:
        begun = time.monotonic()
        try:
            said = f"{record(setup, SCENARIOS[name], options.output, program=RTRACE).capture}"
        except AssertionError as error:
            said, failed = f"FAILED: {error}", 1
        label = recorded_name(setup, SCENARIOS[name])
        print(f"{label}: {said} ({time.monotonic() - begun:.1f} s)", flush=True)
    return failed


def _golden(options: argparse.Namespace) -> int:
    failed = 0
    for setup, name in golden.planned():
        label = recorded_name(setup, SCENARIOS[name])
        if options.only not in label:
            continue
        try:
            said = f"{golden.record_golden(setup, name).capture.stat().st_size} bytes"
        except AssertionError as error:
            said, failed = f"FAILED: {error}", 1
        print(f"{label}: {said}", flush=True)
    return failed


def _print_all(lines: list[str]) -> None:
    for line in lines:
        print(line)


_COMMANDS = {
    "build": _build,
    "boot": _boot,
    "exec": _exec,
    "ps": _ps,
    "pid": lambda options: print(Lab.find(options.name).pid),
    "stop": lambda options: Lab.find(options.name).stop(),
    "list": lambda _: _print_all(names()),
    "gc": lambda _: _print_all(collect_garbage()),
    "record": _record,
    "golden": _golden,
}

if __name__ == "__main__":
    sys.exit(main())
