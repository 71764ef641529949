"""The shape of a process tree: which role is whose child, and how processes are adopted."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from analysis.model import Capture

# Children whose place tells engines apart. What runs in containers, and clients, may be anywhere.
_CHILDREN = (
    *("dockerd", "containerd", "containerd-managed", "shim-start", "shim-v1", "shim-v2"),
    *("runc", "crun", "container-init", "conmon"),
)

# A role, and the roles of its parents in order with the rule by which each came, as in reparents;
# "first": the first one known.
Place = tuple[str, tuple[tuple[str, str], ...]]
# Role of the child, of the old and of the new parent, and the kernel's rule.
Adopted = tuple[str, str, str, str]


@dataclass
class Tree:
    """How often each was seen."""

    places: Counter[Place] = field(default_factory=Counter)
    adoptions: Counter[Adopted] = field(default_factory=Counter)


def measure_tree(capture: Capture) -> Tree:
    """The tree's shape in a capture."""
    tree = Tree()
    _count_places(capture, tree)
    _count_adoptions(capture, tree)
    return tree


def _count_places(capture: Capture, tree: Tree) -> None:
    scene = capture.scene
    how = scene.parents["how"].to_numpy(object)
    parent = scene.parents["parent_no"].to_numpy(np.int64)
    for pos in scene.positions(*_CHILDREN):
        steps: list[tuple[str, str]] = []
        before = None
        for row in scene.intervals_of(pos):
            if parent[row] != before:
                rule = str(how[row]) if steps else "first"
                steps.append((_role(capture, int(parent[row])), rule))
            before = parent[row]
        if steps:
            tree.places[str(scene.roles[pos]), tuple(steps)] += 1


def _role(capture: Capture, pos: int) -> str:
    return str(capture.scene.roles[pos]) if pos >= 0 else "?"


def _count_adoptions(capture: Capture, tree: Tree) -> None:
    """Vectorised: a storm reparents more processes than a loop could count."""
    scene = capture.scene
    names, codes = np.unique(scene.roles.astype(str), return_inverse=True)
    codes = np.append(codes, len(names))  # -1: not known
    child, old, new = scene.adoptions
    reasons, rule = np.unique(scene.reparents["reason"].to_numpy(object), return_inverse=True)
    rows = np.stack([codes[child], codes[old], codes[new], rule])
    told = np.flatnonzero(np.isin(names, _TOLD))
    counted = np.isin(rows[0], told) | np.isin(rows[1], told)
    known, counts = np.unique(rows[:, counted], axis=1, return_counts=True)
    labels = [*names.tolist(), "?"]
    for (who, above, taker, reason), count in zip(known.T.tolist(), counts.tolist(), strict=True):
        if reasons[reason] != "thread":
            key = (labels[who], labels[above], labels[taker], str(reasons[reason]))
            tree.adoptions[key] += count


_TOLD = (*_CHILDREN, "runc-init", "container-process")
