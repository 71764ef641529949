"""`rtrace report`."""

from __future__ import annotations

import json

import click

from tracer.cli.output import text_shape, write_output
from tracer.cli.progress import progress_line
from tracer.units import duration_option


@click.command()
@click.argument("capture")
@click.option(
    "--format",
    "format_",
    type=click.Choice(["text", "json", "html"]),
    default="text",
    show_default=True,
)
@click.option("-o", "--output", metavar="PATH", help="Write there and not to stdout.")
@click.option("--force", is_flag=True, help="Replace PATH if it exists.")
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
@click.option("--container", metavar="X", help="Only this container: name, id or start of an id.")
@click.option(
    "--since",
    metavar="TIME",
    callback=duration_option,
    help="From so long after the start: 10s, 1.5m.",
)
@click.option(
    "--until", metavar="TIME", callback=duration_option, help="Up to so long after the start."
)
def report(
    capture: str,
    format_: str,
    output: str | None,
    force: bool,
    unfold: bool,
    full: bool,
    times: str,
    container: str | None,
    since: float | None,
    until: float | None,
) -> None:
    """Tell what happened in a capture.

    \b
    rtrace report incident.rtrace
    rtrace report incident.rtrace --container web --format json
    """
    if since is not None and until is not None and until < since:
        raise click.UsageError("--until is before --since")
    from analysis.model import open_capture
    from analysis.render_text import render_text
    from analysis.report import build_report

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
        if format_ == "json":
            text = json.dumps(built, indent=1, ensure_ascii=True) + "\n"
        elif format_ == "html":
            from analysis.html.report_page import render_report_page
            from analysis.html.stories import choose_targets
            from analysis.why.answer import build_why

            text = render_report_page(
                built, [build_why(opened, id_) for id_ in choose_targets(built)]
            )
        else:
            width, color = text_shape(to_file=output is not None)
            text = render_text(
                built, width=width, color=color, full=full, unfold=unfold, times=times
            )
    write_output(text, output, force)


def _boot_ns(start_ns: int, offset_s: float | None) -> int | None:
    return None if offset_s is None else start_ns + int(offset_s * 1e9)
