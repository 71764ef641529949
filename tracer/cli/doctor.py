"""`rtrace doctor`."""

from __future__ import annotations

import sys

import click


@click.command()
def doctor() -> int:
    """Say what works on this host, what does not, and what to install.

    Exit status 1 if nothing can be recorded here.
    """
    from tracer.checks import run_checks

    checks = run_checks()
    for check in checks:
        mark = {True: "ok ", False: "NO ", None: "-  "}[check.ok]
        print(f"{mark} {check.name}: {check.fact}")
        if check.step:
            print(f"    {check.step}")
    sys.stdout.flush()
    return 0 if all(check.ok is not False for check in checks) else 1
