"""The report as Markdown, for a comment of a ticket. Made of the report's JSON."""

from __future__ import annotations

import re
from typing import Any

from analysis.markdown import code, escape, table
from analysis.markdown_fit import Part, fit
from analysis.render_control_path import is_broken, link_text
from analysis.render_text import ref_text
from analysis.text_layout import count, seconds
from analysis.text_safety import command_line

Json = dict[str, Any]

_ROOM = 600  # characters of one text: a name may be as long as somebody likes
_RUNTIMES = _PROBLEMS = 10
_JSON = "`rtrace report --format json`"
_SEVERITY = {"error": "**error**", "warning": "**warning**", "info": "info"}


def render_markdown(report: Json) -> str:
    """Report as Markdown, ended by a newline, at most 65,536 characters."""
    return fit(report_parts(report))


def report_parts(report: Json) -> list[Part]:
    """The parts of that document: head, findings, then the rest."""
    return _Markdown(report).parts()


def plain(text: str | None) -> str:
    """Text of a capture as nothing but text, not too long."""
    return escape(_cut(text or ""))


def advice(text: str) -> str:
    """A sentence of rtrace's own, with commands between backticks; names in it are text still."""
    parts = re.split("`([^`]+)`", _cut(text))
    return "".join(code(part) if i % 2 else escape(part) for i, part in enumerate(parts))


def _cut(text: str) -> str:
    return text if len(text) <= _ROOM else f"{text[: _ROOM - 3]}..."


def warnings(capture: Json, losses: Json) -> list[str]:
    """What the reader must know before believing anything below: lines of any document."""
    lines = []
    if capture["damage"] or not capture["complete"]:
        damage = plain(capture["damage"] or "the capture has no trailer")
        lines += [f"**CUT:** {damage}. What came later is not in this.", ""]
    if losses["events"] or losses.get("details"):
        lost = count(losses["events"], "event")
        lines += [f"**LOST:** {lost} while recording. What happened then may be missing.", ""]
    return lines


class _Markdown:
    def __init__(self, report: Json) -> None:
        self.report = report
        self.boot_ns: int = report["capture"]["started"]["boot_ns"]
        self.args = {p["id"]: p["args"] for p in report["processes"]}
        self.steps: dict[str | None, list[Json]] = {}
        for step in report["timeline"]:
            self.steps.setdefault(step["container"], []).append(step)

    def parts(self) -> list[Part]:
        told = self.steps.keys()
        busy = [c for c in self.report["containers"] if c["id"] in told]
        idle = [c for c in self.report["containers"] if c["id"] not in told]
        return [
            self._head(),
            self._findings(),
            *self._behaviours(),
            *([self._steps(None, ["## Host", ""])] if None in told else []),
            *(self._container(container) for container in busy),
            *([self._idle(idle)] if idle else []),
            self._reparents(),
        ]

    def _since(self, ts_ns: int) -> str:
        return seconds(ts_ns - self.boot_ns, sign=True)

    def _head(self) -> Part:
        capture = self.report["capture"]
        host = capture["host"]
        words = [plain(str(host[key])) for key in ("hostname", "kernel", "os") if host.get(key)]
        runtimes = capture["runtimes"][:_RUNTIMES]
        words += [plain(f"{r['name']} {r['version'] or ''}".rstrip()) for r in runtimes]
        lines = ["# rtrace report", "", *warnings(capture, self.report["losses"])]
        lines += [", ".join(words) or "host not known", ""]
        when = (capture["started"]["utc"] or "at a time not known")[:19].replace("T", " ")
        length = seconds(capture["duration_ns"], digits=3)
        what = (
            f"{count(capture['events'], 'event')}, {count(capture['processes'], 'process', 'es')}"
        )
        lines.append(f"Recorded {when} UTC for {length} s: {what}.")
        if capture["filter"]:
            lines.append(self._filter(capture["filter"]))
        for problem in capture["problems"][:_PROBLEMS]:
            lines += ["", f"While recording: {plain(problem)}"]
        return Part(lines)

    def _filter(self, found: Json) -> str:
        """Whom the recording was of; and that a ticket has only some of them."""
        rest = {k: v for k, v in found.items() if k != "ticket" and v != "ticket"}
        filtered = ", ".join(f"{plain(str(k))} {plain(str(v))}" for k, v in rest.items())
        said = [f"Only what is inside of a filter: {filtered}."] if filtered else []
        if "ticket" in found:
            said.append("Narrowed for a ticket: only what that is about.")
        return " ".join(said)

    def _findings(self) -> Part:
        rows = []
        for finding in self.report["findings"]:
            sure = "" if finding["certainty"] == "confirmed" else f" *{finding['certainty']}*"
            kind = f"{_SEVERITY[finding['severity']]} {code(finding['kind'])}{sure}"
            when = self._since(finding["ts_ns"])
            rows.append(
                f"- {kind} {when}: {plain(finding['text'])}. Next: {advice(finding['next'])}"
            )
        head = ["## Findings", "", *([] if rows else ["None."])]
        return Part(head, rows, "finding", _JSON)

    def _behaviours(self) -> list[Part]:
        rows = [
            [
                b["id"],
                b["verdict"],
                b["certainty"] or "",
                escape(b["claim"]),
                str(len(b["occurrences"])),
            ]
            for b in self.report["behaviours"]
            if b["observed"]
        ]
        if not rows:
            return []
        heads = ["behaviour", "verdict", "certainty", "published", "times"]
        return [Part(["## Behaviours", "", *table(heads, rows, "llllr")], optional=True)]

    # --- containers ----------------------------------------------------------------------------

    def _container(self, container: Json) -> Part:
        lines = [f"## {plain(_name(container))}", ""]
        about = [container["runtime"], code(container["id"][:12])]
        if container["image"]:
            about.append(f"image {code(container['image'][:_ROOM])}")
        lines += [", ".join(about), ""]
        runs = container["runs"]
        for run in runs[-3:]:
            lines += self._run(run, len(runs))
        lines += [f"- control path: {plain(text)}" for text in self._links(container)]
        return self._steps(container["id"], [*lines, ""])

    def _run(self, run: Json, runs: int) -> list[str]:
        lead = f"run {run['run']} of {runs}, " if runs > 1 else ""
        lines = []
        if run["client"]:
            words = command_line(self.args.get(run["client"]["id"]) or (), limit=300)
            lines.append(f"- {lead}client {plain(ref_text(run['client']))}: {code(words)}")
        for name, end in (("shim", "shim_end"), ("init", "end")):
            if run[name]:
                what = "process 1" if name == "init" else name
                ending = plain((run[end] or {}).get("text"))
                lines.append(f"- {lead}{what} {plain(ref_text(run[name]))}: {ending}")
        return lines

    def _links(self, container: Json) -> list[str]:
        return [link_text(link, self.boot_ns)[0] for link in container["control_path"]]

    def _steps(self, container: str | None, head: list[str]) -> Part:
        """A timeline; what comes again and again as the fold that sums it up."""
        rows = []
        for step in self.steps.get(container, ()):
            if step["fold"] is not None and step["kind"] != "fold":
                continue
            sure = step["certainty"] in (None, "confirmed")
            doubt = "" if sure else f" *{step['certainty']}*"
            utc = (step["utc"] or "")[11:23]
            rows.append([self._since(step["ts_ns"]), utc, f"{plain(step['text'])}{doubt}"])
        lines = table(["seconds", "UTC", "what happened"], rows, "rll")
        optional = container is not None
        return Part([*head, *lines[:2]], lines[2:], "step", _JSON, optional, "container")

    def _idle(self, containers: list[Json]) -> Part:
        rows = []
        for c in containers:
            broken = [link for link in c["control_path"] if is_broken(link)]
            broken = broken if c["end"]["how"] == "running" else []
            told = "".join(f"; {plain(link_text(link, self.boot_ns)[0])}" for link in broken)
            rows.append(f"- {plain(_name(c))}, {code(c['id'][:12])}, {c['runtime']}{told}")
        head = ["## Containers to which nothing happened", ""]
        return Part(head, rows, "container", _JSON)

    # --- reparents -----------------------------------------------------------------------------

    def _reparents(self) -> Part:
        found = [r for r in self.report["reparents"] if r["reason"] != "thread"]
        rows = [
            [
                self._since(r["ts_ns"]),
                *(plain(ref_text(r[key])) for key in ("child", "from", "to")),
                r["reason"],
                r["certainty"],
            ]
            for r in found
        ]
        heads = ["seconds", "child", "old parent", "new parent", "rule", "certainty"]
        lines = table(heads, rows, "rlllll") if rows else ["None.", ""]
        head = [f"## Reparented processes: {len(found)}", ""]
        return Part([*head, *lines[:2]], lines[2:], "reparent", _JSON)


def _name(container: Json) -> str:
    return str(container["name"] or container["id"][:12])
