"""The report as data: what `rtrace report --format json` prints, described in docs/report-json.md.

Every other format is made of it. It holds plain dicts, lists, strings, ints, bools and None.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from analysis import recording
from analysis.behaviours import document as behaviours
from analysis.behaviours.behaviour import Occurrence
from analysis.columns import rows_of
from analysis.containers import exec_process
from analysis.findings.find import find_findings
from analysis.findings.finding import Finding
from analysis.model import Capture
from analysis.people import people_of
from analysis.references import Json
from analysis.report_control_path import describe_control_path, describe_links
from analysis.report_timeline import TimelineBuilder
from analysis.runs import PHASES, Call, Container, Run
from analysis.selection import Window, find_container, is_in_window

SCHEMA = 1

_BLOCK = 1 << 12  # processes at a time: as columns they take as much memory again

_PROCESS_COLUMNS = (
    "tgid",
    "start_ns",
    "ns_tgid",
    "pidns",
    "comm",
    "filename",
    "cgroup",
    "cgroup_v1",
    "forker",
    "fork_ns",
    "seen_ns",
    "exit_ns",
    "exit_status",
    "exit_signal",
    "core",
    "reap_ns",
    "gone_ns",
    "subreaper_ns",
    "execs",
    "ns_init",
    "kthread",
    "stub",
)


def build_report(
    capture: Capture,
    *,
    container: str | None = None,
    since_ns: int | None = None,
    until_ns: int | None = None,
    full: bool = False,
    every_process: bool = True,
) -> Json:
    """Report of a capture.

    Args:
        container: report this one only: its name, its id, or the beginning of its id.
        since_ns, until_ns: report what happened between these boot times only. Ends that came
            later are still told.
        full: tell also of the processes that are part of no story, one by one, and not only how
            many they are.
        every_process: False: list only those processes that the rest of the report refers to. A
            text shows no others, and of a storm of millions each takes time and memory.

    Raises:
        CaptureError: no container, or several, match.
    """
    window = Window(since_ns, until_ns)
    chosen, asked_for = capture.container_list, None
    if container is not None:
        chosen = [find_container(chosen, container)]
        asked_for = chosen[0].id
    chosen = [c for c in chosen if is_in_window(capture.scene, c, window)]
    only = chosen if container is not None else None
    builder = _Builder(capture)
    capture.progress.begin("telling what happened")
    steps, others = builder.tell(chosen, only, window)
    if full:
        steps += builder.tell_others(others, window)
        others = []
    timeline = builder.timeline(steps)
    reparents = builder.reparents(only, window)
    containers = [builder.container(c) for c in chosen]
    daemons = builder.daemons(only, window)
    capture.progress.begin("looking for what is wrong")
    findings = builder.findings(only, window)

    def is_wanted(occurrence: Occurrence) -> bool:
        return window.has(occurrence.ts_ns)

    answers = behaviours.describe(builder, is_wanted, {c.id for c in chosen})
    talks = describe_control_path(builder, only)
    # Before the processes: all that are referred to are listed.
    described = recording.describe(capture, builder.clocks, builder.triggers, builder.ref)
    capture.progress.begin("writing")
    processes = builder.processes(only, window, every=every_process)
    return {
        "schema": SCHEMA,
        "capture": described,
        "losses": recording.describe_losses(capture.table),
        "selection": {
            "container": asked_for,
            "since_ns": since_ns,
            "until_ns": until_ns,
        },
        "findings": findings,
        "daemons": daemons,
        "behaviours": answers,
        "containers": containers,
        "control_path": talks,
        "timeline": timeline,
        "untold": [builder.untold(found) for found in others],
        "reparents": reparents,
        "processes": processes,
    }


class _Builder(TimelineBuilder):
    # --- findings ------------------------------------------------------------------------------

    def findings(self, chosen: list[Container] | None, window: Window) -> list[Json]:
        """Those of the window and of the containers: that are about one, or about its people."""
        found = [f for f in find_findings(self.capture) if window.has(f.ts_ns)]
        if chosen is not None:
            ids = {c.id for c in chosen}
            people = {p for c in chosen for p in people_of(self.scene, c)}
            found = [f for f in found if f.container in ids or people & set(f.processes)]
        return [self._finding(f) for f in found]

    def _finding(self, finding: Finding) -> Json:
        for pos in (*finding.processes, *(e.pos for e in finding.evidence)):
            self.ref(int(pos))  # so that it is listed
        return {
            "kind": finding.kind,
            "severity": finding.severity,
            "text": finding.text,
            "certainty": finding.certainty,
            "ts_ns": finding.ts_ns,
            "rel_ns": finding.ts_ns - self.boot_ns,
            "utc": self.clocks.utc(finding.ts_ns),
            "container": finding.container,
            "processes": [self.scene.ids[pos] for pos in finding.processes],
            "evidence": self.evidence(finding.evidence),
            "next": finding.next,
        }

    # --- reparents -----------------------------------------------------------------------------

    def reparents(self, chosen: list[Container] | None, window: Window) -> list[Json]:
        scene = self.scene
        frame = scene.reparents
        names = ("ts_ns", "until_ns", "from_tid", "to_tid", "reason", "certainty", "evidence")
        child, old, new = scene.adoptions
        rows = np.flatnonzero(window.mask(frame["ts_ns"].to_numpy(np.int64)))
        if chosen is not None:
            wanted = np.zeros(len(scene.ids) + 1, bool)  # the last: -1, not known
            wanted[[p for c in chosen for p in people_of(scene, c)]] = True
            rows = rows[wanted[child[rows]] | wanted[old[rows]] | wanted[new[rows]]]
        result = []
        for row, values in zip(rows.tolist(), rows_of(frame.frame(rows), names), strict=True):
            ts_ns = values[0]
            entry = {
                "ts_ns": ts_ns,
                "child": self._child(int(child[row]), ts_ns),
                "from": self.ref(int(old[row])),
                "to": self.ref(int(new[row])),
                **dict(zip(names[1:], values[1:], strict=True)),
            }
            result.append(entry)
        result.sort(key=lambda entry: entry["ts_ns"])
        return result

    def _child(self, pos: int, ts_ns: int) -> Json | None:
        """Reference to an adopted process, with its role at that moment if it was another."""
        found = self.ref(pos)
        if found is None or not found["role"].startswith("container-"):
            return found
        then = self.scene.role_at(pos, ts_ns)
        return found if then == found["role"] else {**found, "role_then": then}

    # --- containers ----------------------------------------------------------------------------

    def container(self, container: Container) -> Json:
        known = container.known
        runs = [self._run(number, run) for number, run in enumerate(container.runs, 1)]
        last = dict(runs[-1] if runs else self._run(0, Run()))
        last.pop("run")
        return {
            "id": container.id,
            "name": known.name,
            "image": known.image,
            "runtime": container.runtime,
            "namespace": known.namespace,
            "labels": dict(known.labels),
            "daemons": [self.scene.ids[pos] for pos in self.daemons_of(container)],
            **last,
            "runs": runs,
            "control_path": describe_links(self, container),
        }

    def _run(self, number: int, run: Run) -> Json:
        return {
            "run": number,
            "began": self._began(run) if number else "not-seen",
            "client": self.ref(run.client),
            "client_named_it": run.client_sure,
            "daemon": self.ref(run.daemon),
            "manager": self.ref(run.manager),
            "shim_start": self.ref(run.starter),
            "shim": self.ref(run.shim),
            "init": self.ref(run.init),
            "calls": [self._call(call) for call in run.calls],
            "phases": {name: run.phases.get(name) for name in PHASES},
            "end": self.end(run.end),
            "shim_end": self.end(run.shim_end),
        }

    def _began(self, run: Run) -> str:
        if run.before:
            return "before"
        lost = run.init is not None and self.scene.born_ns(run.init) is None
        return "not-seen" if lost else "recorded"

    def _call(self, call: Call) -> Json:
        process = exec_process(self.scene, call) if call.verb == "exec" else None
        return {
            "verb": call.verb,
            "argument": call.argument,
            "ts_ns": call.ts_ns if call.ts_ns >= 0 else None,
            "process": self.ref(call.pos),
            "end": self.end(self.scene.end_of(call.pos)),
            "exec_process": self.ref(process),
            "exec_end": None if process is None else self.end(self.scene.end_of(process)),
        }

    # --- processes -----------------------------------------------------------------------------

    def processes(
        self,
        chosen: list[Container] | None,
        window: Window,
        *,
        every: bool,
    ) -> list[Json]:
        """Processes that lived in the window (and belong to the containers) if ``every`` is to be
        listed, and all that the rest of the report refers to."""
        scene = self.scene
        keep = self.kept(chosen, window) if every else np.zeros(len(scene.ids), bool)
        keep[self.named] = True
        killed_by = self._killers(keep)
        rows = np.flatnonzero(keep)
        blocks = (rows[begin : begin + _BLOCK] for begin in range(0, len(rows), _BLOCK))
        return [entry for block in blocks for entry in self._processes(block, killed_by)]

    def _processes(
        self, rows: npt.NDArray[np.int64], killed_by: dict[int, Json | None]
    ) -> list[Json]:
        scene = self.scene
        part = self.capture.processes_at(rows)
        result = []
        args = part["args"].to_numpy(object)
        extra = rows_of(part, ("role", "container"))
        values = rows_of(part, _PROCESS_COLUMNS)
        parents = self._parents(rows)
        at_end = scene.at_end
        for i, pos in enumerate(rows.tolist()):
            entry: Json = {"id": scene.ids[pos]}
            entry.update(zip(_PROCESS_COLUMNS, values[i], strict=True))
            entry["args"] = list(args[i]) if isinstance(args[i], tuple) else []
            entry["role"], entry["container"] = extra[i]
            entry["zombie"] = at_end.is_zombie(pos)
            entry["exec_ns"] = self._exec_times(pos)
            entry["killed_by"] = killed_by.get(pos)
            entry["parents"] = parents[i]
            result.append(entry)
        return result

    def _killers(self, keep: npt.NDArray[np.bool_]) -> dict[int, Json | None]:
        """The fatal signals of those that are kept. Keeps those who sent them, too."""
        killed = self.scene.killed
        found: dict[int, Json | None] = {}
        while todo := [pos for pos in np.flatnonzero(keep & killed).tolist() if pos not in found]:
            found.update((pos, self.cause(self.scene.end_of(pos))) for pos in todo)
            keep[self.named] = True
        return found

    def _exec_times(self, pos: int) -> list[int]:
        programs = self.scene.programs
        own = slice(programs.rows(pos).start, programs.rows(pos).stop)
        times: list[int] = programs.from_ns[own][programs.executed[own]].tolist()
        return times

    def _parents(self, positions: npt.NDArray[np.int64]) -> list[list[Json]]:
        """Of each of these processes its parents, in order."""
        names = ("parent", "from_ns", "until_ns", "how", "certainty")
        intervals = [self.scene.intervals_of(pos) for pos in positions.tolist()]
        rows = [row for found in intervals for row in found]
        values = iter(rows_of(self.scene.parents.frame(np.array(rows, np.int64)), names))
        return [[dict(zip(names, next(values), strict=True)) for _ in found] for found in intervals]
