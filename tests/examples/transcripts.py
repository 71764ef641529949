"""Transcripts in pages: what commands print on the captures beside this module, word for word."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path

from tests.examples.pages import Block
from tests.kernel.recording import RTRACE

_GONE = "..."  # lines that a page leaves out

# What a ticket says of itself differs each time: placeholders come from a key that is thrown away.
_VOLATILE = (
    (re.compile(r"\b(\d+(?:\.\d+)?) (KiB|MiB)\b"), r"N \2"),
    (
        re.compile(r"\b(secret|host|user|path|home|name|image|container)-[a-z0-9]{6}\b"),
        r"\1-XXXXXX",
    ),
)


def lay_out(folder: Path) -> None:
    """Puts the captures into a folder to run commands in."""
    for capture in Path(__file__).parent.glob("*.rtrace"):
        shutil.copy(capture, folder)


@cache
def run(command: str, folder: Path) -> str:
    """What a command prints, stderr too; run once, as several pages show some."""
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env={
            "PATH": f"{Path(RTRACE).parent}:{os.environ['PATH']}",
            "HOME": str(folder),
            "LC_ALL": "C.UTF-8",
        },
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    return done.stdout


def split(block: Block) -> list[tuple[str, list[str]]]:
    """Commands, each with the lines that the page has for it."""
    found: list[tuple[str, list[str]]] = []
    for line in block.text.rstrip("\n").split("\n"):
        if line.startswith("$ "):
            found.append((line[2:], []))
        else:
            found[-1][1].append(line)
    return found


def differences(told: list[str], printed: str) -> list[str]:
    """Lines that the page has and the program does not, with `...` for any number of lines."""
    said, real = [_settle(line) for line in told], [_settle(line) for line in printed.split("\n")]
    while real and not real[-1]:
        real.pop()
    at, free = 0, False
    for line in said:
        if line == _GONE:
            free = True
            continue
        places = range(at, len(real)) if free else range(at, min(at + 1, len(real)))
        found = next((place for place in places if real[place] == line), None)
        if found is None:
            wanted = real[at] if at < len(real) else "nothing more"
            return [f"the page: {line}", f"printed:  {wanted}"]
        at, free = found + 1, False
    return [] if free or at == len(real) else [f"the page ends before: {real[at]}"]


def check(block: Block, folder: Path) -> None:
    """Holds a block to what is printed.

    Raises:
        AssertionError: it is otherwise.
    """
    for command, told in split(block):
        found = differences(told, run(command, folder))
        assert not found, "\n".join([f"{block}: $ {command}", *found])


def renew(block: Block, folder: Path) -> str:
    """The block as it should be; what leaves lines out is left as it is, to be mended by hand."""
    parts = []
    for command, told in split(block):
        printed = run(command, folder)
        keep = _GONE in told or not differences(told, printed)
        parts += [f"$ {command}", *(told if keep else printed.rstrip("\n").split("\n"))]
    return "\n".join(parts) + "\n"


def _settle(line: str) -> str:
    for pattern, instead in _VOLATILE:
        line = pattern.sub(instead, line)
    return line.rstrip()
