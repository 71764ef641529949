"""Numbers for processes: row numbers of the processes frame instead of (tgid, start_ns).

Everything behind works on these int32 numbers; the strings "tgid:start_ns" are made once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from analysis.columns import factorize_pairs, int64, objects
from analysis.table import Table
from tracer.abi import Type

Array = npt.NDArray[Any]
Codes = npt.NDArray[np.int32]

UNKNOWN = -1

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
    _ids: Array  # one longer: the last is None, so that number -1 gives None
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

    def names(self, codes: Codes) -> Array:
        """Ids "tgid:start_ns" of process numbers; None where not known."""
        return self._ids[codes]

    @property
    def ids(self) -> Array:
        """Ids of all processes."""
        return self._ids[:-1]


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
    return Identities(int64(tgid), int64(start_ns), born, idle, _ids(tgid, start_ns), codes)


def _number(
    columns: dict[tuple[Type | str, str], tuple[Array, Array]],
) -> tuple[Array, Array, dict[tuple[Type | str, str], Codes], int]:
    """Distinct processes, and the number of each row of each column.

    Processes whose fork was seen come first, by start_ns: as good as unique, and events name
    them in nearly that order, so that a binary search is faster than a hash table. All others
    are few.
    """
    forked_tgid, forked_start = columns[Type.FORK, "subject"]
    order = np.argsort(forked_start, kind="stable")
    start = forked_start[order]
    tgid = forked_tgid[order].astype(np.uint64)
    single = np.ones(len(start), bool)
    single[1:] = start[1:] != start[:-1]
    start, tgid = start[single & (tgid > 0)], tgid[single & (tgid > 0)]
    born = len(start)
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
        starts = np.ascontiguousarray(starts).astype(np.uint64, copy=False)
        found = np.searchsorted(start, starts)
        if len(start):
            np.minimum(found, len(start) - 1, out=found)
            other = (start[found] != starts) | (tgid[found] != tgids)
        else:
            other = np.ones(len(tgids), bool)
        code = found.astype(np.int32)
        code[other] = UNKNOWN
        rest = np.flatnonzero(other & (tgids != 0))
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
    return tgid, start, numbered, born


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
