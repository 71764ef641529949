"""Timelines in the text report: of the host, and of each container."""

from __future__ import annotations

import bisect
from collections import Counter
from typing import Any

from analysis.text_layout import count
from analysis.text_page import CLOCK, DIM, GREEN, INDENT, RED, WIDE, YELLOW, Page
from tracer.text import printable

Json = dict[str, Any]

# How times are told: seconds since the start, the wall clock, both, or both where there is room.
TIMES = ("auto", "relative", "utc", "both")
# Adoptions between processes of one container that are told one by one, unless all are asked for.
TOLD = 100
# Steps of the host, likewise: the first and the last of them.
LISTED = 300
_HOST_MARKS = ("trigger", "suspend", "clock")
_DAEMON_ROOM = 12
_NAMED = 6  # names of processes that no step is about


class Timelines:
    """Puts timelines on a page.

    Args:
        unfold: tell each step of what is folded.
        full: leave out none, however many there are.
        times: one of TIMES.
    """

    def __init__(self, page: Page, report: Json, *, unfold: bool, full: bool, times: str) -> None:
        self.page, self.report, self.full = page, report, full
        self.unfold = unfold or full
        self.entries = [e for e in report["timeline"] if self._is_shown(e)]
        self._steps: dict[str | None, list[int]] = {}
        for i, entry in enumerate(self.entries):
            self._steps.setdefault(entry["container"], []).append(i)
        self._others: dict[str | None, list[Json]] = {}
        for untold in report["untold"]:
            self._others.setdefault(untold["container"], []).append(untold)
        # What may concern any container.
        concerns = (*_HOST_MARKS, "daemon")
        of_host = self._steps.get(None, [])
        self._of_all = [i for i in of_host if self.entries[i]["kind"] in concerns]
        self.names = {c["id"]: printable(c["name"] or c["id"][:12]) for c in report["containers"]}
        moments = [e["ts_ns"] for key in ("timeline", "reparents") for e in report[key]]
        self.since_room = max((len(page.since(ts_ns)) for ts_ns in moments), default=9) + 2
        self.clock = times in ("utc", "both") or (times == "auto" and page.width >= WIDE)
        self.clock &= any(e["utc"] for e in report["timeline"])
        self.relative = times != "utc" or not self.clock

    def _is_shown(self, entry: Json) -> bool:
        folded = entry["fold"] is not None
        return not folded or (entry["kind"] != "fold") == self.unfold

    # --- the host ------------------------------------------------------------------------------

    def host(self) -> None:
        """Daemons, and what happened to them, with the main steps of the containers in between;
        nothing if nothing happened but to containers."""
        own = {e["kind"] for e in self.entries if e["container"] is None}
        if own <= {*_HOST_MARKS, "runc", "fold"} and self.report["containers"]:
            return
        told = [e for e in self.entries if e["container"] is None or e["main"]]
        if self.report["selection"]["container"] and self.report["containers"]:
            told = []  # its own timeline has them
        if not told and not self.report["daemons"]:
            return
        self.page.title("HOST")
        self._daemons()
        if told:
            self.page.put("")
            self._head(told)
        shown = told if self.full or len(told) <= LISTED else told[: LISTED // 2]
        for entry in shown:
            self._entry(entry, self.names.get(entry["container"]))
        if len(shown) < len(told):
            left = len(told) - 2 * (LISTED // 2)
            self.page.put(f"{count(left, 'more step')}: `rtrace report --all`", first=INDENT)
            for entry in told[-(LISTED // 2) :]:
                self._entry(entry, self.names.get(entry["container"]))
        self._untold(None)

    def _daemons(self) -> None:
        """Daemons of a kind below each other, in the order in which they came."""
        last = ""
        kinds: dict[str, list[Json]] = {}
        for daemon in self.report["daemons"]:
            kind = daemon["process"]["role"].removesuffix("-managed")
            kinds.setdefault(kind, []).append(daemon)
        for name, daemon in ((kind, d) for kind, found in kinds.items() for d in found):
            lead = name if name != last else ""
            last = name
            end = daemon["end"]
            color = (RED,) if end["how"] == "killed" else ()
            lead = f"{INDENT}{lead:<{_DAEMON_ROOM}}"
            self.page.put(self._daemon_text(daemon), *color, first=lead)

    def _daemon_text(self, daemon: Json) -> str:
        process, former = daemon["process"], daemon["former"]
        text = f"{printable(process['name']) or '?'} ({process['tgid']})"
        if daemon["unit"]:
            text += f", {printable(daemon['unit'])}"
        if process["role"] == "containerd-managed":
            text += ", started by dockerd"
        if process["container"]:
            where = printable(process["container"][:12])
            text += f", in container {self.names.get(process['container'], where)}"
        if daemon["began_ns"] is not None:
            text += f", since {self.page.since(daemon['began_ns'])}"
        if former is not None:
            text += f", after {printable(former['name'])} ({former['tgid']})"
        end = daemon["end"]
        at = f" at {self.page.since(end['ts_ns'])}" if end["ts_ns"] is not None else ""
        return f"{text}: {printable(end['text'])}{at}"

    # --- a container ---------------------------------------------------------------------------

    def container(self, container: Json) -> None:
        """Steps of a container, and what happened to the host and its daemons in between."""
        entries = self._entries_of(container)
        self._head(entries)
        orphans = 0
        for entry in entries:
            orphans += entry["kind"] == "orphan"
            if entry["kind"] != "orphan" or orphans <= TOLD or self.full:
                self._entry(entry)
        if orphans > TOLD and not self.full:
            text = f"{orphans - TOLD} more adoptions in the container: `rtrace report --all`"
            self.page.put(text, first=INDENT)
        self._untold(container["id"])

    def _entries_of(self, container: Json) -> list[Json]:
        own = self._steps.get(container["id"], [])
        if not own:
            return []
        entries, daemons = self.entries, set(container["daemons"])
        # What a step of the container's own tells of a daemon's end is not told again.
        told = {_key(cited) for i in own for cited in _exits(entries[i])}
        host = self._of_all
        between = host[bisect.bisect(host, own[0]) : bisect.bisect(host, own[-1])]
        for i in between:
            entry = entries[i]
            mine = entry["kind"] in _HOST_MARKS or not daemons.isdisjoint(entry["processes"])
            if mine and told.isdisjoint(_key(cited) for cited in _exits(entry)):
                own = [*own, i]
        return [entries[i] for i in sorted(own)]

    # --- lines ---------------------------------------------------------------------------------

    def _head(self, entries: list[Json]) -> None:
        head, what = INDENT, "what happened"
        if self.relative:
            head += f"{'seconds':<{self.since_room}}"
        if self.clock:
            head += f"{'UTC':<{CLOCK}}"
        elif entries and entries[0]["utc"]:
            what += f" (the first at {entries[0]['utc'][11:23]} UTC)"
        if any(e["kind"] == "fold" for e in entries):
            what += "; --unfold tells what is folded"
        self.page.put(what, DIM, first=head, dim=True)

    def _entry(self, entry: Json, name: str | None = None) -> None:
        text = printable(entry["text"])
        codes: tuple[str, ...] = ()
        if entry["kind"] == "fold":
            codes = (DIM,)
        elif entry["certainty"] not in (None, "confirmed"):
            codes = (YELLOW,)
        elif "was killed by" in text:
            codes = (RED,)
        elif entry["certainty"] == "confirmed":
            codes = (GREEN,)
        time = f"{self.page.since(entry['ts_ns']):<{self.since_room}}" if self.relative else ""
        if self.clock:
            time = f"{time}{(entry['utc'] or '')[11:23]:<{CLOCK}}"
        text = f"{name}: {text}" if name else text
        self.page.put(text, *codes, first=INDENT + time, dim=True)

    def _untold(self, container: str | None) -> None:
        for untold in self._others.get(container, ()):
            names = Counter({printable(n["name"]) or "?": n["count"] for n in untold["names"]})
            shown = [n if c == 1 else f"{n} x{c:,}" for n, c in names.most_common(_NAMED)]
            more = untold["processes"] - sum(c for _, c in names.most_common(_NAMED))
            shown += [f"{more:,} more"] * (more > 0)
            people = count(untold["processes"], "other process", "es")
            of = " of each" if untold["processes"] > 1 else " of it"
            where = "of the container" if container else "of no container"
            text = f"not told: {people} {where} ({', '.join(shown)}); --all tells{of}"
            self.page.put(text, DIM, first=INDENT)


def _exits(entry: Json) -> list[Json]:
    return [evidence for evidence in entry["evidence"] if evidence["event"] == "EXIT"]


def _key(evidence: Json) -> tuple[Any, ...]:
    return evidence["event"], evidence["ts_ns"], evidence["id"]
