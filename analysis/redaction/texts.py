"""Secrets in one text, whatever it is part of: URLs, headers, NAME=value, keys, random strings."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from urllib.parse import unquote

from analysis.redaction.beside import find_told
from analysis.redaction.names import (
    is_harmless_value,
    is_key_name,
    is_path,
    is_secret_name,
    is_weak_name,
    names_a_secret,
)
from analysis.redaction.rule_set import entropy, find_tokens, token_beginnings
from analysis.redaction.shapes import (
    decode_base64,
    is_keylike,
    is_mixed,
    is_password,
    is_random,
    looks_made_up,
    meaning,
)
from analysis.redaction.spans import Span, merged

_PEM = re.compile(
    r"-----BEGIN[ A-Z0-9]*PRIVATE KEY[ A-Z]*-----.*?(?:-----END[ A-Z0-9]*-----|\Z)", re.DOTALL
)
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{1,30}:(?://|%2[fF]%2[fF])(?P<rest>[^\s\"'<>|`]*)")
_PORT = re.compile(r"\d{1,5}\Z|\d{1,5}[/?#,]|\[|\{|\$")
_SCHEME = re.compile(r"(?i)\b(?:bearer|basic|digest|negotiate)[ \t]+(?P<value>[^\s\"',;]{6,})")
_SCHEMES = ("bearer", "basic", "digest", "negotiate")
_HEADER = re.compile(
    r"(?i)\b(?P<name>(?:proxy-)?authorization|(?:set-)?cookie|(?:[a-z]+-){0,3}(?:key|token|secret|"
    r"password|auth|signature|art-api))[ \t]*:[ \t]*"
    r"(?P<scheme>(?:bearer|basic|token|apikey|digest|key|"
    r"negotiate|aws4-hmac-sha256)[ \t]+)?(?P<value>[^\"'\r\n]{2,})"
)
_PAIR = re.compile(
    r"(?P<name>[A-Za-z_][\w.-]{0,80}(?:\[[\w.-]{1,40}\]){0,4})(?:\\?[\"'])?[ \t]{0,9}"
    r"(?P<sign>:=|=>|==?|:)[ \t]{0,9}"
)
_VALUE = re.compile(r"\\?\"(?:\\.|[^\"\\])*\\?\"?|'[^']*'?|[^\s\"',;][^\s\"',;&|]*")
_SIGNS = ",;&|"
_NEXT_PAIR = re.compile(r"[,;&|]+(?:\Z|\"|'|[\w.%\[\]-]+(?:=|:))")
# Forms that the rule set has not, or not in all variants: Docker Hub, GitLab, Artifactory; keys
# with the name of an environment or of a kind in front (sk_live_..., tskey-api-...); New Relic;
# Alibaba and AWS; Slack; product keys in groups; hashes of passwords (crypt(5)).
_MORE_TOKENS = re.compile(
    r"(?<![A-Za-z0-9])(?:dckr_(?:pat|oat)_[\w-]{20,}|gl[a-z]{2,6}-[\w-]{20,}|AKC[A-Za-z0-9]{10,}|"
    r"[a-z]{1,8}[_-](?:live|test|prod|sandbox|secret|api|auth|admin|proj|pat|key)[_-]"
    r"(?=[\w-]{0,60}\d)[A-Za-z0-9][\w-]{11,}|"
    r"(?:sk|pk|rk|ak|gsk|sgp|sbp|scp|lin|key|pat|nvapi|dnkey|tskey|CFPAT|NF)[_-]"
    r"(?=[\w-]{0,60}\d)[\w-]{20,}|(?:pub|sub|sec)-c-[0-9a-z-]{30,}|amzn\.mws\.[\w-]{30,}|"
    r"NR[A-Z]{2}-[\w-]{16,}|LTAI[A-Za-z0-9]{12,}|(?:AKIA|ASIA|A3T)[A-Z0-9]{16,}|"
    r"xox[a-z]-[\w-]{16,}|[A-Z0-9]{5}(?:-[A-Z0-9]{5}){4}(?![\w-])|"
    r"\$(?:\d[a-z]?|y|gy|P|H|S|sha1|md5|apr1|argon2[a-z]*|pbkdf2[\w-]*|scrypt)\$[\w./$=,+-]{16,})"
)
_MORE_SIGNS = re.compile(r"[-_$]|AKC|LTAI|AKIA|ASIA|A3T|amzn")
_ORACLE = re.compile(r"jdbc:oracle:[a-z]{1,8}:[^/\s:]{1,40}/(?P<value>[^@\s]+)@")
_HOOK = re.compile(r"(?i)hook")
_HOOK_PART = re.compile(r"(?<=[/@])(?=[\w-]{0,60}\d)[\w-]{16,}")
_SHORTEST_RANDOM = 20
_RANDOM = re.compile(r"[A-Za-z0-9_+=-]{20,}")
_BASE64_WHOLE = re.compile(r"(?<![A-Za-z0-9+/_-])[A-Za-z0-9+/]{32,}={0,2}(?![A-Za-z0-9+/_=-])")
_HEX = re.compile(r"(?<![A-Za-z0-9])[0-9a-fA-F]{32,}(?![A-Za-z0-9])")
_BASE64 = re.compile(r"(?<![A-Za-z0-9+/_-])[A-Za-z0-9+/_-]{12,}={0,2}")
_ESCAPED = re.compile(r"%[0-9A-Fa-f]{2}")
_SEPARATED = re.compile(r"[^\s\"'=:,;&?/@<>|(){}]+\Z")
_DEPTH = 2
# What is so short and has no sign that pairs, URLs, headers or escapes have is nothing.
_SHORT = 10
_PLAIN = re.compile(r"[\w./+-]*", re.ASCII)


@functools.lru_cache(maxsize=1 << 16)
def _find_short(text: str, cut: bool, depth: int) -> tuple[Span, ...]:
    return tuple(_find(text, cut, depth))


def find_secrets(text: str, *, cut: bool = False, depth: int = _DEPTH) -> list[Span]:
    """Where secrets are in a text, in order.

    Args:
        cut: the text goes on, but the rest was not recorded: what a secret may begin with at its
            end is one.
        depth: how often encodings are looked into.
    """
    if len(text) < 4 or (not cut and len(text) < _SHORT and _PLAIN.fullmatch(text)):
        return []
    # Most arguments are short, and come again and again.
    return list(_find_short(text, cut, depth)) if len(text) < 200 else _find(text, cut, depth)


def _find(text: str, cut: bool, depth: int) -> list[Span]:
    # Most texts have nothing of what these look for: a word that each must have tells so first.
    lower = text.lower()
    telling = names_a_secret(lower)
    spans: list[Span] = []
    if "-----BEGIN" in text:
        spans += [Span(*match.span(), "private-key") for match in _PEM.finditer(text)]
    if ":" in text:
        if "//" in text or "%2f" in lower:
            spans += _find_in_urls(text, cut)
            if "hook" in lower:
                spans += _find_hooks(text)
        if telling or "art-api" in lower:
            spans += _find_headers(text)
        if "oracle" in text:
            spans += [
                Span(*match.span("value"), "url", unquote(match["value"]))
                for match in _ORACLE.finditer(text)
            ]
    if any(map(lower.__contains__, _SCHEMES)):
        spans += _find_after_schemes(text)
    spans += find_told(text, lower)
    if telling and ("=" in text or ":" in text):
        spans += find_pairs(text)
    spans += find_tokens(text, lower)
    if _MORE_SIGNS.search(text):
        spans += [Span(*match.span(), "token") for match in _MORE_TOKENS.finditer(text)]
    if len(text) >= _SHORTEST_RANDOM:
        spans += _find_random(text)
    if depth:
        spans += _find_escaped(text, cut, depth - 1)
        spans += _find_base64(text, depth - 1)
    if cut:
        spans += find_cut_tail(text)
    return merged(spans)


def _find_in_urls(text: str, cut: bool) -> Iterator[Span]:
    for match in _URL.finditer(text):
        rest, begin = match["rest"], match.start("rest")
        authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
        at = authority.rfind("@")
        colon = rest.find(":")
        if at < 0 and colon >= 0 and not _PORT.match(rest, colon + 1):
            at = rest.rfind("@")  # a password with a slash in it
            if at < 0 and cut and match.end() == len(text):
                at = len(rest)
        if at < 0:
            continue
        if 0 <= colon < at:
            password = rest[colon + 1 : at]
            user = rest[:colon]
            if not is_harmless_value(password) or password.lower() in ("password", "token"):
                yield Span(begin + colon + 1, begin + at, "url", unquote(password))
            if password == "x-oauth-basic" or not password or is_random(user):
                yield Span(begin, begin + colon, "url", unquote(user))
        elif is_random(rest[:at]) or len(rest[:at]) >= 20:
            yield Span(begin, begin + at, "url", unquote(rest[:at]))


def _find_hooks(text: str) -> Iterator[Span]:
    """Whoever knows the address of a webhook may use it."""
    for match in _URL.finditer(text):
        if _HOOK.search(match[0]):
            for part in _HOOK_PART.finditer(text, match.start("rest"), match.end("rest")):
                yield Span(*part.span(), "url")


def _find_headers(text: str) -> Iterator[Span]:
    for match in _HEADER.finditer(text):
        value = match["value"].rstrip()
        name = match["name"].lower()
        # `key: value` and `token: value` of other texts are pairs.
        sure = "-" in name or name in ("authorization", "cookie")
        if sure and not is_harmless_value(value):
            begin = match.start("value")
            yield Span(begin, begin + len(value), "header", meaning(value))


def _find_after_schemes(text: str) -> Iterator[Span]:
    for match in _SCHEME.finditer(text):
        value = match["value"]
        if not is_harmless_value(value) and looks_made_up(value):
            yield Span(*match.span("value"), "header", meaning(value))


def find_pairs(text: str) -> Iterator[Span]:
    """Values of NAME=value, NAME: value, "name":"value" whose name is a secret's."""
    position = 0
    spaced = re.search(r"\s", text) is not None
    while (match := _PAIR.search(text, position)) is not None:
        position = match.end("sign")
        # `-Dname=...` and `password=a=b`: what follows may be a pair itself.
        named = is_secret_name(match["name"])
        if not named and not is_key_name(match["name"]):
            continue
        found = _VALUE.match(text, match.end())
        if found is None:
            continue
        value, sign = found[0], match["sign"]
        begin, end = found.span()
        position = end
        quote = re.match(r"\\?[\"']", value)
        if quote:
            begin += quote.end()
            closing = quote[0]
            if value.endswith(closing) and len(value) >= 2 * len(closing):
                end -= len(closing)
        elif sign == ":" and value.startswith("//"):
            continue
        else:
            # In a shell's text a comma or the like ends a command.
            position = end = end if spaced else _end_of_value(text, end)
        inner = text[begin:end]
        word = quote is None and sign == ":" and not looks_made_up(inner)
        if word:
            # In a sentence (`token:none`) words are no secrets; in YAML they may be.
            glued = text[match.end("sign") : begin] == ""
            if glued or is_weak_name(match["name"]):
                continue
        path = is_path(inner) and not is_password(match["name"])
        if path or is_harmless_value(inner):
            continue
        if is_weak_name(match["name"]) and not looks_made_up(inner):
            continue
        if not named and not is_keylike(inner):
            continue
        yield Span(begin, end, "credential", meaning(inner))


def _end_of_value(text: str, end: int) -> int:
    """A comma or the like within a value: what follows is no NAME=."""
    while text[end : end + 1] in tuple(_SIGNS) and not _NEXT_PAIR.match(text, end):
        end += 1
        while end < len(text) and text[end] not in _SIGNS and text[end] not in "\"'":
            end += 1
    return end


def _find_random(text: str) -> Iterator[Span]:
    for match in _RANDOM.finditer(text):
        token = match[0]
        bare = token.rpartition("=")[2] if not token.endswith("=") else token
        if re.fullmatch(r"[0-9a-fA-F]+|[0-9a-fA-F-]{36}", bare):
            continue
        if is_random(bare):
            yield Span(match.end() - len(bare), match.end(), "random", meaning(bare))
    for match in _BASE64_WHOLE.finditer(text):
        token = match[0]
        if token.startswith("/") or re.fullmatch(r"[0-9a-fA-F]+", token):
            continue
        shapes = (re.search(shape, token) for shape in ("[0-9]", "[a-z]", "[A-Z]"))
        if all(shapes) and entropy(token) >= 4.2 and is_mixed(token):
            yield Span(*match.span(), "random", meaning(token))
    for match in _HEX.finditer(text):
        before, after = text[: match.start()], text[match.end() :]
        # Digests, ids of containers and commits have the lengths 64 and 40, or are parts of paths.
        if len(match[0]) in (40, 64) or before.endswith(("/", ":", "-")) or after.startswith("/"):
            continue
        if entropy(match[0]) >= 2.5:
            yield Span(*match.span(), "random", meaning(match[0]))


def _find_escaped(text: str, cut: bool, depth: int) -> list[Span]:
    """Secrets in what percent escapes stand for."""
    if not _ESCAPED.search(text):
        return []
    plain, places = _unescape(text)
    found = []
    for span in find_secrets(plain, cut=cut, depth=depth):
        begin, end = places[span.begin], places[span.end]
        secret = span.secret or _from_bytes(plain[span.begin : span.end])
        found.append(Span(begin, end, span.kind, secret))
    return found


def _unescape(text: str) -> tuple[str, list[int]]:
    """What escapes stand for, a character a byte, and where each character was; its end last."""
    plain, places, position = [], [], 0
    while position < len(text):
        places.append(position)
        if _ESCAPED.match(text, position):
            plain.append(chr(int(text[position + 1 : position + 3], 16)))
            position += 3
        else:
            plain.append(text[position])
            position += 1
    places.append(position)
    return "".join(plain), places


def _from_bytes(text: str) -> str:
    try:
        return text.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return text


def _find_base64(text: str, depth: int) -> Iterator[Span]:
    for match in _BASE64.finditer(text):
        plain = decode_base64(match[0])
        if plain is None:
            continue
        found = find_secrets(plain, depth=depth)
        if found:
            first = found[0]
            secret = first.secret or plain[first.begin : first.end]
            yield Span(*match.span(), first.kind, secret)


def find_cut_tail(text: str) -> Iterator[Span]:
    """The last word of a text that was cut, if it may be the beginning of a secret."""
    match = _SEPARATED.search(text)
    if match is None:
        return
    tail = match[0]
    if token_beginnings().match(tail) or (
        len(tail) >= 4
        and not tail.startswith("-")
        and bool(re.search("[0-9]", tail))
        + bool(re.search("[a-z]", tail))
        + bool(re.search("[A-Z]", tail))
        + bool(re.search(r"[^\w.-]", tail))
        >= 2
    ):
        yield Span(*match.span(), "cut")
