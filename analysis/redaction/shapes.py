"""What a value looks like: made up, random, a key, a text in another encoding."""

from __future__ import annotations

import base64
import binascii
import re
from urllib.parse import unquote

from analysis.redaction.rule_set import entropy

UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
CLASSES = re.compile(r"[a-z]+|[A-Z]+|[0-9]+")
_LONG_RUN = 6
# What base64 of a text begins with: by its first six bits no control character, no middle of UTF-8.
_FIRST_OF_TEXT = frozenset("CDIJKLMNOPQRSTUVWXYZabcdefwxyz0123456789")
_URL_SAFE = str.maketrans("-_", "+/")


def looks_made_up(value: str) -> bool:
    """Neither a word nor a few: it has digits or signs in it, or capitals in the middle."""
    bare = value.strip("'\"")
    if len(bare) < 4:
        return False
    classes = bool(re.search("[0-9]", bare)) + bool(re.search("[a-z]", bare))
    classes += bool(re.search("[A-Z]", bare)) + bool(re.search(r"[^A-Za-z0-9\s.,_-]", bare))
    return classes >= 2 or len(bare) >= 20


def is_password(name: str) -> bool:
    """Names whose values nobody would take for a path."""
    return re.search(r"pass(?!w(?:or)?d[_-]?(?:file|path))|pwd", name.lower()) is not None


def is_random(text: str) -> bool:
    """Long, and letters of both cases or digits change too often for words, names or versions."""
    if len(text) < 20 or UUID.fullmatch(text):
        return False
    parts = re.split(r"[-_+=.]+", text)
    longest = max(parts, key=len)
    if re.fullmatch(r"[0-9a-fA-F]+", longest):
        return False  # see _HEX
    if len(longest) >= 16 and _changes_often(longest):
        return True
    # URL-safe base64 has signs anywhere.
    joined = "".join(parts)
    kinds = ("[0-9].*[0-9]", "[a-z]", "[A-Z]")
    return (
        len(joined) >= 24
        and len(parts) <= 5
        and all(re.search(kind, joined) for kind in kinds)
        and _changes_often(joined)
    )


def _changes_often(text: str) -> bool:
    runs = CLASSES.findall(text)
    digits = sum(run.isdigit() for run in runs)
    if len(runs) < len(text) / 3 or entropy(text) < 3.2:
        return False
    if len(text) < 28 or entropy(text) < 4:
        words = (len(run) for run in runs if not run.isdigit())
        if max(words, default=0) > _LONG_RUN:
            return False
    return digits >= 2 or (digits >= 1 and len(text) >= 20) or len(text) >= 28


def is_mixed(token: str) -> bool:
    """No path of words: between its slashes are no words."""
    runs = CLASSES.findall(token)
    return len(runs) >= len(token) / 3


def is_keylike(value: str) -> bool:
    """Long enough for a key, of digits and letters in turn: no word, date, version or path."""
    if len(value) < 11 or re.search(r"[^\w+=-]|\.[a-z]{1,5}\Z", value):
        return False
    bare = value.rstrip("=")
    if UUID.fullmatch(bare):
        return True
    letters, digits = len(re.findall("[A-Za-z]", bare)), len(re.findall("[0-9]", bare))
    if digits < 2 or letters < 2:
        return False
    words = [word for word in re.split(r"[-_]", bare) if word]
    if len(words) > 1 and all(word.isalpha() or word.isdigit() for word in words):
        return False  # web-server-01, 2026-11-26T
    if re.fullmatch(r"(?i)[a-z]+[-_]?[0-9]{1,4}", bare):
        return False  # a word and its number
    return len(bare) >= 16 or len(re.findall("[A-Za-z][0-9]|[0-9][A-Za-z]", bare)) >= 1


def decode_base64(token: str) -> str | None:
    """The text that a token is base64 of; None if it is none, or not of text."""
    if token[:1] not in _FIRST_OF_TEXT:
        return None
    bare = token.rstrip("=").translate(_URL_SAFE)
    if len(bare) % 4 == 1:
        return None
    try:
        plain = base64.b64decode(bare + "=" * (-len(bare) % 4), validate=True)
        text = plain.decode("utf-8")
    except (binascii.Error, ValueError):
        return None
    return text if text and all(c.isprintable() or c in "\r\n\t" for c in text) else None


def _decode_hex(token: str) -> str | None:
    try:
        text = bytes.fromhex(token).decode("utf-8")
    except ValueError:
        return None
    return text if text.isprintable() and " " not in token else None


def meaning(value: str) -> str:
    """What a secret is when it is not encoded: `Basic dXNlcjpwYXNz` means "pass"."""
    if "%" in value and (plain := unquote(value)) != value and plain:
        return plain
    decoded = (_decode_hex(value) or decode_base64(value)) if len(value) >= 8 else None
    if decoded is None:
        return value
    user, colon, password = decoded.partition(":")
    return password if colon and user.isprintable() and " " not in user and password else decoded
