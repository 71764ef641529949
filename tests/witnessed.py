"""What a witness saw, held against what a report tells (see `tests.witness`)."""

from __future__ import annotations

import json

from tests.witness import TICK_NS, Json


def untold_takeovers(log: Json, report: Json) -> list[str]:
    """Takeovers of a witness that a report does not tell, or not as confirmed, in words.

    Two looks may have missed somebody in between: a chain of moves from the old to the new
    parent is as good as one move.
    """
    result = []
    moves: dict[str, list[Json]] = {}
    for move in report["reparents"]:
        if move["reason"] != "thread":
            moves.setdefault(move["child"]["id"], []).append(move)
    for takeover in log["takeovers"]:
        children = [i for i in moves if _is_same(takeover["child"], i)]
        chain = _find_chain(takeover, [move for i in children for move in moves[i]])
        said = json.dumps(takeover)
        if not chain:
            result.append(f"not told: {said}")
        elif chain[-1]["certainty"] != "confirmed":
            result.append(f"{chain[-1]['certainty']}: {said}")
        elif chain[-1]["until_ns"] is None:
            result.append(f"no latency: {said}")
        elif chain[-1]["reason"] != takeover["reason"]:
            result.append(f"reason {chain[-1]['reason']}: {said}")
    return result


def untold_behaviours(log: Json, report: Json) -> list[str]:
    """Outcomes that a witness expects of behaviours and that a report does not tell, in words.

    What it expects twice must be told twice. Of what is `left` of a container it expects what
    became of all.
    """
    told = {behaviour["id"]: behaviour["occurrences"] for behaviour in report["behaviours"]}
    result = []
    for id_, expected in log["expect"].items():
        open_ = list(told[id_])
        for outcomes in expected:
            found = next((o for o in open_ if _agrees(outcomes, o)), None)
            if found is not None:
                open_.remove(found)
                continue
            tokens = [{who: sorted(_tokens(o[who])) for who in outcomes} for o in open_]
            result.append(f"{id_}: expected {outcomes}, told {tokens}")
    return result


def _agrees(expected: Json, occurrence: Json) -> bool:
    return all(token in _tokens(occurrence[who]) for who, token in expected.items())


def _tokens(outcome: Json | None) -> set[str]:
    """What a witness may call an outcome: it sees that a shim has ended, and not that it was its
    containerd that had killed it."""
    if outcome is None:
        return set()
    if "total" in outcome:
        return {fate for fate in outcome if outcome[fate] == outcome["total"]} - {"total"}
    found = {str(outcome["outcome"])}
    by = outcome.get("by")
    if outcome["outcome"] == "killed" and by and by["role"].startswith("containerd"):
        found.add("exited")
    return found | _tokens(outcome.get("meanwhile")) | _tokens(outcome["then"])


def _find_chain(takeover: Json, moves: list[Json]) -> list[Json]:
    """Moves from the old parent to the new one that can have been between the two looks."""
    chain: list[Json] = []
    for move in sorted(moves, key=lambda move: int(move["ts_ns"])):
        if move["from"] is None or move["to"] is None or move["ts_ns"] > takeover["before_ns"]:
            continue
        if move["until_ns"] is not None and move["until_ns"] < takeover["after_ns"]:
            continue
        if not chain and not _is_same(takeover["from"], move["from"]["id"]):
            continue
        chain.append(move)
        if _is_same(takeover["to"], move["to"]["id"]):
            return chain
    return []


def _is_same(seen: Json, id_: str) -> bool:
    """Whether a witness's process is a report's ("tgid:start_ns")."""
    tgid, start_ns = map(int, id_.split(":"))
    start = seen.get("start_ns", 0)
    return tgid == seen["tgid"] and (not start or start_ns // TICK_NS * TICK_NS == start)
