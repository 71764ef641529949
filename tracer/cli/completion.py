"""`rtrace completion`."""

from __future__ import annotations

import sys
from importlib import resources

import click

from tracer.cli.documented import Command

_SCRIPTS = {"bash": "rtrace.bash", "zsh": "_rtrace", "fish": "rtrace.fish"}


@click.command(
    cls=Command,
    short_help="Print what makes the Tab key complete command lines.",
    examples=[
        ('eval "$(rtrace completion bash)"', "in this shell"),
        (
            "rtrace completion bash > ~/.local/share/bash-completion/completions/rtrace",
            "in every bash that has bash-completion",
        ),
        ("rtrace completion zsh > ~/.zfunc/_rtrace", "~/.zfunc being in fpath, before compinit"),
        ("rtrace completion fish > ~/.config/fish/completions/rtrace.fish", "in every fish"),
    ],
)
@click.argument("shell", type=click.Choice(list(_SCRIPTS)))
def completion(shell: str) -> None:
    """Print a script that makes the Tab key of a shell complete rtrace's command lines.

    `make install` puts these scripts where the shells look for them.
    """
    sys.stdout.write((resources.files(__package__) / "shells" / _SCRIPTS[shell]).read_text())
