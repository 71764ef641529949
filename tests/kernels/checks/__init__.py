"""What runs on each kernel, in this order. Both halves of a check are in one module.

`run` has the recorder's packages at hand and nothing of the desk's: what needs `analysis` is
imported in `judge`.
"""

from __future__ import annotations

from tests.kernels.checks import (
    container,
    cost,
    crowd,
    doctor,
    engines,
    kernel_tests,
    reparents,
    reuse,
)
from tests.kernels.checks.result import Check

CHECKS: dict[str, Check] = {
    "doctor": doctor,
    "engines": engines,
    "reparents": reparents,
    "kernel-tests": kernel_tests,
    "container": container,
    "cost": cost,
    "crowd": crowd,
    "reuse": reuse,
}
