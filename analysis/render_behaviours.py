"""Behaviours in the text report: what the engine did as its parts began and ended, in short."""

from __future__ import annotations

from typing import Any

from analysis.text_layout import count
from analysis.text_page import GREEN, INDENT, RED, YELLOW, Page
from tracer.text import printable

Json = dict[str, Any]

# Occurrences that are told one by one: that a claim holds is the rule.
_EACH = {"holds": 1, "contradicted": 3, "not-observed": 3}
_COLORS = {"holds": (GREEN,), "contradicted": (RED,), "not-observed": (YELLOW,)}
SHAPES = {
    "docker-18": "containerd is dockerd's child (the docker 18 shape)",
    "docker-19": "containerd is a service (the docker 19 shape)",
    "unknown": "whether containerd is dockerd's child is not known",
}


def render_behaviours(page: Page, report: Json, full: bool) -> None:
    """Puts those that were observed on the page; nothing if there are none.

    Args:
        full: tell every occurrence.
    """
    observed = [b for b in report["behaviours"] if b["observed"]]
    if not observed:
        return
    shapes = {b["shape"] for b in observed}
    shape = SHAPES[shapes.pop() if len(shapes) == 1 else "unknown"]
    version = observed[0]["shim_version"]
    page.title("BEHAVIOURS, against what was published on docker 18 and 19")
    page.put(f"here {shape}{f', shim {version}' if version else ''}", first=INDENT, dim=True)
    for doubt in observed[0]["doubts"]:
        page.put(printable(doubt), YELLOW, first=INDENT)
    for behaviour in observed:
        _behaviour(page, behaviour, full)
    unseen = [b["id"] for b in report["behaviours"] if not b["observed"]]
    if unseen:
        page.put(f"not observed: {', '.join(unseen)}", first=INDENT, dim=True)


def _behaviour(page: Page, behaviour: Json, full: bool) -> None:
    verdict = behaviour["verdict"]
    sure = behaviour["certainty"]
    doubt = f" [{sure}]" if sure not in (None, "confirmed") else ""
    page.put(
        f"{behaviour['id']}: {verdict}{doubt}: {behaviour['claim']}",
        *_COLORS[verdict],
        first=INDENT,
        rest=INDENT * 2,
    )
    # Those that gave the verdict come first.
    told = sorted(behaviour["occurrences"], key=lambda o: o["verdict"] != verdict)
    shown = told if full else told[: _EACH[verdict]]
    for occurrence in shown:
        lead = f"{INDENT * 2}{page.since(occurrence['ts_ns'])} "
        other = f" [{occurrence['verdict']}]" if occurrence["verdict"] != verdict else ""
        page.put(f"{occurrence['what']}: {occurrence['why']}{other}", first=lead, dim=True)
    if len(shown) < len(told):
        more = count(len(told) - len(shown), "more time")
        page.put(f"{more}: --all tells them", first=INDENT * 2, dim=True)
