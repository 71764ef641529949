"""Captures of one kind together: by label, docker's version, and topology."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from analysis.compare.latencies import Samples
from analysis.compare.measure import Measured
from analysis.compare.tree import Tree
from tracer.errors import UsageError
from tracer.text import printable

_SHAPES = {
    "docker-18": "dockerd starts containerd",
    "docker-19": "containerd is a service",
    "unknown": "containerd not seen",
}


@dataclass
class Group:
    """Captures of one label, docker version and topology.

    Attributes:
        id: a short number, from 1 on.
        numbers: of its captures in the comparison.
    """

    id: str
    label: str | None
    docker: str | None
    shape: str
    shim: str | None
    live_restore: bool | None
    numbers: list[int] = field(default_factory=list)
    captures: list[Measured] = field(default_factory=list)

    @property
    def topology(self) -> str:
        """ "dockerd starts containerd, shim v1"."""
        parts = [_SHAPES[self.shape]]
        parts += [f"shim {self.shim}"] if self.shim else []
        parts += ["live-restore"] if self.live_restore else []
        return ", ".join(parts)

    @property
    def name(self) -> str:
        """Harmless to print."""
        docker = f"docker {printable(self.docker)}" if self.docker else "docker's version not known"
        label = f"{printable(self.label)}: " if self.label else ""
        return f"{label}{docker}, {self.topology}"

    @property
    def latencies(self) -> Samples:
        found: Samples = {}
        for measured in self.captures:
            for name, values in measured.latencies.items():
                found.setdefault(name, []).extend(values)
        return found

    @property
    def tree(self) -> Tree:
        found = Tree()
        for measured in self.captures:
            found.places.update(measured.tree.places)
            found.adoptions.update(measured.tree.adoptions)
        return found


def group(measured: Sequence[Measured]) -> list[Group]:
    """Groups in the order of their first captures."""
    found: dict[str, Group] = {}
    for number, one in enumerate(measured):
        kind = (one.label, one.docker, one.shape, one.shim, one.live_restore)
        into = found.setdefault(repr(kind), Group(str(len(found) + 1), *kind))
        into.numbers.append(number)
        into.captures.append(one)
    return list(found.values())


def find_baseline(groups: Sequence[Group], wanted: str | None) -> Group:
    """The group that others are held against: the first, or the one with that label, number,
    docker version or name.

    Raises:
        UsageError: none or several are called so.
    """
    if wanted is None:
        return groups[0]
    found: list[Group] = []
    for key in ("label", "id", "docker", "name"):
        found = [g for g in groups if getattr(g, key) == wanted]
        if len(found) == 1:
            return found[0]
        if found:
            break
    shown = printable(wanted)
    names = "; ".join(f"{g.id}: {g.name}" for g in found or groups)
    if found:
        raise UsageError(f"cannot choose a baseline by '{shown}'", f"it fits {names}", "say which")
    raise UsageError(f"no baseline '{shown}'", "no group is called so", f"there are {names}")
