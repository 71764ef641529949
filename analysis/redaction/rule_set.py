"""Tokens that are known by their form: the rule set of gitleaks.

``gitleaks.toml`` is the file of that project, as it is (licence: gitleaks.LICENSE, MIT), version
8.30. Left out are rules that need a file's path, and those that look for a name beside the
secret, which `analysis.redaction.arguments` knows better on a command line. So are allow lists
and bounds of entropy, which tell examples of documents from real ones: an example that is
redacted does no harm.
"""

from __future__ import annotations

import functools
import math
import re
import tomllib
from collections import Counter
from importlib import resources
from typing import Any

from analysis.redaction.spans import Span
from analysis.redaction.vocabulary import any_of

_LEFT_OUT = frozenset(
    ("generic-api-key", "curl-auth-user", "curl-auth-header", "kubernetes-secret-yaml")
)
_SHORTEST = 12  # no rule's token is shorter
# What may stand before a keyword. A search finds the same keyword and the same token without it,
# and does not try fifty beginnings for each.
_LEAD = re.compile(r"\A(\(\?i[:)])?\[\\w\.-\]\{0,50\}\?")
# Go's (?i) holds to the end of its group, Python's only for a whole expression or (?i:...).
_FLAG = re.compile(r"\(\?([ims]+)\)")
_POSIX = {"[:alnum:]": "a-zA-Z0-9", "[:alpha:]": "a-zA-Z", "[:digit:]": "0-9"}
# Keywords that end so are the beginnings of tokens: what is cut behind one is a token too.
_BEGINNING = re.compile(r"[a-z0-9]{2,}[-_]")


class Rule:
    """One form of a token; compiled when its keyword is first met."""

    def __init__(self, entry: dict[str, Any]) -> None:
        self.id: str = entry["id"]
        self.keywords: tuple[str, ...] = tuple(entry["keywords"])
        self.expression: str = entry["regex"]
        self._group: int = entry.get("secretGroup", 0)

    @functools.cached_property
    def pattern(self) -> re.Pattern[str]:
        return re.compile(without_lead(to_python(self.expression)))

    def find(self, text: str) -> list[Span]:
        """Where tokens of this form are in a text."""
        found = []
        for match in self.pattern.finditer(text):
            group = self._group
            if not group:  # gitleaks: the first group that took part, else all of it
                group = next((i for i, part in enumerate(match.groups(), 1) if part), 0)
            begin, end = match.span(group)
            if begin < end:
                found.append(Span(begin, end, "token"))
        return found


@functools.cache
def _rules() -> tuple[tuple[str, list[Rule]], ...]:
    """Rules by keyword."""
    text = resources.files("analysis.redaction").joinpath("gitleaks.toml").read_text("utf-8")
    by_keyword: dict[str, list[Rule]] = {}
    for entry in tomllib.loads(text)["rules"]:
        if "regex" not in entry or "path" in entry or entry["id"] in _LEFT_OUT:
            continue
        rule = Rule(entry)
        for keyword in rule.keywords:
            by_keyword.setdefault(keyword.lower(), []).append(rule)
    return tuple(by_keyword.items())


@functools.cache
def _keywords() -> tuple[re.Pattern[str], dict[str, list[tuple[str, list[Rule]]]]]:
    """What finds where keywords begin: each by the shortest that begins it. With that, those."""
    by_keyword = dict(_rules())
    pattern = re.compile(any_of(by_keyword))
    found: dict[str, list[tuple[str, list[Rule]]]] = {}
    for keyword, rules in by_keyword.items():
        first = pattern.match(keyword)
        assert first is not None
        found.setdefault(first[0], []).append((keyword, rules))
    return pattern, found


def all_rules() -> list[Rule]:
    """Each rule once."""
    return list({rule.id: rule for _, rules in _rules() for rule in rules}.values())


def rules_for(lower: str) -> dict[str, Rule]:
    """Rules whose keywords are in a text in lower case, by their ids."""
    pattern, by_shortest = _keywords()
    wanted: dict[str, Rule] = {}
    seen: set[str] = set()
    match = pattern.search(lower)
    while match is not None:
        for keyword, rules in by_shortest[match[0]]:
            if keyword not in seen and lower.startswith(keyword, match.start()):
                seen.add(keyword)
                wanted.update((rule.id, rule) for rule in rules)
        match = pattern.search(lower, match.start() + 1)
    return wanted


def find_tokens(text: str, lower: str) -> list[Span]:
    """Where tokens of known forms are in a text, which is given in lower case too."""
    if len(text) < _SHORTEST:
        return []
    return [span for rule in rules_for(lower).values() for span in rule.find(text)]


@functools.cache
def token_beginnings() -> re.Pattern[str]:
    """Beginnings by which tokens are known: ghp_, xoxb-, ..."""
    words = [keyword for keyword, _ in _rules() if _BEGINNING.fullmatch(keyword)]
    words += ["akia", "asia", "aiza", "eyj"]
    ordered = sorted(words, key=len, reverse=True)
    return re.compile(rf"(?<![a-z0-9])(?:{'|'.join(map(re.escape, ordered))})", re.IGNORECASE)


def entropy(text: str) -> float:
    """Shannon's, in bits a character."""
    size = len(text)
    return -sum(n / size * math.log2(n / size) for n in Counter(text).values()) if size else 0.0


def to_python(expression: str) -> str:
    """Go's regular expression (RE2) as Python's."""
    for name, members in _POSIX.items():
        expression = expression.replace(name, members)
    expression = expression.replace(r"\z", r"\Z")
    leading = _FLAG.match(expression)
    start = leading.end() if leading else 0
    while (match := _FLAG.search(expression, start)) is not None:
        end = _group_end(expression, match.end())
        inner = expression[match.end() : end]
        expression = f"{expression[: match.start()]}(?{match[1]}:{inner}){expression[end:]}"
        start = match.start() + 1
    return expression


def without_lead(expression: str) -> str:
    """An expression without what may stand before its keyword."""
    while (shorter := _LEAD.sub(r"\1", expression)) != expression:
        expression = shorter
    return expression


def _group_end(expression: str, start: int) -> int:
    """Where the group that encloses ``start`` is closed, or the end."""
    depth, in_class, i = 0, False, start
    while i < len(expression):
        char = expression[i]
        if char == "\\":
            i += 1
        elif in_class:
            in_class = char != "]"
        elif char == "[":
            in_class = True
            if expression[i + 1 : i + 2] == "]":
                i += 1
        elif char == "(":
            depth += 1
        elif char == ")":
            if depth == 0:
                return i
            depth -= 1
        i += 1
    return len(expression)
