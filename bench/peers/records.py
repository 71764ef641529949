"""What a tool's output says about a storm: the same questions to all of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from bench.build import STORM_NAME
from bench.loads import Storm

FORK, EXEC, EXIT = "fork", "exec", "exit"


class Record(NamedTuple):
    """One event in a tool's output.

    Attributes:
        kind: FORK, EXEC or EXIT.
        pid: of the process; of the child, if it is a fork.
        name: comm of the process; of the parent, if it is a fork.
        size: bytes that it takes in the output.
    """

    kind: str
    pid: int
    name: str
    size: float


@dataclass(frozen=True, slots=True)
class Output:
    """What a tool wrote.

    Attributes:
        streams: the records of each of its outputs, in their order.
        reported_lost: by its own report; None: it has none.
    """

    streams: Sequence[Sequence[Record]]
    reported_lost: int | None

    def storm_bytes(self) -> float:
        """What the storm's events take in the output."""
        return sum(record.size for stream in self.streams for record in storm_records(stream))

    def missing(self, expected: Mapping[str, int]) -> int:
        """How many of the expected events of each kind are not there."""
        found = Counter(record.kind for stream in self.streams for record in storm_records(stream))
        return sum(max(0, count - found[kind]) for kind, count in expected.items())

    def first_seen(self, pids: Collection[int]) -> list[int]:
        """Which of some processes is the first that each output has, before any storm.

        Outputs that have none of them give nothing.
        """
        first = (
            next((record.pid for record in _before_storm(stream) if record.pid in pids), None)
            for stream in self.streams
        )
        return [pid for pid in first if pid is not None]

    def has_seen(self, pid: int) -> bool:
        """Whether all outputs have a process, before any storm (which uses pids again)."""
        return all(
            any(record.pid == pid for record in _before_storm(stream)) for stream in self.streams
        )


def storm_records(stream: Sequence[Record]) -> list[Record]:
    """Those of the storm's processes."""
    return [record for record in stream if record.name == STORM_NAME]


def expected_records(storm: Storm, kinds: Collection[str]) -> dict[str, int]:
    """How many events of these kinds one run of a storm makes.

    Its workers fork and exit too, and the storm itself is executed and exits; who forks it has
    another name.
    """
    counts = {
        FORK: storm.children + storm.workers,
        EXEC: 1 + (storm.children if storm.name == "exec" else 0),
        EXIT: storm.children + storm.workers + 1,
    }
    return {kind: counts[kind] for kind in kinds}


def _before_storm(stream: Sequence[Record]) -> Sequence[Record]:
    for index, record in enumerate(stream):
        if record.name == STORM_NAME:
            return stream[:index]
    return stream
