"""`rtrace compare --format html`."""

from __future__ import annotations

from typing import Any

from analysis.compare import words
from analysis.html import assemble
from analysis.text_layout import seconds
from tracer.text import printable

Json = dict[str, Any]

_MARKS = {"holds": "✓", "contradicted": "✗", "not-observed": "?"}


def render_comparison_page(document: Json) -> str:
    """The page, HTML, made of the comparison's JSON."""
    scripts = [assemble.chart_library(), assemble.script("compare")]
    style = assemble.page_style()
    return assemble.render_template(
        "compare.html.j2",
        document=document,
        words=words,
        groups={group["id"]: group for group in document["groups"]},
        paths={capture["number"]: capture["path"] for capture in document["captures"]},
        marks=_MARKS,
        since=lambda ns: seconds(ns, sign=True),
        environment=words.environment_words,
        brief=_brief,
        observed=[row for row in document["latencies"] if any(c["n"] for c in row["groups"])],
        scripts=scripts,
        style=style,
        policy=assemble.policy(scripts, style),
        data=assemble.embed_json(_latencies(document)),
    )


def _brief(group: Json) -> str:
    """What stands over a column: label or docker's version, and the shim's."""
    name = group["label"] or (group["docker"] or "").partition("+")[0]
    return printable(" ".join(part for part in (name, group["shim"]) if part))


def _latencies(document: Json) -> list[Json]:
    """What the charts are drawn of, without latencies that nobody showed."""
    names = {
        g["id"]: f"{g['id']}: {printable(g['name']).removeprefix('docker ')}"
        for g in document["groups"]
    }
    return [
        {
            "id": row["id"],
            "groups": [
                {
                    "name": names[cell["group"]],
                    "values": cell["values_ns"],
                    "median": cell["median_ns"],
                    "baseline": cell["group"] == document["baseline"],
                }
                for cell in row["groups"]
                if cell["n"]
            ],
        }
        for row in document["latencies"]
        if any(cell["n"] for cell in row["groups"])
    ]
