"""Secrets in every spelling, found anywhere in a text: escaped, in base64, in hexadecimal."""

from __future__ import annotations

import base64
import bisect
import json
import re
from collections.abc import Container, Iterator
from urllib.parse import quote, quote_plus

SHORTEST = 4  # a secret of fewer characters is replaced where it is known to be one, only there
GRAM = 6  # a spelling of this many characters is found inside of words too
_ROOM = 192 << 20  # bytes, for all spellings: those of 100,000 passwords
_OF_ONE = 230  # bytes that a spelling takes besides its characters: as measured
_WINDOWS = tuple(slice(at, at + GRAM) for at in range(4096))
_CUT = 4  # so many first characters of a secret at the end of what was cut are that secret
_LONGEST = 16 << 10
_ALIKE = 100  # spellings of one beginning that are looked at where a text was cut


class Spellings:
    """What secrets look like, and which secret each is."""

    def __init__(self) -> None:
        self._secrets: dict[str, str] = {}
        # Lengths of spellings by their beginning: thousands of tokens may begin alike.
        self._lengths: dict[str, int | set[int]] = {}
        self._sorted: list[str] = []
        self._room = _ROOM

    def add(self, secret: str) -> list[str] | None:
        """Remembers a secret. Gives those spellings that are too short to be found inside of
        words; None if there is no room for it any more."""
        forms = spellings(secret)
        room = sum(map(len, forms)) + _OF_ONE * len(forms)
        if room > self._room:
            return None
        self._room -= room
        for form in forms:
            self._secrets.setdefault(form, secret)
            if len(form) < GRAM:
                continue
            known = self._lengths.setdefault(form[:GRAM], len(form))
            if isinstance(known, set):
                known.add(len(form))
            elif known != len(form):
                self._lengths[form[:GRAM]] = {known, len(form)}
        return [form for form in forms if len(form) < GRAM]

    def find(self, text: str, protected: Container[str]) -> Iterator[tuple[int, int, str]]:
        """(begin, end, secret): the longest spelling at each place."""
        lengths, position = self._lengths, 0
        last = len(text) - GRAM
        if last < len(_WINDOWS) and lengths.keys().isdisjoint(
            map(text.__getitem__, _WINDOWS[: last + 1])
        ):
            return  # which is so of nearly all, and told five times as fast
        while position <= last:
            known = lengths.get(text[position : position + GRAM])
            best = None if known is None else self._longest(text, position, known, protected)
            if best is None:
                position += 1
            else:
                length, secret = best
                yield position, position + length, secret
                position += length

    def _longest(
        self, text: str, position: int, lengths: int | set[int], protected: Container[str]
    ) -> tuple[int, str] | None:
        for length in (lengths,) if isinstance(lengths, int) else sorted(lengths, reverse=True):
            form = text[position : position + length]
            secret = self._secrets.get(form)
            if secret is None or secret in protected or len(form) < length:
                continue
            if form == secret and _is_plain(form) and _within_word(text, position, form):
                continue
            return length, secret
        return None

    def find_beginning(self, text: str, protected: Container[str]) -> tuple[int, str] | None:
        """(begin, secret): the longest end of a text that a secret begins with."""
        if len(self._sorted) != len(self._secrets):
            self._sorted = sorted(self._secrets)
        for at in range(max(0, len(text) - _LONGEST), len(text) - _CUT + 1):
            tail = text[at:]
            if len(tail) >= GRAM and tail[:GRAM] not in self._lengths:
                continue
            first = bisect.bisect_left(self._sorted, tail)
            for form in self._sorted[first : first + _ALIKE]:
                if not form.startswith(tail):
                    break
                secret = self._secrets[form]
                if len(form) > len(tail) and secret not in protected and tail not in protected:
                    return at, secret
        return None


def _is_plain(secret: str) -> bool:
    """Short, and of letters and digits alone: it may be part of a harmless word by chance."""
    return len(secret) < 12 and secret.isalnum()


def _within_word(text: str, begin: int, form: str) -> bool:
    end = begin + len(form)
    return text[begin - 1 : begin].isalnum() or text[end : end + 1].isalnum()


def spellings(secret: str) -> list[str]:
    """A secret as it may be written: percent escapes, base64, hexadecimal, JSON. In order."""
    raw = secret.encode("utf-8", "surrogateescape")
    found = {secret, json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]}
    for escaped in (quote(raw, safe=""), quote(raw, safe="/"), quote_plus(raw)):
        found |= {escaped, re.sub("%..", lambda match: match[0].lower(), escaped)}
        found.add(quote(escaped, safe=""))
    if len(raw) >= 5:
        found |= {raw.hex(), raw.hex().upper()}
        for shift in range(3):
            # Inside of a longer base64 text: the characters that neighbours have no part in.
            coded = base64.b64encode(bytes(shift) + raw).decode()
            begin = (0, 2, 3)[shift]
            end = len(coded) - (0, 3, 2)[(shift + len(raw)) % 3]
            inner = coded[begin:end]
            if len(inner) >= GRAM:
                found |= {inner, inner.translate(str.maketrans("+/", "-_"))}
        whole = base64.b64encode(raw).decode()
        found |= {whole, whole.translate(str.maketrans("+/", "-_"))}
    return sorted(form for form in found if len(form) >= SHORTEST)
