"""The recording itself in the report: where, when, how, how complete, and what it lacks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from analysis.clocks import Clocks, Reading
from analysis.columns import as_int, rows_of
from analysis.marks import Fired
from analysis.model import Capture
from analysis.table import Table

Json = dict[str, Any]

_HOST = (
    *("hostname", "kernel", "machine", "boot_id", "cpus", "pid_max"),
    *("os", "init", "cgroup"),
)
"""What is told of a host: None where the header does not say."""


def describe(
    capture: Capture,
    clocks: Clocks,
    triggers: list[Fired],
    ref: Callable[[int | None], Json | None],
) -> Json:
    """``capture`` of the report.

    Args:
        ref: gives the reference to a process.
    """
    table = capture.table
    header, trailer = table.header, table.trailer or {}
    host, segment = _dict(header.get("host")), _dict(header.get("segment"))
    phases = {snapshot.phase for snapshot in table.snapshots}
    started_ns = table.started_ns
    began_ns = as_int(segment.get("began_ns")) if segment else started_ns
    last_ns = max(table.last_ns, started_ns)
    status = trailer.get("command_status")
    return {
        "rtrace": _text(header.get("rtrace")),
        "host": dict.fromkeys(_HOST) | {k: v for k, v in host.items() if _is_plain(v)},
        "kernel": _text(host.get("kernel")),
        "runtimes": _runtimes(table),
        "engine": _text(header.get("engine")),
        "confirm": _text(header.get("confirm")),
        "argv": [str(word) for word in _list(header.get("argv"))],
        "filter": _dict(header.get("filter")) or None,
        "no_args": header.get("no_args") is True,
        "started": {
            "boot_ns": started_ns,
            "wall_ns": clocks.readings[0].wall_ns,
            "utc": clocks.utc(started_ns),
        },
        "recording_began_ns": began_ns,
        "recording_began_utc": clocks.utc(began_ns),
        "kept_from_ns": table.kept_from_ns,
        "events_dropped": as_int(segment.get("events_before")),
        "max_bytes": as_int(header.get("max_bytes")) or None,
        "trigger_words": [str(word) for word in _list(header.get("triggers"))],
        "triggers": [_trigger(fired, clocks, ref) for fired in triggers],
        "clocks": [_reading(reading) for reading in clocks.readings],
        "ended_ns": last_ns,
        "duration_ns": last_ns - started_ns,
        "events": table.events,
        "details": len(table.detail_rows),
        "processes": len(capture.scene.ids),
        "complete": table.complete,
        "damage": table.damage,
        "reason": _text(trailer.get("reason")),
        "command_status": status if isinstance(status, int) else None,
        "snapshots": {
            "start": "start" in phases,
            "end": "end" in phases,
            "count": len(table.snapshots),
        },
        "problems": _problems(table),
    }


def describe_losses(table: Table) -> Json:
    """``losses`` of the report."""
    names = ("from_ns", "to_ns", "cpu", "events", "details")
    windows = [dict(zip(names, row, strict=True)) for row in rows_of(table.losses, names)]
    for window in windows:
        window["from_ns"] = max(window["from_ns"], table.kept_from_ns)
    return {
        "events": sum(window["events"] for window in windows),
        "details": sum(window["details"] for window in windows),
        "windows": windows,
    }


def _runtimes(table: Table) -> list[Json]:
    """Runtimes that the recorder found; a later fact of the same one replaces an earlier."""
    found: dict[tuple[Any, ...], Json] = {}
    for fact in table.facts:
        name = fact.get("name")
        if fact.get("kind") != "runtime" or not isinstance(name, str):
            continue
        plain = {k: v for k, v in fact.items() if k != "kind" and _is_plain(v)}
        known = {"name": name, "version": None} | plain
        found[name, str(fact.get("tgid")), str(fact.get("start_ns"))] = known
    return list(found.values())


def _problems(table: Table) -> list[str]:
    """Each once: the segments of a bounded recording repeat them."""
    found = (str(fact.get("what")) for fact in table.facts if fact.get("kind") == "problem")
    return list(dict.fromkeys(found))


def _trigger(fired: Fired, clocks: Clocks, ref: Callable[[int | None], Json | None]) -> Json:
    return {
        "trigger": fired.trigger,
        "at_ns": fired.at_ns,
        "utc": clocks.utc(fired.at_ns),
        "process": ref(fired.pos),
        "what": fired.what,
        "saved": fired.saved,
    }


def _reading(reading: Reading) -> Json:
    return {
        "boot_ns": reading.boot_ns,
        "wall_ns": reading.wall_ns,
        "set_ns": reading.set_ns,
        "suspended_ns": reading.suspended_ns,
    }


def _dict(value: object) -> Json:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _is_plain(value: object) -> bool:
    return value is None or isinstance(value, (str, int, bool))
