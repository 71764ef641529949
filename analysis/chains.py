"""Through whom a container is reached: client, dockerd, containerd, shim; and where that is broken.

The chain is that of the container's last run, as it was at the end: where a daemon was restarted,
the one that has its place.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from analysis.control_path import CONTAINERDS, Connection, ControlPath
from analysis.roles import SHIMS
from analysis.runs import Container, Run
from analysis.scene import Scene

STATES = ("connected", "not-connected", "ended", "not-seen", "unknown")
_ASKERS = ("kubelet", "cri-dockerd")
_LISTED_CLIENTS = 3


@dataclass(frozen=True, slots=True)
class Link:
    """Two processes that have to be connected for the container to be reached.

    Attributes:
        client, server: positions.
        state: "connected" at the end; "not-connected": both live at the end, and are not; "ended":
            one of them has ended; "not-seen": they never were when sockets were looked at, as
            clients that live shortly; "unknown": the capture cannot tell how it was at the end.
        connection: what was seen of it; None: nothing.
        ended: those of the two that have ended.
    """

    client: int
    server: int
    protocol: str
    state: str
    connection: Connection | None
    ended: tuple[int, ...]


class Chains:
    """Chains of containers.

    Args:
        path: must be known.
    """

    def __init__(self, scene: Scene, path: ControlPath) -> None:
        self._scene, self._path = scene, path
        self._by_server: dict[int, list[Connection]] = defaultdict(list)
        for connection in path.connections:
            self._by_server[connection.server.pos].append(connection)

    def of(self, container: Container) -> list[Link]:
        """Links of a container's last run, from the client to the shim."""
        if not container.runs:
            return []
        run = container.runs[-1]
        shim = run.shim if run.shim is not None and self._role(run.shim) in SHIMS else None
        manager = self.manager_of(run, shim)
        daemon = self._daemon_of(run)
        links = []
        if daemon is not None:
            links += [self._link(p, daemon, "docker-api") for p in self._clients(container, daemon)]
            if manager is not None:
                links.append(self._link(daemon, manager, "containerd-grpc"))
        elif manager is not None:
            for client in self._clients(container, manager):
                asks = self._role(client) in _ASKERS
                links.append(self._link(client, manager, "cri" if asks else "containerd-grpc"))
        if manager is not None and shim is not None:
            links.append(self._link(manager, shim, "shim-ttrpc"))
        return links

    def manager_of(self, run: Run, shim: int | None) -> int | None:
        """The containerd that a shim belongs to now; the last one if none lives."""
        known = [] if run.manager is None else [run.manager]
        if shim is not None:
            known += [c.client.pos for c in self.to_shim(shim) if c.client.pos >= 0]
        known = [pos for pos in known if self._role(pos) in CONTAINERDS]
        if known and shim is not None and not self.lives(shim):
            return known[-1]  # nobody has its place: there is nothing to be connected to
        return self._in_place(known, CONTAINERDS)

    def to_shim(self, shim: int) -> list[Connection]:
        """Connections to a shim, by the last look that saw them."""
        found = [c for c in self._by_server.get(shim, ()) if c.protocol == "shim-ttrpc"]
        return sorted(found, key=lambda c: c.last_ns)

    def _daemon_of(self, run: Run) -> int | None:
        return None if run.daemon is None else self._in_place([run.daemon], ("dockerd",))

    def _in_place(self, known: list[int], roles: Iterable[str]) -> int | None:
        """The last of them that lives, else the one in the same pid namespace that does, and that
        does not listen elsewhere: a host may have several engines."""
        living = [pos for pos in known if self.lives(pos)]
        if living or not known:
            return living[-1] if living else None
        addresses = self._path.names.get(known[-1], frozenset())
        others = [
            pos
            for pos in self._scene.positions(*roles)
            if self.lives(pos)
            and self._scene.pidns[pos] == self._scene.pidns[known[-1]]
            and self._path.may_be_at(pos, addresses)
        ]
        return others[0] if len(others) == 1 else known[-1]

    def _clients(self, container: Container, daemon: int) -> list[int]:
        """Who asked for the container, and the kubelet's side, which asks for all of them."""
        last = container.runs[-1].client
        found = {} if last is None or last == daemon else {last: None}
        for connection in self._by_server.get(daemon, ()):
            pos = connection.client.pos
            asks = pos >= 0 and (self._role(pos) in _ASKERS or pos in container.clients)
            if asks and pos != daemon:
                found[pos] = None
        return list(found)[:_LISTED_CLIENTS]

    def _link(self, client: int, server: int, protocol: str) -> Link:
        found = [c for c in self._by_server.get(server, ()) if c.client.pos == client]
        found = [c for c in found if c.protocol == protocol] or found
        connection = max(found, key=lambda c: c.last_ns, default=None)
        if connection is not None and connection.at_end and self._path.end is not None:
            state = "connected"
        elif not (self.lives(client) and self.lives(server)):
            both = connection is not None or self._has_ended(server) or self._lasts(client)
            state = "ended" if both else "not-seen"
        elif self._path.end is None:
            state = "unknown"
        else:
            state = "not-connected" if self._lasts(client) else "not-seen"
        ended = tuple(pos for pos in dict.fromkeys((client, server)) if self._has_ended(pos))
        return Link(client, server, protocol, state, connection, ended)

    def lives(self, pos: int) -> bool:
        """The snapshot at the end shows it."""
        return self._scene.end_of(pos).how == "running"

    def _has_ended(self, pos: int) -> bool:
        return self._scene.end_of(pos).how in ("exited", "killed")

    def _lasts(self, pos: int) -> bool:
        """It holds its connections for good, as daemons do and commands do not."""
        return self._role(pos) in (*CONTAINERDS, "dockerd", *_ASKERS)

    def _role(self, pos: int) -> str:
        role: str = self._scene.roles[pos]
        return role
