"""`python -m tests.kernels`: boots each kernel, runs the checks, sums up.

Exit status: 0 all is well; 1 something failed; 2 wrong usage.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import shutil
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path

from tests.debian import BootstrapError, cache_folder
from tests.kernels import machine
from tests.kernels.checks import CHECKS
from tests.kernels.checks.result import Result
from tests.kernels.disk import read_results, write_disk
from tests.kernels.errors import RigError
from tests.kernels.guests import GUESTS, Guest
from tests.kernels.image import provide_image
from tests.kernels.initramfs import write_initramfs
from tests.kernels.inside import FAILED
from tests.kernels.plan import Plan

CHECKOUT = Path(__file__).resolve().parents[2]
OUTPUT = CHECKOUT / "build" / "kernels"
_LIMIT_S = 4 * 3600.0


def main() -> None:
    """Parses the command line and runs."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.kernels", description="rtrace on stock kernels, under emulation."
    )
    kernels = [guest.kernel for guest in GUESTS]
    parser.add_argument(
        "--kernel", action="append", choices=kernels, help="only this one; may be repeated"
    )
    parser.add_argument(
        "--only", action="append", choices=list(CHECKS), help="only this check; may be repeated"
    )
    parser.add_argument("--quick", action="store_true", help="less of each; a first idea")
    parser.add_argument("--keep", action="store_true", help="keep captures of what went well too")
    parser.add_argument("--mirror", metavar="URI", help="Debian archive [default: as apt has it]")
    options = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("test-kernels: building root file systems needs root; run make test-kernels")
    checks = options.only or list(CHECKS)
    plan = Plan.quick(checks) if options.quick else Plan(checks)
    guests = [guest for guest in GUESTS if not options.kernel or guest.kernel in options.kernel]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that no machine is left running
    cache_folder("kernels").mkdir(parents=True, exist_ok=True)
    results: dict[str, list[Result]] = {}
    with open(cache_folder("kernels") / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # one machine at a time
        for guest in guests:
            results[guest.kernel] = run_guest(guest, plan, options)
    sys.exit(sum_up(results))


def run_guest(guest: Guest, plan: Plan, options: argparse.Namespace) -> list[Result]:
    """Everything on one kernel."""
    begun = time.monotonic()
    output = OUTPUT / guest.kernel
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir(parents=True)

    def say(text: str) -> None:
        print(f"{guest.kernel:>5}  {time.monotonic() - begun:5.0f} s  {text}", flush=True)

    try:
        image = provide_image(guest, options.mirror, output / "mmdebstrap.txt")
        say(f"{image.release}, on {guest.suite}")
        with tempfile.TemporaryDirectory(prefix="rtrace-kernels-", dir=output) as scratch:
            disk, initramfs = Path(scratch, "disk"), Path(scratch, "initramfs")
            write_disk(disk, CHECKOUT, plan)
            write_initramfs(initramfs, image)
            failure = ""
            try:
                machine.run(
                    image,
                    initramfs,
                    disk,
                    output / "console.txt",
                    limit_s=_LIMIT_S,
                    on_progress=say,
                )
            except RigError as error:
                failure = str(error)  # what was done before is judged all the same
            read_results(disk, output / "results")
    except (RigError, BootstrapError) as error:
        return [Result("boot", False, str(error))]
    folder = output / "results"
    found = [Result("boot", not failure, failure or image.release)]
    for name in plan.checks:
        said = judge(name, folder / name)
        found += said
        for result in said:
            say(f"{'ok ' if result.ok else 'BAD'} {result.name}: {result.text}")
        if all(result.ok for result in said) and not options.keep:
            for capture in (folder / name).glob("*.rtrace"):
                capture.unlink()
    return found


def judge(name: str, folder: Path) -> list[Result]:
    """What a check that ran, failed, or never ran comes to."""
    if not folder.is_dir():
        return [Result(name, False, "did not run")]
    failure = folder / FAILED
    if failure.exists():
        return [Result(name, False, f"{failure.read_text().splitlines()[-1]}; see {folder}")]
    try:
        found = list(CHECKS[name].judge(folder))
    except Exception as error:
        (folder / FAILED).write_text(traceback.format_exc())
        return [Result(name, False, f"{type(error).__name__}: {error}; see {folder}")]
    return [r if r.ok else Result(r.name, False, f"{r.text}; see {folder}") for r in found]


def sum_up(results: dict[str, list[Result]]) -> int:
    """Prints everything once more, and gives the exit status."""
    print()
    for kernel, found in results.items():
        for result in found:
            print(f"{'ok ' if result.ok else 'BAD'} {kernel:>5}  {result.name}: {result.text}")
    bad = sum(not result.ok for found in results.values() for result in found)
    total = sum(map(len, results.values()))
    print(f"\n{total - bad} of {total} checks passed on {len(results)} kernels")
    return 1 if bad else 0


if __name__ == "__main__":
    main()
