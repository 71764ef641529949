"""Redacts captures in tests, and says what the analysis finds in them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from analysis.model import open_capture
from analysis.redaction.keep import Keep
from analysis.redaction.rewrite import observe, rewrite
from analysis.redaction.scrubber import Scrubber
from analysis.report import build_report
from tracer.capture_reader import CaptureReader


def redact(path: Path, *, mode: str = "default", keep: Keep | None = None) -> tuple[Path, Scrubber]:
    """The redacted capture, beside the one given, and what redacted it."""
    scrubber = Scrubber(strict=mode == "strict")
    target = path.with_suffix(f".{mode}.rtrace")
    with CaptureReader(path) as reader, open(target, "wb") as file:
        observe(reader, scrubber)
        rewrite(reader, file, scrubber=scrubber, keep=keep)
    return target, scrubber


def structure(path: Path) -> dict[str, Any]:
    """What a report says without its texts: who was what, whose child, ended how, found what."""
    built = build_report(open_capture(path))
    seen: dict[str, int] = {}

    def known(id_: str | None) -> str | int | None:
        """ctr's ids are names that somebody gave: strict hides them too."""
        return id_ if id_ is None or len(id_) == 64 else seen.setdefault(id_, len(seen))

    return {
        "events": built["capture"]["events"],
        "complete": built["capture"]["complete"],
        "losses": built["losses"],
        "findings": [
            (
                f["kind"],
                f["severity"],
                f["certainty"],
                f["ts_ns"],
                known(f["container"]),
                f["processes"],
            )
            for f in built["findings"]
        ],
        "processes": [
            (p["id"], p["role"], known(p["container"]), len(p["args"]), p["parents"], p["exec_ns"])
            for p in built["processes"]
        ],
        "reparents": [
            (r["ts_ns"], r["reason"], r["certainty"], _id(r["child"]), _id(r["from"]), _id(r["to"]))
            for r in built["reparents"]
        ],
        "containers": [
            (
                known(c["id"]),
                c["runtime"],
                c["phases"],
                c["end"]["how"],
                _id(c["client"]),
                _id(c["shim"]),
            )
            for c in built["containers"]
        ],
        "timeline": [(step["ts_ns"], known(step["container"])) for step in built["timeline"]],
        "behaviours": [(b["id"], b["verdict"], b["shape"]) for b in built["behaviours"]],
    }


def _id(reference: dict[str, Any] | None) -> str | None:
    return None if reference is None else f"{reference['tgid']}:{reference['start_ns']}"
