"""Processes that are not where a container's belong, and orphans that are where they should be."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

import numpy as np

from analysis.findings.finding import (
    GRACE_NS,
    INFO,
    KEEPERS,
    MONITORS,
    UNREAPED_NS,
    WARNING,
    Case,
    Finding,
    listed,
)
from analysis.roles import SHIMS
from analysis.runs import Container
from analysis.steps import rule_text
from analysis.why.story import CONFIRMED, INFERRED, name_container, worst

# In a pod that shares its pid namespace, and with --pid=container:, another's process 1 adopts.
_KEEPERS = (*KEEPERS, "container-init")
# Adoptions of one kind that are looked at: the sentence tells how many there were.
_LOOKED_AT = 1000
_NAMED = 5


def outside_of_shims(case: Case) -> Iterator[Finding]:
    """Living processes of a container below nobody who keeps containers."""
    scene, inside = case.scene, case.scene.membership.inside
    parent = scene.last_parent
    # Where the parent is in the container too, it is the parent that is outside.
    top = case.at_end.alive & (inside >= 0) & (parent >= 0) & (inside[parent] != inside)
    top &= case.is_known[parent] & ~np.isin(scene.roles[parent], _KEEPERS)
    people = np.flatnonzero(top)
    people = people[np.maximum(scene.fork_ns[people], 0) <= (case.at_end.ns or 0) - UNREAPED_NS]
    groups: dict[tuple[int, int], list[int]] = defaultdict(list)
    for pos in people.tolist():
        groups[int(inside[pos]), int(parent[pos])].append(pos)
    for (number, above), members in groups.items():
        container = case.container(number)
        if container is None or _by_design(case, container, members):
            continue
        name = name_container(container)
        one = len(members) == 1
        yield Finding(
            "container-process-outside-shim",
            WARNING,
            f"{case.names(members)} {'is' if one else 'are'} in {name}, but {scene.label(above)} "
            f"is {'its' if one else 'their'} parent, and no shim is above: its runtime does not "
            f"know of {'it' if one else 'them'}, nor learns how {'it ends' if one else 'they end'}",
            f"{case.ask_why(members[0])} tells how it came there: its shim may have died, its "
            "runtime may work without one (`runc run -d`), or `nsenter` brought it in",
            case.at_end.ns or 0,
            listed([*members[:_NAMED], above]),
            [e for pos in members[:_NAMED] for e in case.cite_state(pos)],
            CONFIRMED,
            container.id,
        )


def _by_design(case: Case, container: Container, members: list[int]) -> bool:
    """Its process 1 whose shim was seen to die (a finding of its own), or what runc itself was
    called to run, without any shim."""
    scene = case.scene
    for run in container.runs:
        if run.init not in members:
            continue
        if run.shim is not None and scene.roles[run.shim] in MONITORS:
            return True
        if run.create is not None:
            return True
    return False


def unexpected_parents(case: Case) -> Iterator[Finding]:
    """A process of a container was adopted by somebody who is neither in it nor keeps it, though
    its shim was there."""
    scene, inside = case.scene, case.scene.membership.inside
    child, old, new = scene.adoptions
    known = (child >= 0) & (old >= 0) & (new >= 0)
    odd = known & (inside[child] >= 0) & (inside[new] != inside[child]) & (old != new)
    odd &= ~np.isin(scene.roles[new], _KEEPERS) & ~np.isin(scene.roles[old], MONITORS)
    odd &= case.is_known[new] & (scene.roles[child] != "runc-init")
    groups: dict[tuple[int, int], list[int]] = defaultdict(list)
    for row in np.flatnonzero(odd)[:_LOOKED_AT].tolist():
        groups[int(inside[child[row]]), int(new[row])].append(row)
    for (number, above), rows in groups.items():
        container = case.container(number)
        adoptions = [scene.adoption(row) for row in rows]
        adoptions = [a for a in adoptions if a.certainty != "unknown"]
        if container is None or not adoptions:
            continue
        shim = _shim_at(case, container, adoptions[0].ts_ns)
        if shim is None:
            continue
        name, first = name_container(container), adoptions[0]
        more = f", and {len(adoptions) - 1} more of it" if len(adoptions) > 1 else ""
        yield Finding(
            "orphan-unexpected-parent",
            WARNING,
            f"{scene.label(above)} adopted {scene.label(first.child)} of {name}{more} when "
            f"{scene.label(first.old)} ended ({rule_text(first)}), though the shim, "
            f"{scene.label(shim)}, was alive: it did not come from below the shim",
            f"{case.ask_why(first.child)} tells who started it: `nsenter`, or a process that was "
            "moved into the container's cgroup, stays its starter's",
            first.ts_ns,
            listed([above, shim, *(a.child for a in adoptions)]),
            [e for a in adoptions[:5] for e in case.cite_adoption(a)],
            worst([a.certainty for a in adoptions]),
            container.id,
        )


def _shim_at(case: Case, container: Container, ts_ns: int) -> int | None:
    """The shim or monitor that kept the container then."""
    scene = case.scene
    for run in container.runs:
        if run.shim is not None and scene.roles[run.shim] in MONITORS:
            born = scene.born_ns(run.shim)
            if scene.alive_at(run.shim, ts_ns) and (born is None or born <= ts_ns):
                return run.shim
    return None


def expected_orphans(case: Case) -> Iterator[Finding]:
    """Shims under init, so that nobody takes them for orphans that somebody lost."""
    scene = case.scene
    by_design: list[int] = []
    left: list[int] = []
    for shim in case.living(*SHIMS):
        above = int(scene.last_parent[shim])
        if above < 0 or scene.roles[above] != "init":
            continue
        (by_design if scene.roles[shim] == "shim-v2" else left).append(shim)
    if by_design:
        one = len(by_design) == 1
        yield Finding(
            "orphan-expected",
            INFO,
            f"{case.names(by_design)} {'has' if one else 'have'} init as parent by design: a v2 "
            "shim is started by a process that exits at once. "
            f"{'It is' if one else 'They are'} no lost orphan{'' if one else 's'}",
            "nothing: a shim that was left behind has no children, which is a finding of its own",
            case.at_end.ns or 0,
            listed(by_design),
            [e for shim in by_design[:5] for e in case.cite_state(shim)],
        )
    if left:
        one = len(left) == 1
        yield Finding(
            "orphan-expected",
            INFO,
            f"{case.names(left)} {'is a v1 shim' if one else 'are v1 shims'} with init as parent: "
            f"the containerd that started {'it' if one else 'them'} has ended. A v1 shim lives on "
            "through that by design, and stays init's child when containerd is back",
            f"does the containerd that runs now know {'its' if one else 'their'} containers "
            "(`docker ps`)",
            case.at_end.ns or 0,
            listed(left),
            [e for shim in left[:5] for e in case.cite_state(shim)],
        )


def left_behind(case: Case) -> Iterator[Finding]:
    """Containers of a containerd that is gone, where another kind of containerd runs now: after
    an upgrade from the docker in which it was dockerd's child, or to it."""
    scene = case.scene
    kinds = ("containerd", "containerd-managed")
    now = case.living(*kinds)
    for container, run in case.runs():
        init, shim, before = run.init, run.shim, run.manager
        if init is None or shim is None or before is None or not case.at_end.alive[init]:
            continue
        gone = int(scene.exit_ns[before])
        role = scene.roles[before]
        if role not in kinds or gone < 0 or not case.at_end.alive[shim]:
            continue
        here = [p for p in now if scene.pidns[p] == scene.pidns[before]]
        after = [p for p in here if scene.exec_ns(p) is not None]
        if not after or any(scene.roles[p] == role for p in here):
            continue
        if case.age(scene.exec_ns(after[0]) or 0) < GRACE_NS:
            continue
        name = name_container(container)
        was, is_ = (
            ("dockerd's own child", "a service")
            if role == "containerd-managed"
            else ("a service", "dockerd's child")
        )
        yield Finding(
            "container-left-behind",
            WARNING,
            f"{name} lives on under {scene.label(shim)} though its containerd, "
            f"{scene.label(before)}, {case.how(before)}: that one was {was}, and "
            f"{scene.label(after[0])}, which runs now, is {is_} and need not know of it; a new "
            "docker may start it a second time beside it",
            f"`docker ps` and `ps -ef | grep shim`: a container of {name} that runs twice, or a "
            "port that is in use; stop what was left before an upgrade of docker",
            gone,
            listed([shim, init, before, after[0]]),
            listed(
                [
                    *case.cite_end(before),
                    *case.cite("EXEC", scene.exec_ns(after[0]), after[0]),
                    *case.cite_state(shim),
                ]
            ),
            case.surety(gone, sure=INFERRED),
            container.id,
        )
