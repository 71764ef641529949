"""What commands say of themselves: in help, and in man pages that are made of the same."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import click
import pytest

from tests.kernel.recording import run_rtrace
from tracer.cli import rtrace
from tracer.cli.documented import Command
from tracer.cli.man_pages import render_man_pages

COMMANDS = sorted(rtrace.commands)


def options(command: click.Command) -> list[click.Option]:
    """Those that are shown."""
    return [p for p in command.params if isinstance(p, click.Option) and not p.hidden]


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that man takes: man1/ and the pages in it."""
    folder = tmp_path_factory.mktemp("man")
    (folder / "man1").mkdir()
    for name, text in render_man_pages("2026-11-25").items():
        (folder / "man1" / name).write_text(text)
    return folder


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_and_option_is_explained(name: str) -> None:
    command = rtrace.commands[name]
    assert isinstance(command, Command), "give it cls=Command and examples"
    assert command.examples
    assert command.help
    assert [option.name for option in options(command) if not option.help] == []


def test_help_shows_examples_and_cuts_nothing() -> None:
    ended = run_rtrace("--help")
    assert all(name in ended.stdout for name in COMMANDS)
    assert "..." not in ended.stdout.replace("[ARGS]...", "")
    for name in COMMANDS:
        ended = run_rtrace(name, "--help")
        command = rtrace.commands[name]
        assert isinstance(command, Command)
        told = ended.stdout.partition("\nExamples:\n")[2]
        assert [line for line, _ in command.examples if line not in told] == []


def test_man_pages_have_no_fault(pages: Path) -> None:
    files = sorted((pages / "man1").iterdir())
    assert [page.name for page in files] == sorted(
        ["rtrace.1", *(f"rtrace-{name}.1" for name in COMMANDS)]
    )
    for page in files:
        lint = subprocess.run(["mandoc", "-T", "lint", page], capture_output=True, text=True)
        assert (lint.stdout, lint.stderr) == ("", "")
        groff = subprocess.run(
            ["man", "--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z", page],
            env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            check=True,
        )
        assert groff.stderr == b""


@pytest.mark.parametrize("name", COMMANDS)
def test_a_man_page_has_all_that_its_command_has(pages: Path, name: str) -> None:
    command = rtrace.commands[name]
    assert isinstance(command, Command)
    shown = subprocess.run(
        ["mandoc", "-T", "utf8", "-O", "width=200", pages / "man1" / f"rtrace-{name}.1"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    page = _without_overstrikes(shown)
    words = page.split()
    for section in ("NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "EXIT", "EXAMPLES", "SEE"):
        assert section in words
    for option in options(command):
        for spelling in option.opts:
            assert spelling in words or f"{spelling}," in words
        assert option.help is not None
        assert " ".join(option.help.split()) in " ".join(words)
    for line, _ in command.examples:
        assert f" {line}\n" in page
    for status, _ in command.statuses:
        assert re.search(rf"^ +{re.escape(status)}( |$)", page, re.MULTILINE)
    for path, _ in command.files:
        assert path in words
    assert "--confirm" not in page  # hidden


def test_man_finds_them(pages: Path) -> None:
    done = subprocess.run(
        ["man", "-M", str(pages), "rtrace-record"],
        env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "MANPAGER": "cat", "MANWIDTH": "100"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "record process events of this host" in done.stdout


def _without_overstrikes(text: str) -> str:
    """Bold is written as a letter, a backspace, and the letter again."""
    while "\b" in text:
        at = text.index("\b")
        text = text[: at - 1] + text[at + 1 :]
    return text
