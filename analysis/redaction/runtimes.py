"""Names that command lines of container runtimes have: of containers, and of images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from analysis.redaction.vocabulary import word_set
from tracer.runtime_args import base_name, family, is_self, parse

# Options of `docker run` and `create` without a value; of all others the next word is one.
_FLAGS = word_set(
    "--detach --interactive --tty --rm --init --privileged --read-only --publish-all "
    "--no-healthcheck --oom-kill-disable --sig-proxy --disable-content-trust --quiet --help "
    "--replace --tls-verify"
)
_SHORT_FLAGS = frozenset("ditPq")
_IMAGE_VERBS = ("pull", "push", "rmi", "tag", "save", "history")


def find_names(program: str, args: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Names and ids of containers, each with the kind "container".

    Args:
        program: path of what was executed.
    """
    kind = family(args[0] if is_self(program) else program)
    if kind is None:
        return
    parsed = parse(kind, args)
    found = [parsed.container, parsed.name]
    if parsed.role == "docker-client":
        found += parsed.targets
    yield from ((name, "container") for name in found if name)


def find_images(args: Sequence[str]) -> Iterator[str]:
    """Images that a docker, podman or nerdctl command names."""
    if base_name(args[0]) not in ("docker", "podman", "nerdctl"):
        return
    words = [word for word in args[1:] if word not in ("container", "image")]
    verb = next((word for word in words if not word.startswith("-")), None)
    if verb is None:
        return
    rest = words[words.index(verb) + 1 :]
    if verb in _IMAGE_VERBS:
        yield from (word for word in rest if not word.startswith("-"))
    elif verb in ("run", "create"):
        i = 0
        while i < len(rest):
            word = rest[i]
            if not word.startswith("-"):
                yield word
                return
            flag = word in _FLAGS or "=" in word
            short = not word.startswith("--") and set(word[1:]) <= _SHORT_FLAGS
            glued = not word.startswith("--") and len(word) > 2
            i += 1 if flag or short or glued else 2
    elif verb == "build":
        for option, value in pairwise(rest):
            if option in ("-t", "--tag"):
                yield value
