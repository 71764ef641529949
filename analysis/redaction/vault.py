"""What is to be hidden, and what stands for it: one placeholder a secret, however it is written.

Placeholders come from a key that is made for one ticket and forgotten with it: the same secret
has the same placeholder all over a ticket, and no other ticket can be joined with it by them.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections import Counter
from collections.abc import Iterator

from analysis.redaction.spans import Span
from analysis.redaction.spellings import SHORTEST, Spellings
from tracer.abi import COMM_LEN

KINDS = {
    "credential": "passwords and tokens in options and variables",
    "url": "passwords in URLs",
    "header": "credentials in headers",
    "private-key": "private keys",
    "token": "tokens of known forms",
    "random": "long random strings",
    "cut": "beginnings of what may be secrets, cut off by the recorder",
    "unexamined": "texts that were not looked into, as they or all such are too long",
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
_LONGEST = 16 << 10
_WORD = re.compile(r"[^\s/:=@,;&?\"'|()<>\[\]{}]+")
_PART = re.compile(r"[^-._]+")
_PARTS_OF_TEXT = re.compile(r"[^\s/:=@,;&?\"'|()<>\[\]{}\-._]+|[-._]{4,}")
_PARTS = 12
_PHRASE = re.compile(r"[^ =,'\"\n]+")
_SIGNS = 8


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
        self._forgotten: set[int] = set()
        self._spellings = Spellings()
        self._words: dict[str, str] = {}
        self._beginnings: set[str] = set()  # first parts of those words
        self._phrases: set[str] = set()

    def distinct(self) -> Counter[str]:
        """How many different secrets have been replaced, by kind."""
        return Counter(self._kinds[secret] for secret in self._placeholders)

    @property
    def forgotten(self) -> int:
        """How many secrets there was no room for: such are replaced where they are known to be
        secrets, not where they are elsewhere."""
        return len(self._forgotten)

    def kind_of(self, secret: str) -> str | None:
        """The kind of what is remembered."""
        return self._kinds.get(secret)

    def restart(self) -> None:
        """Counts from 0 again. Placeholders stay what they are."""
        self.replaced.clear()
        self._placeholders.clear()

    # --- what is hidden ------------------------------------------------------------------------

    def add(self, secret: str, kind: str) -> None:
        """Remembers a secret, so that it is found wherever else it is."""
        if self._kinds.get(secret) == "random":
            self._kinds[secret] = kind  # one that is known by more than its looks
        if not SHORTEST <= len(secret) <= _LONGEST or secret in self._kinds:
            return
        if secret in self.protected or _PLACEHOLDER.fullmatch(secret):
            return
        short = None if len(self._kinds) >= _LIMIT else self._spellings.add(secret)
        if short is None:
            self._forgotten.add(hash(secret))
            return
        self._kinds[secret] = kind
        for form in short:
            self._add_word(form, secret)

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
        for begin, end, secret in self._spellings.find(text, self.protected):
            yield Span(begin, end, self._kinds[secret], secret)
        if self._words:
            yield from self._find_words(text)
        if self._phrases:
            yield from self._find_phrases(text)
        if cut and (found := self._spellings.find_beginning(text, self.protected)) is not None:
            begin, secret = found
            yield Span(begin, len(text), self._kinds[secret], secret)

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
