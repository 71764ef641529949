"""Who talks to whom, as data of a drawing: clients, daemons and shims, from left to right.

Made of the report's ``control_path`` and of the links of its containers.
"""

from __future__ import annotations

from typing import Any

from analysis.render_control_path import PROTOCOL_NAMES
from tracer.text import printable

Json = dict[str, Any]

# In a column; more are counted, those of broken links and of the newest connections come first.
_DRAWN = 24
_COLUMNS = {
    "cri-dockerd": 1,
    "dockerd": 1,
    "containerd": 2,
    "containerd-managed": 2,
    "shim-v1": 3,
    "shim-v2": 3,
    "shim-start": 3,
    "conmon": 3,
}
# Of several connections of a pair the state that matters most is drawn.
_STATES = ("not-connected", "connected", "was-connected", "unknown")


def build_talk(report: Json) -> Json | None:
    """Nodes and edges of the drawing; None if nothing was connected, or it is not known.

    Returns:
        ``nodes``: ``id``, ``name``, ``role``, ``note`` (its container; ended), ``column`` (0:
        clients).
        ``edges``: ``from``, ``to`` (ids), ``state``, ``socket``, ``protocol``. ``leftOut``: nodes.
    """
    edges: dict[tuple[str, str], Json] = {}
    refs: dict[str, Json] = {}
    for edge, ends in _edges(report):
        refs.update((ref["id"], ref) for ref in ends)
        key = (edge["from"], edge["to"])
        old = edges.get(key)
        if old is None or _STATES.index(edge["state"]) < _STATES.index(old["state"]):
            edges[key] = edge
    if not edges:
        return None
    names = {c["id"]: printable(c["name"] or c["id"][:12]) for c in report["containers"]}
    gone = {p["id"]: "ended" for p in report["processes"] if p["exit_ns"] is not None}
    found = sorted(edges.values(), key=lambda edge: _STATES.index(edge["state"]))
    kept: dict[str, int] = {}
    room = [_DRAWN] * 4
    for edge in found:
        for id_ in (edge["from"], edge["to"]):
            column = _COLUMNS.get(refs[id_]["role"], 0)
            if id_ not in kept and room[column]:
                room[column] -= 1
                kept[id_] = column
    nodes = [
        {
            "id": id_,
            "name": f"{printable(refs[id_]['name']) or '?'} ({refs[id_]['tgid']})",
            "role": refs[id_]["role"],
            "note": ", ".join(filter(None, (names.get(refs[id_]["container"]), gone.get(id_)))),
            "column": column,
        }
        for id_, column in kept.items()
    ]
    drawn = [edge for edge in found if edge["from"] in kept and edge["to"] in kept]
    return {"nodes": nodes, "edges": drawn, "leftOut": len(refs) - len(kept)}


def _edges(report: Json) -> list[tuple[Json, tuple[Json, Json]]]:
    found = []
    for connection in report["control_path"]["connections"]:
        state = "connected" if connection["at_end"] else "was-connected"
        found.append((connection, state))
    for container in report["containers"]:
        for link in container["control_path"]:
            if link["state"] == "not-connected" and container["end"]["how"] == "running":
                found.append((link, "not-connected"))
    return [
        (
            {
                "from": each["from"]["id"],
                "to": each["to"]["id"],
                "state": state,
                "socket": printable(each["socket"] or ""),
                "protocol": PROTOCOL_NAMES.get(each["protocol"], each["protocol"]),
            },
            (each["from"], each["to"]),
        )
        for each, state in found
        if each["from"] and each["to"] and each["protocol"] != "other"
    ]
