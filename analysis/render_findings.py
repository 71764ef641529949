"""Findings in the text report: the gravest first, each with its evidence and what comes next."""

from __future__ import annotations

from collections import Counter
from typing import Any

from analysis.text_layout import count
from analysis.text_page import BOLD, GREEN, INDENT, RED, YELLOW, Page
from tracer.text import printable

Json = dict[str, Any]

LISTED = 30
_CITED = 3
_COLORS = {"error": (BOLD, RED), "warning": (YELLOW,), "info": ()}
_ROOM = len("warning  ")


def render_findings(page: Page, report: Json, full: bool) -> None:
    """Puts them on the page, or one line that there are none.

    Args:
        full: list all, however many there are.
    """
    findings = report["findings"]
    if not findings:
        if report["capture"]["snapshots"]["end"]:
            page.put("no findings", GREEN)
        else:
            page.put("no findings; no snapshot of the end tells what was left then", YELLOW)
        return
    by_severity = Counter(finding["severity"] for finding in findings)
    shown = ", ".join(
        f"{by_severity[s]} info" if s == "info" else count(by_severity[s], s)
        for s in _COLORS
        if by_severity[s]
    )
    page.title(f"FINDINGS: {shown}")
    listed = findings if full else findings[:LISTED]
    for finding in listed:
        _finding(page, finding)
    if len(listed) < len(findings):
        more = count(len(findings) - len(listed), "more finding")
        page.put(f"{more}: --all lists them", first=INDENT)


def _finding(page: Page, finding: Json) -> None:
    text = printable(finding["text"])
    if finding["certainty"] != "confirmed":
        text = f"{text} [{finding['certainty']}]"
    lead = f"{INDENT}{finding['severity']:<{_ROOM}}"
    page.put(f"{finding['kind']}: {text}", *_COLORS[finding["severity"]], first=lead)
    rest = " " * len(lead)
    if finding["evidence"]:
        cited = [
            f"{e['event']} of {e['id'].partition(':')[0]} at {page.since(e['ts_ns'])}"
            for e in finding["evidence"][:_CITED]
        ]
        more = len(finding["evidence"]) - _CITED
        cited += [f"{more} more"] * (more > 0)
        page.put(f"evidence: {', '.join(cited)}", first=rest, dim=True)
    page.put(f"next: {printable(finding['next'])}", first=rest, dim=True)
