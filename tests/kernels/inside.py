"""Runs the checks inside of a machine: python -m tests.kernels.inside RESULTS"""

from __future__ import annotations

import os
import sys
import time
import traceback
from pathlib import Path

from tests.kernels.checks import CHECKS
from tests.kernels.plan import Plan
from tests.kernels.recording import tell_host

FAILED = "failed"  # file with a check's traceback
_RTRACE = '#!/bin/sh\nexec python3 -c "from tracer.cli import main; main()" "$@"\n'


def main() -> None:
    """Runs what the host asked for, each in a folder of its own."""
    results = Path(sys.argv[1])
    rtrace = Path(sys.executable).with_name("rtrace")
    rtrace.write_text(_RTRACE)
    rtrace.chmod(0o755)
    tell_host(f"up after {time.clock_gettime(time.CLOCK_BOOTTIME):.0f} s")
    for name in Plan.read(results).checks:
        folder = results / name
        folder.mkdir()
        begun = time.monotonic()
        try:
            CHECKS[name].run(folder)
            outcome = "ran"
        except Exception:
            (folder / FAILED).write_text(traceback.format_exc())
            outcome = "failed"
        os.sync()
        seconds = time.monotonic() - begun
        tell_host(f"{name} {outcome}, {seconds:.0f} s")


if __name__ == "__main__":
    main()
