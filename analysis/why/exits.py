"""Ends by exit(): told to by a signal that was handled, as others ended, or by itself."""

from __future__ import annotations

import numpy as np

from analysis.roles import SHIMS
from analysis.scene import End
from analysis.signals import Signal, name_of
from analysis.steps import Evidence
from analysis.why import kills
from analysis.why.story import INFERRED, Story

# A process that handles a signal to end with needs some time: docker gives it 10 s by default.
HANDLING_NS = 30_000_000_000
# Ends of children that may have to do with it.
BEFORE_NS = 1_000_000_000
_CHILDREN = 3
# That ask a program to end: INT, QUIT, TERM, and SIGRTMIN+3, which is for systemd as process 1.
_STOPS = (2, 3, 15, 37)


def explain(story: Story, pos: int, end: End) -> None:
    """Tell the end of a process that exited, and go on with what made it exit."""
    story.add_end(pos)
    if end.ts_ns is None:
        story.because(f"{story.name(pos)} exited {end.status}; when is not recorded")
        return
    if _after_container(story, pos, end):
        return
    signal = _handled(story, pos, end.ts_ns)
    if signal is not None:
        after = story.delay(signal.ts_ns, end.ts_ns)
        clause = f"{story.name(pos)} exited {end.status}, {after} after it had got"
        kills.explain_signal(story, pos, signal, clause, INFERRED)
        return
    _by_itself(story, pos, end)


def _handled(story: Story, pos: int, exit_ns: int) -> Signal | None:
    """The last signal to end that reached the process, and that it survived."""
    found = [
        s
        for s in story.scene.signals.to(pos)
        if s.signal in _STOPS and s.delivered and 0 <= exit_ns - s.ts_ns < HANDLING_NS
    ]
    return found[-1] if found else None


def _after_container(story: Story, pos: int, end: End) -> bool:
    """A shim ends when its container has; `docker run` when it has, with its status."""
    scene = story.scene
    assert end.ts_ns is not None
    ended = None
    if scene.roles[pos] in SHIMS:
        ended = _last_init(story, pos, end.ts_ns)
        why = "a shim ends when its container has ended"
    elif scene.roles[pos] == "docker-client":
        ended = _client_init(story, pos, end)
        why = "`docker run` ends when its container has, and passes on its status"
    if ended is None:
        return False
    delay = story.delay(int(scene.exit_ns[ended]), end.ts_ns)
    text = f"{story.name(pos)} exited {end.status}, {delay} after {story.name(ended)} had ended"
    story.because(f"{text}: {why}", INFERRED)
    story.follow(ended)
    return True


def _last_init(story: Story, shim: int, exit_ns: int) -> int | None:
    """Process 1 of the container of a shim that ended last, if all have ended."""
    exits = story.scene.exit_ns
    inits = [run.init for _, run in story.shims.get(shim, []) if run.init is not None]
    if not inits or any(exits[init] < 0 or exits[init] > exit_ns for init in inits):
        return None
    return max(inits, key=lambda init: int(exits[init]))


def _client_init(story: Story, client: int, end: End) -> int | None:
    scene = story.scene
    if scene.program(client).verb not in ("run", "start"):
        return None
    for init, (_, run) in story.inits.items():
        if run.client != client or end.ts_ns is None:
            continue
        own = scene.end_of(init)
        status = own.status if own.signal is None else 128 + own.signal
        if own.ts_ns is not None and own.ts_ns <= end.ts_ns and status == end.status:
            return init
    return None


def _by_itself(story: Story, pos: int, end: End) -> None:
    """No signal told it to. A shell passes on how its last child ended."""
    assert end.ts_ns is not None
    assert end.status is not None
    children = [c for c in _ended_children(story, pos, end.ts_ns) if not _followed(story, c, pos)]
    cause = _passed_on(story, children, end.status)
    killed = [child for child in children if story.scene.end_of(child).how == "killed"]
    followed = cause if cause is not None else killed[0] if killed else None
    for child in children:
        if child != followed:  # its end will be a step as a cause
            _tell_child(story, pos, child, end.ts_ns)
    text = f"{story.name(pos)} exited {end.status}"
    number = end.status - 128
    is_signal = 0 < number <= 64
    if cause is not None:
        how = story.scene.end_text(story.scene.end_of(cause))
        status = "" if not is_signal else f" (128 + {number} is how a shell reports that)"
        story.because(f"{text}, as its child {story.name(cause)} {how}{status}", INFERRED)
        story.follow(cause)
        return
    if killed:
        how = story.scene.end_text(story.scene.end_of(killed[0]))
        delay = story.delay(int(story.scene.exit_ns[killed[0]]), end.ts_ns)
        story.because(f"{text}, {delay} after its child {story.name(killed[0])} {how}", INFERRED)
        story.follow(killed[0])
        return
    story.because(f"{text} by itself: no signal that it could have ended by was recorded")
    story.blame(pos, end.ts_ns)
    if is_signal:
        story.lacks(
            f"A status of 128 + {number} is how a shell reports a child that {name_of(number)} "
            "killed, and what a program may choose itself: no such child was recorded."
        )


def _followed(story: Story, child: int, pos: int) -> bool:
    """The child ended as this process was ending, before its last thread was gone."""
    by = story.scene.end_of(child).by
    made = by is not None and by.sender == pos and by.kind != "process"
    return made or child in story.explained


def _ended_children(story: Story, pos: int, exit_ns: int) -> list[int]:
    """Children that ended just before, the last first."""
    scene = story.scene
    child, _, new = scene.adoptions
    found = np.concatenate(
        [np.array(scene.programs.children(pos), np.int64), child[new == pos].astype(np.int64)]
    )
    found = np.unique(found[found >= 0])
    exits = scene.exit_ns[found]
    near = (exits >= max(exit_ns - BEFORE_NS, 0)) & (exits <= exit_ns)
    found = found[near][np.argsort(-exits[near], kind="stable")]
    own = [
        p for p in found[: 2 * _CHILDREN].tolist() if scene.parent_at(p, scene.exit_ns[p]) == pos
    ]
    return own[:_CHILDREN]


def _passed_on(story: Story, children: list[int], status: int) -> int | None:
    """The child whose end the status reports: the same status, or 128 + the signal."""
    if not status:
        return None
    for child in children:
        end = story.scene.end_of(child)
        if end.signal is not None and status == 128 + end.signal:
            return child
        if end.status == status and child == children[0]:
            return child
    return None


def _tell_child(story: Story, pos: int, child: int, exit_ns: int) -> None:
    scene, end = story.scene, story.scene.end_of(child)
    delay = story.delay(end.ts_ns, exit_ns)
    text = f"{scene.label(child)}, a child of {scene.label(pos)}, {scene.end_text(end)}"
    if end.ts_ns is not None:
        evidence = [Evidence("EXIT", end.ts_ns, child)]
        story.add(end.ts_ns, "child", f"{text}, {delay} before it", [child, pos], evidence)
