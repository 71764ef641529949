"""Which engine loads the BPF programs: core where the kernel has BTF, else bcc."""

from __future__ import annotations

import os
from collections.abc import Sequence

from tracer.confirmation import Confirmation
from tracer.core_engine import CoreEngine, object_path
from tracer.engine import BTF_PATH, Engine, Settings
from tracer.errors import HostError
from tracer.libbpf import library
from tracer.privileges import has_sysfs

ENGINES = ("auto", "core", "bcc")


def choose_engine() -> tuple[str, str]:
    """The engine that "auto" stands for on this host, and why."""
    if not os.path.exists(BTF_PATH):
        if not has_sysfs(BTF_PATH):
            return "core", "/sys is not mounted"
        return "bcc", "this kernel has no BTF"
    try:
        library()
        object_path()
    except HostError as error:
        return "bcc", f"{error.fact}: {error.cause}"
    return "core", "this kernel has BTF"


def open_engine(
    name: str, settings: Settings, confirmations: Sequence[Confirmation] | None = None
) -> Engine:
    """Loads and attaches the BPF programs.

    Args:
        name: one of ENGINES; "auto" is also bcc where the kernel refuses core's programs.
        settings: sizes and filter.
        confirmations: hooks to confirm reparents with, in this order; None: all that this host
            allows, the cheapest first.

    Raises:
        HostError: this host does not allow it.
    """
    if name == "core":
        return CoreEngine(settings, confirmations)
    if name == "bcc" or choose_engine()[0] == "bcc":
        return _open_bcc(settings, confirmations)
    try:
        return CoreEngine(settings, confirmations)
    except HostError as refused:
        try:
            return _open_bcc(settings, confirmations)
        except HostError:
            raise refused from None


def _open_bcc(settings: Settings, confirmations: Sequence[Confirmation] | None) -> Engine:
    from tracer.bcc_engine import BccEngine  # most recordings do without

    return BccEngine(settings, confirmations)
