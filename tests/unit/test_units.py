"""Durations and sizes, as people write them."""

from __future__ import annotations

import pytest

from tracer.units import format_size, parse_duration, parse_size


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30s", 30),
        ("30", 30),
        ("1.5m", 90),
        ("250ms", 0.25),
        ("2h", 7200),
        (" 10 S ", 10),
        ("0.5", 0.5),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "s",
        "0",
        "0ms",
        "-1s",
        "+1s",
        "1.s",
        ".5s",
        "1,5s",
        "1d",
        "1 0s",
        "1e9",
        "inf",
        "nan",
        "²s",
        "1s\n2s",
        "300000h",
    ],
)
def test_no_durations(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration; write 30s"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("1", 1),
        ("64k", 65536),
        ("64KiB", 65536),
        ("16MiB", 16 << 20),
        ("16 mb", 16 << 20),
        ("500M", 500 << 20),
        ("1.5g", 3 << 29),
        ("12b", 12),
    ],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "0", "0.5", "-1", "MiB", "1TiB", "1kk", "1e6", "2000000g"])
def test_no_sizes(text: str) -> None:
    with pytest.raises(ValueError, match="is not a size; write 16MiB"):
        parse_size(text)


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (640, "640 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (3_355_443, "3.2 MiB"),
        (5 << 30, "5.0 GiB"),
        (5 << 40, "5120.0 GiB"),
    ],
)
def test_sizes_for_people(size: int, text: str) -> None:
    assert format_size(size) == text
