"""What an end had for consequences: what died with it, what lived on, what the runtime did then."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from analysis.identity import identify
from analysis.roles import SHIMS
from analysis.scene import Adoption, End
from analysis.steps import Evidence, rule_text
from analysis.why.story import INFERRED, Story, name_container

LISTED = 200
# Between the first and the last victim of one cause.
_SAME_NS = 2_000_000_000
_EXITING_NS = 200_000_000
# REAP comes up to a grace period of RCU late.
_REAP_NS = 100_000_000
# A shim asks for the deletion of its container within milliseconds.
_NOTICED_NS = 1_000_000_000
_EXIT_ZOMBIE = 32


@dataclass(frozen=True, slots=True)
class Victim:
    """Who died with the target. ``cause``: pid-namespace-end, parent-death, same-sender (killed
    by the same process within two seconds), oom."""

    pos: int
    end: End
    cause: str


@dataclass(frozen=True, slots=True)
class Survivor:
    """Who lived on. ``adoption``: whose child it became; None: it was never the target's."""

    pos: int
    adoption: Adoption | None


@dataclass(frozen=True, slots=True)
class Aftermath:
    """Lists are cut behind LISTED; the totals are not."""

    died_with: list[Victim]
    died_total: int
    survived: list[Survivor]
    survived_total: int


def find_aftermath(story: Story, pos: int) -> Aftermath:
    """Who died with a process, and who lived on; what followed becomes steps of the story."""
    scene = story.scene
    end = scene.end_of(pos)
    if end.ts_ns is None:
        return Aftermath([], 0, [], 0)
    victims = _victims(story, pos, end, end.ts_ns)
    survivors = _survivors(story, pos, end.ts_ns, {victim.pos for victim in victims})
    _tell_runtime(story, pos, end.ts_ns)
    return Aftermath(victims[:LISTED], len(victims), survivors[:LISTED], len(survivors))


def _victims(story: Story, pos: int, end: End, exit_ns: int) -> list[Victim]:
    scene = story.scene
    found: dict[int, Victim] = {}
    # Signals that the kernel made as this process ended.
    since, until = exit_ns - _EXITING_NS, exit_ns + _SAME_NS
    signals = scene.signals.made_by(pos, since, until)
    # Those that whoever killed it sent to others.
    by = end.by
    if by is not None and by.sender not in (-1, pos) and by.kind in ("process", "kernel-call"):
        others = scene.signals.made_by(by.sender, by.ts_ns - _SAME_NS, by.ts_ns + _SAME_NS)
        signals += [s for s in others if s.kind == by.kind]
    # What ended with process 1 of its pid namespace ended together.
    if by is not None and by.kind == "pid-namespace-end" and by.sender >= 0:
        others = scene.signals.made_by(by.sender, by.ts_ns - _SAME_NS, by.ts_ns + _SAME_NS)
        signals += [s for s in others if s.kind == by.kind]
        head = by.sender
        found[head] = Victim(head, scene.end_of(head), by.kind)
    for signal in signals:
        target = signal.target
        if target in (-1, pos) or target in found or not signal.delivered:
            continue
        its = scene.end_of(target)
        if its.by != signal or its.how != "killed":
            continue
        own = signal.kind in ("pid-namespace-end", "parent-death")
        found[target] = Victim(target, its, signal.kind if own else "same-sender")
    if end.oom:
        chosen = scene.oom_ns[pos]
        for other, ts_ns in scene.oom_ns.items():
            near = abs(ts_ns - chosen) < _SAME_NS
            if other not in (pos, *found) and near and scene.end_of(other).oom:
                found[other] = Victim(other, scene.end_of(other), "oom")
    return sorted(found.values(), key=lambda victim: (victim.end.ts_ns or 0, victim.pos))


def _survivors(story: Story, pos: int, exit_ns: int, dead: set[int]) -> list[Survivor]:
    """Children that went to another parent and lived on; of a daemon also its containers."""
    scene = story.scene
    found: dict[int, Survivor] = {}
    for adoption in scene.adoptions_from(pos):
        child = adoption.child
        left = int(scene.exit_ns[child])
        gone = child in dead or child < 0 or 0 <= left <= max(exit_ns, adoption.ts_ns)
        if adoption.reason != "thread" and not gone:
            found[child] = Survivor(child, adoption)
    if scene.roles[pos] in ("dockerd", "containerd", "containerd-managed"):
        for init, (_, run) in story.inits.items():
            mine = pos in (run.daemon, run.manager)
            left = int(scene.exit_ns[init])
            if mine and scene.alive_at(init, exit_ns) and left != exit_ns:
                found.setdefault(init, Survivor(init, None))
    return sorted(found.values(), key=lambda survivor: survivor.pos)


def _tell_runtime(story: Story, pos: int, exit_ns: int) -> None:
    """What followed the end of a container's process 1: delete, reaping, the shim's end."""
    scene = story.scene
    _tell_reaping(story, pos, exit_ns)
    if pos not in story.inits:
        return
    container, run = story.inits[pos]
    deletes = [c for c in run.calls if c.verb == "delete" and c.ts_ns > exit_ns]
    for call in deletes[:3]:
        end = scene.end_of(call.pos)
        by = story.name(int(scene.programs.forker[call.pos]))
        how = f", which {scene.end_text(end)}" if end.ts_ns is not None else ""
        text = f"{by} ran {scene.call_label(call.pos)}{how}"
        evidence = [Evidence("EXEC", call.ts_ns, call.pos)]
        story.add(call.ts_ns, "after", text, [call.pos], evidence, rank=4)
    shim = run.shim
    if shim is None or scene.roles[shim] not in (*SHIMS, "conmon"):
        return
    gone = scene.end_of(shim)
    name = name_container(container)
    if gone.ts_ns is not None and gone.ts_ns > exit_ns:
        delay = story.delay(exit_ns, gone.ts_ns)
        text = f"{story.name(shim)} {scene.end_text(gone)}, {delay} after process 1 of {name}"
        story.add(gone.ts_ns, "after", text, [shim], [Evidence("EXIT", gone.ts_ns, shim)], rank=4)
    elif gone.ts_ns is None and not deletes:
        left = scene.table.last_ns - exit_ns
        if left > _NOTICED_NS and gone.how == "running":
            delay = story.delay(exit_ns, scene.table.last_ns)
            text = (
                f"{story.name(shim)} is still alive {delay} later and has not run `delete`: the "
                f"runtime has not noticed the end of {name}, or nobody has asked it to clean up"
            )
            story.add(scene.table.last_ns, "after", text, [shim], [], INFERRED, rank=4)


def _tell_reaping(story: Story, pos: int, exit_ns: int) -> None:
    scene = story.scene
    parent = scene.parent_at(pos, exit_ns)
    for adoption in scene.adoptions_of(pos):
        if adoption.ts_ns > exit_ns and adoption.reason != "thread":
            parent = adoption.new
            text = f"{scene.label(parent)} adopted the zombie of {story.name(pos)}"
            story.add_adoption(adoption, f"{text}: {rule_text(adoption)}")
    reaped = int(scene.reap_ns[pos])
    if reaped >= 0:
        by = f"; its parent was {scene.label(parent)}" if parent >= 0 else ""
        text = f"{story.name(pos)} had been reaped{by}"
        evidence = [Evidence("REAP", reaped, pos)]
        story.add(reaped, "after", text, [pos, parent], evidence, rank=4)
        return
    seen_ns = _zombie_ns(story, pos)
    if seen_ns is not None and seen_ns - exit_ns > _REAP_NS:
        left = story.delay(exit_ns, seen_ns)
        by = f" under {story.name(parent)}, which should wait for it" if parent >= 0 else ""
        text = f"{story.name(pos)} had not been reaped {left} later: a zombie{by}"
        evidence = [Evidence("TASK", seen_ns, pos)]
        story.add(seen_ns, "after", text, [pos, parent], evidence, rank=4)


def _zombie_ns(story: Story, pos: int) -> int | None:
    """When a snapshot last showed a process as a zombie."""
    tasks = story.scene.table.tasks
    rows = np.flatnonzero(identify(story.scene.table).of("tasks") == pos)
    rows = rows[tasks["exit_state"].to_numpy()[rows] == _EXIT_ZOMBIE]
    return int(tasks["ts_ns"].to_numpy()[rows[-1]]) if len(rows) else None
