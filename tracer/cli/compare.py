"""`rtrace compare`."""

from __future__ import annotations

import json
import sys

import click

from tracer.cli.completers import complete_capture, complete_label
from tracer.cli.documented import Command
from tracer.cli.output import check_table, output_options, text_shape, write_output
from tracer.ending import undone_by
from tracer.errors import RtraceError
from tracer.text import printable

_TABLES = ("behaviours", "latencies", "places", "adoptions", "groups", "captures")
_CHANGED = 3


@click.command(
    cls=Command,
    short_help="Tell what differs between captures of container engines.",
    examples=[
        ("rtrace compare old/ new/", "two engines, each with all captures in a folder"),
        (
            "rtrace compare before=a.rtrace after=b.rtrace --fail-on-change",
            "a test for upgrading a container runtime",
        ),
        ("rtrace compare captures/ --format csv --table latencies", "how long steps take"),
        ("rtrace compare old/ new/ --format html -o compare.html", "for a browser"),
    ],
    statuses=[("3", "with --fail-on-change: a behaviour differs from the baseline's")],
)
@click.argument(
    "captures",
    metavar="CAPTURE...",
    nargs=-1,
    required=True,
    shell_complete=complete_capture,
)
@click.option(
    "--format",
    "format_",
    type=click.Choice(["text", "json", "html", "markdown", "csv"]),
    default="text",
    show_default=True,
    help="How to tell it.",
)
@click.option(
    "--table", type=click.Choice(_TABLES), help="Which table as CSV: behaviours if not told."
)
@output_options
@click.option("--all", "full", is_flag=True, help="Fold nothing: what is the same, every example.")
@click.option(
    "--baseline",
    metavar="GROUP",
    shell_complete=complete_label,
    help="Hold others against this group: its label, number, docker version or name.",
)
@click.option(
    "--fail-on-change",
    is_flag=True,
    help="Exit with 3 when a behaviour differs from the baseline's.",
)
@click.pass_context
def compare(
    context: click.Context,
    captures: tuple[str, ...],
    format_: str,
    table: str | None,
    output: str | None,
    force: bool,
    full: bool,
    baseline: str | None,
    fail_on_change: bool,
) -> None:
    """Set captures side by side: behaviours, latencies and process trees of container engines.

    CAPTURE is a file, or a folder with all captures below it. They are grouped by docker's
    version and topology, and by LABEL where it is given as LABEL=PATH.
    """
    from analysis.compare.comparison import build_comparison
    from analysis.compare.gather import find_sources, measure_all

    check_table(table, format_)
    progress = sys.stderr.isatty()

    def show(done: int, total: int) -> None:
        if progress:
            end = "\n" if done == total else ""
            print(f"\rread {done} of {total} captures", end=end, file=sys.stderr, flush=True)

    with undone_by(_end_readers):
        measured, skipped = measure_all(find_sources(captures), show)
    for one in skipped:
        if fail_on_change or not measured:
            raise RtraceError(one.error)
        print(f"rtrace: left out: {printable(one.error)}", file=sys.stderr)
    document = build_comparison(measured, skipped, baseline)
    text = _render(document, format_, table, full, to_file=output is not None)
    write_output(text, output, force)
    if fail_on_change and document["changed"]:
        context.exit(_CHANGED)


def _end_readers() -> None:
    """The processes that read captures would wait for more of them."""
    import multiprocessing

    for child in multiprocessing.active_children():
        child.kill()


def _render(
    document: dict[str, object], format_: str, table: str | None, full: bool, *, to_file: bool
) -> str:
    if format_ == "json":
        return json.dumps(document, indent=1, ensure_ascii=True) + "\n"
    if format_ == "csv":
        from analysis.compare.tables import render_comparison_csv

        return render_comparison_csv(document, table or _TABLES[0])
    if format_ == "html":
        from analysis.html.compare_page import render_comparison_page

        return render_comparison_page(document)
    if format_ == "markdown":
        from analysis.compare.render_markdown import render_comparison_markdown

        return render_comparison_markdown(document)
    from analysis.compare.render_text import render_comparison

    width, color = text_shape(to_file=to_file)
    return render_comparison(document, width=width, color=color, full=full)
