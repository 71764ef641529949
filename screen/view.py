"""What stands on the screen: rows made of a picture, filtered, and what is new among them.

All texts are harmless to print: what comes from the capture has gone through `printable`.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from typing import Any

from screen.last_events import Line, clock_text
from screen.link import Status
from screen.picture import Picture
from tracer.status import format_elapsed, format_kept
from tracer.text import printable

Json = dict[str, Any]

# How long a finding counts as new.
NEW_S = 60.0
_DAY_S = 86_400.0
_REMEMBERED = 1000  # findings that are over

DAEMON_HEADS = ("DAEMONS", "pid", "unit", "state", "since", "restarts")
CONTAINER_HEADS = (
    "CONTAINERS",
    "id",
    "state",
    "process 1",
    "shim",
    "since",
    "runs",
    "how it ended",
)
FINDING_HEADS = ("FINDINGS", "new", "at", "what")

GOOD, BAD, WARN, DIM, PLAIN = "good", "bad", "warn", "dim", "plain"
_TONES = {"error": BAD, "warning": WARN, "info": PLAIN}


@dataclass(frozen=True, slots=True)
class Row:
    """A line of a table.

    Attributes:
        kind: "daemon", "container" or "finding".
        key: as `Picture.tell` takes it.
        cells: texts, by column.
        tone: GOOD, BAD, WARN, DIM or PLAIN.
        words: what a filter looks into, in lower case.
    """

    kind: str
    key: str
    cells: tuple[str, ...]
    tone: str
    words: str

    def has(self, wanted: str) -> bool:
        return wanted.lower() in self.words


@dataclass(frozen=True, slots=True)
class Rows:
    """All that a picture has."""

    daemons: tuple[Row, ...] = ()
    containers: tuple[Row, ...] = ()
    findings: tuple[Row, ...] = ()

    def filtered(self, wanted: str) -> Rows:
        """Those with a text in them."""
        if not wanted:
            return self
        kept = (
            tuple(row for row in rows if row.has(wanted))
            for rows in (self.daemons, self.containers, self.findings)
        )
        return Rows(*kept)


class Findings:
    """Remembers which findings have been there, since when, and which are over."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[float, Row]] = {}
        self._began = False

    def rows(self, picture: Picture, now_s: float) -> tuple[Row, ...]:
        """Findings of a picture, the gravest first; those that came since the first picture are
        marked for a while. Behind them those of earlier pictures that are over.

        Args:
            now_s: any clock that goes on, seconds.
        """
        current: dict[str, Row] = {}
        names = {c["id"]: c["name"] or "" for c in picture.report["containers"]}
        for number, finding in enumerate(picture.report["findings"]):
            identity = _identity(finding)
            first_s = self._seen[identity][0] if identity in self._seen else now_s
            if not self._began:
                first_s = now_s - NEW_S
            row = _finding_row(picture, names, finding, number, new=now_s - first_s < NEW_S)
            current[identity] = row
            self._seen[identity] = first_s, row
        self._began = True
        over = [
            replace(row, key="", tone=DIM, cells=("over", "", *row.cells[2:]))
            for identity, (_, row) in self._seen.items()
            if identity not in current
        ]
        while len(self._seen) - len(current) > _REMEMBERED:
            del self._seen[next(i for i in self._seen if i not in current)]
        return (*current.values(), *reversed(over))


def make_rows(picture: Picture, findings: Findings, now_s: float) -> Rows:
    """All rows of a picture."""
    return Rows(
        tuple(_daemon_rows(picture)),
        tuple(_container_rows(picture)),
        findings.rows(picture, now_s),
    )


# --- daemons -----------------------------------------------------------------------------------


def _daemon_rows(picture: Picture) -> Iterable[Row]:
    """One row for each daemon and those that were there before it in its place; those that live
    first."""
    daemons = picture.report["daemons"]
    former = {d["process"]["id"]: d["former"]["id"] for d in daemons if d["former"]}
    replaced = set(former.values())
    rows = []
    for daemon in daemons:
        process, end = daemon["process"], daemon["end"]
        if process["id"] in replaced:
            continue
        restarts, before = 0, former.get(process["id"])
        while before is not None and restarts < len(daemons):
            restarts, before = restarts + 1, former.get(before)
        state, tone = _state(end)
        unit = printable(daemon["unit"] or "")
        if process["role"] == "containerd-managed":
            unit = f"{unit} (dockerd's)".strip()
        cells = (
            printable(process["name"]) or "?",
            str(process["tgid"]),
            unit,
            state,
            moment(picture, _since_ns(process, end)),
            str(restarts or ""),
        )
        rows.append((end["how"] != "running", _row("daemon", process["id"], cells, tone)))
    rows.sort(key=lambda entry: entry[0])
    return [row for _, row in rows]


def _since_ns(process: Json | None, end: Json | None) -> int | None:
    """Its end, of what has ended; else its start."""
    if end and end["ts_ns"] is not None:
        return int(end["ts_ns"])
    return int(process["start_ns"]) if process else None


# --- containers --------------------------------------------------------------------------------


def _container_rows(picture: Picture) -> Iterable[Row]:
    """Those that run first, then the others; in each the newest first."""
    rows = []
    for container in picture.report["containers"]:
        state, tone = _container_state(container)
        init, end = container["init"], container["end"]
        since_ns = _since_ns(init, end)
        # Of "was killed by SIGKILL (9), sent by sh (812)" the state has the first half.
        by = end["text"].partition(", ")[2] if end and end["how"] == "killed" else ""
        cells = (
            printable(container["name"] or "") or "(no name)",
            printable(container["id"][:12]),
            state,
            str(init["tgid"]) if init else "-",
            _shim_text(container),
            moment(picture, since_ns),
            str(len(container["runs"])),
            printable(by),
        )
        row = _row("container", container["id"], cells, tone, printable(container["id"]))
        rows.append((state not in ("running", "no shim"), -(since_ns or 0), row))
    rows.sort(key=lambda entry: entry[:2])
    return [row for _, _, row in rows]


def _container_state(container: Json) -> tuple[str, str]:
    end, shim_end = container["end"], container["shim_end"]
    if end is None:
        return "not seen", DIM
    if end["how"] == "running" and shim_end and shim_end["how"] in ("exited", "killed"):
        return "no shim", BAD
    return _state(end)


def _shim_text(container: Json) -> str:
    shim, end = container["shim"], container["shim_end"]
    if shim is None:
        return "-"
    gone = end is not None and end["how"] in ("exited", "killed")
    return f"{shim['tgid']} {end['how']}" if gone else str(shim["tgid"])


def _state(end: Json | None) -> tuple[str, str]:
    """In a word or two, and its tone."""
    if end is None:
        return "not seen", DIM
    match end["how"]:
        case "running":
            return "running", GOOD
        case "exited":
            return f"exited {end['exit_status']}", DIM if not end["exit_status"] else WARN
        case "killed":
            return "OOM" if end["oom"] else str(end["signal_name"]), BAD
    return "not seen", DIM


# --- findings ----------------------------------------------------------------------------------


def _finding_row(
    picture: Picture, names: dict[str, str], finding: Json, number: int, *, new: bool
) -> Row:
    text = printable(finding["text"])
    mark = "NEW" if new else ""
    cells = (finding["severity"], mark, moment(picture, finding["ts_ns"]), text)
    container = finding["container"] or ""
    words = [*finding["processes"], container, names.get(container, ""), finding["kind"]]
    tone = _TONES[finding["severity"]]
    return _row("finding", str(number), cells, tone, printable(" ".join(words)))


def _identity(finding: Json) -> str:
    """The same in each picture, as long as it is there."""
    about = finding["processes"][:1] or [finding["ts_ns"]]
    return repr((finding["kind"], finding["container"], about))


def _row(kind: str, key: str, cells: tuple[str, ...], tone: str, more: str = "") -> Row:
    return Row(kind, key, cells, tone, " ".join([*cells, more]).lower())


def moment(picture: Picture, ts_ns: int | None) -> str:
    """When, in local time; with the day if that is long ago."""
    if ts_ns is None:
        return "-"
    wall_s = picture.wall_s(ts_ns)
    if picture.wall_s(picture.as_of_ns) - wall_s < _DAY_S:
        return clock_text(wall_s)
    try:
        return time.strftime("%d %b %H:%M", time.localtime(wall_s))
    except (OverflowError, ValueError, OSError):
        return "-"


# --- lines -------------------------------------------------------------------------------------


def head_text(path: str, status: Status, elapsed_s: float, chosen: str) -> str:
    """The first line: how the recording goes."""
    lost = f"{status.lost:,} LOST" if status.lost else "nothing lost"
    kept = format_kept(status.bytes, status.dropped)
    figures = f"{status.events:,} events  {status.rate:,.0f}/s  {lost}  {kept}"
    only = f"  only {chosen}" if chosen else ""
    return f"{format_elapsed(elapsed_s)}  {figures}  {printable(path)}{only}"


def began_ns(header: Json) -> int:
    """When the recording began, boot time; also of one of which only the newest part is kept."""
    segment = header.get("segment")
    return int(segment["began_ns"] if segment else header["clock"]["boot_ns"])


def filter_text(header: Json) -> str:
    """What the recorder was told to record; "" for the whole host."""
    found = header.get("filter") or {}
    match found.get("kind"):
        case "pidns":
            return f"the pid namespace of {found.get('pid')}"
        case "cgroup":
            return f"cgroup {printable(str(found.get('path')))}"
    return ""


def age_text(picture: Picture | None, age_s: float) -> str:
    """How old the picture is, and what it leaves out."""
    if picture is None:
        return "looking at what lives ..."
    text = f"as of {age_s:.0f} s ago"
    if picture.left_out:
        since = moment(picture, picture.from_ns)
        text += f"; {picture.left_out:,} older events, before {since}, are not looked at here"
    losses = picture.report["losses"]
    if losses["events"] or losses["details"]:
        text += "; events were LOST: what happened then may be missing"
    return text


def event_lines(lines: Iterable[Line], wanted: str, tgids: Collection[int] = ()) -> list[str]:
    """The newest events: those with a text in them, or of certain processes."""
    wanted = wanted.lower()
    texts = ((line.tgid, f"{line.clock} {line.text}") for line in lines)
    return [text for tgid, text in texts if wanted in text.lower() or tgid in tgids]
