"""summary.md of a ticket: what a reader of the ticket sees without opening anything else."""

from __future__ import annotations

from collections.abc import Sequence

from analysis.markdown import escape
from analysis.markdown_fit import Part, fit
from analysis.references import Json
from analysis.render_markdown import plain, report_parts
from analysis.render_why_markdown import chain_part, reason_lines


def render_summary(report: Json, whys: Sequence[Json], notes: Sequence[str]) -> str:
    """Markdown, ended by a newline, at most 65,536 characters.

    Args:
        report: of the redacted capture.
        whys: answers of `build_why`, of the same.
        notes: sentences of what the ticket holds, and what it does not.
    """
    head, findings, *rest = report_parts(report)
    lines = ["## What this is", "", *(f"- {_with_code(note)}" for note in notes)]
    answers: list[Part] = []
    for why in whys:
        title = [f"## Why {plain(_name(why))} ended", "", *reason_lines(why), ""]
        if why["chain"]:
            answers.append(chain_part(why, title, optional=bool(answers)))
        else:
            answers.append(Part(title, optional=bool(answers), title="answer"))
    return fit([head, findings, *answers, *rest, Part(lines)])


def _with_code(note: str) -> str:
    """What is in backticks of our own is code."""
    parts = note.split("`")
    return "".join(f"`{part}`" if i % 2 else escape(part) for i, part in enumerate(parts))


def _name(why: Json) -> str:
    container, process = why["target"]["container"], why["target"]["process"]
    if container is None:
        return f"{process['name'] or '?'} ({process['tgid']})"
    return str(container["name"] or container["id"][:12])
