"""Which limit was hit when the kernel chose an OOM victim, as its log said."""

from __future__ import annotations

import bisect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from analysis.table import Table
from tracer.text import printable

CONSTRAINTS = ("none", "cpuset", "memory_policy", "memcg")

# The log is written before the event, slowly on a serial line, and read some 50 ms later.
_BEFORE_NS, _AFTER_NS = 2_000_000_000, 10_000_000_000
_MAX_BYTES = 1 << 60  # a limit beyond that is none


@dataclass(frozen=True, slots=True)
class OutOfMemory:
    """What the kernel's log said of a kill.

    Attributes:
        constraint: one of CONSTRAINTS: the whole host, nodes that a cpuset or a memory policy
            allows, or a memory cgroup's limit.
        cgroup: the group whose limit was hit, perhaps one above the victim's; None: not told.
        limit_bytes, usage_bytes: of that group; None: not told.
    """

    constraint: str
    cgroup: str | None
    limit_bytes: int | None
    usage_bytes: int | None

    def text(self) -> str:
        """Clause: "the limit of memory cgroup /docker/2f1c... (16 MiB) was hit"."""
        if self.constraint == "none":
            return "the whole host had run out of memory"
        if self.constraint != "memcg":
            by = "cpuset" if self.constraint == "cpuset" else "memory policy"
            return f"the nodes that its {by} allows had run out of memory"
        name = "a memory cgroup" if self.cgroup is None else f"memory cgroup {short(self.cgroup)}"
        limit = ""
        if self.limit_bytes is not None and self.limit_bytes < _MAX_BYTES:
            limit = f" ({mebibytes(self.limit_bytes)})"
        return f"the limit of {name}{limit} was hit"


def find_out_of_memory(
    table: Table, tgid: npt.NDArray[np.int64], oom_ns: Mapping[int, int]
) -> dict[int, OutOfMemory]:
    """What is known of each OOM victim (a position): the fact with its number that is nearest."""
    facts: dict[int, list[tuple[int, OutOfMemory]]] = {}
    times: dict[int, list[int]] = {}
    for fact in table.facts:
        ts_ns, number = fact.get("ts_ns"), fact.get("tgid")
        if fact.get("kind") != "oom" or not isinstance(ts_ns, int) or not isinstance(number, int):
            continue
        if fact.get("constraint") in CONSTRAINTS:
            facts.setdefault(number, []).append((ts_ns, _read(fact)))
    found = {}
    for number, told in facts.items():
        told.sort(key=lambda fact: fact[0])  # equal times stay in the order of the capture
        times[number] = [ts_ns for ts_ns, _ in told]
    for pos, chosen in oom_ns.items():
        number = int(tgid[pos])
        near = _nearest(times.get(number, []), chosen)
        if near is not None:
            found[pos] = facts[number][near][1]
    return found


def _nearest(times: list[int], chosen: int) -> int | None:
    """Which of these, in order, is nearest and not too far away; of two that are as near the
    first."""
    behind = bisect.bisect_left(times, chosen)
    around = [behind] if behind < len(times) else []
    if behind:
        around.insert(0, bisect.bisect_left(times, times[behind - 1]))
    near = [
        (abs(times[i] - chosen), i) for i in around if -_BEFORE_NS <= times[i] - chosen <= _AFTER_NS
    ]
    return min(near)[1] if near else None


def _read(fact: Mapping[str, Any]) -> OutOfMemory:
    def number(key: str) -> int | None:
        value = fact.get(key)
        return value if isinstance(value, int) and 0 <= value < 1 << 63 else None

    group = fact.get("cgroup")
    return OutOfMemory(
        str(fact["constraint"]),
        group if isinstance(group, str) and group else None,
        number("limit_bytes"),
        number("usage_bytes"),
    )


def mebibytes(size: int) -> str:
    """16 MiB, 16.5 MiB."""
    return f"{size / (1 << 20):.1f} MiB".replace(".0 MiB", " MiB")


def short(path: str) -> str:
    """A cgroup's path with long names cut, harmless to print."""
    parts = [part[:16] + "..." if len(part) > 40 else part for part in path.split("/")]
    return printable("/".join(parts))
