"""Comparisons in code that Atheris watches, without what Atheris 3.0 leaks.

It replaces each comparison by a call that tells libFuzzer what was compared, and that never lets go
of its result. That is nothing if the result is True or False, but each `column == value` leaves an
array behind: some 100 KB for each file, as if the code under test would leak.
"""

from __future__ import annotations

import operator
from typing import Any

_OPERATORS = (operator.lt, operator.le, operator.eq, operator.ne, operator.gt, operator.ge)
_GUIDING = frozenset((int, str, bytes))
"""Types of what libFuzzer can learn from. Comparing two of one of them gives True or False."""


def free_results() -> None:
    """From now on Atheris sees comparisons of numbers and texts alone; of others Python does."""
    import atheris
    from atheris.version_dependent import CMP_OP_SHIFT_AMOUNT

    traced = atheris._trace_cmp

    def compare(left: Any, right: Any, number: int, counter: int, constant: bool) -> Any:
        if type(left) in _GUIDING and type(right) in _GUIDING:
            return traced(left, right, number, counter, constant)
        return _OPERATORS[number >> CMP_OP_SHIFT_AMOUNT](left, right)

    atheris._trace_cmp = compare
