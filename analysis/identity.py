"""Numbers for processes: row numbers of the processes frame instead of (tgid, start_ns).

Everything behind works on these int32 numbers, and numbers rows in the same way: what has a value
for each of millions of processes is what takes memory, and 2**31 records would take 170 GB. The
strings "tgid:start_ns" are made once.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from analysis.columns import factorize_pairs, int64, objects
from analysis.table import Table
from tracer.abi import Type

Array = npt.NDArray[Any]
Codes = npt.NDArray[np.int32]

UNKNOWN = -1

# PID_MAX_LIMIT of 64-bit kernels (include/linux/threads.h): no number of a process is higher.
_PID_MAX = 1 << 22

# Which other processes an event names, by the prefix of their fields.
REFERENCES: dict[Type, tuple[str, ...]] = {
    Type.FORK: ("parent", "forker"),
    Type.EXEC: ("parent",),
    Type.EXIT: ("parent",),
    Type.REPARENT: ("parent", "reaper"),
    Type.REAPER: ("reaper",),
    Type.SIGNAL: ("sender",),
    Type.OOM: (),
    Type.SUBREAPER: ("parent",),
    Type.COMM: ("parent",),
    Type.REAP: (),
    Type.STUB: ("parent",),
}


@dataclass
class Identities:
    """Number of every process that the capture names: first those born in it, by birth.

    Attributes:
        tgid, start_ns: of each process.
        born: those below this number have a fork event.
        idle: number of the kernel's idle task ("0:0"), the parent of init and kthreadd.
    """

    tgid: npt.NDArray[np.int64]
    start_ns: npt.NDArray[np.int64]
    born: int
    idle: int
    _tgid: npt.NDArray[np.uint64]  # as recorded, also where they are forged
    _start: npt.NDArray[np.uint64]
    _codes: dict[tuple[Type | str, str], Codes]

    def __len__(self) -> int:
        return len(self.tgid)

    def of(self, source: Type | str, role: str = "subject") -> Codes:
        """Process numbers of a column: -1 where not known.

        Args:
            source: event type, or "tasks", "procs", "details".
            role: "subject", or a prefix as in REFERENCES ("parent", "forker" ...).
        """
        found = self._codes.get((source, role))
        return found if found is not None else np.empty(0, np.int32)

    @cached_property
    def forker(self) -> Codes:
        """Who forked each process; UNKNOWN."""
        result = np.full(len(self), UNKNOWN, np.int32)
        result[self.of(Type.FORK)] = self.of(Type.FORK, "forker")
        return result

    def names(self, codes: npt.NDArray[Any]) -> Array:
        """Ids "tgid:start_ns" of process numbers; None where not known."""
        if len(codes) < len(self) // 2 and "_ids" not in self.__dict__:
            known = np.flatnonzero(codes >= 0)
            result = np.full(len(codes), None, object)
            chosen = codes[known]
            result[known] = _ids(self._tgid[chosen], self._start[chosen])[:-1]
            return result
        found: Array = self._ids[codes]
        return found

    def id(self, process: int) -> str:
        """The id of one process."""
        return f"{self._tgid[process]}:{self._start[process]}"

    def find(self, id_: str) -> int:
        """Number of the process with this id; -1: there is none."""
        tgid, _, start_ns = id_.partition(":")
        if not (tgid.isdecimal() and start_ns.isdecimal()):
            return UNKNOWN
        found = np.flatnonzero((self._tgid == int(tgid)) & (self._start == int(start_ns)))
        return int(found[0]) if len(found) and self.id(int(found[0])) == id_ else UNKNOWN

    @property
    def ids(self) -> Array:
        """Ids of all processes."""
        found: Array = self._ids[:-1]
        return found

    @cached_property
    def _ids(self) -> Array:
        """One longer: the last is None, so that number -1 gives None."""
        return _ids(self._tgid, self._start)


def identify(table: Table) -> Identities:
    """Number the processes of a capture (once: the table keeps the result)."""
    found = table.cache.get("identities")
    if not isinstance(found, Identities):
        found = table.cache["identities"] = _identify(table)
    return found


def _columns(table: Table) -> dict[tuple[Type | str, str], tuple[Array, Array]]:
    """(tgid, start_ns) columns."""
    tasks, procs, details = table.tasks, table.procs, table.detail_rows
    result: dict[tuple[Type | str, str], tuple[Array, Array]] = {}
    for event_type in Type:
        rows = table.of(event_type)
        tgid = rows["tgid"]
        if event_type == Type.OOM:
            # Before 6.10 the tracepoint has the number alone: no process is called "tgid:0".
            tgid = np.where(rows["start_ns"] == 0, 0, tgid).astype(tgid.dtype)
        result[event_type, "subject"] = (tgid, rows["start_ns"])
        for role in REFERENCES[event_type]:
            result[event_type, role] = (rows[f"{role}_tgid"], rows[f"{role}_start_ns"])
    result["details", "subject"] = (details["tgid"], details["start_ns"])
    for name, frame in (("tasks", tasks), ("procs", procs)):
        result[name, "subject"] = (frame["tgid"].to_numpy(), frame["start_ns"].to_numpy())
    result["tasks", "parent"] = (
        tasks["parent_tgid"].to_numpy(),
        tasks["parent_start_ns"].to_numpy(),
    )
    return result


def _identify(table: Table) -> Identities:
    tgid, start_ns, codes, born = _number(_columns(table))
    for (source, role), code in codes.items():
        # Nobody is its own parent, or made itself: whoever follows parents would not come back.
        if role in ("parent", "forker") or (source, role) == (Type.REPARENT, "reaper"):
            code[code == codes[source, "subject"]] = UNKNOWN
    idle = UNKNOWN
    roots = np.flatnonzero((tgid == 1) | (tgid == 2))
    if len(roots):
        idle = len(tgid)
        none = np.zeros(1, np.uint64)  # a plain 0 would make floats of unsigned numbers
        tgid, start_ns = np.append(tgid, none), np.append(start_ns, none)
        for (source, role), code in codes.items():
            if role == "parent":
                orphans = np.flatnonzero(code < 0)
                subject = codes[source, "subject"][orphans]
                code[orphans[np.isin(subject, roots)]] = idle
    return Identities(int64(tgid), int64(start_ns), born, idle, tgid, start_ns, codes)


def _number(
    columns: dict[tuple[Type | str, str], tuple[Array, Array]],
) -> tuple[Array, Array, dict[tuple[Type | str, str], Codes], int]:
    """Distinct processes, and the number of each row of each column.

    Processes whose fork was seen come first, by start_ns, as good as unique. All others are few.
    """
    forked_tgid, forked_start = columns[Type.FORK, "subject"]
    order = np.argsort(forked_start, kind="stable")
    start = forked_start[order]
    tgid = forked_tgid[order].astype(np.uint64)
    single = np.ones(len(start), bool)
    single[1:] = start[1:] != start[:-1]
    start, tgid = start[single & (tgid > 0)], tgid[single & (tgid > 0)]
    born = _Born(tgid, start)
    numbered: dict[tuple[Type | str, str], Codes] = {}
    missing: list[tuple[tuple[Type | str, str], Array]] = []
    for key, (tgids, starts) in columns.items():
        if not len(tgids):
            continue
        if key[1] == "forker":
            # Nearly always the parent.
            same = columns[key[0], "parent"]
            if np.array_equal(same[1], starts) and np.array_equal(same[0], tgids):
                numbered[key] = numbered[key[0], "parent"]
                continue
        code = born.find(np.ascontiguousarray(tgids), np.ascontiguousarray(starts))
        rest = np.flatnonzero((code < 0) & (tgids != 0))
        if len(rest):
            missing.append((key, rest))
        numbered[key] = code
    if missing:
        more_tgid = np.concatenate([columns[k][0][rest].astype(np.uint64) for k, rest in missing])
        more_start = np.concatenate([columns[k][1][rest].astype(np.uint64) for k, rest in missing])
        codes, leaders = factorize_pairs(more_tgid, more_start)
        codes += len(tgid)
        tgid = np.append(tgid, more_tgid[leaders])
        start = np.append(start, more_start[leaders])
        for key, rest in missing:
            numbered[key][rest], codes = codes[: len(rest)], codes[len(rest) :]
    return tgid, start, numbered, len(born.start)


class _Born:
    """Finds those that were born in the capture by tgid, with one look in a table; of numbers that
    were used again the others by a binary search for their start."""

    def __init__(self, tgid: Array, start: Array) -> None:
        self.tgid, self.start = tgid.astype(np.uint32), start
        highest = int(self.tgid.max(initial=0))
        self._by_tgid = np.full(min(highest, _PID_MAX) + 1, UNKNOWN, np.int32)
        low = np.flatnonzero(self.tgid <= _PID_MAX)
        self._by_tgid[self.tgid[low]] = low

    def find(self, tgids: Array, starts: Array) -> Codes:
        """Number of each process; UNKNOWN if it was not born here."""
        starts = starts.astype(np.uint64, copy=False)
        last = len(self._by_tgid) - 1
        code = self._by_tgid[np.minimum(tgids, last).astype(np.int64, copy=False)]
        if not len(self.start):
            return code
        rest = np.flatnonzero(self._is_other(code, tgids, starts))
        if len(rest):
            found = np.searchsorted(self.start, starts[rest]).astype(np.int32)
            np.minimum(found, len(self.start) - 1, out=found)
            found[self._is_other(found, tgids[rest], starts[rest])] = UNKNOWN
            code[rest] = found
        return code

    def _is_other(self, code: Codes, tgids: Array, starts: Array) -> npt.NDArray[np.bool_]:
        # Number -1 looks at the last one, which is another or, if it is the same, found later.
        other: npt.NDArray[np.bool_] = (self.start[code] != starts) | (self.tgid[code] != tgids)
        other |= code < 0
        return other


# Decimal digits, four at a time.
_DIGITS = np.frombuffer("".join(f"{n:04}" for n in range(10_000)).encode(), np.uint32)
_BLOCK = 1 << 16
_TENS = 10 ** np.arange(1, 20, dtype=np.uint64)


def _ids(tgid: Array, start_ns: Array) -> Array:
    """ "tgid:start_ns" of each process, and a None behind: three times as fast as f-strings."""
    result = np.empty(len(tgid) + 1, object)
    for begin in range(0, len(tgid), _BLOCK):
        part = slice(begin, min(begin + _BLOCK, len(tgid)))
        result[part] = objects(_ids_of(tgid[part], start_ns[part]))
    return result


def _ids_of(tgid: Array, start_ns: Array) -> list[str]:
    width = 20  # of 2**64
    text = np.empty((len(tgid), 2 * width + 2), np.uint8)
    shown = np.ones(text.shape, bool)
    for numbers, begin, mark in ((tgid, 0, ":"), (start_ns, width + 1, "\n")):
        rest = numbers
        for end in range(begin + width, begin, -4):
            rest, four = np.divmod(rest, np.uint64(10_000))
            text[:, end - 4 : end] = _DIGITS[four].view(np.uint8).reshape(-1, 4)
        text[:, begin + width] = ord(mark)
        zeros = width - 1 - np.searchsorted(_TENS, numbers, side="right")
        shown[:, begin : begin + width] = np.arange(width) >= zeros[:, None]
    return text[shown].tobytes().decode().split("\n")[:-1]
