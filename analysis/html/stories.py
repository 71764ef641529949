"""Stories of a page: why something ended, as `rtrace why` tells it, and what followed."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]

# So many are told; the gravest findings come first.
TOLD = 20
# Steps that are shown of what followed.
FOLLOWED = 12
# What happens later has to do with something else.
_AFTERWARDS_NS = 10_000_000_000

_DAEMONS = ("dockerd", "containerd", "containerd-managed", "podman", "kubelet", "cri-dockerd")
_PARTS = frozenset((*_DAEMONS, "container-init", "shim-v1", "shim-v2", "conmon"))


def choose_targets(report: Json) -> list[str]:
    """Processes of whose end a page tells the story, by id, the most telling first.

    Parts of runtimes and containers that the findings name and that have ended, process 1 of a
    container before its shim; then every process 1 that was killed or failed.
    """
    known = {p["id"]: p for p in report["processes"]}
    chosen: dict[str, None] = {}
    for finding in report["findings"]:
        if finding["severity"] == "info":
            continue
        ended = [
            id_
            for id_ in finding["processes"]
            if known[id_]["role"] in _PARTS and known[id_]["exit_ns"] is not None
        ]
        ended.sort(key=lambda id_: known[id_]["role"] != "container-init")
        chosen.update(dict.fromkeys(ended))
    for container in report["containers"]:
        for run in container["runs"]:
            failed = run["end"]["how"] == "killed" or run["end"]["exit_status"]
            if run["init"] is not None and failed:
                chosen[run["init"]["id"]] = None
    return list(chosen)[:TOLD]


def build_story(report: Json, why: Json) -> Json:
    """What the page tells of one answer of `rtrace why`.

    Returns:
        ``title``, ``id`` of the process, ``grave`` (a finding of what is wrong names it),
        ``answer``, ``certainty``, ``reasons``, ``steps`` (of the chain, then with ``followed``
        true what came after it in the container), ``lineage``, ``died_with``, ``survived``,
        ``missing``, and ``people``: ids of all who play a part.
    """
    target = why["target"]
    container = target["container"]
    steps = [{**step, "followed": False} for step in why["chain"]]
    steps += [{**step, "followed": True} for step in _aftermath(report, why)]
    people = [target["process"]["id"]]
    for step in steps:
        people += step["processes"]
    people += [person["process"]["id"] for person in why["lineage"][:1]]
    if container is not None:
        people += _parts(report, container["id"])
    id_ = target["process"]["id"]
    wrong = (f["processes"] for f in report["findings"] if f["severity"] != "info")
    return {
        "title": _title(target),
        "id": id_,
        "grave": any(id_ in processes for processes in wrong),
        "answer": why["answer"]["text"],
        "certainty": why["answer"]["certainty"],
        "reasons": why["answer"]["reasons"],
        "steps": steps,
        "lineage": why["lineage"],
        "died_with": why["died_with"],
        "survived": why["survived"],
        "missing": why["missing"],
        "people": list(dict.fromkeys(people)),
    }


def _title(target: Json) -> str:
    container, process = target["container"], target["process"]
    if container is None:
        return f"Why {process['name'] or '?'} ({process['tgid']}) ended"
    name = container["name"] or container["id"][:12]
    if len(container["runs"]) > 1:
        return f"Why {name} ended (run {target['run']} of {len(container['runs'])})"
    return f"Why {name} ended"


def _aftermath(report: Json, why: Json) -> list[Json]:
    """Steps of the container after the chain, such as a restart."""
    container, chain = why["target"]["container"], why["chain"]
    if container is None or not chain:
        return []
    last_ns = chain[-1]["ts_ns"]
    found = [
        step
        for step in report["timeline"]
        if step["container"] == container["id"]
        and (step["fold"] is None or step["kind"] == "fold")
        and last_ns < step["ts_ns"] <= last_ns + _AFTERWARDS_NS
    ]
    return found[:FOLLOWED]


def _parts(report: Json, id_: str) -> list[str]:
    """Who makes a container, in all its runs."""
    found = []
    for container in report["containers"]:
        for run in container["runs"] if container["id"] == id_ else ():
            roles = ("client", "daemon", "manager", "shim", "init")
            found += [run[role]["id"] for role in roles if run[role] is not None]
    return found
