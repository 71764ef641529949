"""The list of kernels, and whatever repeats it."""

from __future__ import annotations

import datetime
from pathlib import Path

from tests.kernels.guests import GUESTS
from tracer.kernels import MINIMUM, TESTED, Support, find_support, series_name


def test_the_list_is_in_order_and_consistent() -> None:
    assert [tested.series for tested in TESTED] == sorted({tested.series for tested in TESTED})
    for tested in TESTED:
        assert tested.series >= MINIMUM
        assert tested.release.startswith(f"{tested.name}.")
        assert find_support(tested.release) is Support.TESTED
        datetime.date.fromisoformat(tested.date)


def test_each_kernel_that_is_booted_is_in_the_list() -> None:
    assert {guest.kernel for guest in GUESTS} <= {tested.name for tested in TESTED}


def test_the_documentation_has_the_list(checkout: Path) -> None:
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")][:4]
        for line in (checkout / "docs/kernels.md").read_text().splitlines()
        if line.startswith("|")
    ]

    listed = [[t.name, t.release, t.host, t.date] for t in TESTED]
    assert [row for row in rows if row in listed] == listed
    assert [row[0] for row in rows if len(row) == 4 and row[3][:2] == "20"] == [
        tested.name for tested in TESTED
    ]


def test_the_readme_names_them(checkout: Path) -> None:
    readme = (checkout / "README.md").read_text()
    *others, last = [tested.name for tested in TESTED]

    assert f"kernel {series_name(MINIMUM)} or newer" in readme
    assert f"tested on {', '.join(others)} and {last}" in readme
