"""Durations and sizes as people write them, for the command line."""

from __future__ import annotations

import re

import click

_DURATION_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_SIZE_UNITS = {"": 1, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}


def parse_duration(text: str) -> float:
    """Seconds in "30s", "1.5m", "250ms", "2h" or a plain number of seconds.

    Raises:
        ValueError: not a duration, or not above zero.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h)?", text.strip().lower())
    seconds = float(match[1]) * _DURATION_UNITS[match[2] or "s"] if match else 0.0
    if not 0 < seconds < 1e9:
        raise ValueError(f"{text!r} is not a duration; write 30s, 5m, 250ms or 1h")
    return seconds


def parse_size(text: str) -> int:
    """Bytes in "16MiB", "500MB" (also 1024-based), "64k" or a plain number of bytes.

    Raises:
        ValueError: not a size, or not above zero.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmg]?)(?:i?b)?", text.strip().lower())
    size = int(float(match[1]) * _SIZE_UNITS[match[2]]) if match else 0
    if not 0 < size < 1 << 50:
        raise ValueError(f"{text!r} is not a size; write 16MiB, 500MiB or 1GiB")
    return size


def format_size(size_bytes: float) -> str:
    """The size with a binary unit: "640 B", "3.2 MiB"."""
    for unit in ("B", "KiB", "MiB"):
        if size_bytes < 1024:
            return f"{size_bytes:.0f} {unit}" if unit == "B" else f"{size_bytes:.1f} {unit}"
        size_bytes /= 1024
    return f"{size_bytes:.1f} GiB"


def duration_option(
    _context: click.Context, _parameter: click.Parameter, value: str | None
) -> float | None:
    """Callback of a click option whose value is a duration; gives seconds."""
    try:
        return None if value is None else parse_duration(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def size_option(
    _context: click.Context, _parameter: click.Parameter, value: str | None
) -> int | None:
    """Callback of a click option whose value is a size; gives bytes."""
    try:
        return None if value is None else parse_size(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None
