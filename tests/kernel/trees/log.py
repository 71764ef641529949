"""The log of randomtree: what each process of the random trees saw of its own parent.

Numbers in nested pid namespaces are translated: every `tgid` here is the host's, except where a
field says `local`. The layouts and enums mirror randomtree.h.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import IntEnum, IntFlag
from pathlib import Path
from typing import NamedTuple

from tests.kernel.trees.comparator import Observation, WitnessedProcess

_HEADER = struct.Struct("<8sIIQiiIIQQQ")
_RECORD = struct.Struct("<HHIIIIiiiIIQQQ")
_MAGIC = b"RTREE01\0"
_OUTER = 0

# The kernel adds a tick's part differently than we do: the start in /proc is a rounded one.
_TICK_SLACK = 1


class Kind(IntEnum):
    """`enum kind`."""

    UNFINISHED = 0
    ROUND = 1
    BIRTH = 2
    SPAWN = 3
    SEEN_GETPPID = 4
    SEEN_PROC = 5
    SNAPSHOT = 6
    EXECED = 7
    SUBREAPER = 8
    THREAD_EXIT = 9
    EXIT = 10
    KILL = 11


class How(IntEnum):
    """`enum birth`: how a process was made."""

    FORK = 0
    FORK_NO_SIGNAL = 1
    FORK_SIBLING = 2
    FORK_PIDNS = 3
    FORK_INJECT = 4
    VFORK = 5


class Death(IntEnum):
    """`enum death`: the end that a process is to choose itself."""

    EXIT_GROUP = 0
    EXIT_GROUP_BY_THREAD = 1
    EXIT_LEADER_FIRST = 2
    SIGKILL_SELF = 3
    SIGTERM_SELF = 4
    SIGKILL_PGROUP = 5


class Moment(IntEnum):
    """`enum moment`: when it is to end."""

    NOW = 0
    SOON = 1
    WAVE1 = 2
    WAVE2 = 3
    WAVE3 = 4
    END = 5


class Trait(IntFlag):
    """`enum trait`."""

    REAPS = 1 << 0
    SIGCHLD_IGNORED = 1 << 1
    SIGCHLD_NOCLDWAIT = 1 << 2
    SUBREAPER_EARLY = 1 << 3
    SUBREAPER_LATE = 1 << 4
    SUBREAPER_CLEARED = 1 << 5
    PDEATH_SIGKILL = 1 << 6
    PDEATH_SIGTERM = 1 << 7
    SIGTERM_IGNORED = 1 << 8
    PGROUP = 1 << 9
    EXEC_EARLY = 1 << 10
    EXEC_LATE = 1 << 11
    EXEC_BY_THREAD = 1 << 12
    VICTIM = 1 << 13
    CHAIN = 1 << 14
    CROWD = 1 << 15


class Node(NamedTuple):
    """The name of a process in the log: it is never used twice."""

    round: int
    node: int


class Record(NamedTuple):
    """A record as it is in the file."""

    kind: int
    how: int
    round: int
    node: int
    creator: int
    pidns: int
    tgid: int
    pid: int
    ppid: int
    traits: int
    detail: int
    lo_ns: int
    hi_ns: int
    last_ns: int


@dataclass(frozen=True, slots=True)
class Round:
    """A tree, from the fork of its root to the last wait."""

    number: int
    planned: int
    born: int
    dropped_records: int
    begin_ns: int
    end_ns: int


@dataclass(frozen=True, slots=True)
class Birth:
    """A process. It started at an instant in `start_lo_ns`..`start_hi_ns`.

    `pidns` names the namespace in which `local_pid` counts, by the node of its init; 0 is the
    driver's. (An inode number would not do: the kernel reuses it at once.)

    `is_own_word` is False for a process that was killed before it could log anything: then its
    creator alone tells of it.
    """

    name: Node
    creator: Node
    creator_tgid: int
    tgid: int
    pidns: int
    local_pid: int
    how: How
    traits: Trait
    moment: Moment | None
    start_lo_ns: int
    start_hi_ns: int
    is_own_word: bool


@dataclass(frozen=True, slots=True)
class ParentChange:
    """getppid() gave another number: the parent changed at an instant in `lo_ns`..`hi_ns`."""

    name: Node
    tgid: int
    start_lo_ns: int
    start_hi_ns: int
    pidns: int
    old_parent_tgid: int | None
    new_parent_tgid: int | None
    old_parent_local: int
    new_parent_local: int
    lo_ns: int
    hi_ns: int


@dataclass(frozen=True, slots=True)
class Final:
    """The parent that the driver read in /proc at an instant in `lo_ns`..`hi_ns`."""

    name: Node
    tgid: int
    parent_tgid: int
    state: str
    lo_ns: int
    hi_ns: int


@dataclass(frozen=True, slots=True)
class Event:
    """Something that a process did, `lo_ns` being a moment before it (after it, for EXECED)."""

    kind: Kind
    name: Node
    tgid: int
    how: int
    detail: int
    lo_ns: int
    hi_ns: int


@dataclass(slots=True)
class TreeLog:
    """A log, with host ids."""

    seed: int
    driver_tgid: int
    driver_start_ns: tuple[int, int]
    rounds: list[Round] = field(default_factory=list)
    births: dict[Node, Birth] = field(default_factory=dict)
    observations: dict[Node, list[Observation]] = field(default_factory=dict)
    changes: list[ParentChange] = field(default_factory=list)
    finals: list[Final] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    unfinished_records: int = 0
    unidentified: int = 0  # processes of nested namespaces that died before they logged anything

    def processes(self) -> list[WitnessedProcess]:
        """What the comparator needs to know: every process, and the driver, their ancestor."""
        driver = WitnessedProcess("driver", self.driver_tgid, *self.driver_start_ns, ())
        return [driver] + [
            WitnessedProcess(
                name=_describe(birth),
                tgid=birth.tgid,
                start_lo_ns=birth.start_lo_ns,
                start_hi_ns=birth.start_hi_ns,
                observations=tuple(self.observations.get(birth.name, ())),
            )
            for birth in self.births.values()
        ]

    def shares(self) -> Counter[str]:
        """How often each scenario happened."""
        counts: Counter[str] = Counter()
        level: dict[tuple[int, int], int] = {}
        for birth in self.births.values():
            counts["processes"] += 1
            counts[f"born by {birth.how.name}"] += 1
            counts.update(f"trait {trait.name}" for trait in Trait if trait in birth.traits)
            counts["killed before their first record"] += not birth.is_own_word
            up = self.births.get(birth.creator)
            key = (birth.name.round, birth.name.node)
            level[key] = 1 + level.get((up.name.round, up.name.node), 0) if up else 0
            counts["born 40 or more levels deep"] += level[key] >= 40
        names = {
            Kind.EXECED: "execs",
            Kind.KILL: "killed by their creator",
            Kind.SUBREAPER: "subreaper set or cleared",
        }
        for event in self.events:
            if event.kind == Kind.EXIT:
                counts[f"ends by {Death(event.how).name}"] += 1
            elif event.kind == Kind.THREAD_EXIT:
                counts["thread exits alone" if event.how else "leader exits first"] += 1
            else:
                counts[names[event.kind]] += 1
        inits = {(b.tgid, b.name.round) for b in self.births.values() if b.how == How.FORK_PIDNS}
        for change in self.changes:
            counts["changes of getppid()"] += 1
            if change.new_parent_tgid == self.driver_tgid:
                counts["changes to the driver"] += 1
            elif change.pidns == _OUTER:
                counts["changes to a subreaper"] += 1
            elif (change.new_parent_tgid, change.name.round) in inits:
                counts["changes to the init of a nested namespace"] += 1
            else:
                counts["changes to a subreaper in a nested namespace"] += 1
        counts["snapshots of zombies"] = sum(final.state == "Z" for final in self.finals)
        counts["snapshots"] = len(self.finals)
        return counts


def read_log(path: Path) -> TreeLog:
    """Read a log.

    Raises:
        ValueError: it is not a log of this version.
    """
    content = path.read_bytes()
    if len(content) < _HEADER.size or content[:8] != _MAGIC:
        raise ValueError(f"{path}: not a log of randomtree")
    header = _HEADER.unpack_from(content)
    _, record_bytes, _, seed, driver_tgid, _, _, _, begin_ns, ticks_per_s, start_ticks = header
    if record_bytes != _RECORD.size:
        raise ValueError(f"{path}: records of {record_bytes} bytes, not {_RECORD.size}")

    tick_ns = 1_000_000_000 // ticks_per_s
    start_ns = start_ticks * tick_ns
    log = TreeLog(seed, driver_tgid, (start_ns, min(start_ns + tick_ns, begin_ns)))
    by_kind: dict[int, list[Record]] = defaultdict(list)
    whole = len(content) - (len(content) - _HEADER.size) % _RECORD.size
    for values in _RECORD.iter_unpack(memoryview(content)[_HEADER.size : whole]):
        by_kind[values[0]].append(Record._make(values))
    log.unfinished_records = len(by_kind[Kind.UNFINISHED])
    log.rounds = [
        Round(r.round, r.creator, r.detail, r.last_ns, r.lo_ns, r.hi_ns)
        for r in by_kind[Kind.ROUND]
    ]
    _read_births(log, by_kind)
    tgids = _Tgids(log)
    _read_observations(log, by_kind, tgids, tick_ns)
    log.changes = list(_find_changes(log, by_kind[Kind.SEEN_GETPPID], tgids))
    log.events = [
        Event(Kind(r.kind), Node(r.round, r.node), r.tgid, r.how, r.detail, r.lo_ns, r.hi_ns)
        for kind in (Kind.EXECED, Kind.SUBREAPER, Kind.THREAD_EXIT, Kind.EXIT, Kind.KILL)
        for r in by_kind[kind]
    ]
    return log


def _describe(birth: Birth) -> str:
    traits = "|".join(t.name or "" for t in Trait if t in birth.traits)
    return f"round {birth.name.round} node {birth.name.node} ({birth.how.name} {traits})"


def _read_births(log: TreeLog, by_kind: dict[int, list[Record]]) -> None:
    own = {Node(r.round, r.node): r for r in by_kind[Kind.BIRTH]}
    spawns = {Node(r.round, r.node): r for r in by_kind[Kind.SPAWN] if r.pid > 0}
    for name in sorted(own.keys() | spawns.keys()):
        r = own.get(name) or spawns[name]
        if name not in own and r.pidns != _OUTER:
            log.unidentified += 1
            continue
        creator = Node(r.round, r.creator)
        up = own.get(creator)
        log.births[name] = Birth(
            name=name,
            creator=creator,
            creator_tgid=up.tgid if up else log.driver_tgid,
            tgid=r.tgid if name in own else r.pid,
            pidns=r.pidns,
            local_pid=r.pid,
            how=How(r.how),
            traits=Trait(r.traits),
            moment=Moment(r.detail) if name in own else None,
            start_lo_ns=r.lo_ns,
            # The creator returns from clone later than that, but it may be the only one to tell.
            start_hi_ns=r.hi_ns,
            is_own_word=name in own,
        )


class _Tgids:
    """Who had which number when."""

    def __init__(self, log: TreeLog) -> None:
        self._local: dict[tuple[int, int, int], int] = {}
        starts: dict[int, list[tuple[int, int]]] = defaultdict(list)
        starts[log.driver_tgid].append(log.driver_start_ns)
        for birth in log.births.values():
            self._local[birth.name.round, birth.pidns, birth.local_pid] = birth.tgid
            starts[birth.tgid].append((birth.start_lo_ns, birth.start_hi_ns))
        self._starts = {tgid: sorted(brackets) for tgid, brackets in starts.items()}

    def find_host(self, record: Record) -> int | None:
        """The host's number of `record.ppid`; None for a parent outside of the namespace.

        In the outer namespace 0 is nobody's parent: getppid() answers it when the parent is
        released between its two reads, of real_parent and of that one's number (kernel/sys.c).
        """
        if record.pidns == _OUTER:
            return record.ppid or None
        return self._local.get((record.round, record.pidns, record.ppid))

    def find_start(self, tgid: int, at_ns: int) -> tuple[int, int] | None:
        """The bracket of the start of the process that had this number at that time."""
        brackets = self._starts.get(tgid, [])
        i = bisect_right(brackets, at_ns, key=lambda bracket: bracket[0])
        return brackets[i - 1] if i else None


def _observation(
    tgids: _Tgids, witness: str, parent_tgid: int, lo_ns: int, hi_ns: int, last_ns: int
) -> Observation:
    return Observation(
        witness=witness,
        parent_tgid=parent_tgid,
        parent_start_ns=tgids.find_start(parent_tgid, hi_ns),
        first_lo_ns=lo_ns,
        first_hi_ns=hi_ns,
        last_ns=last_ns,
    )


def _read_observations(
    log: TreeLog, by_kind: dict[int, list[Record]], tgids: _Tgids, tick_ns: int
) -> None:
    observations: dict[Node, list[Observation]] = defaultdict(list)
    for birth in log.births.values():
        if birth.how != How.FORK_SIBLING:  # the parent of a sibling is its creator's, at that time
            lo_ns, hi_ns = birth.start_lo_ns, birth.start_hi_ns
            observations[birth.name].append(
                _observation(tgids, "creation", birth.creator_tgid, lo_ns, hi_ns, lo_ns)
            )
    for kind, witness in ((Kind.SEEN_GETPPID, "getppid"), (Kind.SEEN_PROC, "proc")):
        for r in by_kind[kind]:
            parent = r.ppid if kind == Kind.SEEN_PROC else tgids.find_host(r)
            if parent is not None:
                observations[Node(r.round, r.node)].append(
                    _observation(tgids, witness, parent, r.lo_ns, r.hi_ns, r.last_ns)
                )
    for r in by_kind[Kind.SNAPSHOT]:
        name = Node(r.round, r.node)
        known = log.births.get(name)
        if known is None:
            continue  # killed while it logged its birth, in a nested namespace
        first, last = known.start_lo_ns // tick_ns, known.start_hi_ns // tick_ns
        if not first - _TICK_SLACK <= r.last_ns <= last + _TICK_SLACK:
            continue  # another process, with the same number
        log.finals.append(Final(name, r.tgid, r.ppid, chr(r.detail), r.lo_ns, r.hi_ns))
        observations[name].append(
            _observation(tgids, "snapshot", r.ppid, r.lo_ns, r.hi_ns, r.lo_ns)
        )
    for seen in observations.values():
        seen.sort(key=lambda o: o.first_lo_ns)
    log.observations = dict(observations)


def _find_changes(log: TreeLog, seen: Iterable[Record], tgids: _Tgids) -> Iterator[ParentChange]:
    before: dict[Node, Record] = {}
    for r in sorted(seen, key=lambda r: r.lo_ns):
        name = Node(r.round, r.node)
        old = before.get(name)
        before[name] = r
        if old is None:
            continue
        birth = log.births[name]  # it is logged before anything is seen
        yield ParentChange(
            name=name,
            tgid=r.tgid,
            start_lo_ns=birth.start_lo_ns,
            start_hi_ns=birth.start_hi_ns,
            pidns=r.pidns,
            old_parent_tgid=tgids.find_host(old),
            new_parent_tgid=tgids.find_host(r),
            old_parent_local=old.ppid,
            new_parent_local=r.ppid,
            lo_ns=old.last_ns,
            hi_ns=r.hi_ns,
        )
