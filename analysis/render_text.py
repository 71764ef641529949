"""The report for a terminal, a pipe or a ticket: plain text made of the report's JSON.

Fits 80 columns and uses more where there are. Whatever comes from the capture goes
through `printable`: a comm may hold terminal escapes.
"""

from __future__ import annotations

from typing import Any

from analysis.render_behaviours import render_behaviours
from analysis.render_control_path import (
    render_broken_links,
    render_control_path,
    render_links,
)
from analysis.render_findings import render_findings
from analysis.render_head import render_head
from analysis.render_timeline import Timelines
from analysis.steps import CERTAINTIES, REASONS
from analysis.text_layout import span, table_row
from analysis.text_page import (
    BOLD,
    DIM,
    INDENT,
    RED,
    YELLOW,
    Page,
    bounded_width,
)
from analysis.text_safety import command_line
from analysis.text_safety import width as columns_of
from tracer.text import printable

Json = dict[str, Any]

# Reparents that are listed one by one; a storm beyond that is counted unless all are asked for.
LISTED = 400


def render_text(
    report: Json,
    *,
    width: int,
    color: bool,
    full: bool = False,
    unfold: bool = False,
    times: str = "auto",
) -> str:
    """Report as text, ended by a newline.

    Args:
        report: what `build_report` gave.
        width: columns of the terminal.
        color: with terminal colours.
        full: fold and leave out nothing: every step, finding and reparent.
        unfold: tell each step that timelines fold.
        times: one of `render_timeline.TIMES`.
    """
    page = Page(report["capture"]["started"]["boot_ns"], bounded_width(width), color)
    return _Text(
        report, page, Timelines(page, report, unfold=unfold, full=full, times=times), full
    ).render()


class _Text:
    def __init__(self, report: Json, page: Page, timelines: Timelines, full: bool) -> None:
        self.report, self.page, self.timelines, self.full = report, page, timelines, full
        self.names, self.time = timelines.names, timelines.since_room

    def render(self) -> str:
        render_head(self.page, self.report)
        render_findings(self.page, self.report, self.full)
        self.timelines.host()
        busy: list[Json] = []
        idle: list[Json] = []
        told = {entry["container"] for entry in self.report["timeline"]}
        for container in self.report["containers"]:
            (busy if container["id"] in told else idle).append(container)
        for container in busy:
            self._container(container)
        self._idle(idle)
        render_control_path(self.page, self.report)
        render_behaviours(self.page, self.report, self.full)
        self._reparents()
        return self.page.text()

    # --- containers ----------------------------------------------------------------------------

    def _container(self, container: Json) -> None:
        self.page.title(f"CONTAINER {self._describe(container)}")
        runs = container["runs"] or [container]
        for number, run in enumerate(runs, 1):
            if len(runs) > 1:
                self.page.put(f"run {number} of {len(runs)}", BOLD, first=INDENT)
            self._run(container, run)
        render_links(self.page, container["control_path"])
        self.page.put("")
        self.timelines.container(container)

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
            self.page.field("client", f"{ref_text(run['client'])}{words}{sure}")
        if run["daemon"]:
            self.page.field("daemon", ref_text(run["daemon"]))
        if run["manager"] and run["manager"] != run["daemon"]:
            managed = run["manager"]["role"] == "containerd-managed"
            self.page.field(
                "runtime", ref_text(run["manager"]) + (", started by dockerd" if managed else "")
            )
        if run["shim"]:
            kind = {"shim-v1": ", v1", "shim-v2": ", v2"}.get(run["shim"]["role"], "")
            name = "monitor" if run["shim"]["role"] == "conmon" else "shim"
            end = run["shim_end"]
            self.page.field(name, f"{ref_text(run['shim'])}{kind}: {_end(end)}", *_end_color(end))
        else:
            self.page.field("shim", "not known")
        if run["calls"]:
            tool = run["calls"][0]["process"]["role"]
            self.page.field(tool, ", ".join(_calls(run["calls"])))
        if run["init"]:
            text = f"{ref_text(run['init'])}: {self._older(run)}{_end(run['end'])}"
            self.page.field("process 1", text, *_end_color(run["end"]))
        else:
            self.page.field("process 1", "not known")
        took = _durations(run["phases"])
        if took:
            self.page.field("took", took)

    def _older(self, run: Json) -> str:
        """Where it began, if not in what is kept."""
        if run["began"] == "not-seen":
            return "its start was lost; "
        if run["began"] == "recorded":
            return ""
        dropped = self.report["capture"]["events_dropped"]
        return "began before what is kept; " if dropped else "older than the recording; "

    def _command(self, id_: str) -> str:
        if not hasattr(self, "_args"):
            self._args = {p["id"]: p["args"] for p in self.report["processes"]}
        words = command_line(self._args.get(id_) or (), limit=300)
        return f": {words}" if words else ""

    def _idle(self, containers: list[Json]) -> None:
        """Containers to which nothing happened: a line each."""
        if not containers:
            return
        self.page.title("CONTAINERS TO WHICH NOTHING HAPPENED")
        for container in containers:
            if not container["runs"]:
                self.page.put(
                    f"{self._describe(container)}: no process of it was seen",
                    first=INDENT,
                    rest=INDENT * 2,
                )
                continue
            parts = [f"process 1 {ref_text(container['init'])} {_end(container['end'])}"]
            if container["shim"]:
                parts.append(f"shim {ref_text(container['shim'])} {_end(container['shim_end'])}")
            self.page.put(
                f"{self._describe(container)}: {'; '.join(parts)}", first=INDENT, rest=INDENT * 2
            )
            render_broken_links(self.page, container)

    # --- reparents -----------------------------------------------------------------------------

    def _reparents(self) -> None:
        found = self.report["reparents"]
        kernel = {p["id"] for p in self.report["processes"] if p["kthread"]}
        shown = [r for r in found if not r["child"] or r["child"]["id"] not in kernel]
        hidden = len(found) - len(shown)
        if not shown:
            self.page.title("REPARENTED PROCESSES: none")
        else:
            by = [
                f"{sum(r['certainty'] == c for r in shown)} {c}"
                for c in CERTAINTIES
                if any(r["certainty"] == c for r in shown)
            ]
            self.page.title(f"REPARENTED PROCESSES: {len(shown)} ({', '.join(by)})")
            listed = shown if self.full else shown[:LISTED]
            self._reparent_rows(listed)
            if len(listed) < len(shown):
                last = self.page.since(shown[-1]["ts_ns"])
                text = f"and {len(shown) - len(listed)} more, until {last} s"
                self.page.put(f"{text}: `rtrace report --all` lists them", first=INDENT)
        if hidden:
            self.page.put(f"{hidden} of kernel threads are not listed", DIM, first=INDENT)

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
        fits = len(INDENT) + sum(sizes) + 2 * (len(sizes) - 1) <= self.page.width
        if fits:
            self.page.put(INDENT + table_row(heads, sizes), DIM)
        for group, cell in zip(groups.values(), cells, strict=True):
            codes = () if group[0]["certainty"] == "confirmed" else (YELLOW,)
            if fits:
                self.page.put(INDENT + table_row(cell, sizes), *codes)
                continue
            first = f"{INDENT}{cell[0]:<{self.time}}"
            certainty = CERTAINTIES[group[0]["certainty"]]
            if group[0]["reason"] == "thread":
                text = f"{cell[1]} stays with {cell[2]}, {_threads(group)}: {certainty}"
                self.page.put(text, *codes, first=first, dim=True)
                continue
            where = self._where(group[0])
            rule = f"{REASONS[group[0]['reason']]}, {certainty}"
            rule += f" (container {where})" if where else ""
            self.page.put(f"{cell[1]}: {cell[2]} -> {cell[3]}", *codes, first=first, dim=True)
            self.page.put(rule, *codes, first=" " * (len(INDENT) + self.time + 2))

    def _where(self, row: Json) -> str | None:
        return self.names.get((row["child"] or {}).get("container"))

    def _reparent_cells(self, group: list[Json]) -> tuple[str, ...]:
        row = group[0]
        to, rule = ref_text(row["to"]), f"{row['reason']}, {row['certainty']}"
        if row["reason"] == "thread":
            to = f"same, {_threads(group)}"
            group = group[:1]
        children = _refs([r["child"] for r in group])
        return (self.page.since(row["ts_ns"]), children, ref_text(row["from"]), to, rule)


# --- small things ------------------------------------------------------------------------------


def ref_text(ref: Json | None) -> str:
    """A reference to a process as "comm (tgid)", harmless to print."""
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
    return (RED,) if end is not None and end["how"] == "killed" else ()


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
