"""What the page's picture is drawn of: plain data, times relative to the capture's start.

Boot-time nanoseconds do not fit a JavaScript number, relative ones do. A process is a number here:
its place in the columns of ``processes``. Strings are harmless to show as text.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from analysis.html.lanes import build_groups
from analysis.signals import name_of
from analysis.text_safety import command_line
from tracer.text import printable

Json = dict[str, Any]

# More processes make a page that browsers open slowly; those that nothing refers to are left out.
DRAWN = 20_000
_MANY = 5000
_EXECS = 50  # of one process


def build_picture(report: Json, stories: list[Json], talk: Json | None) -> Json:
    """Data of the picture.

    Args:
        stories: as `analysis.html.stories.build_story` gives them.
        talk: as `analysis.html.talk.build_talk` gives it.
    """
    return _Picture(report, stories, talk).build()


class _Picture:
    def __init__(self, report: Json, stories: list[Json], talk: Json | None) -> None:
        self.report, self.stories, self.talk = report, stories, talk
        self.boot_ns: int = report["capture"]["started"]["boot_ns"]
        self.processes = self._drawn()
        self.number = {p["id"]: i for i, p in enumerate(self.processes)}
        self.names = {ref["id"]: ref["name"] for ref in _references(report)}
        self.verbs = _verbs(report)
        self.containers = report["containers"]
        self.box = {c["id"]: i for i, c in enumerate(self.containers)}

    def build(self) -> Json:
        capture = self.report["capture"]
        return {
            "duration": max(capture["duration_ns"], 1),
            "complete": capture["complete"] and not capture["damage"],
            "clocks": self._clocks(),
            "containers": [printable(c["name"] or c["id"][:12]) for c in self.containers],
            "processes": self._columns(),
            "leftOut": len(self.report["processes"]) - len(self.processes),
            "groups": self._groups(),
            "kills": self._kills(),
            "signals": self._signals(),
            "reparents": self._reparents(),
            "losses": [
                [
                    self._rel(w["from_ns"]),
                    self._rel(w["to_ns"]),
                    w["cpu"],
                    w["events"],
                    w["details"],
                ]
                for w in self.report["losses"]["windows"]
            ],
            "marks": [
                [self._rel(e["ts_ns"]), printable(e["text"])]
                for e in self.report["timeline"]
                if e["kind"] in ("trigger", "suspend", "clock")
            ],
            "stories": [self._story(story) for story in self.stories],
            "talk": self.talk,
        }

    # --- times ---------------------------------------------------------------------------------

    def _rel(self, ts_ns: int | None) -> int | None:
        return None if ts_ns is None else ts_ns - self.boot_ns

    def _clocks(self) -> list[list[float]]:
        """Readings: relative time, and what to add to it (ms) for the wall clock."""
        return [
            [r["boot_ns"] - self.boot_ns, (r["wall_ns"] - (r["boot_ns"] - self.boot_ns)) / 1e6]
            for r in self.report["capture"]["clocks"]
        ]

    # --- processes -----------------------------------------------------------------------------

    def _drawn(self) -> list[Json]:
        found: list[Json] = self.report["processes"]
        if len(found) <= DRAWN:
            return found
        wanted = {id_ for step in self.report["timeline"] for id_ in step["processes"]}
        wanted |= {id_ for finding in self.report["findings"] for id_ in finding["processes"]}
        wanted |= {id_ for story in self.stories for id_ in story["people"]}
        wanted |= {p["id"] for p in found if p["role"] != "other"}
        chosen = [p for p in found if p["id"] in wanted][:DRAWN]
        rest = [p for p in found if p["id"] not in wanted]
        return chosen + rest[: DRAWN - len(chosen)]

    def _columns(self) -> Json:
        limit = 200 if len(self.processes) <= _MANY else 80
        people = self.processes
        return {
            "id": [p["id"] for p in people],
            "tgid": [p["tgid"] for p in people],
            "name": [self._name(p) for p in people],
            "role": _shared([p["role"] for p in people]),
            "container": [self.box.get(p["container"], -1) for p in people],
            "fork": [self._rel(p["fork_ns"]) for p in people],
            # Of those whose fork was not recorded.
            "start": [
                None if p["fork_ns"] is not None else self._rel(p["start_ns"]) for p in people
            ],
            "exit": [self._rel(p["exit_ns"]) for p in people],
            "gone": [self._rel(p["gone_ns"]) for p in people],
            "reap": [self._rel(p["reap_ns"]) for p in people],
            # 1: nobody had waited for it at the end; null: nobody looked.
            "zombie": [None if p["zombie"] is None else int(p["zombie"]) for p in people],
            "status": [p["exit_status"] for p in people],
            "signal": [name_of(p["exit_signal"]) if p["exit_signal"] else None for p in people],
            "nsPid": [p["ns_tgid"] for p in people],
            "stub": [int(p["stub"]) for p in people],
            "command": [command_line(p["args"], limit) for p in people],
            "file": _shared([printable(p["filename"] or "") for p in people]),
            "cgroup": _shared([printable(p["cgroup"] or p["cgroup_v1"] or "") for p in people]),
            "execs": [[ns - self.boot_ns for ns in p["exec_ns"][:_EXECS]] for p in people],
            "starter": [self.number.get(p["forker"], -1) for p in people],
            "parents": [self._parents(p) for p in people],
        }

    def _parents(self, process: Json) -> list[list[Any]] | None:
        """Parents over time; None of the many who had one alone, who forked them."""
        spans = process["parents"]
        plain = len(spans) == 1 and spans[0]["parent"] == process["forker"]
        if plain and (spans[0]["how"], spans[0]["certainty"]) == ("fork", "confirmed"):
            return None
        return [
            [
                self.number.get(span["parent"], -1),
                self._rel(span["from_ns"]),
                span["how"],
                span["certainty"],
            ]
            for span in spans
        ]

    def _name(self, process: Json) -> str:
        """As references name it, which know more than comm; a call of runc with its verb."""
        name = self.names.get(process["id"]) or process["comm"]
        verb = self.verbs.get(process["id"])
        return printable(f"{name} {verb}" if verb else name) or "?"

    def _groups(self) -> list[Json]:
        groups = []
        for group in build_groups({**self.report, "processes": self.processes}):
            groups.append(
                {
                    "title": printable(group["title"]),
                    "container": self.box.get(group["container"], -1),
                    "lanes": [[self.number[id_], depth] for id_, depth in group["lanes"]],
                }
            )
        return groups

    # --- events --------------------------------------------------------------------------------

    def _kills(self) -> list[list[Any]]:
        """(time, target, sender or -1, signal's name, kind) of what ended processes."""
        found = []
        for i, process in enumerate(self.processes):
            by = process["killed_by"]
            if by is None:
                continue
            who = by["sender"] or by["context"]
            ts_ns = by["ts_ns"] if by["ts_ns"] is not None else process["exit_ns"]
            if ts_ns is not None:
                sender = self.number.get(who["id"], -1) if who else -1
                name = name_of(process["exit_signal"])
                found.append([self._rel(ts_ns), i, sender, name, by["kind"]])
        return found

    def _signals(self) -> list[list[Any]]:
        """(time, target, sender or -1, what) of signals in the timeline that ended nobody."""
        fatal = {(ts, target) for ts, target, *_ in self._kills()}
        found = []
        for entry in self.report["timeline"]:
            if entry["kind"] == "signal":
                numbers = [self.number.get(id_, -1) for id_ in entry["processes"]]
                rel_ns = self._rel(entry["ts_ns"])
                if numbers and (rel_ns, numbers[0]) not in fatal:
                    sender = numbers[1] if len(numbers) > 1 else -1
                    found.append([rel_ns, numbers[0], sender, printable(entry["text"])])
        return found

    def _reparents(self) -> list[list[Any]]:
        """(time, child, old, new, reason, certainty), without those from thread to thread."""
        return [
            [
                self._rel(r["ts_ns"]),
                *(self.number.get(r[key]["id"], -1) if r[key] else -1 for key in _ENDS),
                r["reason"],
                r["certainty"],
            ]
            for r in self.report["reparents"]
            if r["reason"] != "thread"
        ]

    def _story(self, story: Json) -> Json:
        numbers = (self.number.get(id_, -1) for id_ in story["people"])
        return {
            "title": printable(story["title"]),
            "grave": story["grave"],
            "process": self.number.get(story["id"], -1),
            "people": [n for n in numbers if n >= 0],
            "steps": [
                {
                    "ts": self._rel(step["ts_ns"]),
                    "text": printable(step["text"]),
                    "certainty": step["certainty"] or "confirmed",
                    "followed": step["followed"],
                    "processes": [
                        self.number[id_] for id_ in step["processes"] if id_ in self.number
                    ],
                }
                for step in story["steps"]
            ],
        }


_ENDS = ("child", "from", "to")


def _shared(values: list[str]) -> Json:
    """Texts that many share: each once in ``texts``, and for everybody its place there."""
    places = {text: i for i, text in enumerate(dict.fromkeys(values))}
    return {"texts": list(places), "of": [places[text] for text in values]}


def _verbs(report: Json) -> dict[str, str]:
    """What calls of runtimes were told to do, by process."""
    found: dict[str, str] = {}
    for container in report["containers"]:
        for run in container["runs"]:
            found.update((c["process"]["id"], c["verb"]) for c in run["calls"] if c["verb"])
            if run["shim_start"]:
                found[run["shim_start"]["id"]] = "start"
    return found


def _references(report: Json) -> Iterable[Json]:
    """All references to processes, which have names that comm alone has not."""
    for reparent in report["reparents"]:
        yield from (reparent[key] for key in _ENDS if reparent[key])
    for container in report["containers"]:
        for run in container["runs"]:
            for role in ("client", "daemon", "manager", "shim_start", "shim", "init"):
                if run[role]:
                    yield run[role]
            yield from (call["process"] for call in run["calls"])
    for process in report["processes"]:
        by = process["killed_by"]
        if by and (by["sender"] or by["context"]):
            yield by["sender"] or by["context"]
