"""Who talks to whom, as JSON for the report (docs/report-json.md)."""

from __future__ import annotations

from typing import Any

from analysis.chains import Chains, Link
from analysis.control_path import Connection, Listener, Party
from analysis.people import daemons_of, people_of
from analysis.references import References
from analysis.runs import Container

Json = dict[str, Any]

_UNREAD = "its recorder read no unix sockets (of an older version, or on a kernel that refused it)"
_CUT = "it holds no look at unix sockets: it was cut before that, or is a ticket's, without them"


def describe_control_path(refs: References, chosen: list[Container] | None) -> Json:
    """``control_path`` of the report.

    Args:
        chosen: containers to tell of; None: all, and the daemons without any.
    """
    path = refs.capture.control_path
    wanted: set[int] | None = None
    if chosen is not None:
        scene = refs.scene
        wanted = {p for c in chosen for p in people_of(scene, c)}
        daemons = {p for c in chosen for p in daemons_of(c)}
        links = [c for c in path.connections if wanted & {c.client.pos, c.server.pos}]
        daemons |= {p for c in links for p in (c.client.pos, c.server.pos)}
        connections = links + [
            c
            for c in path.connections
            if c not in links and {c.client.pos, c.server.pos} <= daemons
        ]
        listeners = [x for x in path.listeners if x.party.pos in daemons | wanted]
    else:
        connections, listeners = path.connections, path.listeners
    read = refs.capture.table.header.get("sockets") is not None
    return {
        "known": path.known,
        "why": None if path.known else (_CUT if read else _UNREAD),
        "looks": [
            {
                "ts_ns": look.ts_ns,
                "reason": look.reason,
                "complete": look.complete,
                "sockets": look.sockets,
            }
            for look in path.snapshots
        ],
        "connections": [_connection(refs, c) for c in connections],
        "listeners": [_listener(refs, listener) for listener in listeners],
    }


def describe_links(refs: References, container: Container) -> list[Json]:
    """``control_path`` of a container."""
    path = refs.capture.control_path
    if not path.known:
        return []
    return [_link(refs, link) for link in Chains(refs.scene, path).of(container)]


def _connection(refs: References, connection: Connection) -> Json:
    return {
        "from": refs.ref(connection.client.pos),
        "from_end": _party(connection.client),
        "to": refs.ref(connection.server.pos),
        "to_end": _party(connection.server),
        "socket": connection.socket,
        "protocol": connection.protocol,
        "first_ns": connection.first_ns,
        "last_ns": connection.last_ns,
        "looks": connection.looks,
        "at_end": connection.at_end,
        "accepted": connection.accepted,
    }


def _party(party: Party) -> Json:
    return {"tgid": party.tgid, "start_ns": party.start_ns, "comm": party.comm or None}


def _listener(refs: References, listener: Listener) -> Json:
    return {
        "process": refs.ref(listener.party.pos),
        "end": _party(listener.party),
        "socket": listener.socket,
        "protocol": listener.protocol,
        "ts_ns": listener.ts_ns,
        "at_end": listener.at_end,
        "waiting": listener.waiting,
        "removed": listener.removed,
    }


def _link(refs: References, link: Link) -> Json:
    seen = link.connection
    return {
        "from": refs.ref(link.client),
        "to": refs.ref(link.server),
        "protocol": link.protocol,
        "state": link.state,
        "ended": [refs.scene.ids[pos] for pos in link.ended],
        "socket": None if seen is None else seen.socket,
        "first_ns": None if seen is None else seen.first_ns,
        "last_ns": None if seen is None else seen.last_ns,
    }
