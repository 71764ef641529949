"""`rtrace report`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from tracer.cli.completers import complete_capture
from tracer.cli.documented import Command
from tracer.cli.output import check_table, output_options, text_shape, write_output
from tracer.cli.part import check_part, part_options
from tracer.cli.progress import progress_line

if TYPE_CHECKING:
    from analysis.model import Capture


_TABLES = (
    "timeline",
    "findings",
    "containers",
    "behaviours",
    *("connections", "reparents", "processes", "parents", "losses"),
)


@click.command(
    cls=Command,
    examples=[
        ("rtrace report incident.rtrace", "what is wrong, and what happened"),
        ("rtrace report incident.rtrace --container web", "of one container"),
        ("rtrace report incident.rtrace --since 10s --until 20s", "of ten seconds"),
        (
            "rtrace report incident.rtrace --format html -o incident.html",
            "a page with a picture, for a browser or a ticket",
        ),
        (
            "rtrace report incident.rtrace --format csv --table processes",
            "a table for a spreadsheet",
        ),
        ("rtrace report incident.rtrace --format json | jq .findings", "data for scripts"),
    ],
)
@click.argument("capture", shell_complete=complete_capture)
@click.option(
    "--format",
    "format_",
    type=click.Choice(["text", "json", "html", "markdown", "csv"]),
    default="text",
    show_default=True,
    help="How to tell it.",
)
@click.option(
    "--table", type=click.Choice(_TABLES), help="Which table as CSV: timeline if not told."
)
@output_options
@click.option("--unfold", is_flag=True, help="Tell each health check and poll, not their number.")
@click.option(
    "--all", "full", is_flag=True, help="Leave out nothing: every step, reparent and process."
)
@click.option(
    "--times",
    type=click.Choice(["auto", "relative", "utc", "both"]),
    default="auto",
    show_default=True,
    help="Seconds since the start, wall clock, or both where there is room.",
)
@part_options(
    since="From so long after the start: 10s, 1.5m.",
    until="Up to so long after the start.",
)
def report(
    capture: str,
    format_: str,
    table: str | None,
    output: str | None,
    force: bool,
    unfold: bool,
    full: bool,
    times: str,
    container: str | None,
    since: float | None,
    until: float | None,
) -> None:
    """Tell what happened in a capture."""
    check_part(since, until)
    check_table(table, format_)
    from analysis.model import open_capture
    from analysis.report import build_report
    from tracer.memory import keep_no_arrays

    keep_no_arrays()
    with progress_line() as on_progress:
        opened = open_capture(capture, on_progress)
        start_ns = opened.table.started_ns
        built = build_report(
            opened,
            container=container,
            since_ns=_boot_ns(start_ns, since),
            until_ns=_boot_ns(start_ns, until),
            every_process=format_ != "text",
            full=full,
        )
        if format_ == "text":
            from analysis.render_text import render_text

            width, color = text_shape(to_file=output is not None)
            text = render_text(
                built, width=width, color=color, full=full, unfold=unfold, times=times
            )
        else:
            text = _render(opened, built, format_, table or _TABLES[0])
    write_output(text, output, force)


def _render(opened: Capture, built: dict[str, Any], format_: str, table: str) -> str:
    """A report in one of the formats that are not for terminals."""
    if format_ == "html":
        from analysis.html.report_page import render_report_page
        from analysis.html.stories import choose_targets
        from analysis.why.answer import build_why

        return render_report_page(built, [build_why(opened, id_) for id_ in choose_targets(built)])
    if format_ == "markdown":
        from analysis.render_markdown import render_markdown

        return render_markdown(built)
    if format_ == "csv":
        from analysis.report_tables import render_report_csv

        return render_report_csv(built, table)
    return json.dumps(built, indent=1, ensure_ascii=True) + "\n"


def _boot_ns(start_ns: int, offset_s: float | None) -> int | None:
    return None if offset_s is None else start_ns + int(offset_s * 1e9)
