"""What shells ask of rtrace while somebody types: click's answers, for scripts of our own.

A script (shells/) runs rtrace with ``_RTRACE_COMPLETE=SHELL_complete``, COMP_WORDS and COMP_CWORD,
as click has it, and gets items (type, value and maybe a help) in click's form for that shell. Types
are click's ``plain``, ``file`` and ``dir``, and

- ``capture``: a file *.rtrace or *.zip, or a folder. The shell looks for it: it knows about quotes;
- ``begin``: the beginning of a word, after which no space may come.

Loaded only then.
"""

from __future__ import annotations

import click
from click.shell_completion import (
    BashComplete,
    CompletionItem,
    FishComplete,
    ShellComplete,
    ZshComplete,
    add_completion_class,
)


class _WithWords(ShellComplete):
    """Completers find the words before the one that is completed as ``obj`` of the root context.

    Where the last of them is an option that waits for its value, click's parser has given up, and
    parameters of contexts are not set.
    """

    def get_completions(self, args: list[str], incomplete: str) -> list[CompletionItem[str]]:
        self.ctx_args["obj"] = list(args)
        return super().get_completions(args, incomplete)


@add_completion_class
class _Bash(_WithWords, BashComplete):
    """bash makes three words of ``--format=json`` and ``LABEL=capture``."""

    def get_completion_args(self) -> tuple[list[str], str]:
        words, incomplete = super().get_completion_args()
        args: list[str] = []
        for word in words:
            if args and (word == "=" or args[-1].endswith("=")):
                args[-1] += word
            else:
                args.append(word)
        if args and args[-1].startswith("-"):
            args[-1] = args[-1].removesuffix("=")  # its value is what is completed
        return args, incomplete


@add_completion_class
class _Zsh(_WithWords, ZshComplete):
    pass


@add_completion_class
class _Fish(_WithWords, FishComplete):
    pass


def find_capture(context: click.Context) -> str | None:
    """The capture that stands on the command line, before what is completed or elsewhere."""
    words = list(context.find_root().obj)
    while words and words[-1].startswith("-"):
        words.pop()
    name = context.info_name or ""
    arguments = words[words.index(name) + 1 :] if name in words else []
    with context.command.make_context(name, arguments, resilient_parsing=True) as parsed:
        found = parsed.params.get("capture")
    return found if isinstance(found, str) else None
