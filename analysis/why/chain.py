"""Follows causes from an end to the first one that is known."""

from __future__ import annotations

from analysis.model import Capture
from analysis.why import exits, kills
from analysis.why.alive import explain_alive, explain_unseen
from analysis.why.story import MOST_CAUSES, Story


def explain(capture: Capture, pos: int) -> Story:
    """The causes of a process's end."""
    story = Story(capture)
    story.follow = lambda cause: _follow(story, cause)
    story.follow(pos)
    return story


def _follow(story: Story, pos: int) -> None:
    """Explain the end of a process: the one asked about, or one that was a cause of its end.

    Nothing is explained twice, so that a circle ends.
    """
    if pos < 0 or pos in story.explained:
        return
    if len(story.explained) >= MOST_CAUSES:
        story.lacks(f"The chain goes on with {story.name(pos)}: ask for {story.scene.ids[pos]}.")
        return
    first = not story.explained
    story.explained.append(pos)
    end = story.scene.end_of(pos)
    if end.how == "killed":
        kills.explain(story, pos, end)
    elif end.how == "exited":
        exits.explain(story, pos, end)
    elif not first:
        return  # a cause that is alive is a culprit, not an end
    elif end.how == "running":
        explain_alive(story, pos)
    else:
        explain_unseen(story, pos)
