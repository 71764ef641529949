"""Ends by a signal that no runtime meant: from outside, by the kernel, by a parent's death."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

import numpy as np

from analysis.columns import int64
from analysis.findings.finding import (
    ACTORS,
    DAEMONS,
    ERROR,
    MONITORS,
    WARNING,
    Case,
    Finding,
    listed,
)
from analysis.identity import identify
from analysis.roles import SHIMS, is_engine
from analysis.scene import End
from analysis.text_layout import span
from analysis.why.lineage import origin_text
from analysis.why.story import CONFIRMED, UNKNOWN, name_container, signal_text
from tracer.abi import Context, Origin, Type

_LOOKED_AT = 1000


def runtimes_killed(case: Case) -> Iterator[Finding]:
    """A daemon, shim or monitor that somebody outside of the runtime killed."""
    scene = case.scene
    for pos in scene.positions(*DAEMONS, *MONITORS):
        end = scene.end_of(pos)
        if end.how != "killed" or end.ts_ns is None or end.oom or end.signal is None:
            continue
        by = end.by
        if by is not None and (
            by.kind in ("parent-death", "pid-namespace-end")
            or (by.kind == "process" and by.sender != pos and _is_runtime(case, by.sender))
        ):
            continue
        sent = by is not None and by.kind == "process" and by.sender != pos
        outside = ", from outside of the runtime" * sent
        yield Finding(
            "runtime-killed",
            ERROR,
            f"{case.name(pos)} {_by(case, pos, end)}{outside}",
            f"{case.ask_why(pos)}: who or what is behind that, and what it had for consequences",
            end.ts_ns,
            listed([pos, by.sender if by is not None and by.kind == "process" else -1]),
            case.cite_end(pos),
            UNKNOWN if by is None else case.surety(by.ts_ns, end.ts_ns),
            scene.membership.of(pos) if scene.roles[pos] in MONITORS else None,
        )


def _by(case: Case, pos: int, end: End) -> str:
    """ "was killed by SIGKILL (9), sent by sh (81) of cron (7), unit cron.service"."""
    by = end.by
    if by is None or by.kind != "process" or by.sender < 0 or end.signal is None:
        return case.how(pos)
    if by.sender == pos:
        return f"was killed by {signal_text(end.signal)} of its own"
    return f"was killed by {signal_text(end.signal)}, sent by {origin_text(case.scene, by.sender)}"


def _is_runtime(case: Case, pos: int) -> bool:
    """It ends containers, and parts of runtimes, as its work."""
    if pos < 0 or case.scene.roles[pos] in ACTORS:
        return pos >= 0
    return is_engine(case.scene.programs, pos)


def containers_killed(case: Case) -> Iterator[Finding]:
    """Process 1 of a container, killed by a process that is no runtime and not in it."""
    scene, inside = case.scene, case.scene.membership.inside
    for container, run in case.runs():
        if run.init is None or run.end.how != "killed" or run.end.oom:
            continue
        by, ended = run.end.by, run.end.ts_ns
        if by is None or by.kind != "process" or by.sender < 0 or ended is None:
            continue
        own = inside[by.sender] >= 0 and inside[by.sender] == inside[run.init]
        if own or _is_runtime(case, by.sender) or by.sender == run.init:
            continue
        # systemd ends what is in the scopes of a host that shuts down.
        severity = WARNING if scene.roles[by.sender] == "init" else ERROR
        yield Finding(
            "container-killed-from-outside",
            severity,
            f"{name_container(container)} did not end by its runtime: process 1, "
            f"{scene.label(run.init)}, {_by(case, run.init, run.end)}",
            f"{case.ask_why(run.init)}: where the sender came from; docker only knows the status, "
            f"{128 + (run.end.signal or 0)}",
            by.ts_ns,
            listed([run.init, by.sender]),
            case.cite_end(run.init),
            case.surety(by.ts_ns, ended),
            container.id,
        )


def parent_deaths(case: Case) -> Iterator[Finding]:
    """Killed by the parent-death signal: with its parent, or with one of its threads only."""
    scene = case.scene
    rows = case.table.of(Type.SIGNAL)
    dying = int64(rows["context"]) & (Context.PDEATH | Context.EXITING)
    chosen = (dying == Context.PDEATH | Context.EXITING) & (rows["origin"] != Origin.INFO)
    targets = identify(case.table).of(Type.SIGNAL)[np.flatnonzero(chosen)]
    for pos in dict.fromkeys(targets[targets >= 0][:_LOOKED_AT].tolist()):
        end = scene.end_of(pos)
        if end.by is None or end.by.kind != "parent-death" or end.ts_ns is None:
            continue
        above, thread = end.by.sender, not end.by.sender_ends
        container = scene.membership.of(pos)
        daemon = scene.roles[pos] in (*DAEMONS, *SHIMS)
        if not daemon and not (container is not None and thread):
            continue  # a sandbox that dies with what has started it, as it was told to
        who = scene.label(above)
        cause = f"{who} had ended, and it was told to die with it"
        if thread:
            cause = (
                f"a thread of {who} had ended, and the kernel takes the thread that has forked it "
                f"for its parent; {who} itself lived on"
            )
        follow = f"{case.ask_why(pos)}: what ended {who}"
        if thread:
            follow = (
                "whoever sets PR_SET_PDEATHSIG must fork from a thread that stays (in Go: "
                "runtime.LockOSThread)"
            )
        yield Finding(
            "killed-by-parent-death",
            ERROR if daemon else WARNING,
            f"{case.name(pos)} was killed by nobody but the kernel, with "
            f"{signal_text(end.signal or 9)} as its parent-death signal: {cause}",
            follow,
            end.by.ts_ns,
            listed([pos, above]),
            listed([*case.cite_end(pos), *(case.cite_end(above) if not thread else [])]),
            case.surety(end.by.ts_ns, end.ts_ns),
            container,
        )


def out_of_memory(case: Case) -> Iterator[Finding]:
    """What the kernel killed as memory ran out, by container."""
    scene = case.scene
    groups: dict[int, list[int]] = defaultdict(list)
    for pos in sorted(scene.oom_ns, key=lambda p: scene.oom_ns[p]):
        groups[int(scene.membership.inside[pos])].append(pos)
    for number, victims in groups.items():
        container = case.container(number)
        first = victims[0]
        chosen = scene.oom_ns[first]
        place = f" in {name_container(container)}" if container is not None else ""
        known = scene.out_of_memory.get(first)
        why = "when memory ran out" if known is None else f"as {known.text()}"
        text = f"the kernel chose {case.names(victims)}{place} {why} (OOM)"
        limit = "" if known is not None else "which limit it was, and "
        follow = f"the kernel's log (`dmesg`) says {limit}what used the memory"
        if container is not None:
            inits = [r.init for r in container.runs if r.init is not None]
            told = [init for init in inits if init in victims]
            text += f"; {_fate(case, inits, bool(told), chosen)}"
            follow += (
                "; docker's OOMKilled tells that something in the container was chosen, or that "
                "nothing was noticed: only this tells what"
            )
        died = [pos for pos in victims if scene.end_of(pos).oom]
        yield Finding(
            "oom",
            ERROR if container is not None else WARNING,
            text,
            follow,
            chosen,
            listed(victims),
            listed(
                [
                    e
                    for pos in victims[:5]
                    for e in case.cite("OOM", scene.oom_ns[pos], pos) + case.cite_end(pos)
                ]
            ),
            CONFIRMED if died else UNKNOWN,
            None if container is None else container.id,
        )


def _fate(case: Case, inits: list[int], told: bool, chosen: int) -> str:
    """What became of process 1, which need not be the victim."""
    scene = case.scene
    if told:
        return "that was its process 1"
    for init in inits:
        ended = int(scene.exit_ns[init])
        if ended >= chosen:
            return (
                f"that was not its process 1: {scene.label(init)} {case.how(init)} "
                f"{span(ended - chosen)} later"
            )
        if case.at_end.alive[init]:
            return f"that was not its process 1: {scene.label(init)} lives on"
    return "what became of its process 1 is not known"
