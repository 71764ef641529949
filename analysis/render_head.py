"""What stands first in the text report: what is wrong with the capture, and what it is."""

from __future__ import annotations

from collections import Counter
from typing import Any

from analysis.text_layout import count, seconds
from analysis.text_page import BOLD, GREEN, INDENT, RED, YELLOW, Page
from tracer.text import printable

Json = dict[str, Any]

_LISTED_WINDOWS = 20
_LISTED_TRIGGERS = 5
_LISTED_CHANGES = 5


def render_head(page: Page, report: Json) -> None:
    """Puts it on the page."""
    _warnings(page, report)
    _summary(page, report)


def _warnings(page: Page, report: Json) -> None:
    """What the reader must know before believing anything below."""
    capture, losses = report["capture"], report["losses"]
    said = len(page.lines)
    if capture["damage"]:
        what = printable(str(capture["damage"]))
        page.put(f"CUT: {what}. What came later is not in this report.", BOLD, RED)
    elif not capture["complete"]:
        text = "CUT: the capture has no trailer. What came later is not in this report."
        page.put(text, BOLD, RED)
    if losses["events"] or losses["details"]:
        lost = []
        if losses["events"]:
            lost.append(count(losses["events"], "event"))
        if losses["details"]:
            lost.append(count(losses["details"], "detail") + " (arguments, cgroups)")
        were = "was" if losses["events"] + losses["details"] == 1 else "were"
        page.put(f"LOST: {' and '.join(lost)} {were} lost in these windows:", BOLD, RED)
        _windows(page, losses["windows"], capture["kept_from_ns"])
    if len(page.lines) > said:
        page.lines.append("")


def _windows(page: Page, windows: list[Json], kept_from_ns: int) -> None:
    for window in windows[:_LISTED_WINDOWS]:
        parts = [count(window[key], key[:-1]) for key in ("events", "details") if window[key]]
        start = page.since(window["from_ns"])
        if window["from_ns"] <= kept_from_ns:
            start = "the start"
        stretch = f"{start} to {page.since(window['to_ns'])} s"
        page.put(f"{stretch}, cpu {window['cpu']}: {', '.join(parts)}", RED, first=INDENT)
    if len(windows) > _LISTED_WINDOWS:
        more = len(windows) - _LISTED_WINDOWS
        page.put(f"and {more} more windows (see --format json)", RED, first=INDENT)
    page.put("What happened there may be missing below.", first=INDENT)


def _summary(page: Page, report: Json) -> None:
    capture, losses = report["capture"], report["losses"]
    host = capture["host"]
    parts = [printable(str(host.get("hostname") or "host name not known"))]
    if capture["kernel"]:
        parts.append(f"kernel {printable(capture['kernel'])}")
    parts += [printable(str(host[key])) for key in ("machine", "os") if host.get(key)]
    if host.get("init"):
        parts.append(f"init {printable(str(host['init']))}")
    if host.get("cgroup"):
        parts.append(f"cgroup {printable(str(host['cgroup']))}")
    page.put(", ".join(parts), BOLD)
    found = Counter(_runtime(fact) for fact in capture["runtimes"])
    runtimes = ", ".join(name if n == 1 else f"{name} x{n}" for name, n in found.items())
    page.put(runtimes or "container runtimes: none found when recording")
    for problem in capture["problems"]:
        page.put(f"while recording: {printable(problem)}", YELLOW)
    when = _moment(capture["started"]["utc"])
    total = count(capture["events"], "event")
    people = count(capture["processes"], "process", "es")
    length = seconds(capture["duration_ns"], digits=3)
    page.put(f"recorded {when} for {length} s: {total}, {people}{_filter(report)}")
    _bounded(page, report)
    if capture["complete"] and not capture["damage"]:
        lossless = not (losses["events"] or losses["details"])
        if lossless:
            page.put("complete, nothing lost", GREEN)
        else:
            page.put("complete but for the losses above", YELLOW)
    _selected(page, report)


def _selected(page: Page, report: Json) -> None:
    """The part of the capture that was asked for, and whether there is anything in it."""
    capture, chosen = report["capture"], report["selection"]
    since_ns, until_ns = chosen["since_ns"], chosen["until_ns"]
    part = since_ns is not None or until_ns is not None
    if part:
        ends = [
            "the start" if since_ns is None else f"{page.since(since_ns)} s",
            "the end" if until_ns is None else f"{page.since(until_ns)} s",
        ]
        page.put(f"only what happened from {ends[0]} to {ends[1]} is shown", YELLOW)
        if since_ns is not None and since_ns > capture["ended_ns"]:
            length = seconds(capture["duration_ns"], digits=3)
            page.put(f"that is after the end: the recording lasted {length} s", BOLD, YELLOW)
    if not report["containers"]:
        when = " then" if part else ""
        which = "the container did not live" if chosen["container"] else "no container was seen"
        page.put(f"{which}{when}")


def _bounded(page: Page, report: Json) -> None:
    """What the capture is a part of, why it was saved, and what happened to the clocks."""
    capture = report["capture"]
    saved = capture["reason"] == "saved"
    began, kept = capture["recording_began_utc"], capture["started"]["utc"]
    dropped = capture["events_dropped"]
    what = f"a save of a recording that goes on since {_moment(began)}" if saved else ""
    if dropped:
        what = what or f"the end of a recording that began {_moment(began)}"
        since = _moment(kept, began)
        what += f"; events before {since} were dropped ({dropped:,})"
    if what:
        page.put(what)
    triggers = capture["triggers"]
    for fired in triggers[-_LISTED_TRIGGERS:]:
        why = "saved because" if fired["saved"] else "trigger"
        text = f"{why}: {printable(fired['what'])} at {page.since(fired['at_ns'])} s"
        page.put(f"{text} ({printable(fired['trigger'])})", BOLD)
    if saved and not triggers:
        page.put("saved on request")
    if len(triggers) > _LISTED_TRIGGERS:
        more = len(triggers) - _LISTED_TRIGGERS
        page.put(f"{count(more, 'earlier trigger')}: see --format json")
    changes = [e for e in report["timeline"] if e["kind"] in ("suspend", "clock")]
    for entry in changes[:_LISTED_CHANGES]:
        page.put(f"{entry['text']} at {page.since(entry['ts_ns'])} s", YELLOW)
    if len(changes) > _LISTED_CHANGES:
        left = count(len(changes) - _LISTED_CHANGES, "more change")
        page.put(f"{left} of the clocks: see --format json", YELLOW)


def _filter(report: Json) -> str:
    found = report["capture"]["filter"]
    if not found:
        return ""
    kind = found.get("kind")
    if found.get("ticket"):
        return "; narrowed for a ticket: only what that is about"
    if kind == "pidns":
        return f"; only the pid namespace of process {printable(str(found.get('pid')))}"
    if kind == "cgroup":
        return f"; only the cgroup {printable(str(found.get('path')))}"
    return f"; filter {printable(str(kind))}"


def _moment(utc: str | None, after: str | None = None) -> str:
    """A time to the second; without its day if that is the one of ``after``."""
    if not utc:
        return "at a time not known"
    day = "" if after and after[:10] == utc[:10] else f"{utc[:10]} "
    return f"{day}{utc[11:19]} UTC"


def _runtime(fact: Json) -> str:
    version = fact.get("version")
    text = printable(fact["name"])
    if isinstance(version, str):
        text += f" {printable(version)}"
    if fact.get("containerd") == "managed":
        text += " (starts its own containerd)"
    elif fact.get("containerd") == "external":
        text += " (containerd is a service)"
    if fact.get("live_restore") is True:
        text += " with live-restore"
    return text
