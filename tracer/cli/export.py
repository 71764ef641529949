"""`rtrace export`."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, BinaryIO

import click

from tracer.cli.completers import complete_capture, complete_file
from tracer.cli.documented import Command
from tracer.cli.part import check_part, part_options
from tracer.cli.progress import progress_line
from tracer.ending import scratch_folder
from tracer.errors import UsageError
from tracer.output_file import new_file
from tracer.output_folder import new_folder

if TYPE_CHECKING:
    from analysis.export.overview import Overview
    from tracer.capture_reader import CaptureReader

Tell = Callable[[str, float], None] | None

# Those of rtrace.Capture, which is not imported to tell what the command takes: a test holds them.
_FRAMES = (
    *("processes", "parents", "reparents", "execs", "signals", "containers", "calls", "daemons"),
    *("timeline", "findings", "losses"),
)
_TABLES = ("events", "details", *_FRAMES, "capture")
_FOLDERS = ("parquet", "csv")


@click.command(
    cls=Command,
    short_help="Give a capture to Perfetto, DuckDB, pandas, jq.",
    examples=[
        (
            "rtrace export incident.rtrace --to perfetto -o incident.pftrace",
            "open it in ui.perfetto.dev",
        ),
        (
            "rtrace export incident.rtrace --to parquet -o tables",
            "a folder of tables for DuckDB and pandas",
        ),
        (
            "rtrace export incident.rtrace --to jsonl -o - | jq 'select(.event == \"signal\")'",
            "events, one a line",
        ),
        (
            "rtrace export incident.zip --to csv --table processes --container web -o web",
            "one table of what a ticket holds of one container",
        ),
    ],
)
@click.argument("capture", shell_complete=complete_capture)
@click.option(
    "--to",
    "format_",
    type=click.Choice(["perfetto", "parquet", "jsonl", "csv"]),
    required=True,
    help="A trace; a folder of tables; events, one a line.",
)
@click.option(
    "-o",
    "--output",
    metavar="PATH",
    required=True,
    shell_complete=complete_file,
    help="New file, or folder for parquet and csv; - is stdout.",
)
@click.option("--force", is_flag=True, help="Replace PATH if it exists.")
@click.option(
    "--table",
    "tables",
    type=click.Choice(_TABLES),
    multiple=True,
    help="Only this table of parquet or csv; may be given again.",
)
@part_options(
    since="Only who lived from so long after the start on: 10s, 1.5m.",
    until="... up to so long after the start.",
)
def export(
    capture: str,
    format_: str,
    output: str,
    force: bool,
    tables: tuple[str, ...],
    container: str | None,
    since: float | None,
    until: float | None,
) -> None:
    """Give a capture to other tools. docs/export.md explains what they get.

    Nothing is hidden: to give it away, make a ticket, and export that.
    """
    check_part(since, until)
    folder = format_ in _FOLDERS
    if tables and not folder:
        raise UsageError("cannot use --table", "only parquet and csv have tables", "--to parquet")
    if output == "-" and folder:
        raise UsageError(f"cannot write {format_} to stdout", "it is several files", "-o FOLDER")
    from tracer.memory import keep_no_arrays

    keep_no_arrays()
    with progress_line() as on_progress, contextlib.ExitStack() as stack:
        # First of all, so that nothing is worked out that has no place to go to.
        if folder:
            names = {f"{name}.{format_}" for name in _TABLES}
            create = stack.enter_context(new_folder(output, force=force, names=names))
        else:
            file = stack.enter_context(_opened(output, force))
        if container is not None or since is not None or until is not None:
            from analysis.export.narrow import narrow

            part = os.path.join(stack.enter_context(scratch_folder("rtrace-export-")), "x.rtrace")
            narrow(capture, part, container, since, until, _share(on_progress, 0.0, 0.4))
            capture, on_progress = part, _share(on_progress, 0.4, 1.0)
        if folder:
            _write_folder(capture, create, format_, tables or _TABLES, on_progress)
        else:
            write = _write_lines if format_ == "jsonl" else _write_trace
            write(capture, file, on_progress)


def _write_lines(capture: str, file: BinaryIO, on_progress: Tell) -> None:
    from analysis.export.describe import describe
    from analysis.export.json_lines import json_lines

    with _looked_over(capture, on_progress) as (reader, overview):
        advance = _phase(on_progress, "writing events", 0.1, 1.0)
        for piece in json_lines(reader, overview, describe(overview), advance):
            file.write(piece)


def _write_trace(capture: str, file: BinaryIO, on_progress: Tell) -> None:
    from analysis.export.describe import describe
    from analysis.export.perfetto import write_perfetto
    from analysis.model import open_capture

    opened = open_capture(capture, _share(on_progress, 0.0, 0.5))
    write_perfetto(file, opened, describe(opened.table), _share(on_progress, 0.5, 1.0))


def _write_folder(
    capture: str,
    create: Callable[[str], BinaryIO],
    format_: str,
    tables: tuple[str, ...],
    on_progress: Tell,
) -> None:
    from analysis.export.describe import describe
    from analysis.export.folder import CAPTURE, Folder

    wanted = [name for name in _FRAMES if name in tables]
    with _looked_over(capture, on_progress) as (reader, overview):
        made = Folder(create, format_, describe(overview))
        middle = 0.5 if wanted else 1.0
        made.write_events(
            reader, overview, tables, _phase(on_progress, "writing events", 0.1, middle)
        )
        if CAPTURE in tables:
            made.write_about()
        if not wanted:
            return
        from rtrace import open_capture
        from rtrace.capture import documentation

        opened = open_capture(capture, _share(on_progress, middle, 1.0))
        for name in wanted:
            made.write_frame(name, getattr(opened, name), documentation(name), overview)


@contextlib.contextmanager
def _looked_over(capture: str, on_progress: Tell) -> Iterator[tuple[CaptureReader, Overview]]:
    from analysis.export.overview import look_over
    from tracer.capture_reader import CaptureReader

    with CaptureReader(capture) as reader:
        yield reader, look_over(reader, _phase(on_progress, "reading", 0.0, 0.1))


@contextlib.contextmanager
def _opened(output: str, force: bool) -> Iterator[BinaryIO]:
    if output != "-":
        with new_file(output, force=force) as file:
            yield file
        return
    yield sys.stdout.buffer
    sys.stdout.buffer.flush()


def _share(tell: Tell, begin: float, end: float) -> Tell:
    """Tells of a part of the work as of that share of all."""
    if tell is None:
        return None
    return lambda what, share: tell(what, begin + (end - begin) * share)


def _phase(tell: Tell, what: str, begin: float, end: float) -> Callable[[float], None] | None:
    """Likewise, of a part that has one name."""
    if tell is None:
        return None
    return lambda share: tell(what, begin + (end - begin) * share)
