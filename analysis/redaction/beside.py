"""Secrets that stand beside a name with no sign that makes them a pair: behind a space, in the next
element of a list, in a sentence, on their way into a program's input."""

from __future__ import annotations

import re
from collections.abc import Iterator

from analysis.redaction.names import is_harmless_value, is_path, is_secret_name
from analysis.redaction.shapes import is_keylike, is_password, looks_made_up, meaning
from analysis.redaction.spans import Span

# A name of a secret, and behind a space or a dash what is neither word, number nor path.
_BESIDE = re.compile(
    r"(?i)(?:key|secret|token|passw(?:or)?d|passphrase|credential|api|access|private)"
    r"(?:[ \t:=>,\"'.-]|\\n){1,5}(?P<value>[A-Za-z0-9+_=-]{12,400}+)(?![\w/.+-])"
)
_TELLING = ("key", "secret", "token", "pass", "credential", "api", "access", "private")
# `password x` as in .netrc and configurations, `the password for x is "y"` in a sentence.
_SAID = re.compile(
    r"(?i)\b(?:password|passwd|passphrase)(?:(?:[ \t]+for(?:[ \t]+[^\s]+){1,3})?[ \t]+is)?[ \t]+"
    r"(?:\"(?P<double>[^\"\n]{3,80})\"|'(?P<single>[^'\n]{3,80})'|(?P<bare>[^\s\"',;]{4,}))"
)
# Values whose name stands in quotes before a comma, or in an attribute of its own: calls of
# functions, lists in JSON, elements of XML.
_LISTED = re.compile(
    r"(?P<quote>\\?[\"'])(?:--?)?(?P<name>[A-Za-z_][\w.-]{1,60})(?P=quote)(?=\s{0,9}(?:,|value=)\s{0,9}"
    r"(?P=quote)(?P<value>[^\"'\\]{3,200})(?P=quote))"
)
_CALL = re.compile(
    r"(?i)credential\w*\(\s*[\"'][^\"'\n]{1,80}[\"']\s*,\s*[\"'](?P<value>[^\"'\n]{3,80})[\"']"
)
# What a shell gives to a program that reads a password from its input.
_READER = r"(?:--?password-stdin|--passphrase-fd|--stdin\b|chpasswd|sudo[ \t]+-S|\bpasswd)"
_PIPED = re.compile(
    r"\b(?:echo|printf)(?:[ \t]+-[neE]+)?(?:[ \t]+[\"']?%s(?:\\n)?[\"']?)?[ \t]+(?P<quote>[\"']?)"
    r"(?P<value>[^|\"'\n]{1,199}[^|\"'\s])(?P=quote)[ \t]*\|[^|\n]{0,200}?" + _READER
)
_HERE = re.compile(
    _READER
    + r"[^|;\n<]{0,200}<<<[ \t]*(?P<quote>[\"']?)(?P<value>[^\"'\n]{2,200}?)(?P=quote)(?:[\s;|]|\Z)"
)


def find_told(text: str, lower: str) -> Iterator[Span]:
    """Values that stand beside a secret's name without a sign that makes them a pair.

    Args:
        lower: the text in lower case.
    """
    if "<<<" in text or "|" in text:
        for pattern in (_PIPED, _HERE):
            for match in pattern.finditer(text):
                begin, end = match.span("value")
                begin += max(text[begin:end].find(":") + 1, 0) if "chpasswd" in lower else 0
                if not is_harmless_value(text[begin:end]):
                    yield Span(begin, end, "credential", meaning(text[begin:end]))
    if "credential" in lower:
        for match in _CALL.finditer(text):
            yield Span(*match.span("value"), "credential", meaning(match["value"]))
    if not any(map(lower.__contains__, _TELLING)):
        return
    for match in _LISTED.finditer(text):
        name, value = match["name"], match["value"]
        told = is_secret_name(name) and not is_harmless_value(value) and not is_path(value)
        if told and (looks_made_up(value) or is_password(name)):
            yield Span(*match.span("value"), "credential", meaning(value))
    for match in _SAID.finditer(text):
        value = match["double"] or match["single"] or match["bare"]
        quoted = match["bare"] is None
        if not is_harmless_value(value) and (
            quoted or (looks_made_up(value) and not is_path(value))
        ):
            end = match.end() - quoted
            yield Span(end - len(value), end, "credential", meaning(value))
    for match in _BESIDE.finditer(text):
        value, begin = match["value"], match.start("value")
        name, dash, rest = value.rpartition("-")
        if dash and is_secret_name(name) and len(rest) >= 12:
            value, begin = rest, begin + len(name) + 1
        if is_keylike(value):
            yield Span(begin, begin + len(value), "credential", meaning(value))
