"""Holds what rtrace tells of a recorded scenario against the log of its witness.

`tests.witnessed` looks for what is missing; this looks for what is too much.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from tests.witness import TICK_NS

Json = dict[str, Any]


def invented_takeovers(log: Json, report: Json) -> list[str]:
    """Changes of a parent that a report tells as confirmed, and that the witness rules out.

    It looked at a process about once a millisecond, and wrote down when an answer was another
    than the one before. So a parent can only have changed between two answers that name
    different ones (a process that is gone has none), or before the first.
    """
    windows = {
        who: [
            (look["value"]["after_ns"], look["at_ns"])
            for before, look in zip([None, *looks], looks, strict=False)
            if before is None or before["value"]["ppid"] != look["value"]["ppid"]
        ]
        for who, looks in _looks(log).items()
    }
    result = []
    for move in report["reparents"]:
        child = move["child"]
        known = windows.get((child["tgid"], child["start_ns"] // TICK_NS * TICK_NS))
        if known is None or move["reason"] == "thread" or move["certainty"] != "confirmed":
            continue
        since = move["ts_ns"]
        until = since if move["until_ns"] is None else move["until_ns"]
        if not any(since <= before and until >= after for after, before in known):
            result.append(f"{child['comm']} ({child['tgid']}) at {since}: {move['to']}")
    return result


def misjudged_ends(log: Json, report: Json) -> list[str]:
    """Ends and zombies that a report tells otherwise than the witness saw them, in words.

    /proc shows a leader as a zombie before its last thread has ended, so it is no witness of when
    a process ended until that is gone. REAP comes late, or (docs/engines.md) never: who was waited
    for is not asked.
    """
    newest = max(seen["at_ns"] for seen in log["observations"])
    looks = _looks(log)
    result = []
    for told in report["processes"]:
        seen = looks.get((told["tgid"], told["start_ns"] // TICK_NS * TICK_NS))
        if seen is None:
            continue
        last, exited = seen[-1], told["exit_ns"]
        state, said = last["value"]["state"], f"{last['what']} ({told['tgid']}) exited {exited}"
        until = last["at_ns"] if state == "gone" else newest
        if state == "alive" and exited is not None and exited <= until:
            result.append(f"{said}, was alive at {until}")
        if state != "alive" and (exited is None or exited > until):
            result.append(f"{said}, was {state} at {until}")
        if told["zombie"] != (state == "zombie"):
            result.append(f"{said}, zombie {told['zombie']}, was {state} at {until}")
    return result


def _looks(log: Json) -> dict[tuple[int, int], list[Json]]:
    """What /proc answered of each watched process, in order."""
    found = defaultdict(list)
    for seen in log["observations"]:
        if seen["source"] == "proc" and isinstance(seen["value"], dict):
            found[seen["tgid"], seen["start_ns"]].append(seen)
    return found
