"""What is hidden in each kind of text of a capture: command lines, paths, cgroups, comms, facts.

Everything is looked at twice: first `observe` finds what is secret where its neighbours tell
(the value of --password), then `scrub` replaces that wherever it is. What a text becomes depends
on the text alone, never on its place in the capture: so equal names stay equal, and the structure
that the analysis finds is the same.
"""

from __future__ import annotations

import bisect
import functools
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from analysis.redaction import arguments, people
from analysis.redaction.arguments import find_in_arguments
from analysis.redaction.names import is_harmless_value, is_secret_name, is_system_user
from analysis.redaction.people import (
    find_home_paths,
    find_hosts,
    find_in_command,
    find_users,
    has_home,
)
from analysis.redaction.rule_set import rules_for, token_beginnings
from analysis.redaction.runtimes import find_images, find_names
from analysis.redaction.spans import Span, merged
from analysis.redaction.texts import find_secrets
from analysis.redaction.vault import Vault
from analysis.redaction.vocabulary import PROGRAMS, PROTECTED
from tracer.abi import COMM_LEN
from tracer.runtime_args import HEX_ID, base_name, family, is_self

MODES = ("default", "strict", "none")
_HOME = re.compile(r"/(?:home|Users|root)(?:/|$)")
_HEX = re.compile(r"[0-9a-f]{6,64}")
# Of what was seen and what became of it; of what arguments are, which is asked for twice.
_CACHE_BYTES, _LOOKS_BYTES = 32 << 20, 64 << 20
# No command line, name or message is so long: it is from somebody who wants to keep us busy.
_TEXT_LIMIT = 64 << 10
# What gitleaks' rules may take, in characters times rules whose keyword is there: ten seconds.
# A busy host's 100,000 different command lines take a hundredth of it.
_EFFORT = 200_000_000
_LONG = 200  # shorter texts have no room for many keywords
_ENTRY_BYTES = 160
_SAME = object()
_T = TypeVar("_T", str, tuple[str, ...])


class Scrubber:
    """Hides what is personal or secret in texts.

    Args:
        strict: also names of containers and images, and hosts in URLs.
        vault: where secrets are remembered.
    """

    def __init__(self, *, strict: bool = False, vault: Vault | None = None) -> None:
        self.strict = strict
        self.vault = Vault() if vault is None else vault
        self.vault.protected |= PROTECTED
        self._programs = set(PROGRAMS)  # base names of programs that are no user's own
        self._own: set[str] = set()  # and of those below home folders
        self._names: set[tuple[str, str]] = set()
        self._in_order: list[str] = []  # what stays, once all of it is known
        self._seen = Cache()
        self._done = Cache()
        self._looks = Cache(_LOOKS_BYTES)
        self._effort = _EFFORT
        self._skipped: set[int] = set()  # hashes of texts that are not looked into
        self._begun = False

    # --- first: what is there ------------------------------------------------------------------

    def observe_arguments(
        self, args: Sequence[str], *, program: str = "", cut: bool = False
    ) -> None:
        """A command line. ``program``: path of what was executed; argv[0] may say anything."""
        key = "\0".join((f"a{cut:d}", program, *args))
        if self._seen.get(key):
            return
        self._seen.add(key, True)
        for i, spans in enumerate(self._find_in_arguments(args, cut)):
            self._learn(args[i], spans)
        if args:
            self._learn_runtime(program or args[0], args)

    def observe_path(self, path: str) -> None:
        """A program's path."""
        if not path or self._seen.get(f"p{path}"):
            return
        self._seen.add(f"p{path}", True)
        self._learn(path, self._find_in_text(path))
        base = base_name(path)
        if _HOME.search(path):
            self._own.add(base)
        elif path.startswith("/") and not is_self(path):
            self._programs.add(base)

    def observe_text(self, text: str) -> None:
        """Any other text: an error, a fact, a cgroup."""
        if not text or self._seen.get(f"t{text}"):
            return
        self._seen.add(f"t{text}", True)
        self._learn(text, self._find_in_text(text))

    def observe_cgroup(self, path: str) -> None:
        """A cgroup's path, or the text of /proc/PID/cgroup."""
        for name in re.split(r"[/\n]", path):
            if name:
                self.observe_text(f"/{name}")

    def observe_value(self, value: Any, name: str = "") -> None:
        """Any value of JSON."""
        if isinstance(value, str):
            if is_secret_name(name) and not is_harmless_value(value):
                self.vault.add(value, "credential")
            self.observe_text(value)
        elif isinstance(value, list):
            for item in value:
                self.observe_value(item, name)
        elif isinstance(value, dict):
            for key, item in value.items():
                self.observe_text(key)
                self.observe_value(item, key)

    def observe_host(self, name: str) -> None:
        """The name of the recorded host."""
        self._names |= {(name, "host"), (name.partition(".")[0], "host")}

    def observe_container(self, id_: str, name: str | None, image: str | None) -> None:
        """A container that the recorder found."""
        if HEX_ID.fullmatch(id_):
            self.vault.protected.add(id_)
        elif id_:
            self._names.add((id_, "container"))
        if name:
            self._names.add((name, "container"))
        if image:
            self._names |= {(form, "image") for form in image_forms(image)}

    def begin(self) -> None:
        """All has been observed."""
        named = {name for name, kind in self._names if kind in ("user", "host")}
        for name, kind in sorted(self._names):
            if kind in ("user", "host"):
                self.vault.add_word(name, kind)
        for name, kind in sorted(self._names):
            if kind in ("container", "image"):
                if self.strict:
                    self.vault.add_word(name, kind)
                elif name not in named and self.vault.kind_of(name) in (None, "random"):
                    # It stays, though it may look random; but not what is secret elsewhere.
                    self.vault.protected.add(name)
        for base in sorted(self._own - self._programs):
            if family(base) is None:
                self.vault.add_word(base, "path")
        self._in_order = sorted(self.vault.protected)
        self._seen = Cache()
        self._begun = True

    def restart(self) -> None:
        """What comes now is another copy of the same capture."""
        self.vault.restart()
        self._done = Cache()

    def _learn(self, text: str, spans: list[Span]) -> None:
        for span in spans:
            secret = span.secret or text[span.begin : span.end]
            if span.kind in ("user", "host"):
                self._names.add((secret, span.kind))
            elif span.kind not in ("path", "cut", "unexamined"):
                self.vault.add(secret, span.kind)
                if span.secret is not None:
                    self.vault.add(text[span.begin : span.end], span.kind)

    def _learn_runtime(self, program: str, args: Sequence[str]) -> None:
        for name, kind in find_names(program, args):
            if HEX_ID.fullmatch(name):
                self.vault.protected.add(name)
            elif not _HEX.fullmatch(name):
                self._names.add((name, kind))
        if self.strict:
            for image in find_images(args):
                self._names |= {(form, "image") for form in image_forms(image)}

    # --- then: what stands for it --------------------------------------------------------------

    def scrub_arguments(self, args: tuple[str, ...], *, cut: bool = False) -> tuple[str, ...]:
        def scrub() -> tuple[str, ...]:
            found = self._find_in_arguments(args, cut)
            last = len(args) - 1 if cut else None
            return tuple(
                self._replace(arg, spans, cut=i == last)
                if spans or i == last
                else self._cached("w", arg, functools.partial(self._replace, arg, [], cut=False))
                for i, (arg, spans) in enumerate(zip(args, found, strict=True))
            )

        return self._cached(f"a{cut:d}", args, scrub)

    def scrub_path(self, path: str, *, cut: bool = False) -> str:
        return self._cached(
            f"p{cut:d}", path, lambda: self._replace(path, self._find_in_text(path), cut=cut)
        )

    def scrub_text(self, text: str, *, cut: bool = False) -> str:
        return self._cached(
            f"t{cut:d}", text, lambda: self._replace(text, self._find_in_text(text), cut=cut)
        )

    def scrub_cgroup(self, path: str) -> str:
        """A cgroup's path, or the text of /proc/PID/cgroup: each name by itself, so that there
        are as many as before."""
        return "\n".join(
            "/".join(self.scrub_cgroup_name(part) for part in line.split("/"))
            for line in path.split("\n")
        )

    def scrub_cgroup_name(self, name: str) -> str:
        # As a part of a path: hexadecimal ones are ids there.
        return self.scrub_text(f"/{name}")[1:] if name else name

    def scrub_comm(self, comm: str) -> str:
        """A comm: the kernel cut it off behind 15 bytes."""

        def scrub() -> str:
            if comm in self.vault.protected:
                return comm
            cut = len(comm.encode("utf-8", "surrogateescape")) >= COMM_LEN - 1
            spans = [*find_secrets(comm), *find_users(comm)]
            if cut and (match := token_beginnings().match(comm)):
                spans.append(Span(match.start(), len(comm), "cut"))
            done = self._replace(comm, merged(spans), cut=cut)
            if len(done.encode("utf-8", "surrogateescape")) < COMM_LEN:
                return done
            return self.vault.placeholder(comm, "cut") if done != comm else comm

        return self._cached("c", comm, scrub)

    def scrub_value(self, value: Any, name: str = "") -> Any:
        """Any value of JSON."""
        if isinstance(value, str):
            if is_secret_name(name) and not is_harmless_value(value):
                return self.vault.replace(value, [Span(0, len(value), "credential")])
            return self.scrub_text(value)
        if isinstance(value, list):
            return [self.scrub_value(item, name) for item in value]
        if isinstance(value, dict):
            return {self.scrub_text(k): self.scrub_value(v, k) for k, v in value.items()}
        return value

    def _cached(self, kind: str, given: _T, make: Callable[[], _T]) -> _T:
        """What becomes of a text, or of the texts of a command line. Also counts the places in it
        each time that it comes."""
        key = f"{kind}{given}" if isinstance(given, str) else "\0".join((kind, *given))
        found = self._done.get(key)
        replaced = self.vault.replaced
        if found is None:
            before = dict(replaced)
            result = make()
            counted = None if before == replaced else replaced - Counter(before)
            # Most texts have nothing to hide.
            same = counted is None and result == given
            self._done.add(key, _SAME if same else (result, counted), 1 if same else 2)
            return result
        if found is _SAME:
            return given
        cached: _T
        cached, counted = found
        if counted is not None:
            replaced.update(counted)
        return cached

    def _replace(self, text: str, spans: list[Span], *, cut: bool) -> str:
        if spans and spans[0].kind == "unexamined":
            return self.vault.replace(text, spans)
        protected = self.vault.protected
        kept = [span for span in spans if not self._stays(text, span, protected)]
        ids = [m.span() for m in HEX_ID.finditer(text) if m[0] in protected]
        known = [
            span
            for span in self.vault.find_known(text, cut=cut)
            if not any(begin < span.end and span.begin < end for begin, end in ids)
        ]
        whole = text.startswith("-") and any(s.begin == 0 and s.end == len(text) for s in kept)
        done = self.vault.replace(text, merged([*known, *kept]))
        # A value that looked like an option still does: whoever parses the line does the same.
        return f"-{done}{'=' if '=' in text else ''}" if whole else done

    def _stays(self, text: str, span: Span, protected: set[str]) -> bool:
        if span.kind not in ("random", "cut", "token", "user", "host"):
            return False
        part = text[span.begin : span.end]
        if part in protected:
            return True
        if span.kind != "cut":
            return False
        at = bisect.bisect_left(self._in_order, part)
        return at < len(self._in_order) and self._in_order[at].startswith(part)

    # --- where it is ---------------------------------------------------------------------------

    def _find_in_arguments(self, args: Sequence[str], cut: bool) -> list[list[Span]]:
        if sum(map(len, args)) > _TEXT_LIMIT:
            return [_whole(arg) for arg in args]
        skipped = {i: _whole(arg) for i, arg in enumerate(args) if self._skips(arg)}
        if skipped:
            rest = ["" if i in skipped else arg for i, arg in enumerate(args)]
            found = self._find_in_arguments(rest, cut)
            return [skipped.get(i, spans) for i, spans in enumerate(found)]
        looks = [self._look_at(arg) for arg in args]
        if not cut and not any(look.tells for look in looks):
            return [self._all_of(arg, look) for arg, look in zip(args, looks, strict=True)]
        found = find_in_arguments(args, cut=cut, find=lambda arg: self._look_at(arg).secrets)
        for arg, look, spans in zip(args, looks, found, strict=True):
            spans += self._people_of(arg, look)
        for i, span in find_in_command(args):
            found[i].append(span)
        return [merged(spans) for spans in found]

    def _look_at(self, arg: str) -> _Look:
        """What an argument is by itself: most come again and again, in command lines that are
        all different."""
        look: _Look | None = self._looks.get(arg)
        if look is None:
            look = _Look(
                find_secrets(arg),
                [*find_users(arg), *(find_hosts(arg) if self.strict else ())],
                arguments.tells(arg) or people.tells(arg),
                has_home(arg),
            )
            look = _NOTHING if look == _NOTHING else look
            self._looks.add(arg, look)
        return look

    def _all_of(self, arg: str, look: _Look) -> list[Span]:
        people_there = self._people_of(arg, look)
        return merged([*look.secrets, *people_there]) if people_there else look.secrets

    def _people_of(self, arg: str, look: _Look) -> list[Span]:
        return [*look.people, *find_home_paths(arg, self._programs)] if look.home else look.people

    def _find_in_text(self, text: str) -> list[Span]:
        if self._skips(text):
            return _whole(text)
        return merged([*find_secrets(text), *self._find_people(text)])

    def _skips(self, text: str) -> bool:
        """Whether a text is not looked into, and all of it hidden: it is too long, or others have
        taken what may be taken. That is decided when it is observed."""
        if len(text) < _LONG:
            return False
        if len(text) > _TEXT_LIMIT or hash(text) in self._skipped:
            return True
        if not self._begun:
            self._effort -= len(text) * len(rules_for(text.lower()))
            if self._effort < 0:
                self._skipped.add(hash(text))
        return hash(text) in self._skipped

    def _find_people(self, text: str) -> list[Span]:
        spans = [*find_users(text), *find_home_paths(text, self._programs)]
        if self.strict:
            spans += find_hosts(text)
        return spans


@dataclass(frozen=True, slots=True)
class _Look:
    """What there is to say of an argument by itself.

    Attributes:
        tells: its neighbours may make more of it, or it of them.
        home: a home folder may be in it. What is hidden below it depends on all programs.
    """

    secrets: list[Span]
    people: list[Span]
    tells: bool
    home: bool


_NOTHING = _Look([], [], False, False)


def _whole(text: str) -> list[Span]:
    return [Span(0, len(text), "unexamined")] if text else []


class Cache:
    """Results by text, of so many bytes: a capture may hold millions of different command lines.
    What was not asked for while half of that came is forgotten."""

    def __init__(self, room: int = _CACHE_BYTES) -> None:
        self._new: dict[str, Any] = {}
        self._old: dict[str, Any] = {}
        self._size, self._room = 0, room

    def get(self, key: str) -> Any:
        found = self._new.get(key)
        if found is None and self._old and (found := self._old.pop(key, None)) is not None:
            self.add(key, found)
        return found

    def add(self, key: str, value: Any, texts: int = 1) -> None:
        """``texts``: as many texts as long as the key are kept: it, and such as the value has."""
        size = texts * (_ENTRY_BYTES + len(key))
        if self._size + size > self._room // 2:
            self._old, self._new, self._size = self._new, {}, 0
        self._new[key] = value
        self._size += size


def image_forms(image: str) -> set[str]:
    """An image's name as given, without its tag or digest, and without its registry."""
    bare = image.partition("@")[0]
    head, colon, tag = bare.rpartition(":")
    untagged = head if colon and "/" not in tag else bare
    return {form for form in (image, bare, untagged) if form and not is_system_user(form)}
