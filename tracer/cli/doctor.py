"""`rtrace doctor`."""

from __future__ import annotations

import sys

import click

from tracer.cli.documented import Command
from tracer.text import printable


@click.command(
    cls=Command,
    short_help="Say what works on this host, and what to install.",
    examples=[("sudo rtrace doctor", "what a recording as root would have")],
    statuses=[("1", "nothing can be recorded here")],
)
def doctor() -> int:
    """Say what works on this host, what does not, and what to install."""
    from tracer.checks import run_checks

    checks = run_checks()
    for check in checks:
        mark = {True: "ok ", False: "NO ", None: "-  "}[check.ok]
        print(f"{mark} {check.name}: {printable(check.fact)}")
        if check.step:
            print(f"    {printable(check.step)}")
    sys.stdout.flush()
    return 0 if all(check.ok is not False for check in checks) else 1
