"""Finds containers and their runs: client, daemon, shim, runtime calls, process 1 and end."""

from __future__ import annotations

import bisect
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.clients import find_clients
from analysis.columns import frame, nullable, objects
from analysis.membership import MAKERS, Known, is_stage, made_by
from analysis.roles import RUNTIME_CALLS, SHIMS, is_engine
from analysis.runs import PHASES, Call, Container, Run
from analysis.scene import Scene
from tracer.runtime_args import option

# What process 1 runs until it executes the workload.
_RUNTIME_STEPS = ("runc-init", "runc", "crun")

Codes = npt.NDArray[np.int64]


def find_containers(scene: Scene) -> list[Container]:
    """Containers of a capture in the order of their first sign, those older than it first."""
    result = []
    for known in scene.membership.known.values():
        runs = _find_runs(scene, known)
        if runs or known.fact:
            result.append(Container(known, runs))
    for container in result:
        for run in container.runs:
            _fill(scene, container, run)
    find_clients(scene, result)
    return sorted(result, key=lambda c: (c.first_ns or -1, c.id))


def _find_runs(scene: Scene, known: Known) -> list[Run]:
    servants = scene.membership.servants(known.id)
    members = scene.membership.members(known.id)
    roles = scene.roles
    calls = sorted(
        (
            _call(scene, p)
            for p in servants
            if roles[p] in RUNTIME_CALLS
            and scene.program(p).role in RUNTIME_CALLS
            and scene.programs.rows(p)  # crun forks itself: that is not one more call
        ),
        key=lambda c: c.ts_ns,
    )
    runs = []
    for call in calls:
        if call.verb in MAKERS[:3]:
            before = scene.is_older(call.pos)
            runs.append(Run(create=call, init=_made_init(scene, call), before=before))
    made = {run.create.pos: run for run in runs if run.create}
    taken = {run.init for run in runs}
    for pos in members:
        if roles[pos] == "container-init" and pos not in taken:
            # The run whose call is its first parent: where the recording began within a start,
            # what the stages in between were is not known.
            begun = made.get(int(scene.first_parent[pos]))
            if begun is not None and begun.init is None:
                begun.init = pos
            else:
                runs.append(Run(init=pos, before=scene.is_older(pos)))
    shims_seen = np.array([p for p in servants if roles[p] in (*SHIMS, "conmon")], np.int64)
    for run in runs:
        _find_shim(scene, run, shims_seen)
    shims = {run.shim for run in runs}
    for pos in servants:
        if roles[pos] in SHIMS and pos not in shims:
            runs.append(Run(shim=pos, before=scene.is_older(pos)))
    for run in runs:
        run.phases = dict.fromkeys(PHASES)
        run.phases["create_ns"] = scene.exec_ns(run.create.pos) if run.create else None
        run.phases["init_ns"] = None if run.init is None else scene.born_ns(run.init)
        run.phases["shim_ns"] = None if run.shim is None else scene.born_ns(run.shim)
    # A pod's shim is older than a container that it serves: the call's own time decides.
    runs.sort(key=_began_ns)
    began = [_began_ns(run) for run in runs]
    for call in calls:
        if call.verb in MAKERS[:3]:
            owner = made[call.pos]
        elif runs:
            owner = runs[max(bisect.bisect_right(began, call.ts_ns) - 1, 0)]
        else:
            continue
        owner.calls.append(call)
        if call.verb == "start" and owner.start is None:
            owner.start = call
    return runs


def _began_ns(run: Run) -> int:
    for name in ("create_ns", "init_ns", "shim_ns"):
        ts_ns = run.phases.get(name)
        if ts_ns is not None:
            return ts_ns
    return -1


def _call(scene: Scene, pos: int) -> Call:
    program = scene.program(pos)
    inside, container = scene.membership.inside, scene.membership.serves[pos]
    made = made_by(scene.programs, pos) if program.verb in MAKERS else []
    made = [child for child in made if inside[child] == container]
    ts_ns = scene.exec_ns(pos)
    if ts_ns is None:
        ts_ns = -1 if scene.born_ns(pos) is None else int(scene.fork_ns[pos])
    return Call(pos, program.verb, ts_ns, program.argument, made)


def _made_init(scene: Scene, call: Call) -> int | None:
    """Process 1 that a call made. If it never got to the workload: the stage that would have."""
    for pos in call.made:
        if scene.roles[pos] == "container-init":
            return pos
    heads = scene.processes["ns_init"].to_numpy(bool)
    return next((p for p in reversed(call.made) if heads[p] and is_stage(scene.programs, p)), None)


def exec_process(scene: Scene, call: Call) -> int | None:
    """Process that runc exec brought into the container; None if it never got there."""
    last = None
    for pos in call.made:
        if scene.program(pos).role not in ("runc-init", "crun"):
            last = pos
    return last


def _find_shim(scene: Scene, run: Run, shims: Codes) -> None:
    """The shim (or conmon) that called runc, else the first known parent of process 1, else the
    only one of its container's ``shims`` that lived then."""
    wanted = (*SHIMS, "conmon")
    above = -1
    if run.create is not None:
        above = _above(scene, run.create.pos)
    if (above < 0 or scene.roles[above] not in wanted) and run.init is not None:
        above = int(scene.first_parent[run.init])
    if above < 0 or scene.roles[above] not in wanted:
        own = shims
        if run.init is not None:
            own = shims[scene.were_alive(shims, max(int(scene.fork_ns[run.init]), 0))]
        elif run.create is not None:
            own = shims[scene.were_alive(shims, run.create.ts_ns)]
        above = int(own[0]) if len(own) == 1 else -1
    run.shim = above if above >= 0 else None


def _above(scene: Scene, pos: int) -> int:
    forker = int(scene.programs.forker[pos])
    return forker if forker >= 0 else int(scene.first_parent[pos])


def _fill(scene: Scene, container: Container, run: Run) -> None:
    """Everything about a run that follows from its create call, its shim and its process 1."""
    phases = run.phases
    if run.shim is not None:
        _find_manager(scene, container, run)
        phases["shim_exit_ns"] = _known(scene.exit_ns[run.shim])
        run.shim_end = scene.end_of(run.shim)
        if run.starter is not None:
            phases["shim_start_ns"] = scene.born_ns(run.starter)
    if run.create is not None:
        phases["create_exit_ns"] = _known(scene.exit_ns[run.create.pos])
    if run.start is not None:
        phases["start_ns"] = scene.exec_ns(run.start.pos)
    if run.init is None:
        return
    run.end = scene.end_of(run.init)
    phases["exit_ns"] = _known(scene.exit_ns[run.init])
    phases["reap_ns"] = _known(scene.reap_ns[run.init])
    for adoption in scene.adoptions_of(run.init):
        if run.create is not None and adoption.old == run.create.pos:
            phases["adoption_ns"] = adoption.ts_ns
    rows = workload_rows(scene, run.init)
    if rows and not _worked(scene, run.init):
        phases["workload_ns"] = int(scene.programs.from_ns[rows[0]])


def _worked(scene: Scene, init: int) -> bool:
    """Process 1 may have run the workload before the first exec that was recorded."""
    programs = scene.programs
    rows = programs.rows(init)
    if len(rows) and not programs.executed[rows[0]]:
        return programs.of_row(rows[0]).role not in _RUNTIME_STEPS
    return scene.born_ns(init) is None


def workload_rows(scene: Scene, init: int) -> list[int]:
    """Execs of process 1 that were recorded and are not runc's own (rows of the programs)."""
    programs = scene.programs
    return [
        row
        for row in programs.rows(init)
        if programs.of_row(row).role not in _RUNTIME_STEPS and programs.executed[row]
    ]


def _known(ts_ns: int) -> int | None:
    return int(ts_ns) if ts_ns >= 0 else None


def _find_manager(scene: Scene, container: Container, run: Run) -> None:
    assert run.shim is not None
    above = _above(scene, run.shim)
    if above >= 0 and scene.roles[above] == "shim-start":
        run.starter = above
        above = _above(scene, above)
    while above >= 0 and scene.roles[above] == "conmon":
        above = _above(scene, above)  # conmon forks to go into the background
    managers = ("containerd", "containerd-managed", "podman", "dockerd")
    if above >= 0 and (scene.roles[above] in managers or is_engine(scene.programs, above)):
        run.manager = above
        if scene.roles[above] == "podman":
            run.client, run.client_sure = above, True
    elif scene.roles[run.shim] in SHIMS:
        run.manager = _only(scene, ("containerd", "containerd-managed"), run.shim, run)
    if container.runtime != "docker":
        return
    if run.manager is not None and scene.roles[run.manager] == "dockerd":
        run.daemon = run.manager
        return
    if run.manager is not None and scene.roles[run.manager] == "containerd-managed":
        parent = _above(scene, run.manager)
        if parent >= 0 and scene.roles[parent] == "dockerd":
            run.daemon = parent
            return
    run.daemon = _only(scene, ("dockerd",), run.shim, run)


def _only(scene: Scene, roles: tuple[str, ...], near: int, run: Run) -> int | None:
    """The one process with such a role that lived then in the same pid namespace; of several the
    one that was told the same address of containerd as the shim was."""
    ts_ns = next((ts for ts in run.phases.values() if ts is not None), scene.table.first_ns)
    found = [
        pos
        for pos in scene.positions(*roles)
        if scene.alive_at(pos, ts_ns) and scene.pidns[pos] == scene.pidns[near]
    ]
    if len(found) > 1 and (address := option(scene.args(near), "address")):
        found = [pos for pos in found if option(scene.args(pos), "containerd") == address]
    return found[0] if len(found) == 1 else None


# --- for notebooks -----------------------------------------------------------------------------


def df_containers(scene: Scene, containers: Iterable[Container]) -> pd.DataFrame:
    """One row a run of a container.

    Columns:
        container, name, image, runtime, namespace: None where not known; runtime "unknown".
        run: 1, 2 ... in order.
        client, daemon, manager, starter, shim, create, init: ids of processes, None.
        how: how process 1 ended: exited, killed, running, not-seen. exit_status, exit_signal.
        one column for each of PHASES: boot-time ns, NA where not seen.
    """
    who = ("client", "daemon", "manager", "starter", "shim", "create", "init")
    rows = []
    for container in containers:
        for number, run in enumerate(container.runs or [Run()], 1):
            people = {
                "client": run.client,
                "daemon": run.daemon,
                "manager": run.manager,
                "starter": run.starter,
                "shim": run.shim,
                "create": run.create.pos if run.create else None,
                "init": run.init,
            }
            rows.append(
                {
                    "container": container.id,
                    "name": container.name,
                    "image": container.known.image,
                    "runtime": container.runtime,
                    "namespace": container.known.namespace,
                    "run": number if container.runs else 0,
                    **{k: None if pos is None else scene.ids[pos] for k, pos in people.items()},
                    "how": run.end.how,
                    "exit_status": run.end.status,
                    "exit_signal": run.end.signal,
                    **{name: run.phases.get(name) for name in PHASES},
                }
            )
    columns: dict[str, Any] = {}
    for name in ("container", "name", "image", "runtime", "namespace", "run", *who, "how"):
        values = [row[name] for row in rows]
        columns[name] = np.array(values, np.int64) if name == "run" else objects(values)
    for name in ("exit_status", "exit_signal", *PHASES):
        values = [row[name] for row in rows]
        known = np.array([value is not None for value in values], bool)
        columns[name] = nullable(np.array([v or 0 for v in values], np.int64), known)
    return frame(columns)
