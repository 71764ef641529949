"""What a capture holds, in Markdown and CSV: nothing but text."""

from __future__ import annotations

import csv
import io

import pytest

from analysis import markdown
from analysis.csv_tables import render_csv

HOSTILE = [
    "=cmd|' /C calc'!A0",
    "+1+1",
    "-2+3",
    "@SUM(A1)",
    "  =1+1",
    "\t=1+1",
    '"=1+1',
    "x;=1+1",
    "\uff1d1+1",
    "%0A=1",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_no_cell_is_a_formula(text: str) -> None:
    [_, [cell]] = list(csv.reader(io.StringIO(render_csv(["a"], [[text]]))))
    for part in cell.split(";"):
        assert part.strip()[0] not in "=+-@|%\t\uff1d"


def test_numbers_and_harmless_text_stay_what_they_are() -> None:
    text = render_csv(["a", "b", "c", "d", "e"], [[-5, 1.5, None, True, "docker run -d web"]])
    assert text == '"a","b","c","d","e"\n-5,1.5,"","true","docker run -d web"\n'


def test_a_cell_is_one_line_and_quotes_are_doubled() -> None:
    text = render_csv(["a", "b"], [{"b": 'x"\r\ny\x1b[2J\u202e', "a": "1,2"}])
    assert text == '"a","b"\n"1,2","x""\\r\\ny\\x1b[2J\\u202e"\n'


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("<script>alert(1)</script>", r"\<script\>alert(1)\</script\>"),
        ("[x](javascript:alert(1))", r"\[x\](javascript:alert(1))"),
        ("mailto:a@example.org", "mailto\\:a@\u200bexample.org"),
        ("that was so: it ended", "that was so: it ended"),
        ("a|b", r"a\|b"),
        ("# title", r"\# title"),
        ("- item", r"\- item"),
        ("1. item", r"1\. item"),
        ("`x` *y* _z_ ~w~ $v$ &lt;", r"\`x\` \*y\* \_z\_ \~w\~ \$v\$ \&lt;"),
        ("https://evil.example www.evil.example", r"https\://evil.example www\.evil.example"),
        ("@octocat fixes #1", "@\u200boctocat fixes #\u200b1"),
        ("a\nb\x1b[2J", r"a\\nb\\x1b\[2J"),
        ("it took 3.5 ms - at 10:00", "it took 3.5 ms - at 10:00"),
    ],
)
def test_nothing_is_markup(text: str, shown: str) -> None:
    assert markdown.escape(text) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("sh -c x", "`sh -c x`"),
        ("a`b``c", "```a`b``c```"),
        ("`x", "`` `x ``"),
        ("a|b", r"`a\|b`"),
        ("", "` `"),
        ("@octocat\n", r"`@octocat\n`"),
    ],
)
def test_code_is_code(text: str, shown: str) -> None:
    assert markdown.code(text) == shown


def test_a_table() -> None:
    lines = markdown.table(["a", "b"], [["x", "1"], ["y", "2"]], align="lr")
    assert lines == ["| a | b |", "| --- | ---: |", "| x | 1 |", "| y | 2 |"]
