"""`rtrace report --format html`."""

from __future__ import annotations

from typing import Any

from analysis.html import assemble
from analysis.html.picture import build_picture
from analysis.html.stories import build_story
from analysis.html.talk import build_talk
from analysis.render_behaviours import SHAPES
from analysis.render_control_path import PROTOCOL_NAMES, end_name, link_text
from analysis.render_text import ref_text
from analysis.text_layout import count, seconds, span
from analysis.text_safety import command_line

Json = dict[str, Any]

# Rows of tables that the page holds ready; a storm beyond that is counted.
_STEPS = 1500
_REPARENTS = 400
_FINDINGS = 200
_TALKS = 300
_OCCURRENCES = 10  # of one behaviour


def render_report_page(report: Json, whys: list[Json]) -> str:
    """The page, HTML.

    Args:
        report: what `build_report` gave.
        whys: answers of `build_why` to what `analysis.html.stories.choose_targets` named.
    """
    stories = [build_story(report, why) for why in whys]
    talk = build_talk(report)
    scripts = [assemble.chart_library(), assemble.report_script()]
    style = assemble.page_style()
    boot_ns = report["capture"]["started"]["boot_ns"]
    args = {p["id"]: p["args"] for p in report["processes"]}
    reparents = [r for r in report["reparents"] if r["reason"] != "thread"]
    return assemble.render_template(
        "report.html.j2",
        report=report,
        capture=report["capture"],
        losses=report["losses"],
        stories=stories,
        story_for=lambda finding: _story_for(finding, stories),
        findings=report["findings"][:_FINDINGS],
        steps=_steps_by_container(report),
        reparents=reparents[:_REPARENTS],
        behaviours=[b for b in report["behaviours"] if b["observed"]],
        not_observed=[b["id"] for b in report["behaviours"] if not b["observed"]],
        shapes=SHAPES,
        counts={
            "findings": len(report["findings"]),
            "steps": len(_told(report)),
            "reparents": len(reparents),
        },
        limits={
            "steps": _STEPS,
            "reparents": _REPARENTS,
            "findings": _FINDINGS,
            "talks": _TALKS,
            "occurrences": _OCCURRENCES,
        },
        talks=_talks(report),
        link_text=lambda link: link_text(link, boot_ns),
        end_name=end_name,
        protocols=PROTOCOL_NAMES,
        since=lambda ts_ns: seconds(ts_ns - boot_ns, sign=True),
        rel=lambda ts_ns: ts_ns - boot_ns,
        span=span,
        count=count,
        ref=ref_text,
        command=lambda ref: command_line(args.get(ref["id"]) or ()),
        scripts=scripts,
        style=style,
        policy=assemble.policy(scripts, style),
        data=assemble.embed_json(build_picture(report, stories, talk)),
        talk=talk,
    )


def _story_for(finding: Json, stories: list[Json]) -> int | None:
    """The first story that is about somebody whom a finding is about."""
    numbers = (n for n, story in enumerate(stories) if story["id"] in finding["processes"])
    return next(numbers, None)


def _steps_by_container(report: Json) -> dict[str | None, list[Json]]:
    """The timeline of each container, and under None that of the host; the first steps of all."""
    found: dict[str | None, list[Json]] = {}
    for step in _told(report)[:_STEPS]:
        found.setdefault(step["container"], []).append(step)
    return found


def _told(report: Json) -> list[Json]:
    """Steps of the timeline; what comes again and again as the fold that sums it up."""
    return [step for step in report["timeline"] if step["fold"] is None or step["kind"] == "fold"]


def _talks(report: Json) -> list[Json]:
    """Connections that carry requests: those that were there at the end first."""
    found = [c for c in report["control_path"]["connections"] if c["protocol"] != "other"]
    return sorted(found, key=lambda c: not c["at_end"])
