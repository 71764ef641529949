"""Which docker, ctr or podman command belongs to which container.

A command that names a container is its own; a nameless `docker run` is given to a container only
if it was the only one that it can have been.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from analysis.columns import MAX, objects
from analysis.runs import Container, Run
from analysis.scene import Scene
from tracer.runtime_args import Program

# docker takes the beginning of an id, if it is so long; so does this.
_PREFIX = 3
_MAKERS = ("run", "create")
_STARTERS = ("run", "start", "restart", "create", "compose", None)
_TAKE_PREFIXES = ("docker-client", "podman")
_LAST = "\U0010ffff"  # behind all that begin with the same word
_EVER = MAX
_NONE = np.empty(0, np.int64)
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
        starters = [p for p in container.clients if scene.program(p).verb in _STARTERS]
        works = _Works(scene, starters)
        for run in container.runs:
            if run.client is None and starters:
                there = np.flatnonzero(works.there(run))
                run.client = starters[int(there[-1])] if len(there) else None
                run.client_sure = run.client is not None
    _match_nameless(scene, containers, nameless)
    for container in containers:
        known = set(container.clients)
        for run in container.runs:
            if run.client is not None:
                run.phases["client_ns"] = scene.exec_ns(run.client)
                if run.client not in known:
                    known.add(run.client)
                    container.clients.append(run.client)


class _Names:
    """Containers by what a command line may call them.

    Hundreds may have one name, or ids that begin alike: numbers of containers are kept in arrays,
    and no look at one of them is made in Python.
    """

    def __init__(self, containers: list[Container]) -> None:
        self._containers = containers
        self._by_name = _numbers(c.name for c in containers)
        self._by_id = _numbers(c.id for c in containers)
        ids = sorted((container.id, number) for number, container in enumerate(containers))
        self._ids = [id_ for id_, _ in ids]
        self._numbers = np.array([number for _, number in ids], np.int64)
        self._namespaces = objects([c.known.namespace or "" for c in containers])
        self.first = np.array([-1 if c.first_ns is None else c.first_ns for c in containers])
        self.over = np.array([-1 if c.over_ns is None else c.over_ns for c in containers])

    def __getitem__(self, number: int) -> Container:
        return self._containers[number]

    def named(self, program: Program) -> npt.NDArray[np.int64]:
        """Numbers of those that a command line names; the same as `names_container` of each."""
        if program.name is not None:
            return self._by_name.get(program.name, _NONE)
        found = []
        for word in dict.fromkeys(program.targets):
            found += [self._by_name.get(word, _NONE), self._by_id.get(word, _NONE)]
            if len(word) >= _PREFIX and program.role in _TAKE_PREFIXES:
                begin = bisect.bisect_left(self._ids, word)
                end = bisect.bisect_left(self._ids, word + _LAST)
                found.append(np.sort(self._numbers[begin:end]))
        found = [numbers for numbers in found if len(numbers)]
        numbers = found[0] if len(found) == 1 else np.unique(np.concatenate([_NONE, *found]))
        if program.role == "ctr" and program.namespace:
            known = self._namespaces[numbers]
            numbers = numbers[(known == "") | (known == program.namespace)]
        return numbers


def _numbers(words: Iterable[str | None]) -> dict[str, npt.NDArray[np.int64]]:
    """Where each word is."""
    found: dict[str, list[int]] = {}
    for number, word in enumerate(words):
        if word is not None:
            found.setdefault(word, []).append(number)
    return {word: np.array(numbers, np.int64) for word, numbers in found.items()}


def _owner(scene: Scene, pos: int, names: _Names) -> Container | None:
    """The container that a command names. Names are used again: of several the one that had
    begun last when the command ended."""
    program = scene.program(pos)
    numbers = names.named(program)
    if not len(numbers):
        return None
    begun, ended = scene.exec_ns(pos) or 0, int(scene.exit_ns[pos])
    first, over = names.first[numbers], names.over[numbers]
    fits = np.ones(len(numbers), bool)
    if program.verb in _MAKERS:
        fits &= (over < 0) | (over >= begun)  # else it made another one, which was not seen
    if program.verb != "create" and ended >= 0:
        fits &= first <= ended
    numbers, first = numbers[fits], first[fits]
    return names[int(numbers[np.argmax(first)])] if len(numbers) else None


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


class _Works:
    """When commands were at work: from the exec to the end."""

    def __init__(self, scene: Scene, people: list[int]) -> None:
        times = [scene.exec_ns(pos) for pos in people]
        lives = [scene.life_of(pos) for pos in people]
        self.known = np.array([time is not None for time in times], bool)
        # What is older than the recording has no exec in it.
        begun = np.array([-1 if time is None else time for time in times], np.int64)
        self.begin = np.maximum(begun, np.array([begin for begin, _ in lives], np.int64))
        self.end = np.array([_EVER if end < 0 else end for _, end in lives], np.int64)

    def there(self, run: Run) -> npt.NDArray[np.bool_]:
        """Who was at work when a run began."""
        older: npt.NDArray[np.bool_] = ~self.known & run.before  # both are older than what is kept
        anchor = run.anchor_ns
        if anchor is None:
            return older
        return older | (self.known & (self.begin <= anchor) & (self.end >= anchor))


def _match_nameless(scene: Scene, containers: list[Container], nameless: list[int]) -> None:
    """Give a nameless command to the only run that began while it was the only such command."""
    runs = [
        run
        for container in containers
        for run in container.runs
        if container.runtime == "docker" and run.client is None and run.anchor_ns is not None
    ]
    works = _Works(scene, nameless)
    anchors = np.array([run.anchor_ns for run in runs], np.int64)
    before = np.array([run.before for run in runs], bool)
    usable = works.begin <= works.end  # as of all but forged ones
    choices = np.zeros(len(nameless), np.int64)
    only = np.full(len(runs), -1)
    # Only for runs that are older than what is kept a command may be it that is, too.
    for at, people in (
        (np.flatnonzero(~before), np.flatnonzero(works.known & usable)),
        (np.flatnonzero(before), np.flatnonzero(usable)),
    ):
        begin, end = works.begin[people], works.end[people]
        only[at] = _only_ones(begin, end, people, anchors[at])
        marks = np.sort(anchors[at])
        choices[people] += np.searchsorted(marks, end, "right")
        choices[people] -= np.searchsorted(marks, begin, "left")
    for run, one in zip(runs, only.tolist(), strict=True):
        if one >= 0 and choices[one] == 1:
            run.client = nameless[one]


def _only_ones(
    begin: npt.NDArray[np.int64],
    end: npt.NDArray[np.int64],
    names: npt.NDArray[np.int64],
    times: npt.NDArray[np.int64],
) -> npt.NDArray[np.int64]:
    """The name of the only interval that each time is in; -1 if it is in none or in several.

    Those that have begun less those that are over: their number, and the sum of their names.
    """
    by_begin, by_end = np.argsort(begin), np.argsort(end)
    begun = np.searchsorted(begin[by_begin], times, "right")
    over = np.searchsorted(end[by_end], times, "left")
    sum_begun = np.append(0, np.cumsum(names[by_begin]))[begun]
    sum_over = np.append(0, np.cumsum(names[by_end]))[over]
    return np.where(begun - over == 1, sum_begun - sum_over, -1)
