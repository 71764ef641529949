"""`rtrace snapshot`."""

from __future__ import annotations

import contextlib
import os
import sys

import click

from tracer.cli.completers import complete_file
from tracer.cli.documented import Command
from tracer.errors import HostError
from tracer.text import printable


@click.command(
    cls=Command,
    examples=[
        ("sudo rtrace snapshot", "of the only recorder"),
        ("sudo rtrace snapshot --pid 4711 -o incident.rtrace", "of one of several"),
    ],
)
@click.option("--pid", type=click.IntRange(min=1), metavar="PID", help="The recorder's pid.")
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    shell_complete=complete_file,
    help="The save to write. [default: a name beside the recorder's capture]",
)
def snapshot(pid: int | None, output: str | None) -> None:
    """Save what a running recording holds, and let it go on.

    Most useful with `rtrace record --max-size`, which keeps the newest part of what happened.
    """
    from tracer.control import ask_to_save
    from tracer.invoking_user import give_to_invoking_user

    saved = ask_to_save(pid or _find_recorder(), output)
    with contextlib.suppress(OSError):  # the recorder may be in another mount namespace
        fd = os.open(saved.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        status = os.fstat(fd)
        # The very file that was made, and not what somebody has put in its place.
        if (status.st_dev, status.st_ino) == saved.inode:
            give_to_invoking_user(fd)
        os.close(fd)
    print(printable(str(saved)))
    print(f"next: rtrace report {printable(saved.path)}", file=sys.stderr)


def _find_recorder() -> int:
    """The pid of the only one."""
    from tracer.control import find_recorders

    running = find_recorders()
    if not running:
        raise HostError(
            "cannot save a recording",
            "no recorder is running",
            "start one: sudo rtrace record --max-size 20MiB",
        )
    if len(running) > 1:
        listed = [f"{pid} ({capture or 'does not answer'})" for pid, capture in running.items()]
        raise HostError(
            "cannot choose the recording to save",
            f"there are {len(running)}: {', '.join(listed)}",
            "say which: --pid PID",
        )
    return next(iter(running))
