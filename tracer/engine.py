"""What every engine gives the collector: two rings, loss counters, iterators.

An engine loads and attaches the BPF programs, and nothing else: the collector, the snapshot
and the capture file do not know which one it was.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Protocol

from tracer import abi

# One detail is up to 7 KB, but execs are thousands a second at most.
DETAILS_RING_BYTES = 2 << 20

STUB_KEY_BYTES = 16
"""struct process in bpf/identity.h: the key of the map of stubs."""

LOSS_SIZE = ctypes.sizeof(abi.Loss)

# The kernel's own types: the core engine relocates against them.
BTF_PATH = "/sys/kernel/btf/vmlinux"


@dataclass(frozen=True, slots=True)
class Settings:
    """What an engine is started with.

    Attributes:
        buffer_bytes: size of the events ring, a power of two of at least one page.
        config: settings of the BPF programs.
    """

    buffer_bytes: int
    config: abi.Config


class Engine(Protocol):
    """Attached BPF programs.

    Attributes:
        name: "core" or "bcc".
        confirmation: hook that confirms reparents, see tracer.confirmation.
        events_fd, details_fd: the two ring buffer maps.
        events_bytes, details_bytes: their sizes.
        stubs_fd: the map of processes outside the filter that have been told of (bpf/filter.h).
        sockets_refused: why unix sockets cannot be read on this kernel; None: they can.
    """

    name: str
    confirmation: str
    events_fd: int
    events_bytes: int
    details_fd: int
    details_bytes: int
    stubs_fd: int
    sockets_refused: str | None

    def read_losses(self) -> list[tuple[int, int]]:
        """Events and details lost since the start, for each CPU."""

    def open_snapshot(self) -> int:
        """File descriptor that gives one abi.Task after the other; the caller closes it."""

    def open_sockets(self) -> int:
        """The same of abi.Socket, also of processes outside of the filter (flag OUTSIDE)."""

    def close(self) -> None:
        """Detaches everything."""


class LossCounters:
    """The mapped array of loss counters, one entry a possible CPU."""

    def __init__(self, mapped: memoryview, cpus: int) -> None:
        self._mapped = mapped[: cpus * LOSS_SIZE]
        self._seen, self._losses = b"", [(0, 0)] * cpus

    def read(self) -> list[tuple[int, int]]:
        """Events and details lost since the start, for each CPU; the same list until they change.

        Asked at each poll, on hosts with hundreds of CPUs too.
        """
        now = bytes(self._mapped)
        if now != self._seen:
            losses = (abi.Loss * len(self._losses)).from_buffer_copy(now)
            self._seen, self._losses = now, [(loss.events, loss.details) for loss in losses]
        return self._losses


def possible_cpus() -> int:
    """How many CPU numbers the kernel may use (/sys/devices/system/cpu/possible)."""
    with open("/sys/devices/system/cpu/possible") as file:
        return int(file.read().strip().replace("-", ",").split(",")[-1]) + 1
