"""Makes the parts of a ticket: narrowed, redacted, and not larger than trackers take.

Everything that can be read is made of the redacted capture, never of the one given.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from analysis.html.report_page import render_report_page
from analysis.html.stories import choose_targets
from analysis.model import Capture, open_capture
from analysis.redaction.rewrite import observe, rewrite
from analysis.redaction.scrubber import MODES, Scrubber
from analysis.redaction.vault import KINDS
from analysis.references import Json
from analysis.report import build_report
from analysis.ticket.choose import STEPS, Wanted, choose
from analysis.ticket.summary import render_summary
from analysis.why.answer import build_why
from tracer.capture_reader import CaptureReader

CAPTURE, SUMMARY, PICTURE, PAGE = "capture.rtrace", "summary.md", "timeline.png", "report.html"
_ANSWERS = 8
_ROOM = 64 << 10  # of the archive itself, and of the summary

Progress = Callable[[str, float], None]


@dataclass
class Ticket:
    """What a ticket holds.

    Attributes:
        files: paths of its parts, by their names in the archive; in order.
        redacted: of each kind of `KINDS` (different ones, places).
        redacted_before: how, if the capture given had been redacted already.
        forgotten: secrets that were replaced only where they are known to be such; see `Vault`.
        left_out: sentences.
        events, processes: of its capture.
    """

    files: dict[str, str] = field(default_factory=dict)
    redacted: dict[str, tuple[int, int]] = field(default_factory=dict)
    redacted_before: str | None = None
    forgotten: int = 0
    left_out: list[str] = field(default_factory=list)
    events: int = 0
    processes: int = 0


def build_ticket(
    path: str,
    folder: str,
    wanted: Callable[[Capture], Wanted],
    *,
    redact: str,
    limit: int,
    summary_only: bool = False,
    on_progress: Progress | None = None,
) -> Ticket:
    """Makes the parts of a ticket in a folder.

    Args:
        path: the capture.
        wanted: given the capture, what the ticket is to be about.
        redact: "default", "strict" or "none".
        limit: bytes of the archive.
        summary_only: make no other part.

    Raises:
        CaptureError: no capture; no container, or several, match.
    """
    builder = _Builder(path, folder, redact, limit, on_progress or (lambda what, share: None))
    return builder.build(wanted, summary_only)


class _Builder:
    def __init__(
        self, path: str, folder: str, redact: str, limit: int, on_progress: Progress
    ) -> None:
        self.path, self.folder, self.limit = path, folder, limit
        self.redact, self.on_progress = redact, on_progress
        self.scrubber = None if redact == "none" else Scrubber(strict=redact == "strict")
        self.ticket = Ticket()

    def build(self, wanted: Callable[[Capture], Wanted], summary_only: bool) -> Ticket:
        original = open_capture(self.path, self.on_progress)
        asked = wanted(original)
        before = original.table.header.get("redaction")
        if before in MODES and before != "none":
            self.ticket.redacted_before = before
        report = _report(original, asked, every=False)
        if self.scrubber is not None:
            with CaptureReader(self.path) as reader:
                observe(reader, self.scrubber, self._share_of("looking for what is to be hidden"))
        step = self._write_capture(original, report, asked, summary_only, 0)
        del original
        redacted, whys = self._write_others(report, asked, summary_only)
        while not summary_only and step + 1 < len(STEPS) and not self._may_fit():
            # The capture alone had fitted. Rare: so it is read again, and not kept until here.
            original = open_capture(self.path, self.on_progress)
            step = self._write_capture(original, report, asked, summary_only, step + 1)
            del original
            redacted, whys = self._write_others(report, asked, summary_only)
        if not summary_only:
            self._fit()
        summary = render_summary(redacted, whys[:_ANSWERS], self._notes(asked, step))
        self._write(SUMMARY, summary)
        if summary_only:
            del self.ticket.files[CAPTURE]
        order = (SUMMARY, PICTURE, PAGE, CAPTURE)
        files = self.ticket.files
        self.ticket.files = {name: files[name] for name in order if name in files}
        return self.ticket

    def _write_others(
        self, report: Json, asked: Wanted, summary_only: bool
    ) -> tuple[Json, list[Json]]:
        """Writes what is made of the redacted capture; gives its report and answers of `why`."""
        self.on_progress("reading the redacted capture", 0.0)
        capture = open_capture(self._place(CAPTURE))
        # Who was asked for is in it under another name, perhaps: by id it is the same.
        container = report["selection"]["container"]
        container = self._renamed(container) if container is not None else None
        redacted = _report(capture, Wanted(container, asked.since_ns, asked.until_ns), every=True)
        self.ticket.events = capture.table.events
        self.ticket.processes = len(capture.scene.ids)
        self._count()
        whys = [build_why(capture, id_) for id_ in choose_targets(redacted)]
        if not summary_only:
            self._draw(redacted)
            self._write(PAGE, render_report_page(redacted, whys))
        return redacted, whys

    def _share_of(self, what: str) -> Callable[[float], None]:
        return lambda share: self.on_progress(what, share)

    def _renamed(self, container: str) -> str:
        return container if self.scrubber is None else self.scrubber.scrub_text(container)

    def _write_capture(
        self, original: Capture, report: Json, asked: Wanted, summary_only: bool, first: int
    ) -> int:
        """Writes the narrowed and redacted capture, of as much as fits; the number of the step."""
        self.ticket.left_out.clear()
        for step, what in list(enumerate(STEPS))[first:]:
            last = step == len(STEPS) - 1 or summary_only
            limit = None if last else self.limit - _ROOM
            keep = choose(original, report, asked, step)
            if self.scrubber is not None:
                self.scrubber.restart()
            marks: dict[str, Any] = {"redaction": self._redaction()}
            if keep is not None:
                filtered = original.table.header.get("filter") or {"kind": "ticket"}
                marks["filter"] = {**self._plain(filtered), "ticket": STEPS[step]}
            with CaptureReader(self.path) as reader, open(self._place(CAPTURE), "wb") as file:
                made = rewrite(
                    reader, file, scrubber=self.scrubber, keep=keep, marks=marks, limit=limit,
                    on_progress=self._share_of(f"writing the capture: {what}"),
                )  # fmt: skip
            if not made.too_large:
                break
        self.ticket.files[CAPTURE] = self._place(CAPTURE)
        if keep is not None:
            known = len(original.scene.ids)
            self.ticket.left_out.append(
                f"{known - len(keep):,} of {known:,} processes, as the ticket is not about them"
            )
        if step:
            self.ticket.left_out.append(f"to stay small the capture is {what}")
        return step

    def _redaction(self) -> str:
        """What is hidden in the end: as much as before at least."""
        levels = ("none", "default", "strict")
        return max(self.redact, self.ticket.redacted_before or "none", key=levels.index)

    def _plain(self, known: Json) -> Json:
        if self.scrubber is None:
            return known
        done: Json = self.scrubber.scrub_value(known)
        return done

    def _count(self) -> None:
        if self.scrubber is None:
            return
        self.ticket.redacted.clear()
        vault = self.scrubber.vault
        distinct = vault.distinct()
        for kind in KINDS:
            if vault.replaced[kind]:
                self.ticket.redacted[kind] = distinct[kind], vault.replaced[kind]
        self.ticket.forgotten = vault.forgotten

    def _draw(self, report: Json) -> None:
        # Takes a third of a second: for those who want a picture only.
        from analysis.ticket.picture import draw_timeline

        with open(self._place(PICTURE), "wb") as file:
            draw_timeline(report, file)
        self.ticket.files[PICTURE] = self._place(PICTURE)

    def _fit(self) -> None:
        """Leaves out the page, then the capture, the picture, if the archive would be too large."""
        for name in (PAGE, CAPTURE, PICTURE):
            if sum(self._sizes().values()) <= self.limit - _ROOM:
                return
            del self.ticket.files[name]
            self.ticket.left_out.append(f"{name}: the archive would be larger than allowed")

    def _may_fit(self) -> bool:
        """Whether all fits: but for a page that takes half of what is allowed, which goes sooner
        than processes do."""
        sizes, room = self._sizes(), self.limit - _ROOM
        if sizes[PAGE] > room // 2:
            del sizes[PAGE]
        return sum(sizes.values()) <= room

    def _sizes(self) -> dict[str, int]:
        """Of the parts in the archive, about: the page is compressed there."""
        sizes = {name: os.path.getsize(path) for name, path in self.ticket.files.items()}
        if PAGE in sizes:
            with open(self.ticket.files[PAGE], "rb") as file:
                sizes[PAGE] = len(zlib.compress(file.read(), 6))
        return sizes

    def _notes(self, asked: Wanted, step: int) -> list[str]:
        """What the ticket holds, in sentences."""
        events, processes = self.ticket.events, self.ticket.processes
        notes = [
            f"Made by `rtrace ticket`. capture.rtrace holds {events:,} events of {processes:,} "
            "processes: read it, or the whole archive, with `rtrace report` and `rtrace why`."
        ]
        if asked.container is not None or asked.since_ns or asked.until_ns:
            notes.append(
                "It is narrowed to what the ticket is about, with the daemons, all ancestors, and "
                "whoever sent signals."
            )
        notes += [f"Left out: {sentence}." for sentence in self.ticket.left_out]
        notes += [f"Redacted ({self.redact}): {line}." for line in redaction_lines(self.ticket)]
        if self.ticket.redacted_before is not None:
            notes.append(f"{capture_was(self.ticket.redacted_before).capitalize()}.")
        elif self.redact == "none":
            notes.append("Nothing is redacted.")
        return notes

    def _place(self, name: str) -> str:
        return os.path.join(self.folder, name)

    def _write(self, name: str, text: str) -> None:
        with open(self._place(name), "w", encoding="utf-8") as file:
            file.write(text)
        self.ticket.files[name] = self._place(name)


def capture_was(before: str) -> str:
    """That the capture was redacted when it was given, in words."""
    return f"the capture had been redacted before ({before})"


def redaction_lines(ticket: Ticket) -> Sequence[str]:
    """What was redacted, by kind and count."""
    lines = [
        f"{KINDS[kind]}: {distinct:,} different, in {places:,} places"
        for kind, (distinct, places) in ticket.redacted.items()
    ]
    if ticket.forgotten:
        lines.append(
            f"only where they are known to be secrets, as there are too many: {ticket.forgotten:,}"
        )
    return lines


def _report(capture: Capture, wanted: Wanted, *, every: bool) -> Json:
    return build_report(
        capture,
        container=wanted.container,
        since_ns=wanted.since_ns,
        until_ns=wanted.until_ns,
        every_process=every,
    )
