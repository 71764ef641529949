"""Items that a thread makes ahead."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from analysis.ahead import ahead


def test_the_same_items_in_the_same_order() -> None:
    assert list(ahead(range(1000))) == list(range(1000))


def test_what_making_them_raises_comes_behind_those_before_it() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise ValueError("two")

    found = ahead(items())
    assert next(found) == 1
    with pytest.raises(ValueError, match="two"):
        next(found)


def test_who_stops_early_leaves_no_thread_and_not_everything_is_made() -> None:
    made = []

    def items() -> Iterator[int]:
        for number in range(1000):
            made.append(number)
            yield number

    found = ahead(items())
    assert next(found) == 0
    found.close()  # type: ignore[attr-defined]
    assert len(made) < 20
    assert "ahead" not in {thread.name for thread in threading.enumerate()}
