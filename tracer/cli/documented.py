"""Commands that carry their own documentation: help, man page and tests take it from here.

    @click.command(cls=Command, examples=[("rtrace dump x.rtrace", "every record")])

Each example is run, or at least parsed, by a test.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

import click

from tracer.ending import ended_by_signals

Pairs = Sequence[tuple[str, str]]
"""Something to write, and what it means."""

_COLUMN = 30  # where the meaning of a short example begins


class _Documented(click.Command):
    """Adds what click does not know.

    Attributes:
        examples: command lines, and what each is for.
        statuses: exit statuses besides those that all commands have.
        files: files that the command reads or makes without being given their names.
    """

    def __init__(
        self,
        *args: Any,
        examples: Pairs,
        statuses: Pairs = (),
        files: Pairs = (),
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.examples, self.statuses, self.files = examples, statuses, files

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The examples, behind all options."""
        super().format_epilog(ctx, formatter)
        with formatter.section("Examples"):
            formatter.write_dl(self.examples, col_max=_COLUMN)


class Command(_Documented):
    """A command of rtrace.

    Args:
        takes_signals: it looks after SIGINT, SIGTERM and SIGHUP itself; else see `tracer.ending`.
    """

    def __init__(self, *args: Any, takes_signals: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._takes_signals = takes_signals

    def invoke(self, ctx: click.Context) -> Any:
        """Runs it."""
        with contextlib.nullcontext() if self._takes_signals else ended_by_signals():
            return super().invoke(ctx)


class Group(_Documented, click.Group):
    """rtrace itself. Its commands keep the order in which they were added."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)
