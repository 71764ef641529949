"""Steps that come again and again with one outcome, told in one sentence: health checks, polls.

Nothing is lost by it: the steps stay, and name the fold that they are in.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import groupby

from analysis.steps import Entry, Evidence, Repeat
from analysis.text_layout import span

# So many times in a row, or they are told one by one.
FOLDED = 3
_CITED = 20  # processes that a fold names


@dataclass(slots=True)
class _Group:
    """The steps of one repeat."""

    repeat: Repeat
    entries: list[Entry] = field(default_factory=list)

    @property
    def ts_ns(self) -> int:
        return min(entry.ts_ns for entry in self.entries)

    @property
    def until_ns(self) -> int:
        return max(entry.ts_ns for entry in self.entries)


def fold(entries: list[Entry], lost: Callable[[int, int], bool]) -> list[Entry]:
    """Fold the repeats among the steps of one story: marks them, in place.

    Only what ended in the same way each time, with nothing else of its kind in between, is
    folded: twenty good health checks, a bad one, and thirty good ones stay three steps.

    Args:
        lost: whether events may have been lost between two times.

    Returns:
        one entry a fold.
    """
    groups: dict[Repeat, _Group] = {}
    for entry in entries:
        if entry.repeat is not None:
            groups.setdefault(entry.repeat, _Group(entry.repeat)).entries.append(entry)
    kinds: dict[str, list[_Group]] = defaultdict(list)
    for group in groups.values():
        kinds[group.repeat.key].append(group)
    folds = []
    for found in kinds.values():
        found.sort(key=lambda group: (group.ts_ns, group.repeat.pos))
        for outcome, run in groupby(found, key=lambda group: group.repeat.outcome):
            members = list(run)
            if outcome is not None and len(members) >= FOLDED:
                folds.append(_fold(outcome, members, lost))
    return folds


def _fold(outcome: str, members: list[_Group], lost: Callable[[int, int], bool]) -> Entry:
    first, last = members[0], members[-1]
    until_ns = max(group.until_ns for group in members)
    took = span(until_ns - first.ts_ns)
    least = "at least " if lost(first.ts_ns, until_ns) else ""
    text = f"{least}{len(members)} {first.repeat.what}, all {outcome}, in {took}, folded"
    evidence: list[Evidence] = [*first.entries[0].evidence, *last.entries[0].evidence]
    result = Entry(
        first.ts_ns,
        "fold",
        text,
        [group.repeat.pos for group in members[:_CITED]],
        evidence,
        until_ns=until_ns,
        count=len(members),
    )
    for group in members:
        for entry in group.entries:
            entry.fold = result
    return result
