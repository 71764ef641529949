"""The report for a terminal, a pipe or a ticket: plain text made of the report's JSON.

Fits 80 columns and uses more where there are. Whatever comes from the capture goes
through `printable`: a comm may hold terminal escapes.
"""

from __future__ import annotations

from typing import Any

from analysis.text_layout import seconds, span, table_row, wrap
from analysis.text_safety import command_line
from analysis.text_safety import width as columns_of
from analysis.timeline import CERTAINTIES, REASONS
from tracer.text import printable

Json = dict[str, Any]

MIN_WIDTH = 60
MAX_WIDTH = 160  # longer lines are hard to follow
# Reparents that are listed one by one; a storm beyond that is counted unless all are asked for.
LISTED = 400
# Adoptions between processes of one container that its timeline tells, likewise.
TOLD = 100
_LISTED_WINDOWS = 20
_INDENT = "  "
_WIDE = 100
_CLOCK = len("12:34:56.789  ")

_BOLD, _DIM, _RED, _YELLOW, _GREEN = "1", "2", "31", "33", "32"


def render_text(report: Json, *, width: int, color: bool, full: bool = False) -> str:
    """Report as text, ended by a newline.

    Args:
        report: what `build_report` gave.
        width: columns of the terminal.
        color: with terminal colours.
        full: list every reparent, however many there are.
    """
    return _Text(report, min(max(width, MIN_WIDTH), MAX_WIDTH), color, full).render()


class _Text:
    def __init__(self, report: Json, width: int, color: bool, full: bool) -> None:
        self.report, self.width, self.color, self.full = report, width, color, full
        self.boot_ns: int = report["capture"]["started"]["boot_ns"]
        self.names = {c["id"]: _container_name(c) for c in report["containers"]}
        self.lines: list[str] = []
        moments = [e["ts_ns"] for key in ("timeline", "reparents") for e in report[key]]
        self.time = max((len(self._since(ts_ns)) for ts_ns in moments), default=9) + 2

    def render(self) -> str:
        self._warnings()
        self._summary()
        busy: list[Json] = []
        idle: list[Json] = []
        told = {entry["container"] for entry in self.report["timeline"]}
        for container in self.report["containers"]:
            (busy if container["id"] in told else idle).append(container)
        for container in busy:
            self._container(container)
        self._idle(idle)
        self._reparents()
        return "\n".join(line.rstrip() for line in self.lines) + "\n"

    # --- lines ---------------------------------------------------------------------------------

    def _paint(self, text: str, *codes: str) -> str:
        if not self.color or not codes or not text:
            return text
        return f"\x1b[{';'.join(codes)}m{text}\x1b[0m"

    def _put(
        self, text: str, *codes: str, first: str = "", rest: str | None = None, dim: bool = False
    ) -> None:
        """A paragraph, wrapped; ``first`` stands before its first line, ``rest`` before others."""
        rest = " " * columns_of(first) if rest is None else rest
        for i, line in enumerate(wrap(text, self.width - columns_of(rest))):
            lead = first if i == 0 else rest
            self.lines.append(
                (self._paint(lead, _DIM) if dim else lead) + self._paint(line, *codes)
            )

    def _title(self, text: str) -> None:
        self.lines.append("")
        self._put(text, _BOLD)

    def _field(self, name: str, text: str, *codes: str) -> None:
        self._put(text, *codes, first=f"{_INDENT}{name:<10} ")

    def _since(self, ts_ns: int) -> str:
        return seconds(ts_ns - self.boot_ns, sign=True)

    # --- head ----------------------------------------------------------------------------------

    def _warnings(self) -> None:
        """What the reader must know before believing anything below."""
        capture, losses = self.report["capture"], self.report["losses"]
        said = len(self.lines)
        if capture["damage"]:
            what = printable(str(capture["damage"]))
            self._put(f"CUT: {what}. What came later is not in this report.", _BOLD, _RED)
        elif not capture["complete"]:
            text = "CUT: the capture has no trailer. What came later is not in this report."
            self._put(text, _BOLD, _RED)
        if losses["events"] or losses["details"]:
            lost = []
            if losses["events"]:
                lost.append(_count(losses["events"], "event"))
            if losses["details"]:
                lost.append(_count(losses["details"], "detail") + " (arguments, cgroups)")
            were = "was" if losses["events"] + losses["details"] == 1 else "were"
            self._put(f"LOST: {' and '.join(lost)} {were} lost in these windows:", _BOLD, _RED)
            self._windows(losses["windows"])
        if len(self.lines) > said:
            self.lines.append("")

    def _windows(self, windows: list[Json]) -> None:
        for window in windows[:_LISTED_WINDOWS]:
            parts = [_count(window[key], key[:-1]) for key in ("events", "details") if window[key]]
            start = self._since(window["from_ns"])
            if window["from_ns"] <= self.boot_ns:
                start = "the start"
            stretch = f"{start} to {self._since(window['to_ns'])} s"
            self._put(f"{stretch}, cpu {window['cpu']}: {', '.join(parts)}", _RED, first=_INDENT)
        if len(windows) > _LISTED_WINDOWS:
            more = len(windows) - _LISTED_WINDOWS
            self._put(f"and {more} more windows (see --format json)", _RED, first=_INDENT)
        self._put("What happened there may be missing below.", first=_INDENT)

    def _summary(self) -> None:
        capture, losses = self.report["capture"], self.report["losses"]
        host = capture["host"]
        parts = [printable(str(host.get("hostname") or "host name not known"))]
        if capture["kernel"]:
            parts.append(f"kernel {printable(capture['kernel'])}")
        parts += [printable(str(host[key])) for key in ("machine", "os") if host.get(key)]
        if host.get("init"):
            parts.append(f"init {printable(str(host['init']))}")
        if host.get("cgroup"):
            parts.append(f"cgroup {printable(str(host['cgroup']))}")
        self._put(", ".join(parts), _BOLD)
        runtimes = ", ".join(_runtime(fact) for fact in capture["runtimes"])
        self._put(runtimes or "container runtimes: none found when recording")
        for problem in capture["problems"]:
            self._put(f"while recording: {printable(problem)}", _YELLOW)
        started = capture["started"]["utc"]
        when = f"{started[:10]} {started[11:19]} UTC" if started else "at a time not known"
        total = _count(capture["events"], "event")
        people = _count(capture["processes"], "process", "es")
        length = seconds(capture["duration_ns"], digits=3)
        self._put(f"recorded {when} for {length} s: {total}, {people}{self._filter()}")
        if capture["complete"] and not capture["damage"]:
            lossless = not (losses["events"] or losses["details"])
            if lossless:
                self._put("complete, nothing lost", _GREEN)
            else:
                self._put("complete but for the losses above", _YELLOW)
        chosen = self.report["selection"]
        if chosen["since_ns"] is not None or chosen["until_ns"] is not None:
            ends = [
                "the start"
                if chosen["since_ns"] is None
                else f"{self._since(chosen['since_ns'])} s",
                "the end" if chosen["until_ns"] is None else f"{self._since(chosen['until_ns'])} s",
            ]
            self._put(f"only what happened from {ends[0]} to {ends[1]} is shown", _YELLOW)
        if not self.report["containers"]:
            self._put("no container was seen")

    def _filter(self) -> str:
        found = self.report["capture"]["filter"]
        if not found:
            return ""
        kind = found.get("kind")
        if kind == "pidns":
            return f"; only the pid namespace of process {printable(str(found.get('pid')))}"
        if kind == "cgroup":
            return f"; only the cgroup {printable(str(found.get('path')))}"
        return f"; filter {printable(str(kind))}"

    # --- containers ----------------------------------------------------------------------------

    def _container(self, container: Json) -> None:
        self._title(f"CONTAINER {self._describe(container)}")
        runs = container["runs"] or [container]
        for number, run in enumerate(runs, 1):
            if len(runs) > 1:
                self._put(f"run {number} of {len(runs)}", _BOLD, first=_INDENT)
            self._run(container, run)
        self.lines.append("")
        entries = [e for e in self.report["timeline"] if e["container"] == container["id"]]
        head = f"{_INDENT}{'seconds':<{self.time}}"
        if self._clock:
            head = f"{head}{'UTC':<{_CLOCK}}what happened"
        elif entries and entries[0]["utc"]:
            head = f"{head}what happened (the first at {entries[0]['utc'][11:23]} UTC)"
        self._put(head, _DIM)
        orphans = 0
        for entry in entries:
            orphans += entry["kind"] == "orphan"
            if entry["kind"] != "orphan" or orphans <= TOLD or self.full:
                self._entry(entry)
        if orphans > TOLD and not self.full:
            text = f"{orphans - TOLD} more adoptions in the container: `rtrace report --all`"
            self._put(text, first=_INDENT)

    @property
    def _clock(self) -> bool:
        """There is room for wall-clock times."""
        return self.width >= _WIDE

    def _describe(self, container: Json) -> str:
        name = printable(container["name"]) if container["name"] else "(name not known)"
        parts = [f"{name}  {printable(container['id'][:12])}  {container['runtime']}"]
        if container["namespace"]:
            parts.append(f"namespace {printable(container['namespace'])}")
        if container["image"]:
            parts.append(f"image {printable(container['image'])}")
        return ", ".join(parts)

    def _run(self, container: Json, run: Json) -> None:
        if run["client"]:
            sure = "" if run["client_named_it"] else "  (the only such command then)"
            words = self._command(run["client"]["id"])
            self._field("client", f"{_ref(run['client'])}{words}{sure}")
        if run["daemon"]:
            self._field("daemon", _ref(run["daemon"]))
        if run["manager"] and run["manager"] != run["daemon"]:
            managed = run["manager"]["role"] == "containerd-managed"
            self._field(
                "runtime", _ref(run["manager"]) + (", started by dockerd" if managed else "")
            )
        if run["shim"]:
            kind = {"shim-v1": ", v1", "shim-v2": ", v2"}.get(run["shim"]["role"], "")
            name = "monitor" if run["shim"]["role"] == "conmon" else "shim"
            end = run["shim_end"]
            self._field(name, f"{_ref(run['shim'])}{kind}: {_end(end)}", *_end_color(end))
        else:
            self._field("shim", "not known")
        if run["calls"]:
            tool = run["calls"][0]["process"]["role"]
            self._field(tool, ", ".join(_calls(run["calls"])))
        if run["init"]:
            older = "older than the recording; " if run["began"] == "before" else ""
            end = run["end"]
            self._field("process 1", f"{_ref(run['init'])}: {older}{_end(end)}", *_end_color(end))
        else:
            self._field("process 1", "not known")
        took = _durations(run["phases"])
        if took:
            self._field("took", took)

    def _command(self, id_: str) -> str:
        if not hasattr(self, "_args"):
            self._args = {p["id"]: p["args"] for p in self.report["processes"]}
        words = command_line(self._args.get(id_) or (), limit=300)
        return f": {words}" if words else ""

    def _entry(self, entry: Json) -> None:
        text = printable(entry["text"])
        codes: tuple[str, ...] = ()
        if entry["certainty"] not in (None, "confirmed"):
            codes = (_YELLOW,)
        elif "was killed by" in text:
            codes = (_RED,)
        elif entry["certainty"] == "confirmed":
            codes = (_GREEN,)
        time = f"{self._since(entry['ts_ns']):<{self.time}}"
        if self._clock:
            time = f"{time}{(entry['utc'] or '')[11:23]:<{_CLOCK}}"
        self._put(text, *codes, first=_INDENT + time, dim=True)

    def _idle(self, containers: list[Json]) -> None:
        """Containers to which nothing happened: a line each."""
        if not containers:
            return
        self._title("CONTAINERS TO WHICH NOTHING HAPPENED")
        for container in containers:
            if not container["runs"]:
                self._put(
                    f"{self._describe(container)}: no process of it was seen",
                    first=_INDENT,
                    rest=_INDENT * 2,
                )
                continue
            parts = [f"process 1 {_ref(container['init'])} {_end(container['end'])}"]
            if container["shim"]:
                parts.append(f"shim {_ref(container['shim'])} {_end(container['shim_end'])}")
            self._put(
                f"{self._describe(container)}: {'; '.join(parts)}", first=_INDENT, rest=_INDENT * 2
            )

    # --- reparents -----------------------------------------------------------------------------

    def _reparents(self) -> None:
        found = self.report["reparents"]
        kernel = {p["id"] for p in self.report["processes"] if p["kthread"]}
        shown = [r for r in found if not r["child"] or r["child"]["id"] not in kernel]
        hidden = len(found) - len(shown)
        if not shown:
            self._title("REPARENTED PROCESSES: none")
        else:
            by = [
                f"{sum(r['certainty'] == c for r in shown)} {c}"
                for c in CERTAINTIES
                if any(r["certainty"] == c for r in shown)
            ]
            self._title(f"REPARENTED PROCESSES: {len(shown)} ({', '.join(by)})")
            listed = shown if self.full else shown[:LISTED]
            self._reparent_rows(listed)
            if len(listed) < len(shown):
                last = self._since(shown[-1]["ts_ns"])
                text = f"and {len(shown) - len(listed)} more, until {last} s"
                self._put(f"{text}: `rtrace report --all` lists them", first=_INDENT)
        if hidden:
            self._put(f"{hidden} of kernel threads are not listed", _DIM, first=_INDENT)

    def _reparent_rows(self, rows: list[Json]) -> None:
        """A table if its lines fit, else two lines a reparent. Children that went together
        stand together."""
        groups: dict[tuple[Any, ...], list[Json]] = {}
        for row in rows:
            old, new = _id(row["from"]), _id(row["to"])
            if row["reason"] == "thread":
                # The same process stays the parent: told once, not for every thread that ends.
                key: tuple[Any, ...] = (_id(row["child"]), old, row["certainty"])
            else:
                key = (row["ts_ns"], old, new, row["reason"], row["certainty"], self._where(row))
            groups.setdefault(key, []).append(row)
        cells = [self._reparent_cells(group) for group in groups.values()]
        heads = ("seconds", "child", "old parent", "new parent", "rule")
        sizes = [max(columns_of(c[i]) for c in [heads, *cells]) for i in range(len(heads))]
        fits = len(_INDENT) + sum(sizes) + 2 * (len(sizes) - 1) <= self.width
        if fits:
            self._put(_INDENT + table_row(heads, sizes), _DIM)
        for group, cell in zip(groups.values(), cells, strict=True):
            codes = () if group[0]["certainty"] == "confirmed" else (_YELLOW,)
            if fits:
                self._put(_INDENT + table_row(cell, sizes), *codes)
                continue
            first = f"{_INDENT}{cell[0]:<{self.time}}"
            certainty = CERTAINTIES[group[0]["certainty"]]
            if group[0]["reason"] == "thread":
                text = f"{cell[1]} stays with {cell[2]}, {_threads(group)}: {certainty}"
                self._put(text, *codes, first=first, dim=True)
                continue
            where = self._where(group[0])
            rule = f"{REASONS[group[0]['reason']]}, {certainty}"
            rule += f" (container {where})" if where else ""
            self._put(f"{cell[1]}: {cell[2]} -> {cell[3]}", *codes, first=first, dim=True)
            self._put(rule, *codes, first=" " * (len(_INDENT) + self.time + 2))

    def _where(self, row: Json) -> str | None:
        return self.names.get((row["child"] or {}).get("container"))

    def _reparent_cells(self, group: list[Json]) -> tuple[str, ...]:
        row = group[0]
        to, rule = _ref(row["to"]), f"{row['reason']}, {row['certainty']}"
        if row["reason"] == "thread":
            to = f"same, {_threads(group)}"
            group = group[:1]
        children = _refs([r["child"] for r in group])
        return (self._since(row["ts_ns"]), children, _ref(row["from"]), to, rule)


# --- small things ------------------------------------------------------------------------------


def _count(number: int, noun: str, plural: str = "s") -> str:
    return f"{number:,} {noun}{'' if number == 1 else plural}"


def _ref(ref: Json | None) -> str:
    if ref is None:
        return "not known"
    return f"{printable(ref['name']) or '?'} ({ref['tgid']})"


def _id(ref: Json | None) -> str | None:
    return ref["id"] if ref else None


def _threads(group: list[Json]) -> str:
    return "a thread ended" if len(group) == 1 else f"{len(group)} threads ended"


def _refs(refs: list[Json | None]) -> str:
    """Processes of one name together: "sh (812, 813), nginx (820)"."""
    by_name: dict[str, list[str]] = {}
    for ref in refs:
        name = "not known" if ref is None else printable(ref["name"]) or "?"
        by_name.setdefault(name, []).extend([] if ref is None else [str(ref["tgid"])])
    return ", ".join(f"{n} ({', '.join(ids)})" if ids else n for n, ids in by_name.items())


def _end(end: Json | None) -> str:
    return "end not known" if end is None else printable(end["text"])


def _end_color(end: Json | None) -> tuple[str, ...]:
    return (_RED,) if end is not None and end["how"] == "killed" else ()


def _container_name(container: Json) -> str:
    return printable(container["name"] or container["id"][:12])


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


def _calls(calls: list[Json]) -> list[str]:
    """Verbs of runtime calls, with what did not go well."""
    result: list[str] = []
    for call in calls:
        text = printable(call["verb"] or "(arguments not recorded)")
        end = call["end"]
        if end and end["how"] == "killed":
            text += f" (killed by {end['signal_name']})"
        elif end and end["exit_status"]:
            text += f" (exited {end['exit_status']})"
        result.append(text)
    # Health checks run the same call again and again.
    counted: list[tuple[str, int]] = []
    for text in result:
        if counted and counted[-1][0] == text:
            counted[-1] = (text, counted[-1][1] + 1)
        else:
            counted.append((text, 1))
    return [text if count == 1 else f"{text} x{count}" for text, count in counted]


def _durations(phases: Json) -> str:
    """How long the parts of a life took, those that are known."""
    begin = next(
        (
            phases[p]
            for p in ("client_ns", "shim_start_ns", "shim_ns", "create_ns")
            if phases.get(p) is not None
        ),
        None,
    )
    names = (
        ("{} to start", begin, phases.get("workload_ns")),
        ("ran {}", phases.get("workload_ns"), phases.get("exit_ns")),
        ("{} from its exit to the shim's", phases.get("exit_ns"), phases.get("shim_exit_ns")),
    )
    return ", ".join(
        name.format(span(until - since))
        for name, since, until in names
        if since is not None and until is not None and until >= since
    )
