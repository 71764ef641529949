"""The answer to `rtrace why` as text, made of its JSON.

Fits 80 columns and uses more where there are. What comes from the capture goes through `printable`.
"""

from __future__ import annotations

from typing import Any

from analysis.render_text import ref_text
from analysis.text_layout import wrap
from analysis.text_page import BOLD, CLOCK, DIM, INDENT, RED, WIDE, YELLOW, Page, bounded_width
from analysis.text_safety import width as columns_of
from tracer.text import printable

Json = dict[str, Any]

_LISTED = 20
_COLORS = {"predicted": YELLOW, "inferred": YELLOW, "unknown": RED}
_HOW = {
    "pid-namespace-end": "with its pid namespace",
    "parent-death": "by its parent-death signal",
    "same-sender": "by the same sender",
    "oom": "as memory had run out",
}


def render_why(why: Json, *, width: int, color: bool, full: bool = False) -> str:
    """Answer as text, ended by a newline.

    Args:
        why: what `build_why` gave.
        width: columns of the terminal.
        color: with terminal colours.
        full: list everybody who died or survived, however many.
    """
    return _Text(why, bounded_width(width), color, full).render()


class _Text:
    def __init__(self, why: Json, width: int, color: bool, full: bool) -> None:
        self.why, self.full = why, full
        self.page = Page(why["capture"]["started"]["boot_ns"], width, color)
        times = [self.page.since(step["ts_ns"]) for step in why["chain"]]
        self.time = max(map(len, times), default=9) + 2

    def render(self) -> str:
        self._warnings()
        answer = self.why["answer"]
        codes = (BOLD,) if answer["certainty"] != "unknown" else (BOLD, RED)
        self.page.put(printable(answer["text"]), *codes)
        self.page.put(f"certainty: {answer['certainty']}", *self._codes(answer["certainty"]))
        self._runs()
        self._chain()
        self._lineage()
        self._people("DIED WITH IT", self.why["died_with"], self._victim)
        self._people("LIVED ON", self.why["survived"], self._survivor)
        self._missing()
        return self.page.text()

    def _codes(self, certainty: str | None) -> tuple[str, ...]:
        return (_COLORS[certainty],) if certainty in _COLORS else ()

    # --- parts ---------------------------------------------------------------------------------

    def _warnings(self) -> None:
        """What the reader must know before believing the answer."""
        capture, losses = self.why["capture"], self.why["losses"]
        if capture["damage"] or not capture["complete"]:
            what = printable(capture["damage"] or "the capture has no trailer")
            self.page.put(f"CUT: {what}. What came later is not in it.", BOLD, RED)
        if losses["events"]:
            count = f"{losses['events']:,} event{'' if losses['events'] == 1 else 's'}"
            touch = "see the end" if losses["touch"] else "nothing that touches this"
            self.page.put(f"LOST while recording: {count}, {touch}", BOLD, RED)
        if self.page.lines:
            self.page.lines.append("")

    def _runs(self) -> None:
        """Other runs of the container: each has an end of its own."""
        container = self.why["target"]["container"]
        runs = container["runs"] if container else []
        for run in runs if len(runs) > 1 else []:
            if run["run"] == self.why["target"]["run"] or run["init"] is None:
                continue
            end = printable(run["end"]["text"]) if run["end"] else "its end was not seen"
            ref = run["init"]
            text = f"run {run['run']}: {ref_text(ref)} {end} (`rtrace why ... {ref['id']}`)"
            self.page.put(text, DIM)

    def _chain(self) -> None:
        if not self.why["chain"]:
            return
        self.page.title("HOW IT CAME TO THAT")
        wide = self.page.width >= WIDE
        for step in self.why["chain"]:
            lead = f"{INDENT}{self.page.since(step['ts_ns']):<{self.time}}"
            if wide:
                lead += f"{(step['utc'] or '')[11:23]:<{CLOCK}}"
            text = printable(step["text"])
            if step["certainty"] != "confirmed":
                text = f"{text} [{step['certainty']}]"
            self.page.put(text, *self._codes(step["certainty"]), first=lead, dim=True)

    def _lineage(self) -> None:
        people, target = self.why["lineage"], self.why["target"]["process"]
        if not people or people[0]["process"] == target:
            return  # it ended by itself
        self.page.title("WHO STARTED WHOM, UP FROM WHERE THE CHAIN BEGINS")
        for depth, person in enumerate(people):
            text = ref_text(person["process"])
            if person["unit"]:
                text += f", unit {printable(person['unit'])}"
            if person["ended_ns"] is not None:
                text += f", ended {self.page.since(person['ended_ns'])}"
            if person["command"]:
                text += f": {printable(person['command'])}"
            lead = INDENT + INDENT * min(depth, 8)
            lines = wrap(text, self.page.width - columns_of(lead) - len("..."))
            self.page.put(lines[0] + "..." * (len(lines) > 1), first=lead, dim=True)

    def _people(self, title: str, people: list[Json], line: Any) -> None:
        if not people:
            return
        self.page.title(f"{title}: {len(people)}")
        shown = people if self.full else people[:_LISTED]
        for person in shown:
            self.page.put(line(person), first=INDENT)
        if len(shown) < len(people):
            more = len(people) - len(shown)
            self.page.put(f"and {more} more: --all lists them", first=INDENT)

    def _victim(self, person: Json) -> str:
        when = person["end"]["ts_ns"]
        text = f"{ref_text(person['process'])} {_HOW[person['cause']]}"
        return text if when is None else f"{text}, {self.page.since(when)}"

    def _survivor(self, person: Json) -> str:
        text = ref_text(person["process"])
        if person["reason"] is not None:
            by = person["adopted_by"]
            text += f", adopted by {ref_text(by)}" if by else ", adopted by nobody known"
            text += f" ({person['reason']}, {person['certainty']})"
        return f"{text}: {printable(person['end']['text'])}"

    def _missing(self) -> None:
        if not self.why["missing"]:
            return
        self.page.title("WHAT THE CAPTURE CANNOT TELL")
        for sentence in self.why["missing"]:
            self.page.put(printable(sentence), YELLOW, first=f"{INDENT}- ")
