"""Man pages, made of what the commands say of themselves: one for each, and rtrace(1).

    python -m tracer.cli.man_pages FOLDER

writes them there and prints their names. In roff with the macros of man(7).
"""

from __future__ import annotations

import inspect
import os
import re
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import click

from tracer import __version__
from tracer.cli import rtrace
from tracer.cli.documented import Command, Group, Pairs

_STATUSES: Pairs = (
    ("0", "Done; also for a cut or lossy capture that could be read."),
    ("1", "An expected failure: one line on stderr says what, why, and what to do."),
    ("2", "Wrong usage."),
)


def render_man_pages(date: str) -> dict[str, str]:
    """Text of each page by its file's name; ``date`` is that of their footer, "2026-11-25"."""
    top = click.Context(rtrace, info_name="rtrace", **rtrace.context_settings)
    pages = {"rtrace.1": _page(rtrace, top, date)}
    for name, command in rtrace.commands.items():
        assert isinstance(command, Command)
        context = click.Context(command, info_name=name, parent=top)
        pages[f"rtrace-{name}.1"] = _page(command, context, date)
    return pages


def _page(command: Command | Group, context: click.Context, date: str) -> str:
    name = context.command_path.replace(" ", "-")
    first = command.get_short_help_str(limit=200).rstrip(".")
    lines = [
        f'.TH {name.upper()} 1 {date} "rtrace {__version__}" "User Commands"',
        *(".nh", ".ad l", ".SH NAME", f"{_text(name)} \\- {_text(first[0].lower() + first[1:])}"),
        *(".SH SYNOPSIS", *_synopsis(context)),
        *(".SH DESCRIPTION", *_description(command.help or "")),
        *(".SH OPTIONS", *_options(command, context)),
    ]
    if isinstance(command, Group):
        lines += [".SH COMMANDS"]
        for subcommand in command.list_commands(context):
            found = command.commands[subcommand]
            lines += [".TP", f".BR rtrace\\-{_text(subcommand)} (1)"]
            lines += _lines(found.get_short_help_str(limit=200))
    lines += [".SH EXIT STATUS"]
    for status, what in (*_STATUSES, *command.statuses):
        lines += [".TP", f".B {_text(status)}", *_lines(_sentence(what))]
    lines += [".SH EXAMPLES"]
    for example, what in command.examples:
        lines += [".TP", *_lines(_sentence(what)), ".EX", _line(example), ".EE"]
    if command.files:
        lines += [".SH FILES"]
        for path, what in command.files:
            lines += [".TP", f".I {_text(path)}", *_lines(_sentence(what))]
    others = [f"rtrace\\-{_text(other)}" for other in sorted(rtrace.commands)]
    others = [other for other in ("rtrace", *others) if other != _text(name)]
    seen = [f".BR {other} (1)," for other in others]
    return "\n".join([*lines, ".SH SEE ALSO", *seen[:-1], seen[-1].rstrip(",")]) + "\n"


def _synopsis(context: click.Context) -> Iterator[str]:
    yield f".B {_text(context.command_path)}"
    for piece in context.command.collect_usage_pieces(context):
        yield f".RI {_quoted(_marked(piece))}"


def _description(help_: str) -> Iterator[str]:
    for number, paragraph in enumerate(re.split(r"\n\s*\n", inspect.cleandoc(help_))):
        yield from [".PP"] if number else []
        if paragraph.startswith("\b\n"):  # click's mark of lines that stay as they are
            yield from (".nf", *map(_line, paragraph.split("\n")[1:]), ".fi")
        else:
            yield from _lines(paragraph)


def _options(command: click.Command, context: click.Context) -> Iterator[str]:
    for parameter in command.get_params(context):
        record = isinstance(parameter, click.Option) and parameter.get_help_record(context)
        if not record:  # an argument, or hidden
            continue
        words, meaning = record
        yield ".TP"
        names = re.sub(r"(\\-\\?-?[\w\\-]+)", r"\\fB\1\\fR", _text(words))
        yield names.replace("|", "|\\:")  # long choices may be broken there
        yield from _lines(meaning)


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:].rstrip('.')}."


def _text(text: str) -> str:
    """Text within a line: minus signs that can be copied, and nothing that roff would run."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-")
    return escaped.replace("'", "\\(aq").replace("~", "\\(ti").replace("^", "\\(ha")


def _lines(text: str) -> list[str]:
    """Text of a paragraph."""
    wrapped = textwrap.wrap(text, 70, break_on_hyphens=False, break_long_words=False)
    return [_line(line) for line in wrapped]


def _line(text: str) -> str:
    """A line of its own, which must not begin like a macro."""
    return f"\\&{_text(text)}" if text.startswith(".") else _text(text)


def _marked(piece: str) -> str:
    return re.sub(r"[A-Za-z]\w*", lambda word: f"\\fI{word[0]}\\fR", _text(piece))


def _quoted(text: str) -> str:
    return '"' + text.replace('"', "\\(dq") + '"'


def main() -> None:
    """Writes all pages into the folder that is given."""
    if len(sys.argv) != 2:
        sys.exit("usage: python -m tracer.cli.man_pages FOLDER")
    moment = time.gmtime(int(os.environ.get("SOURCE_DATE_EPOCH", time.time())))
    for name, text in render_man_pages(time.strftime("%Y-%m-%d", moment)).items():
        path = Path(sys.argv[1], name)
        path.write_text(text)
        print(path)


if __name__ == "__main__":
    main()
