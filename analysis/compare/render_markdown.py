"""The comparison as Markdown, for a ticket. Whatever a capture holds is nothing but text in it."""

from __future__ import annotations

from analysis.compare import words
from analysis.markdown import code, escape, table
from analysis.markdown_fit import fit, parts_of
from analysis.references import Json

_MARKS = {"holds": "holds", "contradicted": "**contradicted**", "not-observed": "not judged"}


def render_comparison_markdown(document: Json) -> str:
    """Comparison as Markdown, ended by a newline, at most 65,536 characters."""
    lines = ["# Comparison of captures", "", f"{escape(words.head(document))}.", ""]
    for skipped in document["skipped"]:
        lines += [f"Not read: {escape(skipped['error'])}", ""]
    for part in (groups, matrix, changes, outcomes, latencies, places):
        lines += part(document)
    return fit(parts_of(lines, "`rtrace compare --format json`"))


def groups(document: Json) -> list[str]:
    """Table of the groups and what they ran on."""
    rows = []
    for group in document["groups"]:
        base = " (baseline)" if group["id"] == document["baseline"] else ""
        rows.append(
            [
                f"{group['id']}{base}",
                escape(group["name"]),
                str(len(group["captures"])),
                escape(words.environment_words(group["environment"])),
            ]
        )
    return [
        "## Groups",
        "",
        *table(["group", "engine", "captures", "environment"], rows, "llr"),
        "",
    ]


def matrix(document: Json) -> list[str]:
    """Table of verdicts, a column a group."""
    heads = ["behaviour", *(group["id"] for group in document["groups"])]
    rows = [
        [f"{row['id']}: {escape(row['question'])}", *(_cell(cell) for cell in row["groups"])]
        for row in document["behaviours"]
    ]
    note = "Verdicts on what was published on docker 18 and 19, for the shape of each group. "
    note += r"\*: differs from the baseline. ?: not certain. -: did not happen."
    return ["## Behaviours", "", *table(heads, rows), "", note, ""]


def _cell(cell: Json) -> str:
    word = words.verdict_word(cell)
    if not cell["observed"]:
        return word
    return _MARKS[cell["verdict"]] + word.removeprefix(cell["verdict"]).replace("*", r"\*")


def changes(document: Json) -> list[str]:
    """List of what differs from the baseline."""
    if len(document["groups"]) == 1:
        return []
    lines = [f"- {escape(text)}" for text in document["changed"]]
    return ["## Different from the baseline", "", *(lines or ["Nothing."]), ""]


def outcomes(document: Json) -> list[str]:
    """What became of shims and containers, with the first time as an example."""
    paths = {capture["number"]: capture["path"] for capture in document["captures"]}
    lines = ["## Outcomes", ""]
    for row in document["behaviours"]:
        rows = [
            [
                cell["group"],
                _MARKS[outcome["verdict"]],
                escape(words.outcome_words(outcome)),
                str(outcome["count"]),
                f"{escape(outcome['what'])}: {escape(outcome['why'])} "
                f"({code(paths[outcome['capture']])})",
            ]
            for cell in row["groups"]
            for outcome in cell["outcomes"]
        ]
        if rows:
            heads = ["group", "verdict", "outcome", "times", "for example"]
            lines += [f"### {row['id']}", "", *table(heads, rows, "lllr"), ""]
    return lines


def latencies(document: Json) -> list[str]:
    """Tables of latencies, with ratios to the baseline."""
    lines = ["## Latencies", "", "Ratios to the baseline, with their 95 % intervals.", ""]
    rows = [
        [f"{row['id']}: {escape(row['what'])}", cell["group"], *words.latency_words(cell)]
        for row in document["latencies"]
        for cell in row["groups"]
        if cell["n"]
    ]
    if not rows:
        return []
    heads = ["latency", "group", "n", "median", "p90", "max", "ratio"]
    return [*lines, *table(heads, rows, "llrrrr"), ""]


def places(document: Json) -> list[str]:
    """Tables of the process trees: who is whose child, who adopts whom."""
    lines = ["## Process trees", ""]
    heads = ["process", *(group["id"] for group in document["groups"])]
    align = "l" + "r" * len(document["groups"])
    for name, tell in (("places", words.place_words), ("adoptions", words.adoption_words)):
        rows = [
            [escape(tell(row)), *(str(cell["count"] or "-") for cell in row["groups"])]
            for row in document["tree"][name]
        ]
        lines += [*table(heads, rows, align), ""]
    return lines
