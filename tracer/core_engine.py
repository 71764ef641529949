"""The CO-RE engine: an object compiled when the package was built, loaded with libbpf."""

from __future__ import annotations

import os
from collections.abc import Sequence

from tracer.confirmation import Confirmation, allowed_confirmations
from tracer.engine import (
    BTF_PATH,
    DETAILS_RING_BYTES,
    LOSS_SIZE,
    LossCounters,
    Settings,
    possible_cpus,
)
from tracer.errors import HostError
from tracer.libbpf import BpfObject
from tracer.privileges import explain_missing_btf

_TASKS, _SOCKETS = "snapshot", "sockets"


def object_path() -> str:
    """The compiled object in this package.

    Raises:
        HostError: the package was built without it.
    """
    path = os.path.join(os.path.dirname(__file__), "_bpf", "rtrace.bpf.o")
    if not os.path.exists(path):
        raise HostError(
            "cannot find the compiled BPF programs",
            f"{path} is missing",
            "in a checkout run make demo or make test, else install rtrace again",
        )
    return path


class CoreEngine:
    """See tracer.engine.Engine.

    Args:
        settings: sizes and filter.
        confirmations: hooks to try, in this order; all that this host allows if not given.

    Raises:
        HostError: no BTF, not allowed, or the kernel refuses the programs.
    """

    name = "core"

    def __init__(
        self, settings: Settings, confirmations: Sequence[Confirmation] | None = None
    ) -> None:
        if not os.path.exists(BTF_PATH):
            raise HostError("cannot load the BPF programs", *explain_missing_btf(BTF_PATH))
        candidates = list(confirmations or allowed_confirmations())
        self.sockets_refused: str | None = None
        try:
            self._load(settings, candidates)
        except HostError as error:
            # All else can do without, and its own fields are not everywhere (unix as a module).
            self._load(settings, candidates, without=_SOCKETS)
            self.sockets_refused = error.cause or error.fact
        self.events_bytes, self.details_bytes = settings.buffer_bytes, DETAILS_RING_BYTES
        self.events_fd = self._object.map_fd("events")
        self.details_fd = self._object.map_fd("details")
        self.stubs_fd = self._object.map_fd("stubs")
        cpus = possible_cpus()
        mapped = self._object.map_array("losses", cpus * LOSS_SIZE)
        self._losses = LossCounters(memoryview(mapped), cpus)

    def read_losses(self) -> list[tuple[int, int]]:
        """See tracer.engine.Engine."""
        return self._losses.read()

    def open_snapshot(self) -> int:
        """See tracer.engine.Engine."""
        return self._object.open_iterator(_TASKS)

    def open_sockets(self) -> int:
        """See tracer.engine.Engine."""
        return self._object.open_iterator(_SOCKETS)

    def close(self) -> None:
        """See tracer.engine.Engine."""
        self._object.close()

    def _load(
        self, settings: Settings, candidates: Sequence[Confirmation], without: str | None = None
    ) -> None:
        for confirmation in candidates:
            try:
                self._object = _load(settings, confirmation, without)
            except HostError:
                if confirmation is candidates[-1]:
                    raise
            else:
                self.confirmation = confirmation.value
                break


def _load(settings: Settings, confirmation: Confirmation, without: str | None) -> BpfObject:
    """Loads and attaches everything but one program, with one hook to confirm reparents."""
    bpf = BpfObject(object_path())
    try:
        bpf.set_max_entries("events", settings.buffer_bytes)
        bpf.set_max_entries("details", DETAILS_RING_BYTES)
        bpf.set_max_entries("losses", possible_cpus())
        bpf.set_rodata(settings.config)
        for other in Confirmation:
            bpf.set_autoload(other.program, other is confirmation)
        if without is not None:
            bpf.set_autoload(without, False)
        bpf.load()
        for program in bpf.programs():
            if program not in (_TASKS, _SOCKETS):
                bpf.attach(program)
    except BaseException:
        bpf.close()
        raise
    return bpf
