"""Where the commands of the desk write: stdout, or a new file."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from typing import Any, TypeVar

import click

from tracer.cli.completers import complete_file
from tracer.errors import UsageError
from tracer.output_file import new_file

_PIPE_WIDTH = 100
_F = TypeVar("_F", bound=Callable[..., Any])


def output_options(command: _F) -> _F:
    """Adds -o and --force, for ``write_output``."""
    command = click.option("--force", is_flag=True, help="Replace PATH if it exists.")(command)
    return click.option(
        "-o",
        "--output",
        metavar="PATH",
        shell_complete=complete_file,
        help="Write there and not to stdout.",
    )(command)


def text_shape(*, to_file: bool) -> tuple[int, bool]:
    """Columns and whether to use colours: those of the terminal, if that is where text goes."""
    on_terminal = not to_file and sys.stdout.isatty()
    width = shutil.get_terminal_size().columns if on_terminal else _PIPE_WIDTH
    return width, on_terminal and not os.environ.get("NO_COLOR")


def check_table(table: str | None, format_: str) -> None:
    """``--table`` is for CSV, the one format that is not everything at once.

    Raises:
        UsageError: it was given with another format.
    """
    if table is not None and format_ != "csv":
        raise UsageError("cannot use --table", "only CSV has tables to choose from", "--format csv")


def write_output(text: str, path: str | None, force: bool) -> None:
    """Writes to a file that is new (or replaced with ``force``), or to stdout without a path.

    Of files, see tracer.output_file.

    Raises:
        CaptureError: the file exists, or cannot be written.
    """
    if path is None:
        sys.stdout.write(text)
        return
    with new_file(path, force=force) as file:
        file.write(text.encode())
