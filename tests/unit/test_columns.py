"""Numbers for pairs of numbers, also where somebody has chosen them with care."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.columns import factorize_pairs, mixed, texts

NUMBERS = st.sampled_from([0, 1, 2, 2**32, 2**63, 2**63 + 1, 2**64 - 1])


def plainly(pairs: list[tuple[int, int]]) -> tuple[list[int], list[int]]:
    numbers: dict[tuple[int, int], int] = {}
    first = []
    for at, pair in enumerate(pairs):
        if pair not in numbers:
            numbers[pair] = len(numbers)
            first.append(at)
    return [numbers[pair] for pair in pairs], first


def columns(pairs: list[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([p[0] for p in pairs], np.uint64), np.array([p[1] for p in pairs], np.uint64)


@given(st.lists(st.tuples(NUMBERS, NUMBERS)))
def test_pairs_are_numbered_as_they_come(pairs: list[tuple[int, int]]) -> None:
    codes, first = factorize_pairs(*columns(pairs))
    assert (codes.tolist(), first.tolist()) == plainly(pairs)


# An odd factor leaves 2**63 what it is: these two fall on one number, whatever the factor.
FORGED = [(0, 7), (2**63, (7 - (2**63 ^ 2**31)) % 2**64)]


@pytest.mark.timeout(60)
def test_forged_pairs_are_told_apart() -> None:
    high, low = columns([*FORGED, *FORGED[::-1], (5, 5)])
    assert mixed(high, low)[0] == mixed(high, low)[1]
    codes, first = factorize_pairs(high, low)
    assert codes.tolist() == [0, 1, 1, 0, 2]
    assert first.tolist() == [0, 1, 4]


@pytest.mark.timeout(60)
def test_forged_names_are_told_apart() -> None:
    raw = b"".join(part.to_bytes(8, "little") for pair in FORGED for part in pair)
    found = texts(np.frombuffer(raw, "S16"))
    assert found.tolist() == ["", ""]
