"""Containers that were started more than once, and numbers that two processes had."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from analysis.containers import exec_process
from analysis.findings.finding import (
    ACTORS,
    DAEMONS,
    INFO,
    MONITORS,
    WARNING,
    Case,
    Finding,
    listed,
)
from analysis.runs import Run
from analysis.text_layout import span
from analysis.why.exits import HANDLING_NS
from analysis.why.story import name_container

_TOLD = 3


def container_restarts(case: Case) -> Iterator[Finding]:
    """More than one run; a warning where a run had failed before the next.

    Nothing is wrong if all but the first were asked for, and no run had failed.
    """
    for container in case.capture.container_list:
        runs = [run for run in container.runs if run.init is not None]
        if len(runs) < 2:
            continue
        failed = [run for run in runs[:-1] if _failed(case, run)]
        if not failed and all(_asked_for(case, run) for run in runs[1:]):
            continue
        inits = [run.init for run in runs if run.init is not None]
        ends = [case.how(init) for init in inits[:-1]]
        shown = ", then ".join(ends[:_TOLD]) + (", and so on" if len(ends) > _TOLD else "")
        began = [run.anchor_ns for run in runs if run.anchor_ns is not None]
        if not began:
            continue  # nothing shows that one came after the other
        within = f" within {span(began[-1] - began[0])}" if len(began) > 1 else ""
        evidence = []
        for init in inits:
            evidence += case.cite("FORK", case.scene.born_ns(init), init) + case.cite_end(init)
        yield Finding(
            "container-restarts",
            WARNING if failed else INFO,
            f"{name_container(container)} was started {len(runs)} times{within}; its "
            f"process 1 {shown}, and was started again",
            f"{case.ask_why(failed[-1].init or 0)}; `docker logs` of it"
            if failed
            else "nothing, if it was restarted on purpose: no run had failed",
            began[-1],
            listed(inits),
            listed(evidence),
            case.surety(began[0], began[-1]),
            container.id,
        )


def _asked_for(case: Case, run: Run) -> bool:
    """A command that names the container started it (docker restart), not its runtime (a restart
    policy; podman's is kept by `podman container cleanup`)."""
    client = run.client
    return (
        client is not None
        and run.client_sure
        and case.scene.program(client).verb in ("run", "create", "start", "restart")
    )


def _failed(case: Case, run: Run) -> bool:
    """It ended by itself, or by somebody else, and not well: no runtime had told it to."""
    scene, end = case.scene, run.end
    if run.init is None or end.ts_ns is None or (end.how == "exited" and end.status == 0):
        return False
    told = (
        s
        for s in scene.signals.to(run.init)
        if s.sender >= 0 and s.kind == "process" and 0 <= end.ts_ns - s.ts_ns < HANDLING_NS
    )
    return not any(scene.roles[s.sender] in ACTORS for s in told)


def recycled_pids(case: Case) -> Iterator[Finding]:
    """A number that a daemon, a shim, a process 1 or one of docker exec had, and another process as
    well."""
    scene = case.scene
    important = set(scene.positions(*DAEMONS, *MONITORS, "container-init"))
    # A shim tells the processes of its execs apart by number.
    execs = (exec_process(scene, call) for _, run in case.runs() for call in run.execs)
    important |= {pos for pos in execs if pos is not None}
    if not important:
        return
    numbers = np.unique(scene.tgid[list(important)])
    rows = np.flatnonzero(np.isin(scene.tgid, numbers) & (scene.tgid > 1))
    holders: dict[int, list[int]] = defaultdict(list)
    for pos in rows[np.argsort(scene.start_ns[rows], kind="stable")].tolist():
        holders[int(scene.tgid[pos])].append(pos)
    found: list[tuple[int, int, int]] = []
    for people in holders.values():
        for first, second in pairwise(people):
            ended = int(scene.exit_ns[first])
            if {first, second} & important and 0 <= ended <= scene.start_ns[second]:
                found.append((first, second, ended))
    # What is mistaken for its forerunner now comes first.
    found.sort(key=lambda f: (not (f[0] in important and case.at_end.alive[f[1]]), f[2]))
    for first, second, ended in found[:_TOLD]:
        taken = first in important and bool(case.at_end.alive[second])
        rest = f" ({len(found) - _TOLD} more numbers were used again)" * (len(found) > _TOLD)
        born = scene.born_ns(second)
        later = span(int(scene.start_ns[second]) - ended)
        yield Finding(
            "recycled-pid",
            INFO,
            f"{scene.tgid[first]} was the number of two processes: {case.name(first)}, which "
            f"{case.how(first)}, and {later} later of {case.name(second)}"
            + (", which has it now" if taken else "")
            + (rest if (first, second, ended) == found[0] else ""),
            "whoever kept the number (a pid file, `docker inspect`, kill -0) may take the second "
            f"for the first; by name they are {scene.ids[first]} and {scene.ids[second]} here",
            int(scene.start_ns[second]),
            [first, second],
            listed(
                [
                    *case.cite_end(first),
                    *case.cite("FORK", born, second),
                    *(case.cite_state(second) if taken else []),
                ]
            ),
            case.surety(ended, int(scene.start_ns[second])),
            scene.membership.of(first) or scene.membership.of(second),
        )
