"""Processes that ended and that nobody has waited for by the end of the capture."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from analysis.execs import follow
from analysis.findings.finding import INFO, KEEPERS, WARNING, Case, Finding, listed
from analysis.text_layout import count, span
from analysis.why.story import INFERRED, name_container
from tracer.text import printable

Ints = npt.NDArray[np.int64]

_RUNTIMES = (*KEEPERS, "dockerd", "containerd", "containerd-managed", "kubelet", "cri-dockerd")
_NAMED = 5


def find_zombies(case: Case) -> Iterator[Finding]:
    """Zombies by the parent who should wait for them; those of execs apart."""
    scene = case.scene
    people = np.flatnonzero(case.unreaped)
    ended = np.maximum(scene.exit_ns[people], scene.gone_ns[people])
    if not len(people):
        return
    order = np.argsort(ended, kind="stable")
    probes = _made_by_execs(case)[people]
    inits = {run.init for _, run in case.runs() if run.shim is not None}
    groups: dict[tuple[int, bool], list[int]] = defaultdict(list)
    for at in order.tolist():
        pos = int(people[at])
        # Process 1 that nobody has waited for is told as an end that was not noticed.
        if pos not in inits:
            groups[int(scene.last_parent[pos]), bool(probes[at])].append(pos)
    for (parent, probe), members in sorted(groups.items(), key=lambda g: g[1][0]):
        yield _describe(case, parent, probe, members)


def _made_by_execs(case: Case) -> npt.NDArray[np.bool_]:
    """Processes that `runc exec` brought into a container, and what they forked."""
    scene = case.scene
    link = scene.programs.forker.copy()
    for _, run in case.runs():
        for call in run.execs:
            link[call.made] = -2
    found: npt.NDArray[np.bool_] = follow(link) == -2
    return found


def _describe(case: Case, parent: int, probe: bool, members: list[int]) -> Finding:
    scene, inside = case.scene, case.scene.membership.inside
    number = int(inside[members[0]])
    container = scene.membership.ids[number] if number >= 0 else None
    place = ""
    if container is not None:
        known_as = case.container(number)
        place = name_container(known_as) if known_as else printable(container[:12])
        place = f" in {place}"
    known = int(scene.exit_ns[members[0]])
    since = known if known >= 0 else int(scene.gone_ns[members[0]])
    oldest = span(case.age(since)) if known >= 0 else f"at least {span(case.age(since))}"
    who = case.name(parent)
    many = count(len(members), "zombie")
    dead = f"{case.names(members)}, dead for {oldest}"
    if len(members) > 1:
        dead = f"{case.names(members)}, the first dead for {oldest}"
    serious = container is not None or (parent >= 0 and scene.roles[parent] in _RUNTIMES)
    evidence = [e for pos in members[:_NAMED] for e in case.cite_end(pos)]
    evidence += [e for pos in members[:_NAMED] for e in case.cite_state(pos)]
    if probe:
        kind, what = "exec-probe-zombies", f"{many} of exec (docker exec, or a probe){place}"
        follow_up = (
            "a probe that times out leaves its children to process 1 of the container: start "
            "it with an init that waits for them (`docker run --init`), or make the probe one "
            "process"
        )
    else:
        kind, what = "zombies", f"{many}{place}"
        follow_up = f"what {who} does, as it does not call wait()"
        if container is not None and parent >= 0 and scene.roles[parent] == "container-init":
            follow_up += "; `docker run --init` gives a container an init that does"
    return Finding(
        kind,
        WARNING if serious else INFO,
        f"{what}: {dead}; their parent, {who}, has not waited for them"
        if len(members) > 1
        else f"{what}: {dead}; its parent, {who}, has not waited for it",
        follow_up,
        since,
        listed([parent, *members]),
        listed(evidence),
        # Of one that had ended before the recording, threads may still run.
        case.surety(since) if known >= 0 else INFERRED,
        container,
    )
