"""What makes redaction fast changes nothing of what it finds."""

from __future__ import annotations

import random
import re
import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.redaction import scrubber, spellings
from analysis.redaction.arguments import split_commands
from analysis.redaction.rule_set import all_rules, rules_for, to_python, without_lead
from analysis.redaction.vocabulary import any_of

SHELL = st.text(alphabet="ab=1 \t\n\"'\\|&;()<>#$-é\x0b\xa0", max_size=20)


def commands_by_shlex(text: str) -> list[list[str]]:
    lexer = shlex.shlex(text, posix=True, punctuation_chars="|&;()<>")
    lexer.whitespace_split, lexer.commenters = True, ""
    try:
        words = list(lexer)
    except ValueError:
        words = text.split()
    commands: list[list[str]] = [[]]
    for word in words:
        if word in ("|", "||", "&", "&&", ";", "(", ")", "<", ">", ">>", ";;"):
            commands.append([])
        else:
            commands[-1].append(word)
    return [c for c in commands if len(c) > 1 or (c and "=" in c[0])]


@given(SHELL)
def test_words_of_a_shell_are_those_of_shlex(text: str) -> None:
    assert split_commands(text) == commands_by_shlex(text)


@given(st.lists(st.text(alphabet="abc-", min_size=1, max_size=4), min_size=1), st.text("abc-."))
def test_where_any_of_many_words_begins(words: list[str], text: str) -> None:
    found = {match.start() for match in re.finditer(f"(?={any_of(words)})", text)}
    assert found == {at for at in range(len(text)) if any(text.startswith(w, at) for w in words)}


def test_every_rule_is_met_by_each_of_its_keywords() -> None:
    for rule in all_rules():
        for keyword in rule.keywords:
            assert rules_for(f"x {keyword.lower()}")[rule.id] is rule


def test_rules_find_the_same_without_what_may_stand_before_a_keyword() -> None:
    """GIVEN texts in which each rule's keywords are, by chance with a value that it takes."""
    rng = random.Random(5)
    shortened = [r for r in all_rules() if "{0,50}" in r.expression]
    assert len(shortened) > 90
    matched = 0
    for rule in shortened:
        assert "{0,50}" not in without_lead(to_python(rule.expression))
        whole = re.compile(to_python(rule.expression))
        values = ["a1" * size for size in (4, 8, 10, 12, 16, 20, 32)] + ["x" * 9, "1" * 12]
        for _ in range(40):
            parts = [
                rng.choice(("", "my.", "old-", " "))
                + rng.choice(rule.keywords)
                + rng.choice(("", "_key", ".id", " "))
                + rng.choice(("=", ": ", " = '", "-"))
                + rng.choice(values)
                + rng.choice(("", " ", "'", ";", "\n"))
                for _ in range(3)
            ]
            text = "".join(parts)
            spans = [(span.begin, span.end) for span in rule.find(text)]
            groups = ([m.span(i) for i in range(1, whole.groups + 1)] for m in whole.finditer(text))
            assert spans == [next(g for g in found if g[0] < g[1]) for found in groups]
            matched += len(spans)
    assert matched > 300


def test_what_would_take_too_long_is_hidden_whole_and_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """GIVEN texts made to keep all rules busy, THEN those beyond a bound are not let through, but
    are hidden whole; the same ones each time."""
    monkeypatch.setattr(scrubber, "_EFFORT", 3_000_000)
    keywords = [rule.keywords[0] for rule in all_rules()]
    lines = [("app", f"{number} ip {' '.join(keywords)}") for number in range(10)]
    made = scrubber.Scrubber()
    for line in lines:
        made.observe_arguments(line)
    made.begin()
    for _ in range(2):
        done = [made.scrub_arguments(line)[1] for line in lines]
        whole = [text.startswith("secret-") and len(text) == 13 for text in done]
        assert whole[0] is False
        assert whole[-1] is True
        assert whole == sorted(whole)
    assert made.vault.replaced["unexamined"] == 2 * sum(whole)
    assert made.scrub_text(lines[-1][1]) == done[-1]
    assert made.scrub_arguments(("app", "short")) == ("app", "short")


def test_secrets_for_which_there_is_no_room_are_hidden_where_they_are_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(spellings, "_ROOM", 20_000)
    made = scrubber.Scrubber()
    lines = [("app", "--password", f"Kq{number}-vz_{number * 7919}w") for number in range(200)]
    for line in lines:
        made.observe_arguments(line)
    made.begin()
    assert 100 < made.vault.forgotten < 200
    assert all(made.scrub_arguments(line)[2].startswith("secret-") for line in lines)
    assert lines[0][2] not in made.scrub_text(f"/srv/{lines[0][2]}/x")
