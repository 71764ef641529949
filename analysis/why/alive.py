"""Targets that did not end in the capture, or of whose end nothing is in it."""

from __future__ import annotations

import numpy as np

from analysis.identity import identify
from analysis.roles import SHIMS
from analysis.steps import Evidence, rule_text
from analysis.text_layout import seconds
from analysis.why.story import INFERRED, UNKNOWN, Story, name_container


def explain_alive(story: Story, pos: int) -> None:
    """Alive at the end: whose child it is now, and how its shim is."""
    scene = story.scene
    parent = scene.parent_at(pos, scene.table.last_ns)
    whose = f"its parent is {story.name(parent)}" if parent >= 0 else "its parent is not known"
    text = f"{story.name(pos)} is alive at the end of the recording; {whose}"
    ts_ns = _seen_ns(story, pos)
    story.because(f"{story.name(pos)} has not ended: it was alive at the end of the recording")
    story.add(ts_ns, "alive", text, [pos, parent], [Evidence("TASK", ts_ns, pos)])
    story.because(whose, "confirmed" if parent >= 0 else UNKNOWN)
    for adoption in scene.adoptions_of(pos):
        if adoption.reason != "thread":
            new = story.name(adoption.new) if adoption.new >= 0 else "a process not known"
            text = f"{new} adopted {story.name(pos)} from {story.name(adoption.old)}"
            story.add_adoption(adoption, f"{text}: {rule_text(adoption)}")
    if pos not in story.inits:
        return
    container, run = story.inits[pos]
    if run.shim is None or scene.roles[run.shim] not in (*SHIMS, "conmon"):
        return
    end = scene.end_of(run.shim)
    if end.ts_ns is not None:
        name = name_container(container)
        story.because(
            f"its shim is gone: {story.name(run.shim)} {scene.end_text(end)}; nobody will notice "
            f"when {name} ends, until its runtime cleans it up"
        )
        story.follow(run.shim)


def explain_unseen(story: Story, pos: int) -> None:
    """Nothing says that it ended, and nothing that it was alive at the end."""
    scene, table = story.scene, story.scene.table
    name = story.name(pos)
    story.because(f"how {name} ended is not in the capture", UNKNOWN)
    gone_ns = scene.end_of(pos).gone_ns
    if gone_ns is not None:
        by = seconds(gone_ns - table.started_ns, sign=True, digits=3)
        story.because(f"it had ended by {by} s, unseen", INFERRED)
    phases = {snapshot.phase for snapshot in table.snapshots}
    if bool(scene.processes["stub"].iat[pos]):
        story.lacks(f"{name} was outside of the recording's filter: only others' events name it.")
    elif not table.complete:
        story.lacks(f"The capture is cut: {name} was alive as far as it goes, or its end is lost.")
    elif "end" not in phases:
        story.lacks("There is no snapshot at the end: whether it was alive then is not known.")
    else:
        story.lacks(f"{name} is not in the snapshot at the end, so it ended, but no event says so.")


def _seen_ns(story: Story, pos: int) -> int:
    """When the last snapshot saw a process."""
    tasks = story.scene.table.tasks
    rows = np.flatnonzero(identify(story.scene.table).of("tasks") == pos)
    return int(tasks["ts_ns"].to_numpy()[rows[-1]]) if len(rows) else -1
