"""Program, arguments and cgroup of each process: its own, or those that it was born with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from analysis.columns import Rows, objects
from analysis.execs import Execs, birth_times, find_execs, find_forks, take
from analysis.identity import Codes, Identities
from analysis.table import Table
from tracer.abi import Type

Array = npt.NDArray[Any]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Texts:
    """A text for each process: few distinct ones, and who has which.

    Attributes:
        codes: by process, position in ``values``; -1: not known.
        values: str; the same one may be there twice.
    """

    codes: Codes
    values: Array

    def of(self, rows: Rows) -> Array:
        """Of some processes; None where not known."""
        return take(self.values, self.codes[rows], None)

    def used(self) -> list[int]:
        """Positions of the values that some process has, in the order of the first one's."""
        first = np.full(len(self.values), -1, np.int64)
        known = np.flatnonzero(self.codes >= 0)[::-1]
        first[self.codes[known]] = known  # the last one written is the first process
        found = np.flatnonzero(first >= 0)
        ordered: list[int] = found[np.argsort(first[found])].tolist()
        return ordered


@dataclass(frozen=True, slots=True)
class Images:
    """What each process was last known to run, in the order of process numbers.

    A process that has not called exec has its forker's image and cgroup as they were at the
    fork: that is what the kernel gives it.

    Attributes:
        cgroup: path in the v2 hierarchy, "" if there is none.
        cgroup_v1: path in the v1 pids or memory hierarchy, likewise.
    """

    execs: Execs
    cgroup: Texts
    cgroup_v1: Texts

    def filename(self, rows: Rows) -> Array:
        """What some processes have exec'd, or /proc/PID/exe; None if not known."""
        return take(self.execs.filename, self.execs.last[rows], None)

    def args(self, rows: Rows) -> Array:
        """argv of some processes, tuples of str; () if not known."""
        return self.execs.args.of(self.execs.last[rows])


def find_images(table: Table, who: Identities) -> Images:
    """Images of all processes (once: the table keeps the result)."""
    found = table.cache.get("images")
    if not isinstance(found, Images):
        found = table.cache["images"] = Images(find_execs(table), *_cgroups(table, who))
    return found


def _cgroups(table: Table, who: Identities) -> tuple[Texts, Texts]:
    details, procs = table.detail_rows, table.procs
    forks, count = find_forks(table, who), len(who)
    parsed = [_proc_cgroup(raw) for raw in procs["cgroup"].tolist()]
    numbers = [number for _, number, _ in parsed if number]
    v1_number = max(set(numbers), key=numbers.count) if numbers else -1
    seen = np.flatnonzero((who.of("procs") >= 0) & ~_are_zombies(table, who))
    seen_by = who.of("procs")[seen]
    seen_ns = procs["ts_ns"].to_numpy(np.int64)[seen]
    is_exec, hierarchy, times = details.is_exec, details["hierarchy"], details["ts_ns"]
    result = []
    for number, position in ((0, 0), (v1_number, 2)):
        moved = ~is_exec & (hierarchy == number)
        rows = np.flatnonzero(is_exec | moved)
        # The path of a move is its only one, whatever the hierarchy.
        texts = details.places[rows]
        texts[is_exec[rows]] += len(details.cgroup) if position else 0
        paths = [details.cgroup, details.cgroup_v1, objects(p[position] for p in parsed)]
        values = np.concatenate(paths)
        told = seen + len(details.cgroup) + len(details.cgroup_v1)
        texts = np.concatenate([texts, told.astype(np.int32)])
        codes = np.concatenate([who.of("details")[rows], seen_by])
        at = np.concatenate([times[rows], seen_ns])
        order = np.lexsort((at, codes))
        _date_back(codes, at, order, len(rows), table, who)
        codes, at = codes[order], at[order]
        last = forks.births(codes, at, count)
        last[codes] = np.arange(len(codes))
        result.append(Texts(take(texts[order], last, -1), values))
    return result[0], result[1]


def _are_zombies(table: Table, who: Identities) -> npt.NDArray[np.bool_]:
    """Rows of what /proc said of processes that had ended, and were not reaped: exit() takes a
    process out of its v1 cgroups, and its v2 cgroup may be gone."""
    procs = table.procs
    ended = np.zeros(len(who) + 1, bool)  # the last: -1, not known
    ended[who.of(Type.EXIT)] = True
    empty = procs["exe"].isna().to_numpy(bool) & (procs["args"].map(len) == 0).to_numpy(bool)
    return ended[who.of("procs")] & empty if len(procs) else np.zeros(0, bool)


def _date_back(
    codes: Codes, at: Ints, order: Ints, recorded: int, table: Table, who: Identities
) -> None:
    """What /proc said is true from a process's beginning if nothing is known from before: its
    children have it, also those that are older than the snapshot. Changes ``at`` in place.

    Args:
        order: rows by process and time; those from ``recorded`` on are what /proc said.
    """
    first = np.ones(len(order), bool)
    first[1:] = codes[order][1:] != codes[order][:-1]
    heads = order[first]
    heads = heads[heads >= recorded]
    if len(heads):
        at[heads] = birth_times(table, who)[codes[heads]]


def _proc_cgroup(raw: str) -> tuple[str, int, str]:
    """(v2 path, number of the v1 hierarchy, v1 path) from the text of /proc/PID/cgroup."""
    v2, best = "", (0, 0, "")
    for line in raw.splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        names = controllers.split(",")
        rank = 2 if "pids" in names else 1 if "memory" in names else 0
        if number == "0" and not controllers:
            v2 = path
        elif rank > best[0] and number.isascii() and number.isdigit() and len(number) < 10:
            best = (rank, int(number), path)
    return v2, best[1], best[2]
