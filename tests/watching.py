"""Shows a capture's chunks to a TriggerWatch, as the recorder shows it what it records."""

from __future__ import annotations

import json
from collections.abc import Iterable

from tracer.capture_format import DETAILS, EVENT_STRIDE, EVENTS, PROCESSES
from tracer.triggers import Hit, TriggerWatch


def show(
    watch: TriggerWatch, chunks: Iterable[tuple[bytes, bytes]], *, at_once: int = 1 << 30
) -> list[Hit]:
    """Hits, in order. A chunk of events waits for the details that were drained with it.

    Args:
        at_once: how many events the watch gets to see in one batch.
    """
    hits: list[Hit] = []
    waiting = b""

    def show_events() -> None:
        for begin in range(0, len(waiting), at_once * EVENT_STRIDE):
            hits.extend(watch.look_at_events(waiting[begin : begin + at_once * EVENT_STRIDE]))

    for kind, content in chunks:
        if kind == PROCESSES:
            for process in json.loads(content)["processes"]:
                watch.look_at_process(process)
        elif kind == DETAILS:
            watch.look_at_details(content)
        if kind in (EVENTS, DETAILS):
            show_events()
            waiting = content if kind == EVENTS else b""
    show_events()
    return hits
