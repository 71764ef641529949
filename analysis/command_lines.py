"""Command lines. On a busy host there are many of them and few are told: they stay bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.columns import objects, text

Array = npt.NDArray[Any]
Codes = npt.NDArray[np.int32]
Argv = tuple[str, ...]


class Lines:
    """Distinct command lines by number, decoded when they are asked for.

    Args:
        recorded: each argument ended by a NUL; the last one may be cut.
    """

    def __init__(self, recorded: Sequence[bytes]) -> None:
        self._bounds = np.fromiter(accumulate(map(len, recorded), initial=0), np.int64)
        self._bytes = b"".join(recorded)
        self._seen: Sequence[Argv] = ()

    def __len__(self) -> int:
        return len(self._bounds) - 1 + len(self._seen)

    def __getitem__(self, number: int) -> Argv:
        """argv; () for -1, which is not known."""
        if number < 0:
            return ()
        behind = number - (len(self._bounds) - 1)
        if behind >= 0:
            return self._seen[behind]
        begin, end = self._bounds[number : number + 2].tolist()
        line = self._bytes[begin:end].removesuffix(b"\0")
        return tuple(text(line).split("\0")) if end > begin else ()

    def recorded(self, number: int) -> str | None:
        """One that an exec recorded, with NULs between the arguments; None: it is none of these."""
        if not 0 <= number < len(self._bounds) - 1:
            return None
        begin, end = self._bounds[number : number + 2].tolist()
        return text(self._bytes[begin:end].removesuffix(b"\0")) if end > begin else None

    def all(self) -> Array:
        """Every one by its number."""
        return objects([self[number] for number in range(len(self))])

    def with_seen(self, seen: Sequence[Argv]) -> Lines:
        """These, and behind them what /proc said."""
        result = Lines(())
        result._bounds, result._bytes, result._seen = self._bounds, self._bytes, seen
        return result

    def of(self, numbers: Array) -> Array:
        """Tuples of str, each distinct one decoded once."""
        codes, distinct = pd.factorize(numbers)
        return objects([self[number] for number in distinct.tolist()])[codes]


@dataclass(frozen=True, slots=True)
class CommandLines:
    """The command line of each of many rows.

    Attributes:
        numbers: by row, number in ``lines``; -1: not known.
    """

    numbers: Codes
    lines: Lines

    def __getitem__(self, row: int) -> Argv:
        return self.lines[int(self.numbers[row])]

    def of(self, rows: Array) -> Array:
        """Of some rows, tuples of str; () where not known, and for row -1."""
        return self.lines.of(np.append(self.numbers, np.int32(-1))[rows])

    def take(self, rows: Array) -> CommandLines:
        """Some rows: positions or a mask."""
        return CommandLines(self.numbers[rows], self.lines)
