"""The comparison as tables, a row a group each: what CSV holds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from analysis.compare import words
from analysis.csv_tables import render_csv
from analysis.references import Json

Rows = list[dict[str, Any]]


def render_comparison_csv(document: Json, name: str) -> str:
    """One of the TABLES as CSV, with a header line."""
    columns, rows = _TABLES[name]
    names = {group["id"]: group["name"] for group in document["groups"]}
    found = [{"group_name": names.get(str(row.get("group")), ""), **row} for row in rows(document)]
    return render_csv(columns, found)


def _behaviours(document: Json) -> Rows:
    found = []
    for row in document["behaviours"]:
        for cell in row["groups"]:
            common = {"behaviour": row["id"], "differs": bool(cell["differences"])}
            common |= {k: cell[k] for k in ("group", "shape", "claim", "certainty")}
            common["group_verdict"] = cell["verdict"]
            for outcome in cell["outcomes"] or [{"verdict": cell["verdict"], "count": 0}]:
                found.append({**common, **outcome})
    return found


def _latencies(document: Json) -> Rows:
    return [
        {"latency": row["id"], **cell} for row in document["latencies"] for cell in row["groups"]
    ]


def _places(document: Json) -> Rows:
    return [
        {
            "child": row["child"],
            "parents": " > ".join(step["role"] for step in row["parents"]),
            "rules": " > ".join(step["how"] for step in row["parents"]),
            **cell,
        }
        for row in document["tree"]["places"]
        for cell in row["groups"]
    ]


def _adoptions(document: Json) -> Rows:
    return [{**row, **cell} for row in document["tree"]["adoptions"] for cell in row["groups"]]


def _groups(document: Json) -> Rows:
    return [
        {
            **group,
            **{k: " and ".join(v) for k, v in group["environment"].items() if k != "docker"},
            "group": group["id"],
            "baseline": group["id"] == document["baseline"],
            "captures": len(group["captures"]),
        }
        for group in document["groups"]
    ]


def _captures(document: Json) -> Rows:
    return [{**c, "doubts": "; ".join(c["doubts"])} for c in document["captures"]]


_GROUP = ("group", "group_name")
_TABLES: dict[str, tuple[tuple[str, ...], Callable[[Json], Rows]]] = {
    "behaviours": (
        (
            *("behaviour", *_GROUP, "shape", "claim", "group_verdict", "certainty", "differs"),
            *("cause", "shim", "container", "process", "verdict", "count"),
            *("capture", "ts_ns", "what", "why"),
        ),
        _behaviours,
    ),
    "latencies": (
        (
            *("latency", *_GROUP, "n", "median_ns", "p90_ns", "max_ns", "too_few"),
            *("ratio", "ratio_low", "ratio_high"),
        ),
        _latencies,
    ),
    "places": (("child", "parents", "rules", *_GROUP, "count"), _places),
    "adoptions": (("child", "from", "to", "reason", *_GROUP, "count"), _adoptions),
    "groups": (
        (
            *(*_GROUP, "baseline", "label", "docker", "topology", "shape", "shim", "live_restore"),
            *("captures", "containerd", "runc", "crun", "podman", "kernel", "os", "init"),
            *("cgroup", "machine", "rtrace", "engine"),
        ),
        _groups,
    ),
    "captures": (
        (
            *("number", "path", *_GROUP, "started_utc", "duration_ns", "events", "processes"),
            *("complete", "damage", "lost", "doubts"),
        ),
        _captures,
    ),
}
assert tuple(_TABLES) == words.TABLES
