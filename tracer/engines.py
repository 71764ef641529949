"""Which engine loads the BPF programs: core where the kernel has BTF, else bcc."""

from __future__ import annotations

from collections.abc import Sequence

from tracer.confirmation import Confirmation
from tracer.core_engine import CoreEngine
from tracer.engine import Engine, Settings
from tracer.errors import HostError

ENGINES = ("auto", "core", "bcc")


def open_engine(
    name: str, settings: Settings, confirmations: Sequence[Confirmation] | None = None
) -> Engine:
    """Loads and attaches the BPF programs.

    Args:
        name: one of ENGINES.
        settings: sizes and filter.
        confirmations: hooks to confirm reparents with, in this order; None: all that this host
            allows, the cheapest first.

    Raises:
        HostError: this host does not allow it.
    """
    if name == "bcc":
        raise HostError("cannot use the bcc engine", "it is not there yet", "use --engine core")
    return CoreEngine(settings, confirmations)
