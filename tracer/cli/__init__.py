"""The command line. Here errors become one line on stderr and an exit status."""

from __future__ import annotations

import os
import sys
from typing import NoReturn

import click

from tracer import __version__
from tracer.cli.compare import compare
from tracer.cli.completion import completion
from tracer.cli.doctor import doctor
from tracer.cli.documented import Group
from tracer.cli.dump import dump
from tracer.cli.export import export
from tracer.cli.install_service import install_service
from tracer.cli.record import record
from tracer.cli.report import report
from tracer.cli.snapshot import snapshot
from tracer.cli.ticket import ticket
from tracer.cli.why import why
from tracer.errors import RtraceError
from tracer.text import printable


@click.group(
    cls=Group,
    short_help="A flight recorder for the processes of container runtimes",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    examples=[
        ("sudo rtrace record", "record this host until Ctrl-C"),
        ("rtrace report x.rtrace", "what happened, on any machine"),
        ("rtrace why x.rtrace web", "why a container or a process ended"),
        ("rtrace compare old/ new/", "what differs between engines"),
        ("rtrace ticket x.rtrace", "small and redacted, to attach to a ticket"),
        ("rtrace export x.rtrace --to parquet -o x", "for DuckDB, pandas; Perfetto, jq"),
    ],
)
@click.version_option(__version__, prog_name="rtrace")
def rtrace() -> None:
    """Who started, adopted, killed and reaped whom: a flight recorder for container runtimes."""


for command in (
    *(record, snapshot, report, why, compare, ticket, export, dump, doctor),
    install_service,
    completion,
):
    rtrace.add_command(command)


def main() -> NoReturn:
    """Entry point: runs the command, and exits with the status that scripts rely on.

    Exit status: 0 done, 1 an expected failure, 2 wrong usage, 3 `compare
    --fail-on-change` found a change; 128+n when signal n ended a command other than `record`;
    `record -- COMMAND` gives COMMAND's status or 125 when rtrace itself failed.
    """
    _hold_streams()
    status, stdout = 0, sys.stdout
    if "_RTRACE_COMPLETE" in os.environ:
        import tracer.cli.completing  # noqa: F401 -- tells click
    try:
        status = rtrace.main(standalone_mode=False)
        sys.stdout.flush()
    except click.ClickException as error:
        # Names of files that `*` stands for are arguments, too.
        vars(error)["message"] = printable(error.message)
        error.show()
        status = error.exit_code
    except SystemExit:
        # To click a reader that went away (`rtrace dump x | head`) is a failure, to us it is none.
        # It has wrapped stdout then.
        if sys.stdout is stdout:
            raise
        _drop_output()
    except click.Abort:
        status = 130
    except RtraceError as error:
        print(f"rtrace: {printable(str(error))}", file=sys.stderr)
        status = error.exit_code
    except BrokenPipeError:
        _drop_output()
    except OSError as error:
        _drop_output()
        fact = "cannot go on" if error.filename else "cannot write the output"
        print(f"rtrace: {fact}: {printable(str(error))}", file=sys.stderr)
        status = 1
    except MemoryError:
        print("rtrace: cannot go on: out of memory (or of what ulimit -v allows)", file=sys.stderr)
        status = 1
    except KeyboardInterrupt:
        status = 130
    sys.exit(status)


def _hold_streams() -> None:
    """Where a standard stream is closed (`rtrace report x >&-`), the next file that is opened would
    get its number, and be written to in its place. What is written to stdout fails then."""
    for number, flags in ((0, os.O_WRONLY), (1, os.O_RDONLY), (2, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, flags)
    if sys.stdout is None:
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115 -- it stays
    if sys.stderr is None:
        sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115


def _drop_output() -> None:
    """What is still to be written to stdout would fail again when Python ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
