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
    than the one before. So a parent can only have changed between two answers that differ, or
    before the first.
    """
    windows: dict[tuple[int, int], list[tuple[int, int]]] = defaultdict(list)
    for seen in log["observations"]:
        if seen["source"] == "proc" and isinstance(seen["value"], dict):
            who = (seen["tgid"], seen["start_ns"])
            windows[who].append((seen["value"]["after_ns"], seen["at_ns"]))
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
