"""What is to be hidden, and what stands for it: one placeholder a secret, however it is written.

Placeholders come from a key that is made for one ticket and forgotten with it: the same secret
has the same placeholder all over a ticket, and no other ticket can be joined with it by them.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import secrets
from collections import Counter
from collections.abc import Iterator
from urllib.parse import quote, quote_plus

from analysis.redaction.spans import Span
from tracer.abi import COMM_LEN

KINDS = {
    "credential": "passwords and tokens in options and variables",
    "url": "passwords in URLs",
    "header": "credentials in headers",
    "private-key": "private keys",
    "token": "tokens of known forms",
    "random": "long random strings",
    "cut": "beginnings of what may be secrets, cut off by the recorder",
    "user": "names and numbers of users",
    "host": "names and addresses of hosts",
    "path": "paths below home folders",
    "container": "names of containers",
    "image": "names of images",
}
"""Kinds of what is replaced, in the order in which they are told."""

_STEMS = {"user": "user", "host": "host", "path": "path", "container": "name", "image": "image"}
_LETTERS = "bcdfghjkmnpqrstvwxz23456789"  # no vowels: no words, and never a hexadecimal id
_TAG = 6
_PLACEHOLDER = re.compile(rf"(?:secret|user|host|path|name|image)-[{_LETTERS}]{{{_TAG}}}")
_LIMIT = 100_000  # secrets that are remembered, to be found elsewhere too
_GRAM = 6  # a secret of this many characters is found inside of words too
_WINDOWS = tuple(slice(at, at + _GRAM) for at in range(4096))
_SHORTEST = 4  # one of fewer is replaced where it is known to be one, and nowhere else
_LONGEST = 16 << 10
_WORD = re.compile(r"[^\s/:=@,;&?\"'|()<>\[\]{}]+")
_PART = re.compile(r"[^-._]+")
_PARTS_OF_TEXT = re.compile(r"[^\s/:=@,;&?\"'|()<>\[\]{}\-._]+|[-._]{4,}")
_PARTS = 12
_PHRASE = re.compile(r"[^ =,'\"\n]+")
_SIGNS = 8
_ALIKE = 100  # secrets of one beginning that are looked for where a text was cut
_CUT = 4  # so many first characters of a secret at the end of what was cut are that secret


class Vault:
    """Secrets that were found in a capture, and their placeholders.

    Args:
        key: of the placeholders; random where it is not given.

    Attributes:
        protected: words that are no secrets even where a secret is spelled like one: what the
            analysis goes by (programs, verbs, ids of containers).
        replaced: how many places were replaced, by kind.
    """

    def __init__(self, key: bytes | None = None) -> None:
        self._key = secrets.token_bytes(32) if key is None else key
        self.protected: set[str] = set()
        self.replaced: Counter[str] = Counter()
        self._kinds: dict[str, str] = {}
        self._placeholders: dict[str, str] = {}
        self._taken: dict[str, str] = {}
        # By beginning, then by length: thousands of tokens may begin alike.
        self._grams: dict[str, dict[int, dict[str, str]]] = {}
        self._words: dict[str, str] = {}
        self._beginnings: set[str] = set()  # first parts of those words
        self._phrases: set[str] = set()
        self._prefixes: dict[str, list[str]] = {}
        self._bare: dict[str, str] = {}

    def distinct(self) -> Counter[str]:
        """How many different secrets have been replaced, by kind."""
        return Counter(self._kinds[secret] for secret in self._placeholders)

    def restart(self) -> None:
        """Counts from 0 again. Placeholders stay what they are."""
        self.replaced.clear()
        self._placeholders.clear()

    # --- what is hidden ------------------------------------------------------------------------

    def add(self, secret: str, kind: str) -> None:
        """Remembers a secret, so that it is found wherever else it is."""
        if not _SHORTEST <= len(secret) <= _LONGEST or secret in self._kinds:
            return
        if secret in self.protected or _PLACEHOLDER.fullmatch(secret):
            return
        if len(self._kinds) >= _LIMIT:
            return
        self._kinds[secret] = kind
        for form in spellings(secret):
            if len(form) < _GRAM:
                self._add_word(form, secret)
            else:
                by_length = self._grams.setdefault(form[:_GRAM], {})
                by_length.setdefault(len(form), {}).setdefault(form, secret)
            if len(alike := self._prefixes.setdefault(form[:_CUT], [])) < _ALIKE:
                alike.append(form)
            self._bare.setdefault(form, secret)

    def add_word(self, word: str, kind: str) -> None:
        """Remembers a name that is to be replaced where it stands as a word of its own.

        A container's may be of one letter, as it is looked for in whole arguments and parts of
        paths only; an image's may have slashes and colons.
        """
        if word in self.protected or word in self._kinds or len(self._kinds) >= _LIMIT:
            return
        short = len(word) < 3 and kind != "container"
        if short or _PLACEHOLDER.fullmatch(word):
            return
        self._kinds[word] = kind
        if kind == "image" or _WORD.fullmatch(word) is None:
            self._phrases.add(word)
            return
        self._add_word(word, word)
        if len(word) >= COMM_LEN:
            self._add_word(word[: COMM_LEN - 1], word)

    def _add_word(self, word: str, secret: str) -> None:
        self._words.setdefault(word, secret)
        if (first := _PARTS_OF_TEXT.search(word)) is not None:
            self._beginnings.add(first[0])

    # --- where it is ---------------------------------------------------------------------------

    def find_known(self, text: str, *, cut: bool = False) -> Iterator[Span]:
        """Where remembered secrets are in a text, in any spelling; the longest at each place.

        Args:
            cut: the text goes on: what a secret begins with at its end counts.
        """
        if self._grams:
            yield from self._find_anywhere(text)
        if self._words:
            yield from self._find_words(text)
        if self._phrases:
            yield from self._find_phrases(text)
        if cut and self._prefixes:
            yield from self._find_beginning(text)

    def _find_anywhere(self, text: str) -> Iterator[Span]:
        grams, position = self._grams, 0
        last = len(text) - _GRAM
        if last < len(_WINDOWS) and grams.keys().isdisjoint(
            map(text.__getitem__, _WINDOWS[: last + 1])
        ):
            return  # which is so of nearly all, and told five times as fast
        while position <= last:
            by_length = grams.get(text[position : position + _GRAM])
            best = None if by_length is None else self._longest(text, position, by_length)
            if best is None:
                position += 1
            else:
                form, secret = best
                yield Span(position, position + len(form), self._kinds[secret], secret)
                position += len(form)

    def _longest(
        self, text: str, position: int, by_length: dict[int, dict[str, str]]
    ) -> tuple[str, str] | None:
        for length in sorted(by_length, reverse=True):
            form = text[position : position + length]
            secret = by_length[length].get(form)
            if secret is None or secret in self.protected:
                continue
            if form == secret and _is_plain(form) and _within_word(text, position, form):
                continue
            return form, secret
        return None

    def _find_words(self, text: str) -> Iterator[Span]:
        if self._beginnings.isdisjoint(_PARTS_OF_TEXT.findall(text)):
            return
        for match in _WORD.finditer(text):
            word, begin = match[0], match.start()
            secret = self._words.get(word)
            if secret is not None and secret not in self.protected:
                yield Span(*match.span(), self._kinds[secret], secret)
            elif not word.startswith("-"):  # alice in alice-backup.service; -ualice is an option
                yield from self._find_parts(word, begin)

    def _find_parts(self, word: str, begin: int) -> Iterator[Span]:
        parts = list(_PART.finditer(word))[:_PARTS]
        first = 0
        while first < len(parts):
            after = first + 1
            if parts[first][0] not in self._beginnings:
                first = after
                continue
            for last in range(len(parts) - 1, first - 1, -1):
                start, end = parts[first].start(), parts[last].end()
                secret = self._words.get(word[start:end])
                if secret is None or secret in self.protected or end - start == len(word):
                    continue
                kind = self._kinds[secret]
                if kind == "path" or (kind == "container" and not word.endswith(".scope")):
                    continue
                yield Span(begin + start, begin + end, kind, secret)
                after = last + 1
                break
            first = after

    def _find_phrases(self, text: str) -> Iterator[Span]:
        """Names with slashes, colons and the like in them, between edges; the longest first."""
        for match in _PHRASE.finditer(text):
            token, offset = match[0], match.start()
            signs = [at for at, sign in enumerate(token) if sign in "@:"][:_SIGNS]
            ends = [len(token), *reversed(signs)]
            begin = 0
            for begin_at in (0, *(at + 1 for at in signs)):
                if begin_at < begin:
                    continue
                for end in ends:
                    phrase = token[begin_at:end]
                    if end > begin_at and phrase in self._phrases:
                        yield Span(offset + begin_at, offset + end, self._kinds[phrase], phrase)
                        begin = end
                        break

    def _find_beginning(self, text: str) -> Iterator[Span]:
        """The longest end of a text that a secret begins with."""
        for at in range(max(0, len(text) - _LONGEST), len(text) - _CUT + 1):
            tail = text[at:]
            for form in self._prefixes.get(tail[:_CUT], ()):
                if len(form) > len(tail) and form.startswith(tail):
                    secret = self._bare[form]
                    if secret in self.protected or tail in self.protected:
                        continue
                    yield Span(at, len(text), self._kinds[secret], secret)
                    return

    # --- what stands for it --------------------------------------------------------------------

    def placeholder(self, secret: str, kind: str) -> str:
        """What stands for a secret: 15 characters at most, as long as a comm may be."""
        found = self._placeholders.get(secret)
        if found is not None:
            return found
        kind = self._kinds.setdefault(secret, kind)
        stem, count = _STEMS.get(kind, "secret"), 0
        while True:
            seed = f"{count}\0{secret}".encode("utf-8", "surrogatepass")
            digest = hmac.digest(self._key, seed, hashlib.sha256)
            tag = "".join(_LETTERS[byte % len(_LETTERS)] for byte in digest[:_TAG])
            if self._taken.setdefault(tag, secret) == secret:
                break
            count += 1
        placeholder = f"{stem}-{tag}"
        self._placeholders[secret] = placeholder
        return placeholder

    def replace(self, text: str, spans: list[Span]) -> str:
        """A text with its spans (in order, none touching another) replaced, and counted."""
        if not spans:
            return text
        parts, position = [], 0
        for span in spans:
            original = text[span.begin : span.end]
            parts.append(text[position : span.begin])
            if _PLACEHOLDER.fullmatch(original):
                parts.append(original)
            else:
                parts.append(self.placeholder(span.secret or original, span.kind))
                self.replaced[span.kind] += 1
            position = span.end
        parts.append(text[position:])
        return "".join(parts)


def _is_plain(secret: str) -> bool:
    """Short, and of letters and digits alone: it may be part of a harmless word by chance."""
    return len(secret) < 12 and secret.isalnum()


def _within_word(text: str, begin: int, form: str) -> bool:
    end = begin + len(form)
    return text[begin - 1 : begin].isalnum() or text[end : end + 1].isalnum()


def spellings(secret: str) -> set[str]:
    """A secret as it may be written: percent escapes, base64, hexadecimal, JSON."""
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
            if len(inner) >= _GRAM:
                found |= {inner, inner.translate(str.maketrans("+/", "-_"))}
        whole = base64.b64encode(raw).decode()
        found |= {whole, whole.translate(str.maketrans("+/", "-_"))}
    return {form for form in found if len(form) >= _SHORTEST}
