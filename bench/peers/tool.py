"""What has to be known of a tool to measure it."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from bench.errors import BenchError
from bench.peers.records import Output

_TRACEFS = Path("/sys/kernel/tracing")
_MOUNTED = _TRACEFS / "events"
_MOUNT = f'mount -t tracefs nodev {_TRACEFS} && exec "$@"'
_VERSION = re.compile(r"\d+(?:\.\d+)+\S*")


@dataclass(frozen=True, slots=True)
class Command:
    """A process of a tool.

    Attributes:
        argv: program and arguments.
        output: file that its stdout goes to.
        writes: file that it writes by itself; None: it writes to stdout.
    """

    argv: Sequence[str]
    output: Path
    writes: Path | None = None

    @property
    def data(self) -> Path:
        """Where its records are."""
        return self.writes or self.output

    @property
    def errors(self) -> Path:
        """File that its stderr goes to."""
        return self.output.with_suffix(".err")


class Tool(Protocol):
    """A tool that watches the whole host until it is interrupted."""

    @property
    def name(self) -> str:
        """As the table has it."""

    @property
    def kinds(self) -> Collection[str]:
        """Of events that it records."""

    def version(self) -> str:
        """Its version; "" if it does not tell."""

    def commands(self, directory: Path) -> list[Command]:
        """How it is started.

        Raises:
            BenchError: it is not installed.
        """

    def read(self, commands: Sequence[Command], bytes_before: int) -> Output:
        """Reads what it has written.

        Args:
            bytes_before: size of its files when the storm began.

        Raises:
            BenchError: it cannot be read.
        """


def find_program(package: str, *names: str) -> str:
    """Path of the first of these programs that is installed.

    Raises:
        BenchError: none of them is.
    """
    for name in names:
        if path := shutil.which(name, path="/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/bin"):
            return path
    raise BenchError(f"{names[0]} is not installed (apt-get install {package})")


def with_tracefs(argv: Sequence[str]) -> list[str]:
    """The command, in a mount namespace with tracefs where the host has not mounted it."""
    if _MOUNTED.exists():
        return list(argv)
    return ["unshare", "--mount", "sh", "-c", _MOUNT, "sh", *argv]


def ask_version(*command: str) -> str:
    """The first version number that a command prints, "" if it prints none."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    found = _VERSION.search(done.stdout) or _VERSION.search(done.stderr)
    return found[0] if found else ""


def read_lines(path: Path) -> Iterator[tuple[list[str], int]]:
    """The fields of each line of a tool's output, and its length in bytes."""
    with path.open("rb") as file:
        for line in file:
            yield line.decode("utf-8", "replace").split(), len(line)


def sum_matches(pattern: str, paths: Sequence[Path]) -> int:
    """The sum of all numbers that a pattern finds in some files."""
    texts = (path.read_bytes() for path in paths if path.exists())
    return sum(int(number) for text in texts for number in re.findall(pattern.encode(), text))
