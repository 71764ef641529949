"""The order of the lanes: groups, and in each the processes as a tree of who started whom."""

from __future__ import annotations

from typing import Any

from analysis.why.lineage import unit_in

Json = dict[str, Any]

_HOST_ROLES = frozenset(
    ("init", "dockerd", "containerd", "containerd-managed", "podman", "kubelet", "cri-dockerd")
)
_DEEPEST = 6


def build_groups(report: Json) -> list[Json]:
    """Groups of lanes: daemons, each container, each unit of systemd, the rest, kernel threads.

    Returns:
        of each ``title``, ``kind`` (host, container, unit, other, kernel), ``container`` (id or
        None) and ``lanes``: (id, depth in the tree) from top to bottom.
    """
    belongs: dict[str, str] = {}
    for container in report["containers"]:
        for run in container["runs"]:
            if run["client"] is not None:
                belongs[run["client"]["id"]] = container["id"]
    names = {c["id"]: c for c in report["containers"]}
    members: dict[tuple[str, str | None], list[Json]] = {("host", None): []}
    for container in sorted(report["containers"], key=_began_ns):
        members["container", container["id"]] = []
    for process in report["processes"]:
        members.setdefault(_group_of(process, belongs), []).append(process)
    order = ("host", "container", "unit", "other", "kernel")
    groups = []
    for (kind, id_), people in sorted(members.items(), key=lambda item: order.index(item[0][0])):
        if people:
            group = {"title": _title(kind, id_, names), "kind": kind, "lanes": _tree(people)}
            groups.append({**group, "container": id_ if kind == "container" else None})
    return groups


def _group_of(process: Json, belongs: dict[str, str]) -> tuple[str, str | None]:
    container = belongs.get(process["id"], process["container"])
    if container is not None:
        return "container", container
    if process["kthread"]:
        return "kernel", None
    if process["role"] in _HOST_ROLES:
        return "host", None
    unit = unit_in(process["cgroup"] or process["cgroup_v1"] or "")
    return ("other", None) if unit is None else ("unit", unit)


def _began_ns(container: Json) -> int:
    """When it began to be made; those that were there before come first."""
    times = [ns for run in container["runs"][:1] for ns in run["phases"].values() if ns is not None]
    began = container["runs"] and container["runs"][0]["began"] == "before"
    return -1 if began or not times else min(times)


def _title(kind: str, id_: str | None, names: dict[str, Json]) -> str:
    if kind == "unit":
        return f"unit {id_}"
    if kind == "container" and id_ is not None:
        known = names.get(id_)
        name = known["name"] if known and known["name"] else id_[:12]
        return f"container {name}"
    return {
        "host": "init, daemons",
        "other": "other processes",
        "kernel": "kernel threads",
    }[kind]


def _tree(people: list[Json]) -> list[tuple[str, int]]:
    """Everybody under who started them, siblings by birth, with the depth."""
    people = sorted(people, key=lambda p: (p["seen_ns"] or 0, p["tgid"]))
    here = {p["id"] for p in people}
    children: dict[str | None, list[str]] = {}
    for person in people:
        children.setdefault(_starter(person, here), []).append(person["id"])
    lanes: list[tuple[str, int]] = []
    waiting = [(id_, 0) for id_ in reversed(children.get(None, []))]
    placed = set()
    while waiting:
        id_, depth = waiting.pop()
        placed.add(id_)
        lanes.append((id_, min(depth, _DEEPEST)))
        waiting += [(child, depth + 1) for child in reversed(children.get(id_, []))]
    # A forged capture may hold circles of people who started each other.
    return lanes + [(p["id"], 0) for p in people if p["id"] not in placed]


def _starter(person: Json, here: set[str]) -> str | None:
    parents = [person["forker"], *(span["parent"] for span in person["parents"][:1])]
    return next((p for p in parents if p in here and p != person["id"]), None)
