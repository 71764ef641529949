"""A container's lives: what is known of each, as plain data.

A run is one life of a container's process 1: docker restart gives a container a second one.
Processes are positions in the processes frame, None where not known.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from analysis.membership import Known
from analysis.scene import End

# Order of the phases of a run; times are boot-time ns.
PHASES = (
    "client_ns",  # exec of the client (docker run)
    "shim_start_ns",  # fork of the v2 shim's short-lived parent
    "shim_ns",  # fork of the shim (conmon: of the one that stays)
    "create_ns",  # exec of runc create
    "init_ns",  # fork of process 1
    "create_exit_ns",  # exit of runc create
    "adoption_ns",  # process 1 lost runc as its parent
    "start_ns",  # exec of runc start
    "workload_ns",  # first exec of process 1 that is not runc's
    "exit_ns",  # exit of process 1
    "reap_ns",  # process 1 was waited for; up to ~15 ms late
    "shim_exit_ns",  # exit of the shim
)


@dataclass
class Call:
    """One runc or crun process. ``made``: positions of the processes that it made."""

    pos: int
    verb: str | None
    ts_ns: int
    argument: str | None = None
    made: list[int] = field(default_factory=list)


@dataclass
class Run:
    """One life of a container. Processes are positions, None where not known.

    Attributes:
        before: process 1 is older than the recording.
        client: docker or ctr or podman command that asked for it; ``client_sure``: it named the
            container, or forked the runtime; else it was the only one at that time.
        daemon: dockerd. manager: containerd (conmon: podman, or crio).
        starter: the v2 shim's short-lived parent. shim: shim, or conmon.
        create, start: calls of runc or crun ("run" is a create).
        calls: all calls in this run, execs too.
        execs: calls that brought a process into the running container.
        init: process 1; may never have become the workload.
        phases: time of each of PHASES, None where not seen.
    """

    before: bool = False
    client: int | None = None
    client_sure: bool = False
    daemon: int | None = None
    manager: int | None = None
    starter: int | None = None
    shim: int | None = None
    create: Call | None = None
    start: Call | None = None
    calls: list[Call] = field(default_factory=list)
    init: int | None = None
    phases: dict[str, int | None] = field(default_factory=dict)
    end: End = field(default_factory=lambda: End("not-seen"))
    shim_end: End | None = None

    @property
    def execs(self) -> list[Call]:
        return [call for call in self.calls if call.verb == "exec"]

    @property
    def anchor_ns(self) -> int | None:
        """When the run began, as early as is known."""
        known = (self.phases.get(name) for name in PHASES[1:5])
        return min((ts for ts in known if ts is not None), default=None)


@dataclass
class Container:
    """A container and its runs in order; none if no process of it was seen."""

    known: Known
    runs: list[Run]
    clients: list[int] = field(default_factory=list)

    @property
    def id(self) -> str:
        return self.known.id

    @property
    def name(self) -> str | None:
        return self.known.name

    @property
    def runtime(self) -> str:
        return self.known.runtime or "unknown"

    @property
    def first_ns(self) -> int | None:
        """When its first run began; None if that was before the recording."""
        return self.runs[0].anchor_ns if self.runs else None

    @property
    def over_ns(self) -> int | None:
        """When its last run ended; None if it did not."""
        return self.runs[-1].end.ts_ns if self.runs else None
