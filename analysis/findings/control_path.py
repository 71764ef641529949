"""Daemons and shims that live and do not reach each other: what no process tree shows.

Nothing is said of what has just begun: daemons connect within seconds, and wait some between
attempts.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

from analysis.chains import Chains
from analysis.control_path import CONTAINERDS, Connection, normal
from analysis.findings.finding import ERROR, WARNING, Case, Finding, listed
from analysis.roles import SHIMS
from analysis.steps import Evidence
from analysis.text_layout import count, span
from analysis.why.story import CONFIRMED, INFERRED
from tracer.runtime_args import option
from tracer.text import printable

# gRPC waits up to 3 s (dockerd) and up to 120 s (its own default) before it tries again; daemons
# take some seconds to begin.
_SETTLED_NS = 10_000_000_000
_RUNTIMES = (*CONTAINERDS, "dockerd", "cri-dockerd")


class _State:
    """Who was connected to whom when sockets were looked at last."""

    def __init__(self, case: Case) -> None:
        self.case, self.scene = case, case.scene
        self.path = case.capture.control_path
        self.chains = Chains(case.scene, self.path)

    @property
    def is_known(self) -> bool:
        """Whether what was not seen at the end was not there either."""
        return self.path.end is not None and self.case.at_end.ns is not None

    def settled(self, pos: int) -> bool:
        """It has run its program for some time."""
        began = self.scene.exec_ns(pos)
        if began is None:
            began = int(self.scene.start_ns[pos])
        return self.case.age(began) >= _SETTLED_NS

    def from_(self, client: int, *roles: str) -> list[Connection]:
        """A process's connections to others with these roles."""
        return [
            c
            for c in self.by_client.get(client, [])
            if c.server.pos >= 0 and self.scene.roles[c.server.pos] in roles
        ]

    def reaches(self, docker: int) -> bool:
        """It is connected to a containerd; or to one that may be, outside of a filter."""
        return any(
            c.at_end and (c.protocol == "containerd-grpc" or c.server.pos < 0)
            for c in self.by_client.get(docker, [])
        )

    @cached_property
    def by_client(self) -> dict[int, list[Connection]]:
        found: dict[int, list[Connection]] = {}
        for connection in self.path.connections:
            found.setdefault(connection.client.pos, []).append(connection)
        return found

    def near(self, pos: int, *roles: str) -> list[int]:
        """Others in the same pid namespace that live at the end."""
        namespaces = self.scene.pidns
        return [p for p in self.case.living(*roles) if namespaces[p] == namespaces[pos]]

    def cite(self, connection: Connection | None) -> list[Evidence]:
        if connection is None or connection.client.pos < 0:
            return []
        return [Evidence("SOCK", connection.last_ns, connection.client.pos)]

    def at(self, connection: Connection) -> str:
        since = connection.last_ns - self.case.table.started_ns
        return f"{span(max(since, 0))} after the start"


def daemons_without_containerd(case: Case) -> Iterator[Finding]:
    """dockerd that lives, and has no connection to the containerd that it needs."""
    state = _State(case)
    if not state.is_known:
        return
    scene = case.scene
    for docker in case.living("dockerd"):
        told = state.from_(docker, *CONTAINERDS)
        if state.reaches(docker) or not case.is_known[docker]:
            continue
        last = max(told, key=lambda c: c.last_ns, default=None)
        if last is None and (_asked_for(scene.args(docker)) is None or not state.settled(docker)):
            continue  # a containerd of its own in the same process, or one of yet to come
        wanted = _wanted(state, docker, last)
        living = [p for p in state.near(docker, *CONTAINERDS) if state.path.may_be_at(p, wanted)]
        if any(not state.settled(pos) for pos in living):
            continue
        before = _before(case, docker, last)
        shims = [
            shim
            for shim in state.near(docker, *SHIMS)
            if not wanted or _address_of(scene.args(shim)) in (None, *wanted)
        ]
        certainty = CONFIRMED
        if living:
            what = f"{case.names(living)} lives, and is not connected to it"
            next_ = "`docker info` hangs or fails where that is so; look at the log of both: "
        elif before is not None:
            ended = int(scene.exit_ns[before])
            how_long = f" {case.ago(ended)}" if ended >= 0 else ""
            what = f"its containerd has gone: {case.name(before)} {case.how(before)}{how_long}"
            next_ = f"{case.ask_why(before)}; start it again: `systemctl start containerd`; "
        else:
            what, certainty = "no containerd lives", INFERRED
            next_ = "`systemctl status containerd`; "
        alone = f"; {count(len(shims), 'shim')} cannot be reached" if shims else ""
        seen = f" (last connected {state.at(last)})" if last is not None else ""
        people = [docker, *([before] if before is not None else living), *shims]
        yield Finding(
            "daemon-without-containerd",
            ERROR if _is_old(case, living, before) else WARNING,
            f"{scene.label(docker)} lives without a connection to containerd{seen}: {what}{alone}. "
            "What it says of containers (`docker ps`) is what it knew before",
            f"{next_}`journalctl -u docker -u containerd`",
            case.at_end.ns or 0,
            listed(people),
            listed(
                [
                    *case.cite_state(docker),
                    *state.cite(last),
                    *([] if before is None else case.cite_end(before)),
                ]
            ),
            certainty,
        )


def _asked_for(args: tuple[str, ...]) -> str | None:
    """The containerd that dockerd was told to use."""
    asked = option(args, "containerd")
    return None if asked is None else normal(asked)


def _wanted(state: _State, docker: int, last: Connection | None) -> frozenset[str]:
    """Where a dockerd's containerd listens, as far as that is known: a host may have several."""
    if last is not None:
        return state.path.names.get(last.server.pos, frozenset()) | {normal(last.socket)}
    asked = _asked_for(state.scene.args(docker))
    return frozenset() if asked is None else frozenset({asked})


def _address_of(args: tuple[str, ...]) -> str | None:
    """The containerd that a shim was told to report to."""
    told = option(args, "address")
    return None if told is None else normal(told)


def _before(case: Case, docker: int, last: Connection | None) -> int | None:
    """The containerd that has ended."""
    if last is not None:
        return last.server.pos if case.scene.exit_ns[last.server.pos] >= 0 else None
    scene = case.scene
    ended = [
        pos
        for pos in scene.positions(*CONTAINERDS)
        if scene.exit_ns[pos] >= 0 and scene.pidns[pos] == scene.pidns[docker]
    ]
    return max(ended, key=lambda pos: scene.exit_ns[pos], default=None)


def _is_old(case: Case, living: list[int], before: int | None) -> bool:
    """Nobody would have mended it by itself by now: systemd starts containerd again after 5 s."""
    if living or before is None:
        return True
    return case.age(int(case.scene.exit_ns[before])) >= _SETTLED_NS


def shims_without_containerd(case: Case) -> Iterator[Finding]:
    """A shim that nobody is connected to, though its containerd lives."""
    state = _State(case)
    if not state.is_known:
        return
    scene = case.scene
    listening = {x.party.pos for x in state.path.listeners if x.at_end}
    for shim in case.living(*SHIMS):
        told = state.chains.to_shim(shim)
        if shim not in listening or any(c.at_end for c in told) or not state.settled(shim):
            continue
        owner = _owner(state, shim, told)
        if owner is None or not state.settled(owner):
            continue
        container = scene.membership.of(shim)
        of = f" of {printable(container[:12])}" if container else ""
        last = told[-1] if told else None
        seen = f", the last time {state.at(last)}" if last is not None else ""
        yield Finding(
            "shim-without-containerd",
            WARNING,
            f"nobody is connected to {scene.label(shim)}, a shim{of}, though {scene.label(owner)} "
            f"lives{seen}: the container runs, and its runtime cannot tell or stop it",
            "`ctr -n NAMESPACE tasks ls` (docker's namespace is moby) tells whether containerd "
            "knows it; a restart of containerd connects to the shims that it finds",
            case.at_end.ns or 0,
            listed([shim, owner]),
            listed([*case.cite_state(shim), *case.cite_state(owner), *state.cite(last)]),
            CONFIRMED if told else INFERRED,
            container,
        )


def _owner(state: _State, shim: int, told: list[Connection]) -> int | None:
    """The living containerd that a shim belongs to: it was connected, or listens where the shim
    was told to report to."""
    case = state.case
    for connection in reversed(told):
        if connection.client.pos >= 0 and case.at_end.alive[connection.client.pos]:
            return connection.client.pos
    address = _address_of(case.scene.args(shim))
    if address is None:
        return None
    near = state.near(shim, *CONTAINERDS)
    there = (
        listener.party.pos
        for listener in state.path.listeners
        if listener.at_end and normal(listener.socket) == address and listener.party.pos in near
    )
    return next(there, None)


def kubelets_without_runtime(case: Case) -> Iterator[Finding]:
    """kubelet that lives, and is connected to no runtime."""
    state = _State(case)
    if not state.is_known:
        return
    scene = case.scene
    for kubelet in case.living("kubelet"):
        told = [
            c
            for c in state.by_client.get(kubelet, [])
            if c.protocol in ("cri", "dockershim", "docker-api")
        ]
        if any(c.at_end and c.accepted for c in told) or not state.settled(kubelet):
            continue
        if not told and not any("runtime" in arg for arg in scene.args(kubelet)):
            continue  # nothing tells that it ever had one: a test, or another program
        if any(not state.settled(pos) for pos in state.near(kubelet, *_RUNTIMES)):
            continue
        last = max(told, key=lambda c: c.last_ns, default=None)
        gone = -1 if last is None else last.server.pos
        why = ""
        if gone >= 0 and scene.exit_ns[gone] >= 0:
            why = f": {case.name(gone)} {case.how(gone)}"
        elif last is not None and last.at_end:
            why = f": {case.name(gone)} does not accept it"
        seen = f" (last {state.at(last)} by {printable(last.socket)})" if last is not None else ""
        yield Finding(
            "kubelet-without-runtime",
            ERROR,
            f"{scene.label(kubelet)} lives and is connected to no runtime{seen}{why}: it can "
            "start, stop and see no container",
            "`crictl info`, `journalctl -u kubelet`: the node is NotReady until then",
            case.at_end.ns or 0,
            listed([kubelet, gone]),
            listed([*case.cite_state(kubelet), *state.cite(last)]),
            CONFIRMED if told else INFERRED,
        )


def sockets_removed(case: Case) -> Iterator[Finding]:
    """A daemon that listens where nobody can find it: its socket's path was removed or replaced."""
    state = _State(case)
    if not state.is_known:
        return
    scene = case.scene
    listeners = [x for x in state.path.listeners if x.at_end and x.protocol != "other"]
    reachable = {normal(x.socket) for x in listeners if not x.removed}
    for listener in listeners:
        pos = listener.party.pos
        if not listener.removed or pos < 0 or scene.roles[pos] not in (*_RUNTIMES, "kubelet"):
            continue
        others = [
            x.party
            for x in listeners
            if not x.removed and normal(x.socket) == normal(listener.socket)
        ]
        if any(other.pos == pos for other in others):
            continue
        has = "nothing is there any more"
        if normal(listener.socket) in reachable:
            has = f"{case.names([o.pos for o in others if o.pos >= 0]) or 'another'} listens there"
        yield Finding(
            "socket-removed",
            WARNING if others else ERROR,
            f"{scene.label(pos)} listens at {printable(listener.socket)}, which was removed: "
            f"{has}. Those who are connected stay so, and nobody else gets through to it",
            "restart it when its containers allow (docker: with live-restore they stay); find who "
            "removed the path, or the folder or mount that it was in",
            case.at_end.ns or 0,
            listed([pos, *(other.pos for other in others)]),
            case.cite_state(pos),
        )
