"""What part each process plays: the role tokens of the report.

A role is decided by evidence, strongest first: the executable (with its command line), who
forked it from what, its pid namespace, its cgroup. comm decides nothing: any process can
write its own, and docker-containerd and docker-containerd-shim share one.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import numpy.typing as npt

from analysis.columns import Columns, objects
from analysis.identity import Codes
from analysis.membership import Membership
from analysis.programs import Programs
from tracer.runtime_args import base_name

Ints = npt.NDArray[np.int64]

SHIMS = ("shim-v1", "shim-v2")
RUNTIME_CALLS = ("runc", "crun")
# Engines that have no role of their own, by their executables.
ENGINES = ("crio", "buildkitd", "nerdctl", "crictl")
_STAGES = 8  # runc init has three stages, old and new ones within that

# These fork and go on in the child without exec; of the others a child that never called exec is
# not one more of its kind (a daemon's child whose exec failed is no second daemon).
_FORKING = ("conmon", "crun", "podman", "runc-init")

# dockerd's own configuration for the containerd that it starts; before 18.06 a socket's name.
_MANAGED = re.compile(r"/containerd/containerd\.toml$|/libcontainerd/")


def find_roles(
    processes: Columns, programs: Programs, membership: Membership, parent: Codes
) -> npt.NDArray[Any]:
    """Role of each process: the last that it had.

    Args:
        parent: by position, position of the first parent that is known; -1.

    Returns:
        role tokens, in the order of ``processes``.
    """
    own = np.bincount(programs.pos, minlength=len(processes)) > 0
    by_program = _program_roles(programs)
    inherited = ~own & ~np.isin(by_program, _FORKING)
    roles = by_program.copy()
    roles[inherited] = "other"
    for pos in np.flatnonzero(roles == "containerd").tolist():
        if _is_managed(programs, pos, parent, by_program):
            roles[pos] = "containerd-managed"
    inside = membership.inside >= 0
    roles[inside & (roles == "other")] = "container-process"
    # tgid is that of the initial namespace: 1 is its init, also where no snapshot shows it.
    heads = processes["ns_init"].to_numpy(bool) | (processes["tgid"].to_numpy(np.int64) == 1)
    above = np.where(programs.forker >= 0, programs.forker, parent)
    # `unshare --pid` inside a container makes an init too, but not the container's process 1.
    nested = inside & (above >= 0) & (membership.inside[above] == membership.inside)
    nested &= ~np.isin(roles[above], (*RUNTIME_CALLS, "runc-init"))
    # Where the recording began within a start, what its forker was is not known.
    nested[programs.pos[programs.role == "runc-init"]] = False
    roles[heads & (nested | ~inside)] = "init"
    heads = heads & inside & ~nested
    # runc init is process 1 of its namespace already; until its exec it is the runtime's code.
    roles[heads & ~np.isin(roles, ("runc-init", "crun"))] = "container-init"
    _find_hosted_inits(processes, programs, membership, roles, above, heads)
    return roles


def _program_roles(programs: Programs) -> npt.NDArray[Any]:
    known = objects([*programs.role.tolist(), "other"])
    return known[programs.last]  # -1: the "other" at the end


def _is_managed(programs: Programs, pos: int, parent: Codes, by_program: npt.NDArray[Any]) -> bool:
    """Started by dockerd. That stays so when dockerd is gone."""
    above = int(programs.forker[pos])
    above = above if above >= 0 else int(parent[pos])
    if above >= 0 and by_program[above] == "dockerd":
        return True
    row = int(programs.last[pos])
    return any(_MANAGED.search(arg) for arg in programs.args[row][1:])


def _find_hosted_inits(
    processes: Columns,
    programs: Programs,
    membership: Membership,
    roles: npt.NDArray[Any],
    above: Codes,
    heads: npt.NDArray[np.bool_],
) -> None:
    """Process 1 of a container without a pid namespace of its own (docker run --pid=host)."""
    inside, serves = membership.inside, membership.serves
    born = processes["start_ns"].to_numpy(np.int64)
    older = processes["fork_ns"].isna().to_numpy(bool)
    candidates: dict[int, int] = {}
    taken = set(inside[heads].tolist())
    # Only children of a runtime's process can be one: few, whatever the container's size.
    wanted = (inside >= 0) & (above >= 0)
    wanted &= np.isin(roles[above], (*SHIMS, *RUNTIME_CALLS, "runc-init", "conmon"))
    wanted &= roles == "container-process"
    for pos in np.flatnonzero(wanted).tolist():
        number = int(inside[pos])
        verb = making_verb(programs, pos)
        if verb == "exec" or number in taken:
            continue
        if verb is not None:
            roles[pos] = "container-init"
            continue
        # Born before the recording: its shim's eldest child in the container.
        if (
            older[pos]
            and serves[above[pos]] >= 0
            and (number not in candidates or born[pos] < born[candidates[number]])
        ):
            candidates[number] = pos
    for pos in candidates.values():
        roles[pos] = "container-init"


def is_engine(programs: Programs, pos: int) -> bool:
    """It runs one of ENGINES."""
    row = int(programs.last[pos])
    return row >= 0 and base_name(programs.filename[row]) in ENGINES


def making_call(programs: Programs, pos: int) -> int:
    """The runc or crun (a position) whose call made a process, -1 if none is known.

    runc create forks runc init, whose children become its siblings (CLONE_PARENT), but were
    forked by it.
    """
    for _ in range(_STAGES):
        born = programs.of_row(int(programs.birth[pos])).role
        above = int(programs.forker[pos])
        if above < 0 or born not in (*RUNTIME_CALLS, "runc-init"):
            break
        # crun forks itself: the call is the one that was executed.
        if programs.of(above).role in RUNTIME_CALLS and programs.rows(above):
            return above
        pos = above
    return -1


def making_verb(programs: Programs, pos: int) -> str | None:
    """Verb of the call that made a process: create, run, restore or exec; None: not known."""
    call = making_call(programs, pos)
    return programs.of(call).verb if call >= 0 else None


def role_at(programs: Programs, roles: npt.NDArray[Any], pos: int, ts_ns: int) -> str:
    """Role of a process at a time: process 1 of a container was `runc init` before its exec."""
    row = programs.row_at(pos, ts_ns)
    final: str = roles[pos]
    if row < 0 or row == programs.last[pos]:
        return final
    then = programs.of_row(row)
    if row == programs.birth[pos] and then.role not in _FORKING:
        return "container-process" if final.startswith("container-") else "other"
    if then.role == "other":
        return final if final.startswith("container-") or final == "init" else "other"
    if then.role == "containerd" and final == "containerd-managed":
        return final
    return then.role
