"""`rtrace ticket`."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from tracer.cli.completers import complete_capture, complete_file
from tracer.cli.documented import Command
from tracer.cli.part import check_part, part_options
from tracer.cli.progress import progress_line
from tracer.ending import scratch_folder
from tracer.errors import RtraceError
from tracer.text import printable
from tracer.units import format_size, size_option

if TYPE_CHECKING:
    from analysis.model import Capture
    from analysis.ticket.build import Ticket
    from analysis.ticket.choose import Wanted

_INSIDE = {
    "summary.md": "Markdown for a comment: environment, losses, findings, why, timeline",
    "timeline.png": "a picture of who lived when",
    "report.html": "the report as a page that opens offline",
    "capture.rtrace": "the recording itself",
}

_NOT_REDACTED = (
    "WARNING: --redact none: passwords and tokens in command lines, names of users and hosts, and "
    "all paths are in it as they were recorded. Whoever gets it can read them."
)


@click.command(
    cls=Command,
    short_help="Make a small, redacted archive for a public ticket.",
    examples=[
        ("rtrace ticket incident.rtrace", "makes incident.zip"),
        (
            "rtrace ticket incident.rtrace --container web --redact strict -o web.zip",
            "of one container, without its name",
        ),
        (
            "rtrace ticket incident.rtrace --stdout | gh issue create --body-file -",
            "the summary alone",
        ),
    ],
)
@click.argument("capture", shell_complete=complete_capture)
@click.option(
    "-o",
    "--output",
    metavar="FILE.zip",
    shell_complete=complete_file,
    help="CAPTURE.zip if not told.",
)
@click.option("--force", is_flag=True, help="Replace FILE.zip if it exists.")
@part_options(
    since="Only who lived from so long after the start on: 10s, 1.5m.",
    until="... up to so long after the start.",
)
@click.option(
    "--redact",
    type=click.Choice(["default", "strict", "none"]),
    default="default",
    show_default=True,
    help="Hide secrets, users, hosts, homes; strict: container and image names too.",
)
@click.option(
    "--max-size",
    metavar="SIZE",
    default="9.5MiB",
    show_default=True,
    callback=size_option,
    help="Leave out what would make it larger.",
)
@click.option("--stdout", "to_stdout", is_flag=True, help="Print the summary, write no file.")
def ticket(
    capture: str,
    output: str | None,
    force: bool,
    container: str | None,
    since: float | None,
    until: float | None,
    redact: str,
    max_size: int,
    to_stdout: bool,
) -> None:
    """Make of a capture what can be attached to a public ticket: small, redacted, readable.

    Same secret, same placeholder, all over one ticket; two tickets cannot be joined by them.
    """
    check_part(since, until)
    from analysis.ticket.build import SUMMARY, build_ticket
    from analysis.ticket.choose import Wanted
    from tracer.memory import keep_no_arrays
    from tracer.output_file import check_output
    from tracer.ticket_file import write_ticket

    def wanted(opened: Capture) -> Wanted:
        start_ns = opened.table.started_ns
        since_ns, until_ns = (
            None if offset_s is None else start_ns + int(offset_s * 1e9)
            for offset_s in (since, until)
        )
        return Wanted(container, since_ns, until_ns)

    path = output or f"{os.path.basename(capture.rstrip('/')).removesuffix('.rtrace')}.zip"
    if not to_stdout:
        check_output(path, force=force)
    keep_no_arrays()
    with scratch_folder("rtrace-ticket-") as folder:
        with progress_line() as on_progress, _told_where(folder):
            made = build_ticket(
                capture,
                folder,
                wanted,
                redact=redact,
                limit=max_size,
                summary_only=to_stdout,
                on_progress=on_progress,
            )
        _say_contents(made, "the summary" if to_stdout else path, redact)
        if to_stdout:
            with open(made.files[SUMMARY], encoding="utf-8") as file:
                sys.stdout.write(file.read())
            sys.stdout.flush()
            _say_redacted(made, redact)
            return
        size = write_ticket(path, made.files, force=force)
    _say_redacted(made, redact)
    _say([f"wrote {path}: {format_size(size)}. Look at it before you send it."])


def _say(lines: list[str]) -> None:
    """On stderr. Names of files may come from strangers, as captures do."""
    click.echo("\n".join(map(printable, lines)), err=True)


@contextlib.contextmanager
def _told_where(folder: str) -> Iterator[None]:
    """A full disk is not that of the archive, yet."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        place = os.path.dirname(folder)
        raise RtraceError(
            f"cannot write the parts of the ticket to {place}",
            os.strerror(error.errno).lower(),
            "set TMPDIR to a folder with more room",
        ) from error


def _say_contents(made: Ticket, path: str, redact: str) -> None:
    """What whoever gets the file will be able to read, before it is there."""
    lines = [f"{path} will hold:"]
    if redact == "none":
        lines.insert(0, _NOT_REDACTED)
    lines += [f"  {name:15} {_INSIDE[name]}" for name in made.files]
    hidden = {
        "none": "nothing is hidden",
        "default": "with secrets, users, hosts and homes hidden",
        "strict": "with secrets, users, hosts, homes, names of containers and images hidden",
    }[redact]
    lines.append(
        f"  of {made.processes:,} processes: times, ids, parents, ends, signals, programs, command "
        f"lines, cgroups, containers, versions of kernel and runtimes; {hidden}"
    )
    lines += [f"  left out: {sentence}" for sentence in made.left_out]
    _say(lines)


def _say_redacted(made: Ticket, redact: str) -> None:
    from analysis.ticket.build import capture_was, redaction_lines

    lines = [f"redacted {line}" for line in redaction_lines(made)]
    if not lines and made.redacted_before is not None:
        lines = [f"nothing more was redacted: {capture_was(made.redacted_before)}"]
    elif not lines:
        lines = ["nothing was redacted" + (": --redact none" if redact == "none" else "")]
    _say(lines)
