"""What every export says of the capture that it was made of."""

from __future__ import annotations

from typing import Any

from analysis.clocks import Clocks
from analysis.columns import as_int
from analysis.export import SCHEMA
from analysis.export.overview import Overview
from analysis.table import Table

_PLAIN = (str, int, float, bool)


def describe(read: Overview | Table) -> dict[str, Any]:
    """Documented in docs/export.md; values from the header are plain, others are left out."""
    header, trailer, clocks = read.header, read.trailer or {}, Clocks(read)
    host = header.get("host")
    host = host if isinstance(host, dict) else {}
    started_ns = as_int(_dict(header.get("clock")).get("boot_ns"))
    return {
        "export_schema": SCHEMA,
        "recorded_by": _text(header.get("rtrace")),
        "engine": _text(header.get("engine")),
        "host": {key: value for key, value in host.items() if isinstance(value, _PLAIN)},
        "started_ns": started_ns,
        "started_wall": clocks.utc(started_ns),
        "ended_ns": as_int(trailer.get("ts_ns")) or None,
        "ended_wall": clocks.utc(as_int(trailer.get("ts_ns"))) if trailer else None,
        "events": read.events,
        "complete": read.complete,
        "damage": read.damage,
        "lost_events": int(read.losses["events"].sum()),
        "lost_details": int(read.losses["details"].sum()),
        "redaction": _text(header.get("redaction")),
        "filter": _dict(header.get("filter")) or None,
    }


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _dict(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
