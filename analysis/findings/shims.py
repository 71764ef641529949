"""Shims and process 1 that did not end together, and ends that a runtime did not act on."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from analysis.findings.finding import (
    ERROR,
    GRACE_NS,
    INFO,
    MONITORS,
    WARNING,
    Case,
    Finding,
    listed,
)
from analysis.roles import RUNTIME_CALLS, SHIMS
from analysis.runs import Container, Run
from analysis.text_layout import span
from analysis.why.story import CONFIRMED, INFERRED, name_container
from tracer.text import printable

# A container is cleaned up within milliseconds behind its dead shim, if its runtime is there.
_RECYCLED_NS = 1_000_000_000


def shims_without_children(case: Case) -> Iterator[Finding]:
    """A shim that lives on, of whose containers no end was seen (else see below)."""
    scene = case.scene
    if case.filtered:
        return  # its children may be outside of the filter
    for shim in case.living(*SHIMS):
        inits = [run.init for _, run in case.story.shims.get(shim, []) if run.init is not None]
        if inits or case.has_living_child(shim):
            continue
        since = _last_child_ns(case, shim)
        if case.age(since) < GRACE_NS:
            continue
        container = scene.membership.of(shim)
        dead = np.flatnonzero(case.at_end.zombies & (scene.last_parent == shim))
        zombies = f" but {len(dead)} that it has not waited for" * (len(dead) > 0)
        how_long = f"at least {span(case.age(since))}"
        yield Finding(
            "shim-without-children",
            WARNING,
            f"{scene.label(shim)}, a shim{_of(container)}, has no child{zombies} and has had none "
            f"for {how_long}: its container ended, or never began, and the shim stayed",
            "ask its runtime whether it knows the container (`docker ps -a`, `ctr -n NAMESPACE "
            "tasks ls`); if not, the shim was left behind",
            case.at_end.ns or 0,
            listed([shim, *dead.tolist()]),
            case.cite_state(shim),
            # Its children of before the recording are known by nothing but the snapshots.
            case.surety(since),
            container,
        )


def _of(container: str | None) -> str:
    return f" of {printable(container[:12])}" if container else ""


def _last_child_ns(case: Case, shim: int) -> int:
    """Since when it has had no living child, at the latest."""
    scene = case.scene
    born = scene.born_ns(shim)
    since = born if born is not None else case.table.kept_from_ns
    children = np.flatnonzero(scene.last_parent == shim)
    ends = np.maximum(scene.exit_ns[children], scene.gone_ns[children])
    return max(since, int(ends.max(initial=-1)))


def ends_not_acted_on(case: Case) -> Iterator[Finding]:
    """Process 1 has ended: its shim did not, or its runtime did nothing at all."""
    for container, run in case.runs():
        init, shim = run.init, run.shim
        ended = -1 if init is None else int(case.scene.exit_ns[init])
        if init is None or ended < 0 or case.age(ended) < GRACE_NS:
            continue
        if shim is None or case.scene.roles[shim] not in MONITORS:
            continue
        deleted = _deletion(case, run, ended)
        if case.at_end.alive[shim] and (deleted is not None or case.scene.roles[shim] == "conmon"):
            if not case.has_living_child(shim) and not case.filtered:
                yield _shim_stayed(case, container, run, init, shim, deleted)
        elif deleted is None and _unnoticed(case, shim, ended):
            yield _not_noticed(case, container, run, init, shim)


def _deletion(case: Case, run: Run, ended: int) -> int | None:
    """The call that deletes what is left; any, if arguments were not recorded."""
    for call in run.calls:
        # `delete --force` kills process 1 itself.
        over = int(case.scene.exit_ns[call.pos])
        if call.verb in ("delete", None) and (call.ts_ns >= ended or not 0 <= over < ended):
            return call.pos
    if case.table.header.get("no_args") is True:
        calls = case.scene.programs.positions(*RUNTIME_CALLS)
        later = calls[case.scene.fork_ns[calls] >= ended]
        return int(later[0]) if len(later) else None
    return None


def _unnoticed(case: Case, shim: int, ended: int) -> bool:
    """The shim lives, or was killed or ended before it could have noticed."""
    end = case.scene.end_of(shim)
    if case.at_end.alive[shim]:
        return True
    return end.ts_ns is not None and (end.ts_ns < ended or end.how == "killed")


def _shim_stayed(
    case: Case, container: Container, run: Run, init: int, shim: int, deleted: int | None
) -> Finding:
    scene = case.scene
    ended = int(scene.exit_ns[init])
    name, what = name_container(container), _monitor(case, shim)
    by = f", deleted by {scene.call_label(deleted)}" if deleted is not None else ""
    return Finding(
        "init-dead-shim-alive",
        WARNING,
        f"{scene.label(shim)}, the {what} of {name}, lives on without children although process "
        f"1, {scene.label(init)}, {case.how(init)} {case.ago(ended)}{by}",
        f"{case.ask_why(init)}; containerd's journal about {name}: who should have told the "
        f"{what} to shut down may have been down then",
        ended,
        listed([shim, init, deleted]),
        case.cite_end(init) + case.cite_state(shim),
        case.surety(ended),
        container.id,
    )


def _monitor(case: Case, shim: int) -> str:
    return "monitor" if case.scene.roles[shim] == "conmon" else "shim"


def _not_noticed(case: Case, container: Container, run: Run, init: int, shim: int) -> Finding:
    scene = case.scene
    ended = int(scene.exit_ns[init])
    name, what = name_container(container), _monitor(case, shim)
    # What cleans up may be outside of the filter, or its arguments were not recorded.
    vague = case.filtered or case.table.header.get("no_args") is True
    certainty = case.surety(ended, sure=INFERRED if vague else CONFIRMED)
    severity = ERROR if certainty == CONFIRMED else WARNING
    evidence = case.cite_end(init)
    if case.at_end.zombies[init]:
        parent = scene.label(int(scene.last_parent[init]))
        state = f"{parent} has not waited for it: a zombie, whose number still seems alive"
        evidence += case.cite_state(init)
    elif case.at_end.alive[shim]:
        state = f"its {what}, {scene.label(shim)}, has done nothing to clean up behind it"
        # A client of containerd deletes what it has started when it wants to.
        if container.runtime == "containerd":
            severity, state = INFO, f"{state}, as nobody has asked it to"
    else:
        state = f"nothing has cleaned up behind it: its {what} was gone"
    if case.at_end.alive[shim]:
        evidence += case.cite_state(shim)
    else:
        evidence += case.cite_end(shim)
        when = int(scene.exit_ns[shim])
        order = "before" if when < ended else "after"
        state += f"; the {what}, {scene.label(shim)}, {case.how(shim)} {span(abs(ended - when))} "
        state += f"{order} it"
    if container.runtime == "containerd":
        follow = f"`ctr -n NAMESPACE tasks rm {printable(container.id[:64])}` cleans up"
    else:
        follow = f"compare with `docker ps` or `podman ps`: it may still call {name} running"
    return Finding(
        "exit-not-noticed",
        severity,
        f"the runtime has not noticed the end of {name}: process 1, {scene.label(init)}, "
        f"{case.how(init)} {case.ago(ended)}, and {state}",
        f"{follow}; {case.ask_why(init)}",
        ended,
        listed([init, shim, scene.last_parent[init] if case.at_end.zombies[init] else -1]),
        evidence,
        certainty,
        container.id,
    )


def shims_dead(case: Case) -> Iterator[Finding]:
    """A shim that ended before process 1 of its container did."""
    scene = case.scene
    for container, run in case.runs():
        init, shim = run.init, run.shim
        if init is None or shim is None or scene.roles[shim] not in MONITORS:
            continue
        died = int(scene.exit_ns[shim])
        if died < 0:
            continue
        if case.at_end.alive[init] and case.age(died) >= _RECYCLED_NS:
            yield _without_shim(case, container, init, shim, died)
        elif scene.exit_ns[init] > died:
            found = _recycled(case, container, run, init, shim)
            if found is not None:
                yield found


def _without_shim(case: Case, container: Container, init: int, shim: int, died: int) -> Finding:
    scene, name = case.scene, name_container(container)
    parent = int(scene.last_parent[init])
    adopted = [a for a in scene.adoptions_of(init) if a.old == shim]
    whose = f"is now a child of {scene.label(parent)}" if parent >= 0 else "lives on"
    what = _monitor(case, shim)
    evidence = case.cite_end(shim)
    for adoption in adopted[-1:]:
        evidence += case.cite_adoption(adoption)
    return Finding(
        "shim-dead-init-alive",
        ERROR,
        f"{name} runs without its {what}: {scene.label(shim)} {case.how(shim)} {case.ago(died)}, "
        f"and process 1, {scene.label(init)}, {whose}: nobody waits for its end, and its runtime "
        "may call it running, or kill it when it looks after it",
        f"{case.ask_why(shim)}; is containerd alive, and what does `docker ps` say of {name}",
        died,
        listed([init, shim, parent]),
        evidence + case.cite_state(init),
        case.surety(died),
        container.id,
    )


def _recycled(case: Case, container: Container, run: Run, init: int, shim: int) -> Finding | None:
    """The runtime killed process 1 behind its dead shim."""
    scene, end = case.scene, case.scene.end_of(init)
    died = int(scene.exit_ns[shim])
    if end.how != "killed" or end.ts_ns is None or container.runtime == "podman":
        return None
    by = end.by.sender if end.by is not None and end.by.kind == "process" else -1
    calls = [c.pos for c in run.calls if c.verb in ("delete", "kill") and died <= c.ts_ns]
    runtimes = (*SHIMS, *RUNTIME_CALLS, "containerd", "containerd-managed", "shim-start")
    if (by >= 0 and scene.roles[by] not in runtimes) or (by < 0 and not calls):
        return None
    who = scene.call_label(by if by >= 0 else calls[0])
    name = name_container(container)
    return Finding(
        "container-recycled",
        ERROR,
        f"{name} was killed because its shim had died: {scene.label(shim)} {case.how(shim)}, and "
        f"{span(end.ts_ns - died)} later process 1, {scene.label(init)}, was dead too, cleaned up "
        f"by {who}",
        f"{case.ask_why(init)}: who or what ended the shim",
        died,
        listed([shim, init, by, *calls[:1]]),
        listed([*case.cite_end(shim), *case.cite_end(init)]),
        case.surety(died, end.ts_ns, CONFIRMED if by >= 0 else INFERRED),
        container.id,
    )
