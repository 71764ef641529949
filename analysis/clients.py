"""Which docker, ctr or podman command belongs to which container.

A command that names a container is its own; a nameless `docker run` is given to a container only
if it was the only one that it can have been.
"""

from __future__ import annotations

import bisect
from collections import Counter

import numpy as np

from analysis.runs import Container, Run
from analysis.scene import Scene
from tracer.runtime_args import Program

# docker takes the beginning of an id, if it is so long; so does this.
_PREFIX = 3
_MAKERS = ("run", "create")
_STARTERS = ("run", "start", "restart", "create", "compose", None)
_NO_IMAGE = ("rootfs", "config")  # options of `ctr run`: what is before the id is no image then


def find_clients(scene: Scene, containers: list[Container]) -> None:
    """Fill in ``clients`` of containers, and ``client`` of runs (unless the runtime named it)."""
    nameless: list[int] = []
    names = _Names(containers)
    for pos in scene.positions("docker-client", "ctr", "podman"):
        if scene.exec_ns(pos) is None and not scene.is_older(pos):
            continue
        owner = _owner(scene, pos, names)
        if owner is not None:
            owner.clients.append(pos)
            owner.known.image = owner.known.image or _image(scene, pos, owner)
        elif _may_start(scene, pos):
            nameless.append(pos)
    for container in containers:
        for run in container.runs:
            if run.client is None:
                found = [pos for pos in container.clients if _started(scene, pos, run)]
                run.client = found[-1] if found else None
                run.client_sure = bool(found)
    _match_nameless(scene, containers, nameless)
    for container in containers:
        for run in container.runs:
            if run.client is not None:
                run.phases["client_ns"] = scene.exec_ns(run.client)
                if run.client not in container.clients:
                    container.clients.append(run.client)


class _Names:
    """Containers by what a command line may call them."""

    def __init__(self, containers: list[Container]) -> None:
        self._containers = containers
        self._by_word: dict[str, list[int]] = {}
        for number, container in enumerate(containers):
            for word in {container.name, container.id} - {None}:
                self._by_word.setdefault(str(word), []).append(number)
        self._ids = sorted((container.id, number) for number, container in enumerate(containers))

    def candidates(self, program: Program) -> list[Container]:
        """Those that a command line may name, in order; no other can be."""
        found: set[int] = set()
        for word in (program.name,) if program.name is not None else program.targets:
            found.update(self._by_word.get(word, ()))
            if len(word) >= _PREFIX:
                at = bisect.bisect_left(self._ids, (word, -1))
                while at < len(self._ids) and self._ids[at][0].startswith(word):
                    found.add(self._ids[at][1])
                    at += 1
        return [self._containers[number] for number in sorted(found)]


def _owner(scene: Scene, pos: int, names: _Names) -> Container | None:
    """The container that a command names. Names are used again: of several the one that had
    begun last when the command ended."""
    begun, ended = scene.exec_ns(pos) or 0, int(scene.exit_ns[pos])
    found = []
    for container in names.candidates(scene.program(pos)):
        if not names_container(scene, pos, container):
            continue
        first = container.first_ns
        over = container.over_ns
        if scene.program(pos).verb in _MAKERS and over is not None and over < begun:
            continue  # it made another one, which was not seen
        if first is not None and 0 <= ended < first and scene.program(pos).verb != "create":
            continue
        found.append((first if first is not None else -1, container))
    return max(found, key=lambda pair: pair[0])[1] if found else None


def names_container(scene: Scene, pos: int, container: Container) -> bool:
    """A client's command line has the name or the id of a container."""
    program = scene.program(pos)
    if program.name is not None:
        return program.name == container.name
    # Without -n a ctr's is "default", or what CONTAINERD_NAMESPACE says, which is not recorded.
    named, known = program.namespace, container.known.namespace
    if program.role == "ctr" and named and known and named != known:
        return False
    if any(target in (container.name, container.id) for target in program.targets):
        return True
    # docker takes the beginning of an id.
    return program.role in ("docker-client", "podman") and any(
        len(target) >= _PREFIX and container.id.startswith(target) for target in program.targets
    )


def _image(scene: Scene, pos: int, container: Container) -> str | None:
    """The image in `ctr run IMAGE ID` and `ctr containers create IMAGE ID`: nothing that can be
    read without containerd has it."""
    if scene.program(pos).role != "ctr" or scene.program(pos).verb not in _MAKERS:
        return None
    args = scene.args(pos)
    at = args.index(container.id) if container.id in args else 0
    options = {arg.lstrip("-").partition("=")[0] for arg in args[:at] if arg.startswith("-")}
    image = args[at - 1] if at else ""
    return None if options.intersection(_NO_IMAGE) or image.startswith("-") else image or None


def _may_start(scene: Scene, pos: int) -> bool:
    program = scene.program(pos)
    nameless = program.name is None and not program.targets
    return program.role == "docker-client" and program.verb in _STARTERS and nameless


def _started(scene: Scene, pos: int, run: Run) -> bool:
    """The command was at work when the run began, and is of a kind that starts containers."""
    anchor = run.anchor_ns
    begun = scene.exec_ns(pos)
    if run.before and begun is None:
        return scene.program(pos).verb in _STARTERS  # both are older than what is kept
    if anchor is None or begun is None or scene.program(pos).verb not in _STARTERS:
        return False
    return begun <= anchor and scene.alive_at(pos, anchor)


def _match_nameless(scene: Scene, containers: list[Container], nameless: list[int]) -> None:
    """Give a nameless command to the only run that began while it was the only such command."""
    open_runs = [
        run
        for container in containers
        for run in container.runs
        if container.runtime == "docker" and run.client is None and run.anchor_ns is not None
    ]
    people = np.array(nameless, np.int64)
    begun = np.array([scene.exec_ns(pos) or -1 for pos in nameless], np.int64)
    ended = scene.exit_ns[people]
    choices = []
    for run in open_runs:
        # Those that cannot have been there are not looked at one by one.
        there = (begun <= (run.anchor_ns or 0)) & ((ended < 0) | (ended >= (run.anchor_ns or 0)))
        choices.append([pos for pos in people[there].tolist() if _started(scene, pos, run)])
    chosen = Counter(pos for mine in choices for pos in mine)
    for run, mine in zip(open_runs, choices, strict=True):
        if len(mine) == 1 and chosen[mine[0]] == 1:
            run.client = mine[0]
