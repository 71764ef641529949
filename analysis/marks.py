"""What concerns the whole host in a timeline: triggers, suspends, a wall clock that was set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from analysis.clocks import Clocks
from analysis.columns import as_int
from analysis.scene import Scene
from analysis.steps import Entry
from analysis.table import Table
from analysis.text_layout import seconds
from tracer.text import printable

# A save that does not say for which event it was made was made for one that came shortly before.
_RECENT_NS = 60_000_000_000


@dataclass(frozen=True, slots=True)
class Fired:
    """A trigger that fired.

    Attributes:
        trigger: its word, such as "shim-exit". at_ns: the event's time.
        pos: the event's process, -1: not in the capture.
        what: one sentence.
        saved: the capture was saved because of it.
    """

    trigger: str
    at_ns: int
    pos: int
    what: str
    saved: bool


def find_triggers(scene: Scene) -> list[Fired]:
    """Triggers that the capture tells of, in order; each once, though a fact may be repeated."""
    found: dict[Fired, None] = {}
    since_ns = _saved_since(scene.table)
    for fact in scene.table.facts:
        if fact.get("kind") != "trigger":
            continue
        id_ = f"{as_int(fact.get('tgid'))}:{as_int(fact.get('start_ns'))}"
        fired = Fired(
            trigger=_text(fact.get("trigger")),
            at_ns=as_int(fact.get("at_ns")),
            pos=scene.ids.find(id_),
            what=_text(fact.get("what")),
            saved=since_ns is not None and as_int(fact.get("at_ns")) >= since_ns,
        )
        found[fired] = None
    return sorted(found, key=lambda fired: fired.at_ns)


def _saved_since(table: Table) -> int | None:
    """From when on triggers are reasons of this save; None: it is none."""
    trailer = table.trailer or {}
    if trailer.get("reason") != "saved":
        return None
    since_ns = trailer.get("trigger_ns")
    return table.last_ns - _RECENT_NS if since_ns is None else as_int(since_ns)


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
