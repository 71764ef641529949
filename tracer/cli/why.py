"""`rtrace why`."""

from __future__ import annotations

import json

import click

from tracer.cli.completers import complete_capture, complete_target
from tracer.cli.documented import Command
from tracer.cli.output import check_table, output_options, text_shape, write_output
from tracer.cli.progress import progress_line

_TABLES = ("chain", "lineage", "died-with", "survived")


@click.command(
    cls=Command,
    short_help="Tell why a container or a process ended.",
    examples=[
        ("rtrace why incident.rtrace web", "why the container ended"),
        ("rtrace why incident.rtrace dockerd", "why a daemon did"),
        ("rtrace why incident.rtrace 4711 --format json", "why a process did, as data"),
    ],
)
@click.argument("capture", shell_complete=complete_capture)
@click.argument("target", shell_complete=complete_target)
@click.option(
    "--format",
    "format_",
    type=click.Choice(["text", "json", "markdown", "csv"]),
    default="text",
    show_default=True,
    help="How to tell it.",
)
@click.option("--table", type=click.Choice(_TABLES), help="Which table as CSV: chain if not told.")
@output_options
@click.option("--all", "full", is_flag=True, help="List everybody who died or lived on.")
def why(
    capture: str,
    target: str,
    format_: str,
    table: str | None,
    output: str | None,
    force: bool,
    full: bool,
) -> None:
    """Tell why a container or a process ended, as a chain of causes with evidence.

    TARGET is a container's name, id or the beginning of its id; a pid of the host, or
    "tgid:start_ns" as reports give it; or a daemon's name.
    """
    check_table(table, format_)
    from analysis.model import open_capture
    from analysis.why.answer import build_why
    from tracer.memory import keep_no_arrays

    keep_no_arrays()
    with progress_line() as on_progress:
        built = build_why(open_capture(capture, on_progress), target)
    if format_ == "json":
        text = json.dumps(built, indent=1, ensure_ascii=True) + "\n"
    elif format_ == "markdown":
        from analysis.render_why_markdown import render_why_markdown

        text = render_why_markdown(built)
    elif format_ == "csv":
        from analysis.report_tables import render_why_csv

        text = render_why_csv(built, table or _TABLES[0])
    else:
        from analysis.render_why import render_why

        width, color = text_shape(to_file=output is not None)
        text = render_why(built, width=width, color=color, full=full)
    write_output(text, output, force)
