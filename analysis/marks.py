"""What concerns the whole host in a timeline: triggers, suspends, a wall clock that was set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

from analysis.clocks import Clocks
from analysis.columns import as_int
from analysis.scene import Scene
from analysis.text_layout import seconds
from analysis.timeline import Entry
from tracer.text import printable


@dataclass(frozen=True, slots=True)
class Fired:
    """A trigger that fired.

    Attributes:
        trigger: its word, such as "shim-exit". at_ns: the event's time.
        pos: the event's process, -1: not in the capture.
        what: one sentence.
    """

    trigger: str
    at_ns: int
    pos: int
    what: str


def find_triggers(scene: Scene) -> list[Fired]:
    """Triggers that the capture tells of, in order; each once, though a fact may be repeated."""
    found: dict[Fired, None] = {}
    for fact in scene.table.facts:
        if fact.get("kind") != "trigger":
            continue
        id_ = f"{as_int(fact.get('tgid'))}:{as_int(fact.get('start_ns'))}"
        fired = Fired(
            trigger=_text(fact.get("trigger")),
            at_ns=as_int(fact.get("at_ns")),
            pos=int(scene.processes.index.get_indexer(pd.Index([id_], dtype=object))[0]),
            what=_text(fact.get("what")),
        )
        found[fired] = None
    return sorted(found, key=lambda fired: fired.at_ns)


def host_marks(triggers: list[Fired], clocks: Clocks) -> list[Entry]:
    """Steps of a timeline, in no order. ``certainty`` and evidence: none."""
    entries = []
    for fired in triggers:
        text = f"trigger {printable(fired.trigger)}: {printable(fired.what)}"
        entries.append(
            Entry(fired.at_ns, "trigger", text, [fired.pos] if fired.pos >= 0 else [], [])
        )
    for reading in clocks.readings:
        if reading.suspended_ns:
            # It was noticed right after it: the poll of 50 ms was due.
            ts_ns = max(reading.boot_ns - reading.suspended_ns, reading.since_ns)
            text = f"the host was suspended for {seconds(reading.suspended_ns, digits=1)} s"
            entries.append(Entry(ts_ns, "suspend", text, [], []))
        if reading.set_ns:
            way = "forward" if reading.set_ns > 0 else "back"
            text = f"the wall clock was set {way} by {seconds(abs(reading.set_ns), digits=3)} s"
            entries.append(Entry(reading.boot_ns, "clock", text, [], []))
    return entries


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
