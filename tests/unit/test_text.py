"""Strings from the kernel that a terminal may see."""

from __future__ import annotations

import sys

import pytest

from tracer.text import printable


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        (b"", ""),
        (b"runc:[2:INIT]", "runc:[2:INIT]"),
        ("größe 漢字".encode(), "größe 漢字"),
        (b"\x1b[31mred\x1b[0m", r"\x1b[31mred\x1b[0m"),
        (b"a\nb\rc\td\x00\x7f", r"a\nb\rc\td\x00\x7f"),
        (b"\xff\xc3", r"\xff\xc3"),
        ("\x9b31m", r"\x9b31m"),  # the escape sequence in one character
        ("\u202eabc", r"\u202eabc"),  # right to left
        ("\u200b\ufeff", r"\u200b\ufeff"),  # invisible
        ("\udcff", r"\udcff"),  # as surrogateescape leaves it
        ("\U000e0041", r"\U000e0041"),
        ("\u2028", r"\u2028"),  # a line separator
    ],
)
def test_printable(raw: bytes | str, shown: str) -> None:
    assert printable(raw) == shown


def test_whatever_it_is_the_result_is_printable_and_has_one_line() -> None:
    every = "".join(map(chr, range(sys.maxunicode + 1)))

    shown = printable(every)

    assert shown.isprintable()
    assert len(shown.splitlines()) == 1
    shown.encode()  # a terminal's encoding takes it


def test_every_byte() -> None:
    assert printable(bytes(range(256))).isprintable()
