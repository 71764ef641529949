"""Reports and answers as Markdown, read back by a CommonMark parser."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from markdown_it import MarkdownIt

from analysis.markdown_fit import LIMIT, Part, fit, parts_of
from analysis.model import open_capture
from analysis.render_markdown import render_markdown
from analysis.render_why_markdown import render_why_markdown
from analysis.report import build_report
from analysis.why.answer import build_why
from tests import incidents, lives
from tests.incidents import PAYLOADS
from tests.streams import Stream

# As in the parsers of issue trackers: tables, struck text, links without markup.
PARSER = MarkdownIt("gfm-like", {"html": True})

MARKUP = (
    "# head",
    "| a | b |",
    "[x](http://evil.example)",
    "![x](http://evil.example/x.png)",
    "http://evil.example www.evil.example a@evil.example",
    "*b* _i_ ~~s~~ `c`",
    "@octocat #1",
    "- x",
    "1. x",
    "> x",
    "---",
    "a\n\n# b",
    "\\",
)


def tokens(text: str) -> list[Any]:
    found = []
    for token in PARSER.parse(text):
        found.append(token)
        found += token.children or []
    return found


def kinds(text: str) -> set[str]:
    return {token.type for token in tokens(text)}


def headings(text: str) -> list[str]:
    parsed = PARSER.parse(text)
    return [parsed[i + 1].content for i, t in enumerate(parsed) if t.type == "heading_open"]


def report_of(stream: Stream, tmp_path: Path) -> Any:
    return build_report(open_capture(stream.write(tmp_path / "x.rtrace")))


def test_a_report_for_a_ticket(tmp_path: Path) -> None:
    text = render_markdown(report_of(incidents.recycled().stream, tmp_path))
    names = headings(text)
    assert names[0] == "rtrace report"
    assert "Findings" in names
    assert "shop" in names
    assert "**error** `container-recycled`" in text
    assert "killed by SIGKILL (9), sent by disk-cleanup" in text
    assert "Next: `rtrace why CAPTURE " in text
    assert kinds(text) >= {"table_open", "bullet_list_open"}
    assert text.endswith("\n")
    assert len(text) < LIMIT


def test_losses_and_cuts_stand_first(tmp_path: Path) -> None:
    h = lives.life()
    h.stream.lost(3)
    h.stream.loss()
    path = h.stream.write(tmp_path / "x.rtrace", complete=False)
    lines = render_markdown(build_report(open_capture(path))).splitlines()
    assert lines[2].startswith("**CUT:**")
    assert lines[4].startswith("**LOST:** 3 events")


def test_a_why_for_a_ticket(tmp_path: Path) -> None:
    opened = open_capture(incidents.recycled().stream.write(tmp_path / "x.rtrace"))
    text = render_why_markdown(build_why(opened, "shop"))
    assert headings(text)[:2] == ["rtrace why shop", "How it came to that"]
    assert "disk-cleanup" in text
    assert "table_open" in kinds(text)


def documents(payload: str, folder: Path, cgroup: str) -> tuple[str, str]:
    """Report and answer of an incident in which everything has a name."""
    h = incidents.recycled(comm=payload, name=payload, argument=payload, cgroup=cgroup)
    h.stream.fact("problem", what=payload)
    opened = open_capture(h.stream.write(folder / "x.rtrace"))
    why = build_why(opened, h.procs["init"].id)
    return render_markdown(build_report(opened)), render_why_markdown(why)


@pytest.fixture(scope="module")
def harmless(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    return documents("shop", tmp_path_factory.mktemp("harmless"), "/x")


@pytest.mark.parametrize("payload", [*PAYLOADS, *MARKUP])
def test_what_a_capture_holds_is_text(
    payload: str, harmless: tuple[str, str], tmp_path: Path
) -> None:
    for calm, hostile in zip(harmless, documents(payload, tmp_path, f"/{payload}"), strict=True):
        found = kinds(hostile)
        assert not found & {"link_open", "image", "html_inline", "html_block", "s_open", "fence"}
        assert found <= kinds(calm) | {"code_inline"}
        assert len(headings(hostile)) == len(headings(calm))
        rows = [token.type for token in tokens(hostile)].count("tr_open")
        assert rows == [token.type for token in tokens(calm)].count("tr_open")


def test_a_storm_fits_into_a_comment_and_says_what_is_missing(tmp_path: Path) -> None:
    h = incidents.recycled()
    report = report_of(h.stream, tmp_path)
    step = next(s for s in report["timeline"] if s["container"])
    report["timeline"] += [step] * 5000
    report["findings"] *= 500
    report["reparents"] = [r for r in report["reparents"] if r["reason"] != "thread"] * 2000
    text = render_markdown(report)
    assert LIMIT * 0.9 < len(text) <= LIMIT
    for noun in ("findings", "steps", "reparents"):
        assert f"more {noun}: `rtrace report" in text
    assert "Findings" in headings(text)


def test_so_many_containers_that_not_all_can_be_named(tmp_path: Path) -> None:
    report = report_of(incidents.recycled().stream, tmp_path)
    [container] = report["containers"]
    [own] = [[s for s in report["timeline"] if s["container"] == container["id"]]]
    for number in range(1000):
        id_ = f"{number:064x}"
        report["containers"].append({**container, "id": id_, "name": "<b>" * 500})
        report["timeline"] += [{**step, "container": id_} for step in own[:1]]
    text = render_markdown(report)
    assert len(text) <= LIMIT
    assert "Left out, as a comment has no room for it" in text
    assert "Reparented processes" in text


def test_small_parts_keep_all_their_rows() -> None:
    small = Part(["# small"], ["row"] * 10, "row")
    large = Part(["# large"], ["x" * 99] * 10_000, "row", "`all`")
    text = fit([small, large], 10_000)
    assert text.count("row\n") == 10
    kept = text.count("x" * 99)
    assert 80 < kept < 100
    assert f"*{10_000 - kept:,} more rows: `all`*" in text


def test_a_document_with_tables_stays_as_it_is_or_loses_rows_alone() -> None:
    lines = ["# a", "", "| x |", "| --- |", "| 1 |", "| 2 |", "", "text", "", "| y |", "| ---: |"]
    lines += ["| 3 |"] * 100 + ["", "- end"]
    assert fit(parts_of(lines, "`all`")) == "\n".join(lines) + "\n"
    cut = fit(parts_of(lines, "`all`"), 500)
    assert "| 1 |\n| 2 |\n\ntext" in cut
    assert "more rows: `all`*" in cut
    assert cut.endswith("- end\n")
    assert len(cut) <= 500
