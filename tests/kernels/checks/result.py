"""What a check says."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Result:
    """A line of the summary.

    Attributes:
        ok: whether it is as it must be.
        text: figures, or what is wrong.
    """

    name: str
    ok: bool
    text: str


class Check(Protocol):
    """A module of this package."""

    def run(self, folder: Path) -> None:
        """Inside: does it, and leaves what it saw in the folder."""

    def judge(self, folder: Path) -> Iterable[Result]:
        """On the host: reads the folder. An exception is a failure too."""
