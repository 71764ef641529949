"""The options of commands that can keep to a part of a capture, and what they have in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from tracer.cli.completers import complete_container
from tracer.units import duration_option

_F = TypeVar("_F", bound=Callable[..., Any])


def part_options(since: str, until: str) -> Callable[[_F], _F]:
    """Adds --container, --since and --until.

    Args:
        since, until: their help, for commands differ in what they keep.
    """
    options = (
        click.option(
            "--container",
            metavar="X",
            shell_complete=complete_container,
            help="Only this container: name, id or start of an id.",
        ),
        click.option("--since", metavar="TIME", callback=duration_option, help=since),
        click.option("--until", metavar="TIME", callback=duration_option, help=until),
    )

    def add(command: _F) -> _F:
        for option in reversed(options):
            command = option(command)
        return command

    return add


def check_part(since: float | None, until: float | None) -> None:
    """Refuses a part that ends before it begins.

    Args:
        since, until: seconds after the start, None: not told.

    Raises:
        click.UsageError: it is none.
    """
    if since is not None and until is not None and until < since:
        raise click.UsageError("--until is before --since")
