"""The state of a recording at one moment, as the report of it tells it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from analysis.model import Capture
from analysis.render_text import ref_text
from analysis.render_timeline import Timelines
from analysis.render_why import render_why
from analysis.report import build_report
from analysis.table import from_chunks
from analysis.text_page import Page, bounded_width
from analysis.why.answer import build_why
from screen.follow import Follower, Part
from screen.link import Look
from tracer.errors import RtraceError
from tracer.text import printable

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Picture:
    """What is known at a moment.

    Attributes:
        report: as `rtrace report --format json` has it, of the capture up to here.
        as_of_ns: that moment, boot time.
        left_out: older events that it does not tell of, since there are too many.
    """

    capture: Capture
    report: Json
    as_of_ns: int
    left_out: int

    @property
    def from_ns(self) -> int:
        """Since when it tells what happened, boot time."""
        return int(self.report["capture"]["kept_from_ns"])

    def wall_s(self, ts_ns: int) -> float:
        """A boot time on the wall clock, seconds since 1970."""
        reading: Json = self.report["capture"]["clocks"][-1]
        for found in self.report["capture"]["clocks"]:
            if found["boot_ns"] <= ts_ns:
                reading = found
        return float(reading["wall_ns"] + ts_ns - reading["boot_ns"]) / 1e9

    def tgids_of(self, containers: Iterable[str]) -> set[int]:
        """Processes that are in containers, or serve them."""
        scene = self.capture.scene
        wanted = set(containers)
        numbers = [n for n, id_ in enumerate(scene.membership.ids) if id_ in wanted]
        inside, serves = scene.membership.inside, scene.membership.serves
        return set(scene.tgid[np.isin(inside, numbers) | np.isin(serves, numbers)].tolist())

    # --- stories -------------------------------------------------------------------------------

    def tell(self, kind: str, key: str, width: int) -> str:
        """What is known of a row: its story, in lines that are harmless to print.

        Args:
            kind: of the row: "daemon", "container", "finding".
            key: id of the process or container, or number of the finding in the report.
            width: columns.
        """
        if kind == "finding":
            return self._finding(self.report["findings"][int(key)], width)
        if kind == "container":
            return f"{self._why(key, width)}\n{self._timeline(key, width)}"
        return self._why(key, width)

    def _why(self, target: str, width: int) -> str:
        try:
            return render_why(build_why(self.capture, target), width=width, color=False)
        except RtraceError as error:
            return f"{printable(str(error))}\n"

    def _timeline(self, id_: str, width: int) -> str:
        container = next(c for c in self.report["containers"] if c["id"] == id_)
        page = self._page(width)
        page.put("TIMELINE")
        times = Timelines(page, self.report, unfold=False, full=False, times="auto")
        times.container(container)
        return page.text()

    def _finding(self, finding: Json, width: int) -> str:
        page = self._page(width)
        page.put(f"{finding['severity']} {finding['kind']}, certainty: {finding['certainty']}")
        page.put(printable(finding["text"]))
        if finding["next"]:
            page.put(printable(finding["next"]), first="next: ")
        if finding["processes"]:
            refs = {p["id"]: p for p in self.report["processes"]}
            names = [_name(refs.get(id_), id_) for id_ in finding["processes"]]
            page.put(", ".join(names), first="about: ")
        for cited in finding["evidence"]:
            page.put(f"{page.since(cited['ts_ns'])}  {cited['event']} {cited['id']}", first="  ")
        text = page.text()
        target = (finding["processes"] or [finding["container"]])[0]
        return text if target is None else f"{text}\n{self._why(target, width)}"

    def _page(self, width: int) -> Page:
        started = self.report["capture"]["started"]["boot_ns"]
        return Page(started, bounded_width(width), color=False)


def _name(process: Json | None, id_: str) -> str:
    if process is None:
        return id_
    return ref_text({"name": process["comm"], "tgid": process["tgid"]})


def take_picture(follower: Follower, look: Look) -> Picture:
    """The state at a look.

    Raises:
        DamageError, CaptureError, OSError: the recording cannot be read.
    """
    part: Part = follower.newest(look)
    capture = Capture(from_chunks(part, part.chunks()))
    report = build_report(capture, every_process=False)
    return Picture(capture, report, capture.table.last_ns, part.left_out)
