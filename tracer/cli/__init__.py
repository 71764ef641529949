"""The command line. Here errors become one line on stderr and an exit status."""

from __future__ import annotations

import os
import sys
from typing import NoReturn

import click

from tracer import __version__
from tracer.cli.doctor import doctor
from tracer.cli.dump import dump
from tracer.cli.record import record
from tracer.cli.report import report
from tracer.errors import RtraceError
from tracer.text import printable


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="rtrace")
def rtrace() -> None:
    """Who started, adopted, killed and reaped whom: a flight recorder for container runtimes.

    \b
    sudo rtrace record                   record this host until Ctrl-C
    rtrace report CAPTURE                what happened, on any machine
    """


for command in (record, report, dump, doctor):
    rtrace.add_command(command)


def main() -> NoReturn:
    """Entry point: runs the command, and exits with the status that scripts rely on.

    Exit status: 0 done, 1 an expected failure, 2 wrong usage; `record -- COMMAND` gives
    COMMAND's status or 125 when rtrace itself failed.
    """
    try:
        status = rtrace.main(standalone_mode=False)
        sys.stdout.flush()
    except click.ClickException as error:
        error.show()
        status = error.exit_code
    except click.Abort:
        status = 130
    except RtraceError as error:
        print(f"rtrace: {printable(str(error))}", file=sys.stderr)
        status = error.exit_code
    except BrokenPipeError:  # `rtrace dump x | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 0
    except KeyboardInterrupt:
        status = 130
    sys.exit(status)
