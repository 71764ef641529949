"""Signals: who sent them, as far as the kernel's record tells."""

from __future__ import annotations

import signal as signal_module
from dataclasses import dataclass

import numpy as np

from analysis.columns import int64, stretch
from analysis.identity import Codes, identify
from analysis.table import Table
from tracer.abi import Context, Type
from tracer.signal_kind import signal_kind

SIGKILL = 9


@dataclass(frozen=True, slots=True)
class Signal:
    """One signal to one process.

    Attributes:
        target, sender: positions in the processes frame; -1 not known. The sender is only the
            task in whose context the kernel made the signal unless ``kind`` is "process".
        kind: as `tracer.signal_kind` names it.
        sender_tid: thread of the sender.
        sender_ends: made as all of the sender was ending, not one of its threads only.
        delivered: False: ignored, already pending, or lost.
    """

    ts_ns: int
    target: int
    sender: int
    signal: int
    kind: str
    delivered: bool
    sender_tid: int = 0
    sender_ends: bool = False


def name_of(number: int) -> str:
    """SIGKILL for 9; real-time signals as SIGRTMIN+n."""
    try:
        return signal_module.Signals(number).name
    except ValueError:
        return f"SIGRTMIN+{number - 34}" if 34 <= number <= 64 else f"signal {number}"


class Signals:
    """The signals of a capture, found by target."""

    def __init__(self, table: Table) -> None:
        self._rows = table.of(Type.SIGNAL)
        who = identify(table)
        self._sender = who.of(Type.SIGNAL, "sender")
        target = who.of(Type.SIGNAL)
        self._times, self._targets = int64(self._rows["ts_ns"]), target
        self._order: Codes = np.argsort(target, kind="stable").astype(np.int32)
        self._target = target[self._order]

    def to(self, pos: int) -> list[Signal]:
        """Signals to a process, in order."""
        begin, end = stretch(self._target, pos)
        return [self._signal(row, pos) for row in self._order[begin:end].tolist()]

    def made_by(self, sender: int, since_ns: int, until_ns: int) -> list[Signal]:
        """Signals made in the context of a process in a stretch of time, in order."""
        begin, end = np.searchsorted(self._times, [since_ns, until_ns + 1]).tolist()
        rows = begin + np.flatnonzero(self._sender[begin:end] == sender)
        return [self._signal(row, int(self._targets[row])) for row in rows.tolist()]

    def _signal(self, row: int, target: int) -> Signal:
        found = self._rows[row]
        kind = signal_kind(int(found["origin"]), int(found["si_code"]), int(found["context"]))
        return Signal(
            ts_ns=int(found["ts_ns"]),
            target=target,
            sender=int(self._sender[row]) if len(self._sender) else -1,
            signal=int(found["signal"]),
            kind=kind,
            delivered=int(found["result"]) == 0,
            sender_tid=int(found["sender_tid"]),
            sender_ends=bool(int(found["context"]) & Context.GROUP_EXIT),
        )

    def fatal(self, pos: int, number: int, exit_ns: int) -> Signal | None:
        """The signal that ended a process, None if it was not recorded.

        The first SIGKILL counts: nothing can stop it, and later ones hit a dying process. Of
        others the last, since earlier ones were survived.
        """
        found = [
            s for s in self.to(pos) if s.signal == number and s.delivered and s.ts_ns <= exit_ns
        ]
        if not found:
            return None
        return found[0] if number == SIGKILL else found[-1]
