"""A capture of a part: what `rtrace ticket` would hold of it, nothing hidden."""

from __future__ import annotations

from collections.abc import Callable

from analysis.model import open_capture
from analysis.redaction.rewrite import rewrite
from analysis.report import build_report
from analysis.ticket.choose import STEPS, Wanted, choose
from tracer.capture_reader import CaptureReader


def narrow(
    path: str,
    target: str,
    container: str | None,
    since_s: float | None,
    until_s: float | None,
    on_progress: Callable[[str, float], None] | None = None,
) -> None:
    """Writes the capture of those processes to ``target``.

    Args:
        container: name, id or start of an id.
        since_s, until_s: seconds after the start.

    Raises:
        CaptureError: no capture; no container, or several, match.
    """
    capture = open_capture(path, on_progress)
    start_ns = capture.table.started_ns
    since_ns, until_ns = (
        None if offset_s is None else start_ns + int(offset_s * 1e9)
        for offset_s in (since_s, until_s)
    )
    report = build_report(capture, container=container, since_ns=since_ns, until_ns=until_ns)
    keep = choose(capture, report, Wanted(container, since_ns, until_ns), 0)
    known = capture.table.header.get("filter") or {"kind": "ticket"}
    marks = {"filter": {**known, "ticket": STEPS[0]}}
    with CaptureReader(path) as reader, open(target, "wb") as file:
        rewrite(reader, file, scrubber=None, keep=keep, marks=marks)
