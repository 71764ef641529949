"""The report and answers of `why` as tables: what CSV holds. Made of their JSON.

Times are ``ts_ns`` (boot time), ``rel_s`` (seconds since the capture's start) and ``utc``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from analysis.csv_tables import render_csv
from analysis.text_safety import command_line

Json = dict[str, Any]
Rows = Iterable[Json]

_TIMES = ("rel_s", "utc", "ts_ns")


def render_report_csv(report: Json, name: str) -> str:
    """One of REPORT_TABLES as CSV, with a header line."""
    columns, rows = REPORT_TABLES[name]
    return render_csv(columns, rows(report))


def render_why_csv(why: Json, name: str) -> str:
    """One of WHY_TABLES as CSV, with a header line."""
    columns, rows = WHY_TABLES[name]
    return render_csv(columns, rows(why))


def _seconds(document: Json, ts_ns: int | None) -> float | None:
    """Since the start of the capture: small enough to be a float, exact to the nanosecond."""
    if ts_ns is None:
        return None
    since: float = round((ts_ns - document["capture"]["started"]["boot_ns"]) / 1e9, 9)
    return since


def _step(document: Json, step: Json) -> Json:
    return {
        **step,
        "rel_s": _seconds(document, step["ts_ns"]),
        "processes": " ".join(step["processes"]),
        "evidence": _evidence(step["evidence"]),
    }


def _evidence(found: list[Json]) -> str:
    return " ".join(f"{e['event']}/{e['id']}/{e['ts_ns']}" for e in found)


def _ref(prefix: str, ref: Json | None) -> Json:
    """Columns of a reference to a process."""
    found = ref or {}
    return {f"{prefix}{key}": found.get(key) for key in ("id", "tgid", "name", "role")}


def _ref_columns(prefix: str) -> tuple[str, ...]:
    return tuple(f"{prefix}{key}" for key in ("id", "tgid", "name", "role"))


# --- report ------------------------------------------------------------------------------------


def _timeline(report: Json) -> Rows:
    return (_step(report, step) for step in report["timeline"])


def _findings(report: Json) -> Rows:
    return (_step(report, finding) for finding in report["findings"])


def _containers(report: Json) -> Rows:
    for container in report["containers"]:
        for run in container["runs"] or [{**container, "run": None}]:
            end, shim_end = run["end"] or {}, run["shim_end"] or {}
            row = {**container, "run": run["run"], "began": run["began"], **run["phases"]}
            row |= {"end": end.get("text"), "shim_end": shim_end.get("text")}
            row |= {"exit_status": end.get("exit_status"), "exit_signal": end.get("exit_signal")}
            for role in ("client", "daemon", "manager", "shim", "init"):
                row |= _ref(f"{role}_", run[role])
            yield row


def _behaviours(report: Json) -> Rows:
    for behaviour in report["behaviours"]:
        for occurrence in behaviour["occurrences"] or [{}]:
            row = {"behaviour": behaviour["id"], "group_verdict": behaviour["verdict"]}
            row |= {key: behaviour[key] for key in ("shape", "shim_version", "claim", "certainty")}
            row |= {key: occurrence.get(key) for key in ("ts_ns", "utc", "what", "why", "verdict")}
            row |= {"rel_s": _seconds(report, row["ts_ns"])}
            row |= _ref("subject_", occurrence.get("subject"))
            yield {**row, "container": occurrence.get("container_id")}


def _reparents(report: Json) -> Rows:
    for reparent in report["reparents"]:
        row = {**reparent, "rel_s": _seconds(report, reparent["ts_ns"])}
        for key in ("child", "from", "to"):
            row |= _ref(f"{key}_", reparent[key])
        yield row


def _connections(report: Json) -> Rows:
    for connection in report["control_path"]["connections"]:
        row = {**connection, "rel_s": _seconds(report, connection["first_ns"])}
        row["last_s"] = _seconds(report, connection["last_ns"])
        for key in ("from", "to"):
            row |= _ref(f"{key}_", connection[key])
            row |= {f"{key}_{field}": connection[f"{key}_end"][field] for field in ("tgid", "comm")}
        yield row


def _processes(report: Json) -> Rows:
    for process in report["processes"]:
        by = process["killed_by"] or {}
        row = {**process, "args": command_line(process["args"], 4096), "killed_by": by.get("kind")}
        row |= {"killer": (by.get("sender") or {}).get("id"), "killed_ns": by.get("ts_ns")}
        yield {**row, "fork_s": _seconds(report, process["fork_ns"])} | {
            "exit_s": _seconds(report, process["exit_ns"])
        }


def _parents(report: Json) -> Rows:
    for process in report["processes"]:
        for span in process["parents"]:
            yield {"id": process["id"], "tgid": process["tgid"], "comm": process["comm"], **span}


def _losses(report: Json) -> Rows:
    for window in report["losses"]["windows"]:
        times = {f"{key}_s": _seconds(report, window[f"{key}_ns"]) for key in ("from", "to")}
        yield {**window, **times}


_PHASES = ("client_ns", "shim_start_ns", "shim_ns", "create_ns", "create_exit_ns", "init_ns")
_PHASES_LATER = ("adoption_ns", "start_ns", "workload_ns", "exit_ns", "reap_ns", "shim_exit_ns")

REPORT_TABLES: dict[str, tuple[tuple[str, ...], Callable[[Json], Rows]]] = {
    "timeline": (
        (
            *_TIMES,
            "container",
            "kind",
            "text",
            "certainty",
            "main",
            "fold",
            "processes",
            "evidence",
        ),
        _timeline,
    ),
    "findings": (
        (
            *_TIMES,
            "severity",
            "kind",
            "text",
            "certainty",
            "container",
            "next",
            "processes",
            "evidence",
        ),
        _findings,
    ),
    "containers": (
        (
            "id",
            "name",
            "image",
            "runtime",
            "namespace",
            "run",
            "began",
            "end",
            "exit_status",
            "exit_signal",
            "shim_end",
            *_ref_columns("init_"),
            *_ref_columns("shim_"),
            *_ref_columns("client_"),
            *_ref_columns("daemon_"),
            *_ref_columns("manager_"),
            *_PHASES,
            *_PHASES_LATER,
        ),
        _containers,
    ),
    "behaviours": (
        (
            "behaviour",
            "group_verdict",
            "certainty",
            "shape",
            "shim_version",
            "claim",
            *_TIMES,
            "container",
            "verdict",
            "what",
            "why",
            *_ref_columns("subject_"),
        ),
        _behaviours,
    ),
    "connections": (
        (
            "rel_s",
            "last_s",
            "first_ns",
            "last_ns",
            *_ref_columns("from_"),
            "from_comm",
            *_ref_columns("to_"),
            "to_comm",
            "protocol",
            "socket",
            "looks",
            "at_end",
            "accepted",
        ),
        _connections,
    ),
    "reparents": (
        (
            "rel_s",
            "ts_ns",
            "until_ns",
            *_ref_columns("child_"),
            *_ref_columns("from_"),
            *_ref_columns("to_"),
            "reason",
            "certainty",
        ),
        _reparents,
    ),
    "processes": (
        (
            "id",
            "tgid",
            "start_ns",
            "comm",
            "role",
            "container",
            "filename",
            "args",
            "fork_s",
            "exit_s",
            "exit_status",
            "exit_signal",
            "killed_by",
            "killer",
            "killed_ns",
            "forker",
            "fork_ns",
            "exit_ns",
            "reap_ns",
            "gone_ns",
            "execs",
            "cgroup",
            "cgroup_v1",
            "ns_tgid",
            "pidns",
            "ns_init",
            "kthread",
            "stub",
        ),
        _processes,
    ),
    "parents": (
        ("id", "tgid", "comm", "parent", "from_ns", "until_ns", "how", "certainty"),
        _parents,
    ),
    "losses": (("from_s", "to_s", "from_ns", "to_ns", "cpu", "events", "details"), _losses),
}


# --- why ---------------------------------------------------------------------------------------


def _chain(why: Json) -> Rows:
    return (_step(why, step) for step in why["chain"])


def _people(key: str) -> Callable[[Json], Rows]:
    def rows(why: Json) -> Rows:
        for person in why[key]:
            end = person["end"]
            row = {**person, **_ref("", person["process"]), "end": end["text"]}
            row |= {"end_ns": end["ts_ns"], "end_s": _seconds(why, end["ts_ns"])}
            yield {**row, **_ref("adopted_by_", person.get("adopted_by"))}

    return rows


def _lineage(why: Json) -> Rows:
    for depth, person in enumerate(why["lineage"]):
        yield {"depth": depth, **person, **_ref("", person["process"])}


WHY_TABLES: dict[str, tuple[tuple[str, ...], Callable[[Json], Rows]]] = {
    "chain": ((*_TIMES, "kind", "text", "certainty", "processes", "evidence"), _chain),
    "lineage": (("depth", *_ref_columns(""), "unit", "command", "ended_ns"), _lineage),
    "died-with": ((*_ref_columns(""), "cause", "end", "end_s", "end_ns"), _people("died_with")),
    "survived": (
        (
            *_ref_columns(""),
            "reason",
            "certainty",
            *_ref_columns("adopted_by_"),
            "end",
            "end_s",
            "end_ns",
        ),
        _people("survived"),
    ),
}
