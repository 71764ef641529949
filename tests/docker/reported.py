"""What a report and `why` tell of a capture made with a real engine, in the words of its tests."""

from __future__ import annotations

import json
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Any

import jsonschema
import referencing

from analysis.model import Capture, open_capture
from analysis.report import build_report
from analysis.why.answer import build_why
from tests.found import check
from tests.witness import TICK_NS, Json, Watched

# Every run of a container whose beginning was recorded has these, in this order.
_PHASES = ("create_ns", "init_ns", "adoption_ns", "workload_ns", "exit_ns", "reap_ns")


class Reported:
    """A capture's report, checked in every way that holds for all of them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.capture: Capture = open_capture(path)
        self.report: Json = build_report(self.capture)
        check(self.capture, self.report)
        assert self.report["capture"]["complete"]
        assert self.report["losses"]["events"] == 0

    @cached_property
    def by_id(self) -> dict[str, Json]:
        """All processes, by id."""
        return {p["id"]: p for p in self.report["processes"]}

    @cached_property
    def roles(self) -> dict[str, str]:
        """Roles of all processes, by id."""
        return {id_: p["role"] for id_, p in self.by_id.items()}

    def role(self, watched: Watched) -> str:
        """Role of a process that a witness watched."""
        return str(self.process(watched.tgid, watched.start_ns)["role"])

    def process(self, tgid: int, start_ns: int) -> Json:
        """The process with this number and start, which /proc gives in full clock ticks."""
        found: Json
        (found,) = [
            p
            for p in self.report["processes"]
            if p["tgid"] == tgid and p["start_ns"] // TICK_NS * TICK_NS == start_ns
        ]
        return found

    def container(self, name: str, namespace: str | None = None) -> Json:
        """The one container with a name."""
        found = [
            c
            for c in self.report["containers"]
            if c["name"] == name and namespace in (None, c["namespace"])
        ]
        assert len(found) == 1, [c["name"] for c in self.report["containers"]]
        container: Json = found[0]
        return container

    def whole_run(self, run: Json) -> None:
        """A run from its beginning to its end, with nothing missing, and in order."""
        assert run["began"] == "recorded"
        times = [run["phases"][name] for name in _PHASES]
        if run["phases"]["reap_ns"] is None:  # one kernel does not tell of all (docs/engines.md)
            assert self.by_id[run["init"]["id"]]["zombie"] is False
            times.pop()
        assert None not in times, run["phases"]
        assert times == sorted(times), run["phases"]
        (adoption,) = self.moves(run["init"]["id"])[:1]
        assert adoption["certainty"] == "confirmed"
        assert adoption["from"]["role"] in ("runc", "crun")
        assert adoption["to"]["id"] == run["shim"]["id"]
        assert adoption["reason"] == "subreaper"

    def moves(self, child: str) -> list[Json]:
        """Changes of a process's parent, without those between threads of one parent."""
        found = [m for m in self.report["reparents"] if m["child"]["id"] == child]
        return [m for m in found if m["reason"] != "thread"]

    def findings(self, *names: str) -> list[Json]:
        """Findings on containers with these names, and on their processes."""
        mine = [c for c in self.report["containers"] if c["name"] in names]
        assert {c["name"] for c in mine} == set(names)
        ids = {c["id"] for c in mine}
        people = {p["id"] for p in self.report["processes"] if p["container"] in ids}
        found = self.report["findings"]
        return [f for f in found if f["container"] in ids or people & set(f["processes"])]

    def kinds(self, *names: str) -> list[str]:
        """Kinds of these findings, each as often as it is there."""
        return sorted(f["kind"] for f in self.findings(*names))

    def about(self, *tgids: int) -> list[Json]:
        """Findings that name processes with these numbers."""
        ids = {p["id"] for p in self.report["processes"] if p["tgid"] in tgids}
        return [f for f in self.report["findings"] if ids & set(f["processes"])]

    def why(self, target: str) -> Json:
        """What `rtrace why` says, which is valid."""
        why: Json = build_why(self.capture, target)
        _validate(why)
        return why


def _validate(answer: Any) -> None:
    def read(name: str) -> Any:
        return json.loads((resources.files("analysis") / "schemas" / name).read_text())

    shared = referencing.Resource.from_contents(read("report.schema.json"))
    registry = referencing.Registry().with_resource("report.schema.json", shared)
    jsonschema.Draft202012Validator(read("why.schema.json"), registry=registry).validate(answer)
