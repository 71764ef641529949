"""What a capture cannot tell about an end, and why: losses, filter, its beginning, arguments."""

from __future__ import annotations

from analysis import losses
from analysis.clocks import Clocks
from analysis.columns import MAX, as_int
from analysis.text_layout import seconds
from analysis.why.story import Story

_WINDOWS = 3
# How long before an end a signal or another end can have been that had to do with it.
_BEFORE_NS = 1_000_000_000


def find_gaps(story: Story, pos: int) -> bool:
    """Add to what the story lacks: everything of the recording that touches its conclusion.

    Returns:
        events were lost that may have belonged to it.
    """
    scene = story.scene
    header = scene.table.header
    lossy = _find_losses(story, pos)
    _find_dropped(story)
    _find_older(story, pos)
    named = {p for entry in story.entries for p in entry.processes}
    stubs = scene.processes["stub"].to_numpy(bool)
    for outside in sorted(p for p in named if stubs[p] and scene.tgid[p] > 1):
        story.lacks(
            f"{scene.label(outside)} was outside of the recording's filter: its number and name "
            "are known, not its arguments, nor what made it act."
        )
    if story.culprit is not None:
        culprit = story.culprit[0]
        if not scene.args(culprit) and not stubs[culprit] and scene.tgid[culprit] > 1:
            why = ""
            if header.get("no_args") is True:
                why = ": recorded with --no-args"
            elif not bool(scene.processes["kthread"].iat[culprit]):
                why = ", or were lost"
            story.lacks(f"The arguments of {scene.label(culprit)} were not recorded{why}.")
    return lossy


def _find_dropped(story: Story) -> None:
    """What a bounded recording had to drop."""
    table = story.scene.table
    segment = table.header.get("segment")
    dropped = as_int(segment.get("events_before")) if isinstance(segment, dict) else 0
    if dropped:
        began = Clocks(table).utc(table.kept_from_ns) or _since(story, table.kept_from_ns)
        story.lacks(
            f"The recording was bounded: {dropped:,} events before {began} were dropped, and with "
            "them any cause from before that."
        )


def _find_older(story: Story, pos: int) -> None:
    """Links of the chain that are older than the recording, where no snapshot tells of them."""
    table = story.scene.table
    phases = {snapshot.phase for snapshot in table.snapshots}
    if "start" in phases or story.scene.born_ns(pos) is not None:
        return
    story.lacks(
        "There is no snapshot of the beginning: who started what was there before is not known."
    )


def _find_losses(story: Story, pos: int) -> bool:
    """Windows of lost events that a missing cause or an earlier one may lie in; any?"""
    table = story.scene.table
    found = losses.with_cut(table.losses, table.cut_ns)
    found = found[found["events"] > 0]
    if found.empty:
        return False
    begin, end = _stretch(story, pos)
    touching = found[(found["from_ns"] <= end) & (found["to_ns"] >= begin)]
    shown = touching[touching["cpu"] >= 0]
    columns = [shown[name].tolist()[:_WINDOWS] for name in ("from_ns", "to_ns", "cpu", "events")]
    for from_ns, to_ns, cpu, events in zip(*columns, strict=True):
        were = "event of CPU {} was" if events == 1 else "events of CPU {} were"
        since = _since(story, max(from_ns, table.kept_from_ns))
        story.lacks(
            f"{events:,} {were.format(cpu)} lost between {since} and {_since(story, to_ns)}: a "
            "signal or an end that belongs here may have been there."
        )
    if len(shown) > _WINDOWS:
        story.lacks(f"{len(shown) - _WINDOWS} more stretches with lost events touch this.")
    return not shown.empty


def _stretch(story: Story, pos: int) -> tuple[int, int]:
    """The time that the conclusion is about."""
    scene = story.scene
    ended = int(scene.exit_ns[pos])
    last = ended if ended >= 0 else MAX
    times = [entry.ts_ns for entry in story.entries if entry.ts_ns <= last]
    first = min(times, default=last) if ended >= 0 else int(scene.fork_ns[pos])
    return max(first - _BEFORE_NS, 0) if ended >= 0 else max(first, 0), last


def _since(story: Story, ts_ns: int) -> str:
    return f"{seconds(ts_ns - story.scene.table.started_ns, sign=True, digits=3)} s"
