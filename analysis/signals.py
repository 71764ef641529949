"""Signals: who sent them, as far as the kernel's record tells."""

from __future__ import annotations

import signal as signal_module
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from analysis.identity import identify
from analysis.table import Table
from tracer.abi import Context, Origin, Type

SIGKILL = 9
# kill(), sigqueue(), tkill(): only for these is the task in whose context it was made the sender.
_BY_PROCESS = (0, -1, -6)


@dataclass(frozen=True, slots=True)
class Signal:
    """One signal to one process.

    Attributes:
        target, sender: positions in the processes frame; -1 not known. The sender is only the
            task in whose context the kernel made the signal unless ``kind`` is "process".
        kind: "process" (kill() and its kin), "parent-death", "pid-namespace-end", "kernel"
            (the kernel by itself), "kernel-call" (kernel code on that task's behalf: cgroup.kill).
        delivered: False: ignored, already pending, or lost.
    """

    ts_ns: int
    target: int
    sender: int
    signal: int
    kind: str
    delivered: bool


def name_of(number: int) -> str:
    """SIGKILL for 9; real-time signals as SIGRTMIN+n."""
    try:
        return signal_module.Signals(number).name
    except ValueError:
        return f"SIGRTMIN+{number - 34}" if 34 <= number <= 64 else f"signal {number}"


def _kind(origin: int, si_code: int, context: int) -> str:
    if origin == Origin.INFO:
        return "process" if si_code in _BY_PROCESS else "kernel"
    if context & Context.PDEATH and context & Context.EXITING:
        return "parent-death"
    if origin == Origin.PRIV:
        ending = Context.EXITING | Context.NS_INIT
        return "pid-namespace-end" if context & ending == ending else "kernel"
    return "kernel-call"


class Signals:
    """The signals of a capture, found by target."""

    def __init__(self, table: Table) -> None:
        self._rows = table.of(Type.SIGNAL)
        who = identify(table)
        self._sender = who.of(Type.SIGNAL, "sender")
        target = who.of(Type.SIGNAL)
        self._order: npt.NDArray[np.int64] = np.argsort(target, kind="stable").astype(np.int64)
        self._target = target[self._order]

    def to(self, pos: int) -> list[Signal]:
        """Signals to a process, in order."""
        begin, end = np.searchsorted(self._target, [pos, pos + 1]).tolist()
        return [self._signal(row, pos) for row in self._order[begin:end].tolist()]

    def _signal(self, row: int, target: int) -> Signal:
        found = self._rows[row]
        kind = _kind(int(found["origin"]), int(found["si_code"]), int(found["context"]))
        return Signal(
            ts_ns=int(found["ts_ns"]),
            target=target,
            sender=int(self._sender[row]) if len(self._sender) else -1,
            signal=int(found["signal"]),
            kind=kind,
            delivered=int(found["result"]) == 0,
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
