"""The answer to `rtrace why` as Markdown, for a comment of a ticket. Made of its JSON."""

from __future__ import annotations

from typing import Any

from analysis.markdown import code, table
from analysis.markdown_fit import Part, fit
from analysis.render_markdown import plain, warnings
from analysis.render_text import ref_text
from analysis.text_layout import seconds

Json = dict[str, Any]

_JSON = "`rtrace why --format json`"


def render_why_markdown(why: Json) -> str:
    """Answer as Markdown, ended by a newline, at most 65,536 characters."""
    answer = why["answer"]
    target = why["target"]
    name = target["asked"]
    head = [f"# rtrace why {plain(name)}", "", *warnings(why["capture"], why["losses"])]
    head += reason_lines(why)
    head += ["", f"Certainty: {answer['certainty']}. Host {plain(why['capture']['hostname'])}."]
    parts = [Part(head)]
    if why["chain"]:
        parts.append(chain_part(why, ["## How it came to that", ""]))
    for title, key, tell in (
        ("Who started whom, up from where the chain begins", "lineage", _ancestor),
        ("Died with it", "died_with", _person),
        ("Lived on", "survived", _person),
    ):
        people = [f"- {tell(person)}" for person in why[key]]
        if people:
            parts.append(Part([f"## {title}", ""], people, "process", _JSON))
    missing = [f"- {plain(sentence)}" for sentence in why["missing"]]
    if missing:
        parts.append(Part(["## What the capture cannot tell", ""], missing, "sentence", _JSON))
    return fit(parts)


def reason_lines(why: Json) -> list[str]:
    """The answer, and how sure it is: lines of a list."""
    answer = why["answer"]
    lines = []
    for reason in answer["reasons"] or [answer]:
        doubt = "" if reason["certainty"] == "confirmed" else f" *{reason['certainty']}*"
        lines.append(f"- {plain(reason['text'])}{doubt}")
    return lines


def chain_part(why: Json, head: list[str], *, optional: bool = False) -> Part:
    """The chain of causes as a table below some lines."""
    boot_ns = why["capture"]["started"]["boot_ns"]
    rows = [
        [
            seconds(step["ts_ns"] - boot_ns, sign=True),
            (step["utc"] or "")[11:23],
            plain(step["text"]),
            step["certainty"] or "",
        ]
        for step in why["chain"]
    ]
    lines = table(["seconds", "UTC", "what happened", "certainty"], rows, "rlll")
    return Part([*head, *lines[:2]], lines[2:], "step", _JSON, optional, "answer")


def _ancestor(person: Json) -> str:
    text = plain(ref_text(person["process"]))
    if person["unit"]:
        text += f", unit {plain(person['unit'])}"
    return f"{text}: {code(person['command'])}" if person["command"] else text


def _person(person: Json) -> str:
    return f"{plain(ref_text(person['process']))}: {plain(person['end']['text'])}"
