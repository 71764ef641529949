"""Who has to do with a container."""

from __future__ import annotations

from collections.abc import Iterable

from analysis.runs import Container
from analysis.scene import Scene


def people_of(scene: Scene, container: Container) -> list[int]:
    """Positions of the processes in a container, and of those that made and serve it; not the
    daemons, which have to do with every container."""
    members = scene.membership.members(container.id)
    found = set(scene.membership.servants(container.id)) | set(container.clients)
    for run in container.runs:
        parts = (run.client, run.starter, run.shim, run.init)
        found |= {pos for pos in parts if pos is not None}
        for call in run.calls:
            found |= {call.pos, *call.made}
    return sorted(found | set(members))


def daemons_of(container: Container) -> set[int]:
    """Positions of the daemons behind a container: dockerd, containerd."""
    parts = {pos for run in container.runs for pos in (run.daemon, run.manager)}
    return {pos for pos in parts if pos is not None}


def stages_of(containers: Iterable[Container]) -> set[int]:
    """Positions of what calls of the runtime made: `runc init` and its stages."""
    return {p for c in containers for run in c.runs for call in run.calls for p in call.made}
