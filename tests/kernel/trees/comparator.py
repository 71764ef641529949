"""Compare what processes saw of their parents with what a capture says about them.

Pure functions on a neutral structure: neither the log's format nor the capture's is known here.

Time is never exact on either side. A capture says that a parent begins *at an instant in a
bracket*; an observation says that a parent was seen *at an instant in a bracket*, and perhaps
again later. A process never gets a former parent back, so between two sightings of one parent
there was no other. Only what cannot be reconciled by any choice of instants is an offence.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from itertools import pairwise

_FOREVER_NS = 1 << 63

ProcessId = tuple[int, int]
"""(tgid, start_ns)"""


class Certainty(StrEnum):
    """How sure the capture is of a parent."""

    CONFIRMED = "confirmed"
    PREDICTED = "predicted"
    INFERRED = "inferred"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Interval:
    """A parent, from an instant in `from_lo_ns`..`from_hi_ns` until the next interval begins.

    `parent_tgid` None is no statement; `parent_start_ns` None leaves open which process it was.
    """

    from_lo_ns: int
    from_hi_ns: int
    parent_tgid: int | None
    parent_start_ns: int | None
    certainty: Certainty


History = Mapping[ProcessId, Sequence[Interval]]
"""The parents of each process of a capture, in the order of time."""


@dataclass(frozen=True, slots=True)
class Observation:
    """A parent, seen at an instant in `first_lo_ns`..`first_hi_ns`, and last at or after `last_ns`.

    `parent_start_ns` is a bracket of the parent's start, None where it is not known.
    """

    witness: str
    parent_tgid: int
    parent_start_ns: tuple[int, int] | None
    first_lo_ns: int
    first_hi_ns: int
    last_ns: int


@dataclass(frozen=True, slots=True)
class WitnessedProcess:
    """A process that started at an instant in `start_lo_ns`..`start_hi_ns`, and what was seen."""

    name: str
    tgid: int
    start_lo_ns: int
    start_hi_ns: int
    observations: tuple[Observation, ...]


class Fault(StrEnum):
    """What is wrong, the worst first."""

    CONFIRMED_WRONG = "stated as confirmed, and wrong"
    MISSING_PARENT = "a parent that was seen is not in the history"
    MISTIMED_PARENT = "a parent that was seen is in the history at other times"
    MISSING_PROCESS = "the capture does not have this process"
    UNSURE_WRONG = "wrong, but marked as unsure"


@dataclass(frozen=True, slots=True)
class Offence:
    """One fault, with all that is needed to look into it."""

    fault: Fault
    process: WitnessedProcess
    observation: Observation | None = None
    interval: Interval | None = None
    history: tuple[Interval, ...] = ()

    def __str__(self) -> str:
        """Several lines; times are in us since the process's start."""
        zero_ns = self.process.start_lo_ns
        lines = [f"{self.fault}: {self.process.name}, tgid {self.process.tgid}, start {zero_ns}"]
        lines += [
            f"  {'! ' if o is self.observation else '  '}seen   {_show_observation(o, zero_ns)}"
            for o in self.process.observations
        ]
        lines += [
            f"  {'! ' if i is self.interval else '  '}stated {_show_interval(i, zero_ns)}"
            for i in self.history
        ]
        return "\n".join(lines)


@dataclass(slots=True)
class Comparison:
    """The result. A bar on `confirmed_wrong` and the `missing_*` is 0."""

    processes: int = 0
    observations: int = 0
    changes_seen: int = 0
    faults: Counter[Fault] = field(default_factory=Counter)
    reparents: Counter[Certainty] = field(default_factory=Counter)
    unstated: int = 0  # sightings at a time for which the capture says that it does not know
    offences: list[Offence] = field(default_factory=list)

    @property
    def confirmed_wrong(self) -> int:
        """Parents that are stated as confirmed, and wrong at some time."""
        return self.faults[Fault.CONFIRMED_WRONG]

    @property
    def reparents_total(self) -> int:
        """All changes of parent in the history of the processes that were compared."""
        return self.reparents.total()

    @property
    def confirmed_share(self) -> float:
        """The share of the reparents that the capture states as confirmed."""
        return self.reparents[Certainty.CONFIRMED] / max(self.reparents_total, 1)

    @property
    def unsure_wrong_share(self) -> float:
        """Wrong parents that are marked as unsure, as a share of the reparents."""
        return self.faults[Fault.UNSURE_WRONG] / max(self.reparents_total, 1)

    def summary(self, worst: int = 5) -> str:
        """Figures, and the worst offences."""
        lines = [
            f"{self.processes} processes, {self.observations} observations, "
            f"{self.changes_seen} changes seen",
            f"{self.reparents_total} reparents: "
            + ", ".join(f"{self.reparents[c]} {c}" for c in Certainty)
            + f" ({self.confirmed_share:.3%} confirmed, "
            f"{self.unsure_wrong_share:.3%} unsure and wrong)",
            f"{self.unstated} sightings at times that the capture says it does not know",
            *(f"{self.faults[fault]} {fault}" for fault in Fault),
        ]
        return "\n".join(lines + [str(offence) for offence in self.offences[:worst]])


def compare(
    processes: Iterable[WitnessedProcess],
    history: History,
    *,
    slack_ns: int = 2_000,
    keep: int = 100,
) -> Comparison:
    """Hold a capture's history against what the processes saw.

    Args:
        slack_ns: how far the two sides' clocks may differ.
        keep: how many offences to keep, of each fault.
    """
    result = Comparison()
    kept: dict[Fault, list[Offence]] = defaultdict(list)
    starts: dict[int, list[int]] = defaultdict(list)
    for tgid, start_ns in sorted(history):
        starts[tgid].append(start_ns)

    for process in processes:
        result.processes += 1
        found = [
            start_ns
            for start_ns in starts.get(process.tgid, [])
            if process.start_lo_ns - slack_ns <= start_ns <= process.start_hi_ns + slack_ns
        ]
        if found:
            # The number may have been another's, earlier in a long bracket: the last one is meant.
            intervals = history[process.tgid, found[-1]]
            offences = _judge(process, intervals, slack_ns, result)
        else:
            offences = [Offence(Fault.MISSING_PROCESS, process)]
        for offence in offences:
            result.faults[offence.fault] += 1
            if len(kept[offence.fault]) < keep:
                kept[offence.fault].append(offence)

    result.offences = [offence for fault in Fault for offence in kept[fault]]
    return result


def _judge(
    process: WitnessedProcess, intervals: Sequence[Interval], slack_ns: int, result: Comparison
) -> list[Offence]:
    """All offences of one process. At most one for each interval, and one for each observation."""
    result.observations += len(process.observations)
    seen = [o.parent_tgid for o in process.observations]
    result.changes_seen += sum(a != b for a, b in pairwise(dict.fromkeys(seen)))
    intervals = _merge_same(intervals)
    result.reparents.update(interval.certainty for interval in intervals[1:])

    kept = tuple(intervals)
    wrong: dict[int, Offence] = {}
    offences: list[Offence] = []
    absent: list[Observation] = []
    spans = [_Span.of(intervals, i, slack_ns) for i in range(len(intervals))]
    for o in process.observations:
        same = [i for i, interval in enumerate(intervals) if _is_parent(interval, o, slack_ns)]
        for i, interval in enumerate(intervals):
            if i in same or interval.parent_tgid is None or not spans[i].contradicts(o):
                continue
            # Right as such but for too long: then it is the next one that begins too late.
            at_fault = i + 1 if same and min(same) > i else i
            stated = intervals[at_fault]
            wrong.setdefault(at_fault, Offence(_wrong(stated), process, o, stated, kept))

        silent = [i for i, interval in enumerate(intervals) if interval.parent_tgid is None]
        if any(spans[i].covers(o) for i in same):
            continue
        if any(spans[i].touches(o) for i in silent):
            result.unstated += 1
        else:
            fault = Fault.MISTIMED_PARENT if same else Fault.MISSING_PARENT
            offences.append(Offence(fault, process, o, None, kept))
            if not same:
                absent.append(o)

    # Whichever was meant for the time of these, one is wrong: an unsure one, if there is any.
    for o in absent:
        at_time = [i for i, span in enumerate(spans) if span.touches(o)]
        if at_time and not wrong.keys() & set(at_time):
            at_fault = max(
                at_time, key=lambda i: (intervals[i].certainty != Certainty.CONFIRMED, i)
            )
            stated = intervals[at_fault]
            wrong[at_fault] = Offence(_wrong(stated), process, o, stated, kept)
    return list(wrong.values()) + offences


def _wrong(interval: Interval) -> Fault:
    is_confirmed = interval.certainty == Certainty.CONFIRMED
    return Fault.CONFIRMED_WRONG if is_confirmed else Fault.UNSURE_WRONG


def _merge_same(intervals: Sequence[Interval]) -> list[Interval]:
    """Join what follows on one another with the same parent; the surest word counts."""
    merged: list[Interval] = []
    for interval in intervals:
        before = merged[-1] if merged else None
        if before and (before.parent_tgid, before.parent_start_ns) == (
            interval.parent_tgid,
            interval.parent_start_ns,
        ):
            surest = min(before.certainty, interval.certainty, key=list(Certainty).index)
            merged[-1] = replace(before, certainty=surest)
        else:
            merged.append(interval)
    return merged


def _is_parent(interval: Interval, o: Observation, slack_ns: int) -> bool:
    if interval.parent_tgid != o.parent_tgid:
        return False
    if interval.parent_start_ns is None or o.parent_start_ns is None:
        return True
    lo_ns, hi_ns = o.parent_start_ns
    return lo_ns - slack_ns <= interval.parent_start_ns <= hi_ns + slack_ns


@dataclass(frozen=True, slots=True)
class _Span:
    """When a stated parent begins and ends; each is an instant in a bracket, slack included."""

    begin_lo_ns: int
    begin_hi_ns: int
    end_lo_ns: int
    end_hi_ns: int

    @classmethod
    def of(cls, intervals: Sequence[Interval], i: int, slack_ns: int) -> _Span:
        this = intervals[i]
        if i + 1 == len(intervals):
            end = (_FOREVER_NS, _FOREVER_NS)
        else:
            end = (intervals[i + 1].from_lo_ns - slack_ns, intervals[i + 1].from_hi_ns + slack_ns)
        return cls(this.from_lo_ns - slack_ns, this.from_hi_ns + slack_ns, *end)

    def contradicts(self, o: Observation) -> bool:
        """Whether no choice of instants lets both this parent and the other one, seen, be true."""
        sure_from_ns, sure_to_ns = o.first_hi_ns, o.last_ns
        if self.begin_hi_ns < self.end_lo_ns:
            # Stated for the whole of the time in which the other was seen, whenever that was.
            if self.begin_hi_ns < o.first_lo_ns and o.first_hi_ns < self.end_lo_ns:
                return True
            # Both are sure at one instant.
            if max(self.begin_hi_ns, sure_from_ns) < min(self.end_lo_ns, sure_to_ns):
                return True
        # It begins, or ends, while the other is sure: whenever that is, it is wrong.
        return (sure_from_ns < self.begin_lo_ns and self.begin_hi_ns < sure_to_ns) or (
            sure_from_ns < self.end_lo_ns and self.end_hi_ns < sure_to_ns
        )

    def covers(self, o: Observation) -> bool:
        """Whether all of the sighting can lie in this time."""
        if self.begin_lo_ns > o.first_hi_ns:
            return False
        return self.end_hi_ns >= max(o.first_lo_ns, o.last_ns)

    def touches(self, o: Observation) -> bool:
        """Whether a part of the sighting can lie in this time."""
        return self.begin_lo_ns <= max(o.first_hi_ns, o.last_ns) and self.end_hi_ns >= o.first_lo_ns


def _show_us(ns: int, zero_ns: int) -> str:
    return "end" if ns >= _FOREVER_NS else f"{(ns - zero_ns) / 1000:.1f}"


def _show_observation(o: Observation, zero_ns: int) -> str:
    at = f"{_show_us(o.first_lo_ns, zero_ns)}..{_show_us(o.first_hi_ns, zero_ns)}"
    start = (
        ""
        if o.parent_start_ns is None
        else f" (start {o.parent_start_ns[0]}..{o.parent_start_ns[1]})"
    )
    return f"{o.parent_tgid}{start} at {at}, last {_show_us(o.last_ns, zero_ns)} us, by {o.witness}"


def _show_interval(interval: Interval, zero_ns: int) -> str:
    begin = f"{_show_us(interval.from_lo_ns, zero_ns)}..{_show_us(interval.from_hi_ns, zero_ns)}"
    return (
        f"{interval.parent_tgid} (start {interval.parent_start_ns}) "
        f"from {begin} us, {interval.certainty}"
    )
