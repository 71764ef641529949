"""What a check of `rtrace doctor` answers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Check:
    """An answer.

    Attributes:
        ok: False: recording does not work because of it; None: only worth knowing.
        fact: what was found.
        step: what to do about it, or what comes of it.
    """

    name: str
    ok: bool | None
    fact: str
    step: str = ""
