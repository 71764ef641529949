"""Which container each process is in, by its cgroup, its pid namespace and its descent.

Also which containers there are: a shim's or runc's arguments, a cgroup's name or the
recorder's facts name them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt

from analysis.columns import Columns, History
from analysis.execs import follow
from analysis.identity import Codes, identify
from analysis.images import Texts, find_images
from analysis.programs import Programs
from analysis.table import Table
from tracer.runtime_args import HEX_ID

Ints = npt.NDArray[np.int64]

# Prefix of a scope's name, by who made it. systemd: PREFIX-ID.scope; cgroupfs where kubelet
# takes the systemd driver: SLICE:PREFIX:ID; else the bare id.
_RUNTIMES = {
    "docker": "docker",
    "cri-containerd": "cri",
    "crio": "cri",
    "libpod": "podman",
    "nerdctl": "containerd",
    "libpod-payload": "podman",
}
_SCOPE = re.compile(rf"(?:(?P<prefix>[a-z][a-z-]*)[-:])?(?P<id>{HEX_ID.pattern})(?:\.scope)?")
_MONITOR = re.compile(r"(libpod|crio)-conmon-")
MAKERS = ("create", "run", "restore", "exec")
_MADE_LIMIT = 10_000  # against a forged capture in which runc init forks for ever
_SERVANTS = ("shim-v1", "shim-v2", "shim-start", "conmon", "runc", "crun")


@dataclass
class Known:
    """What is known of a container from names and arguments.

    Attributes:
        runtime: docker, containerd, podman, cri; None if nothing says.
        namespace: containerd's.
        fact: the recorder named it.
    """

    id: str
    name: str | None = None
    image: str | None = None
    runtime: str | None = None
    namespace: str | None = None
    labels: dict[str, str] = field(default_factory=dict)
    fact: bool = False


@dataclass
class Membership:
    """Containers and who is in them.

    Attributes:
        known: containers by id, in no order.
        inside: by position of a process, number of the container that it is in; -1: in none.
        serves: by position of a process, number of the container that a shim, runc, crun or conmon
            serves by its arguments; -1: not known or not one of those.
        ids: container ids by number.
    """

    known: dict[str, Known]
    inside: Codes
    serves: Codes
    ids: list[str]

    def of(self, pos: int) -> str | None:
        """Container that a process serves or is in."""
        number = int(self.serves[pos])
        number = number if number >= 0 else int(self.inside[pos])
        return self.ids[number] if number >= 0 else None

    def members(self, container: str) -> list[int]:
        """Positions of the processes inside a container."""
        return self._inside_of[container]

    def servants(self, container: str) -> list[int]:
        """Positions of the processes that serve a container."""
        return self._serves_of[container]

    @cached_property
    def _inside_of(self) -> dict[str, list[int]]:
        return _group(self.inside, self.ids)

    @cached_property
    def _serves_of(self) -> dict[str, list[int]]:
        return _group(self.serves, self.ids)


def _group(numbers: Codes, ids: list[str]) -> dict[str, list[int]]:
    order = np.argsort(numbers, kind="stable")
    bounds = np.searchsorted(numbers[order], np.arange(len(ids) + 1, dtype=np.int32)).tolist()
    return {
        name: order[begin:end].tolist()
        for name, begin, end in zip(ids, bounds, bounds[1:], strict=False)
    }


def find_membership(
    table: Table, processes: Columns, programs: Programs, parent: Codes
) -> Membership:
    """Find the containers and their processes.

    Args:
        parent: by position, position of the first parent that is known; -1.
    """
    known: dict[str, Known] = {}
    named: dict[int, str] = {}
    for row, program in programs.parsed.items():
        if program.container and program.role in _SERVANTS:
            named[row] = program.container
            entry = known.setdefault(program.container, Known(program.container))
            entry.namespace = entry.namespace or program.namespace
            entry.runtime = entry.runtime or program.engine
            entry.name = entry.name or program.name
    _add_facts(known, table)
    images = find_images(table, identify(table))
    # The v2 name wins.
    inside = _find_in_cgroups((images.cgroup_v1, images.cgroup), known, len(processes))
    numbers = {container: number for number, container in enumerate(known)}
    serves = np.full(len(processes), -1, np.int32)
    for pos in programs.positions(*_SERVANTS).tolist():
        container = named.get(int(programs.last[pos]))
        if container is not None:
            serves[pos] = numbers[container]
    _add_runc_children(processes, programs, inside, serves)
    _add_namespaces(processes, inside)
    _add_descendants(inside, serves, programs, parent)
    for entry in known.values():
        entry.runtime = entry.runtime or _runtime(entry)
    return Membership(known, inside, serves, list(known))


def _runtime(entry: Known) -> str | None:
    if entry.namespace is None:
        return None
    if entry.namespace in ("moby", "plugins.moby"):
        return "docker"
    return "cri" if entry.namespace == "k8s.io" else "containerd"


def _add_facts(known: dict[str, Known], table: Table) -> None:
    """Names and images that the recorder found. Several facts for one: later ones only add, as
    the segments of a bounded recording repeat them."""
    told: set[tuple[str, str]] = set()
    for fact in table.facts:
        container = fact.get("id")
        if fact.get("kind") != "container" or not isinstance(container, str) or not container:
            continue
        entry = known.setdefault(container, Known(container))
        entry.fact = True
        for key in ("name", "image", "namespace"):
            value = fact.get(key)
            if isinstance(value, str) and value and (container, key) not in told:
                setattr(entry, key, value)
                told.add((container, key))
        runtime = fact.get("runtime")
        # "containerd" is whose shim it is, and all that is known while nothing else could be read.
        others = ("docker", "podman", "cri")
        if runtime in others or (runtime == "containerd" and entry.runtime not in others):
            entry.runtime = runtime
        labels = fact.get("labels")
        if isinstance(labels, dict):
            entry.labels.update({str(k): str(v) for k, v in labels.items()})


def _find_in_cgroups(cgroups: Iterable[Texts], known: dict[str, Known], count: int) -> Codes:
    """Container of each process by its cgroups, as its number in ``known``, to which new ones
    are added; -1: none. What later cgroups say counts."""
    result = np.full(count, -1, np.int32)
    numbers = {container: number for number, container in enumerate(known)}
    for texts in cgroups:
        matches = [(text, _of_cgroup(texts.values[text], known)) for text in texts.used()]
        found = np.full(len(texts.values) + 1, -1, np.int32)  # the last: no cgroup known
        for text, match in matches:
            if match is not None:
                container, runtime = match
                entry = known.setdefault(container, Known(container))
                entry.runtime = entry.runtime or runtime
                found[text] = numbers.setdefault(container, len(numbers))
        inside = found[texts.codes]
        result = np.where(inside >= 0, inside, result)
    return result


def _of_cgroup(path: str, known: dict[str, Known]) -> tuple[str, str | None] | None:
    """Innermost container in a cgroup's path, and the runtime that its name shows."""
    parts = path.split("/")
    for i in range(len(parts) - 1, 0, -1):
        part, above = parts[i], parts[i - 1]
        if _MONITOR.match(part):
            return None
        match = _SCOPE.fullmatch(part.rsplit(":", 2)[-1] if ":" in part else part)
        if match:
            prefix = match["prefix"] or (part.split(":")[-2] if part.count(":") >= 2 else None)
            runtime = _RUNTIMES.get(prefix or "", "docker" if above == "docker" else None)
            return match["id"], runtime
        # ctr's ids are any word: /NAMESPACE/ID, or SLICE/NAMESPACE-ID.scope.
        for word in (part, part.removesuffix(".scope").partition("-")[2]):
            entry = known.get(word)
            if (
                entry is not None
                and entry.namespace
                and (above == entry.namespace or part == f"{entry.namespace}-{word}.scope")
            ):
                return word, None
    return None


def _add_runc_children(
    processes: Columns, programs: Programs, inside: Codes, serves: Codes
) -> None:
    """`runc init` belongs to the container that runc was told to make, before its cgroup or
    namespace shows it; of what crun forks that which is in another pid namespace."""
    pidns = np.maximum(processes.filled("pidns"), 0)
    for call in programs.positions("runc", "crun").tolist():
        if serves[call] < 0 or programs.of(call).verb not in MAKERS:
            continue
        is_crun = programs.of(call).role == "crun"
        for child in made_by(programs, call):
            if inside[child] < 0 and not (is_crun and pidns[child] == pidns[call]):
                inside[child] = serves[call]


def made_by(programs: Programs, call: int) -> list[int]:
    """Processes that a call of runc or crun made for the container, in order.

    Of runc: its `runc init` and what that forked; its other children are hooks, which stay
    outside (dockerd's libnetwork-setkey). Of crun, which does not execute itself: its children,
    and theirs as long as they are crun.
    """
    result: list[int] = []
    todo = programs.children(call)
    is_crun = programs.of(call).role == "crun"
    if not is_crun:
        todo = [child for child in todo if is_stage(programs, child)]
    while todo and len(result) < _MADE_LIMIT:
        child = todo.pop(0)
        result.append(child)
        forked = programs.children(child)
        if not (is_crun and not programs.rows(child)):
            forked = [c for c in forked if born_as_stage(programs, c)]
        todo += forked
    return result


def born_as_stage(programs: Programs, pos: int) -> bool:
    """Forked by a `runc init`."""
    return programs.of_row(int(programs.birth[pos])).role == "runc-init"


def is_stage(programs: Programs, pos: int) -> bool:
    """The process is, or was before it became something else, a `runc init`."""
    rows = programs.rows(pos)
    return born_as_stage(programs, pos) or any(
        programs.of_row(row).role == "runc-init" for row in rows
    )


def _add_namespaces(processes: Columns, inside: Codes) -> None:
    """What lives in the pid namespace of a container's process 1 is in the container.

    The kernel gives a dead namespace's inode to the next one: a process belongs to the last
    process 1 of that inode that is not younger than itself.
    """
    pidns = np.maximum(processes.filled("pidns"), 0)
    heads = processes["ns_init"].to_numpy(bool) & (pidns > 0)
    born = processes["start_ns"].to_numpy(np.int64)
    rows = np.flatnonzero(heads)
    todo = np.flatnonzero((inside < 0) & (pidns > 0) & ~heads)
    # Inodes of namespaces begin at 0xF0000000, too high for a History.
    _, space = np.unique(pidns, return_inverse=True)
    found = History(space[rows], born[rows]).before(space[todo], born[todo])
    known = found >= 0
    inside[todo[known]] = inside[rows[found[known]]]


def _add_descendants(inside: Codes, serves: Codes, programs: Programs, parent: Codes) -> None:
    """What a container's process forked is in the container, unless its cgroup says otherwise."""
    forker = np.where(programs.forker >= 0, programs.forker, parent)
    link = np.where(inside >= 0, -2 - inside, forker)
    ends = follow(link)
    inside[:] = np.where(ends <= -2, -2 - ends, -1)
