"""Who talks to whom: connections between clients, daemons and shims, over time.

Parentage does not tell: a shim of today is nobody's child, and a dockerd that has lost its
containerd looks as healthy as any. What is here was seen: a connection is two ends of a unix socket
that was open when sockets were looked at. Clients come and go between two looks, and are seen by
chance; what daemons and shims hold, they hold for good.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.columns import frame, objects, rows_of
from analysis.scene import Scene
from analysis.sockets import SocketSnapshot
from tracer.abi import SocketFlag

LISTEN, ESTABLISHED = 10, 1  # TCP_LISTEN, TCP_ESTABLISHED (include/net/tcp_states.h)

CONTAINERDS = ("containerd", "containerd-managed")
_SHIMS = ("shim-v1", "shim-v2")
_RUNTIME = ("dockerd", *CONTAINERDS, *_SHIMS, "kubelet", "cri-dockerd")
_CRI_CLIENTS = ("kubelet", "cri-dockerd")
# By the names that they have by default: where a daemon is gone, its socket still has one.
_BY_NAME = (
    (re.compile(r"/docker\.sock$"), "docker-api"),
    (re.compile(r"/containerd\.sock\.ttrpc$"), "containerd-ttrpc"),
    (re.compile(r"/(docker-)?containerd\.sock$"), "containerd-grpc"),
    (re.compile(r"/dockershim\.sock$"), "dockershim"),
    (re.compile(r"/(cri-dockerd|crio)\.sock$"), "cri"),
    (re.compile(r"/containerd/s/[0-9a-f]{64}$|/containerd-shim/.*\.sock$"), "shim-ttrpc"),
    (re.compile(r"/buildkitd\.sock$"), "buildkit"),
)
# Of dockerd's and kubelet's own sockets, those that carry no requests for containers.
_BESIDE = re.compile(r"/libnetwork/|/metrics\.sock$|/debug\.sock$|/plugins/|device-plugins|/swarm/")


_HOLDERS = 16  # of one socket, that are told


@dataclass(frozen=True, slots=True)
class Party:
    """A process at an end of a connection.

    Attributes:
        pos: its position; -1: no event and no snapshot of processes has it.
        comm: as the socket's record has it; "" where only the kernel's note of who connected names
            the process.
    """

    pos: int
    tgid: int
    start_ns: int
    comm: str


@dataclass(frozen=True, slots=True)
class Connection:
    """Two processes that were connected, by one name.

    Attributes:
        client, server: who connected, and who was connected to.
        socket: the name that it connected to.
        protocol: one of PROTOCOLS.
        first_ns, last_ns: the first and the last look that saw it.
        looks: how many saw it.
        at_end: the last look of all saw it.
        accepted: False: whenever it was seen, the server had not accepted it yet.
    """

    client: Party
    server: Party
    socket: str
    protocol: str
    first_ns: int
    last_ns: int
    looks: int
    at_end: bool
    accepted: bool


@dataclass(frozen=True, slots=True)
class Listener:
    """A process that listens, as of the last look that saw it.

    Attributes:
        waiting: connections that wait to be accepted.
        removed: the path is gone, or another socket has it: nobody can connect any more.
    """

    party: Party
    socket: str
    protocol: str
    ts_ns: int
    at_end: bool
    waiting: int
    removed: bool


PROTOCOLS = (*dict.fromkeys(protocol for _, protocol in _BY_NAME), "other")


def normal(path: str) -> str:
    """A socket's path as everybody means it: /var/run is a link to /run."""
    path = path.removeprefix("unix://")
    return path.removeprefix("/var") if path.startswith("/var/run/") else path


def protocol_of(scene: Scene, name: str, client: int, server: int) -> str | None:
    """What is spoken there; None if it has nothing to do with containers.

    Args:
        client, server: positions, -1 if not known.
    """
    roles = [scene.roles[pos] if pos >= 0 else "" for pos in (client, server)]
    if _BESIDE.search(name):
        return "other" if roles[0] in _RUNTIME or roles[1] in _RUNTIME else None
    found = next((protocol for known, protocol in _BY_NAME if known.search(name)), None)
    if found is None and roles[1] in _SHIMS:
        found = "shim-ttrpc"
    elif found is None and roles[1] in CONTAINERDS:
        found = "containerd-ttrpc" if name.endswith(".ttrpc") else "containerd-grpc"
    elif found is None:
        found = {"dockerd": "docker-api", "cri-dockerd": "cri"}.get(roles[1])
    asks_cri = roles[0] in _CRI_CLIENTS or (client >= 0 and scene.name(client) == "crictl")
    if found == "containerd-grpc" and asks_cri:
        return "cri"  # containerd serves both on one socket
    return found or ("other" if roles[0] in _RUNTIME or roles[1] in _RUNTIME else None)


class ControlPath:
    """Connections of a capture that have to do with containers.

    Attributes:
        known: sockets were looked at; else the capture cannot tell anything of this.
        snapshots: when.
    """

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self.snapshots: list[SocketSnapshot] = scene.table.sockets.snapshots
        self.known = bool(self.snapshots)

    @property
    def end(self) -> SocketSnapshot | None:
        """The look at the end; None if there was none, or not all sockets found room in it."""
        last = self.snapshots[-1] if self.snapshots else None
        return last if last is not None and last.reason == "end" and last.complete else None

    @cached_property
    def _sockets(self) -> pd.DataFrame:
        """`Sockets.df_sockets`, with the position of each holder (`pos`) and of who was noted as
        the other side (`cred`)."""
        sockets = self._scene.table.sockets.df_sockets()
        return sockets.assign(
            pos=self._positions(sockets, "tgid", "start_ns"),
            cred=self._positions(sockets, "cred_tgid", "cred_start_ns"),
        )

    def _positions(self, sockets: pd.DataFrame, tgid: str, start_ns: str) -> npt.NDArray[np.int64]:
        scene = self._scene
        # Of millions of processes few have a number that a socket's holder has.
        near = np.flatnonzero(np.isin(scene.tgid, sockets[tgid].to_numpy()))
        numbers = zip(scene.tgid[near].tolist(), scene.start_ns[near].tolist(), strict=True)
        known = dict(zip(numbers, near.tolist(), strict=True))
        holders = zip(sockets[tgid].tolist(), sockets[start_ns].tolist(), strict=True)
        return np.array([known.get(holder, -1) for holder in holders], np.int64)

    @cached_property
    def connections(self) -> list[Connection]:
        """By first look, then by client and server."""
        keys = ("client_tgid", "client_start", "server_tgid", "server_start", "name")
        last = len(self.snapshots) - 1
        found = []
        groups = self._ends().groupby(list(keys), sort=False, as_index=False)
        grouped = groups.agg(
            client=("client", "first"),
            client_comm=("client_comm", "max"),
            server=("server", "first"),
            server_comm=("server_comm", "max"),
            first=("snapshot", "min"),
            last=("snapshot", "max"),
            looks=("snapshot", "nunique"),
            accepted=("accepted", "max"),
        )
        others = ("client", "client_comm", "server", "server_comm", "first", "last", "looks")
        for row in rows_of(grouped, (*keys, *others, "accepted")):
            client_tgid, client_start, server_tgid, server_start, name = row[:5]
            client, client_comm, server, server_comm, first, seen, looks, accepted = row[5:]
            protocol = protocol_of(self._scene, name, client, server)
            if protocol is None:
                continue
            found.append(
                Connection(
                    Party(client, client_tgid, client_start, client_comm),
                    Party(server, server_tgid, server_start, server_comm),
                    name,
                    protocol,
                    self.snapshots[first].ts_ns,
                    self.snapshots[seen].ts_ns,
                    looks,
                    seen == last,
                    accepted,
                )
            )
        return sorted(found, key=lambda c: (c.first_ns, c.client.tgid, c.server.tgid, c.socket))

    def _ends(self) -> pd.DataFrame:
        """Each pair of ends in each snapshot: who connected, and who was connected to."""
        sockets = self._sockets
        at = {name: sockets[name].to_numpy() for name in sockets.columns}
        up = (at["state"] == ESTABLISHED) & (at["flags"] & int(SocketFlag.PEER_CLOSED) == 0)
        connected = (at["flags"] & int(SocketFlag.PEER_NAME)) != 0
        sides = [self._keys(up & connected, "peer_inode"), self._keys(up & ~connected, "inode")]
        pairs = sides[0].merge(sides[1], how="outer", on=["snapshot", "inode"])
        client, server = (pairs[side].fillna(-1).to_numpy(np.int64) for side in ("row_x", "row_y"))
        # Where nobody has the other end open, or nobody that can be seen, the kernel noted who it
        # was when they were connected.
        some = np.where(client >= 0, client, server)

        def choose(own: npt.NDArray[np.int64], field: str, noted: str) -> npt.NDArray[np.int64]:
            found: npt.NDArray[np.int64] = np.where(own >= 0, at[field][own], at[noted][some])
            return found

        return frame(
            {
                "snapshot": at["snapshot"][some],
                "name": at["name"][some],
                "client": choose(client, "pos", "cred"),
                "client_tgid": choose(client, "tgid", "cred_tgid"),
                "client_start": choose(client, "start_ns", "cred_start_ns"),
                "client_comm": np.where(client >= 0, at["comm"][client], ""),
                "server": choose(server, "pos", "cred"),
                "server_tgid": choose(server, "tgid", "cred_tgid"),
                "server_start": choose(server, "start_ns", "cred_start_ns"),
                "server_comm": np.where(server >= 0, at["comm"][server], ""),
                "accepted": (at["flags"][some] & int(SocketFlag.WAITING)) == 0,
            }
        )

    def _keys(self, chosen: npt.NDArray[np.bool_], inode: str) -> pd.DataFrame:
        """Rows of sockets, by the inode at which a connection's two ends meet."""
        rows = np.flatnonzero(chosen)
        part = self._sockets.iloc[rows]
        keys = ["snapshot", "inode"]
        found = pd.DataFrame(
            {
                "snapshot": part["snapshot"].to_numpy(),
                "inode": part[inode].to_numpy(),
                "row": rows,
            }
        )
        # A forged capture may have a thousand holders at both ends, and a million pairs.
        return found[(found.groupby(keys).cumcount() < _HOLDERS) | (found["inode"] == 0)]

    @cached_property
    def listeners(self) -> list[Listener]:
        """Daemons and shims that listen, and others at their sockets, by process."""
        sockets = self._sockets
        listening = sockets[sockets["state"] == LISTEN]
        latest = listening.drop_duplicates(["tgid", "start_ns", "name"], keep="last")
        last = len(self.snapshots) - 1
        found = []
        names = ("pos", "tgid", "start_ns", "comm", "name", "snapshot", "pending", "flags")
        for pos, tgid, start_ns, comm, name, seen, pending, flags in rows_of(latest, names):
            protocol = protocol_of(self._scene, name, -1, pos)
            if protocol is None:
                continue
            found.append(
                Listener(
                    Party(pos, tgid, start_ns, comm),
                    name,
                    protocol,
                    self.snapshots[seen].ts_ns,
                    seen == last,
                    pending,
                    bool(flags & SocketFlag.DELETED),
                )
            )
        return sorted(found, key=lambda x: (x.party.tgid, x.party.start_ns, x.socket))

    @cached_property
    def names(self) -> dict[int, frozenset[str]]:
        """Where each process listened whenever it was looked at, by position."""
        found: dict[int, set[str]] = {}
        for listener in self.listeners:
            found.setdefault(listener.party.pos, set()).add(normal(listener.socket))
        return {pos: frozenset(names) for pos, names in found.items()}

    def may_be_at(self, pos: int, addresses: frozenset[str]) -> bool:
        """Whether who wants one of these addresses may mean this process: it listens at one of
        them; or the capture does not tell where it listens, or what is wanted."""
        names = self.names.get(pos, frozenset())
        return not addresses or not names or bool(names & addresses)


def df_connections(scene: Scene, path: ControlPath) -> pd.DataFrame:
    """One row for each two processes that were connected by one socket.

    Columns:
        client, server: ids of processes; None where no event and no snapshot of processes has it.
        client_tgid, client_comm, server_tgid, server_comm: as the socket itself tells.
        socket: name; protocol: one of PROTOCOLS.
        first_ns, last_ns: first and last look that saw the connection; looks: how many did.
        at_end: the last look saw it. accepted: the server had taken it.
    """
    rows = path.connections
    ids = [*scene.ids.tolist(), None]
    return frame(
        {
            "client": objects([ids[row.client.pos] for row in rows]),
            "client_tgid": np.array([row.client.tgid for row in rows], np.int64),
            "client_comm": objects([row.client.comm for row in rows]),
            "server": objects([ids[row.server.pos] for row in rows]),
            "server_tgid": np.array([row.server.tgid for row in rows], np.int64),
            "server_comm": objects([row.server.comm for row in rows]),
            "socket": objects([row.socket for row in rows]),
            "protocol": objects([row.protocol for row in rows]),
            "first_ns": np.array([row.first_ns for row in rows], np.int64),
            "last_ns": np.array([row.last_ns for row in rows], np.int64),
            "looks": np.array([row.looks for row in rows], np.int64),
            "at_end": np.array([row.at_end for row in rows], bool),
            "accepted": np.array([row.accepted for row in rows], bool),
        }
    )
