"""The answer to `rtrace why` as data, described in docs/why-json.md."""

from __future__ import annotations

from typing import Any

from analysis.model import Capture
from analysis.references import Json, References
from analysis.runs import Container, Run
from analysis.why.aftermath import LISTED, Aftermath, Survivor, Victim, find_aftermath
from analysis.why.chain import explain
from analysis.why.gaps import find_gaps
from analysis.why.lineage import command_of, lineage, unit_of
from analysis.why.story import CONFIRMED, UNKNOWN, Reason, Story, name_container, worst
from analysis.why.target import Target, find_target
from tracer.text import printable

SCHEMA = 1
_CLAUSES = 6  # behind the first; the chain has them all


def build_why(capture: Capture, wanted: str) -> Json:
    """Why a container or process ended.

    Args:
        wanted: a container's name, id or beginning of its id, a host pid, "tgid:start_ns", or the
            name of a daemon.

    Raises:
        CaptureError: nothing fits, or several.
    """
    target = find_target(capture, wanted)
    refs = References(capture)
    if target.pos is None:
        return _nothing(capture, refs, target)
    pos = target.pos
    story = explain(capture, pos)
    aftermath = find_aftermath(story, pos)
    lossy = find_gaps(story, pos)
    story.entries.sort(key=lambda entry: (entry.ts_ns, entry.rank))
    return {
        "schema": SCHEMA,
        "capture": _recording(capture, refs),
        "losses": {"events": _lost(capture), "touch": lossy},
        "target": _target(refs, target),
        "answer": _answer(story, target),
        "chain": [refs.step(entry) for entry in story.entries],
        "lineage": _lineage(refs, story),
        "died_with": [_victim(refs, victim) for victim in aftermath.died_with],
        "survived": [_survivor(refs, survivor) for survivor in aftermath.survived],
        "missing": _missing(story, aftermath),
        "processes": _processes(refs, story),
    }


def _nothing(capture: Capture, refs: References, target: Target) -> Json:
    """Only the name of a container is known, from the recorder's facts."""
    assert target.container is not None
    name = name_container(target.container)
    text = f"Why {name} ended is not in the capture: no process of it was seen."
    missing = "It was not running while this was recorded, or outside of the filter."
    return {
        "schema": SCHEMA,
        "capture": _recording(capture, refs),
        "losses": {"events": _lost(capture), "touch": _lost(capture) > 0},
        "target": _target(refs, target),
        "answer": {"text": text, "certainty": UNKNOWN, "reasons": []},
        "chain": [],
        "lineage": [],
        "died_with": [],
        "survived": [],
        "missing": [missing],
        "processes": [],
    }


def _recording(capture: Capture, refs: References) -> Json:
    table = capture.table
    host = table.header.get("host")
    host = host if isinstance(host, dict) else {}
    names = {key: host.get(key) for key in ("hostname", "kernel")}
    last_ns = max(table.last_ns, refs.boot_ns)
    return {
        **{key: value if isinstance(value, str) else None for key, value in names.items()},
        "started": {
            "boot_ns": refs.boot_ns,
            "wall_ns": refs.clocks.readings[0].wall_ns,
            "utc": refs.clocks.utc(refs.boot_ns),
        },
        "ended_ns": last_ns,
        "complete": table.complete,
        "damage": table.damage,
    }


def _lost(capture: Capture) -> int:
    return int(capture.table.losses["events"].sum())


def _target(refs: References, target: Target) -> Json:
    scene, container = refs.scene, target.container
    end = None if target.pos is None else refs.end(scene.end_of(target.pos))
    return {
        "asked": target.asked,
        "kind": "container" if target.by_name else "process",
        "process": refs.ref(target.pos),
        "end": end,
        "container": None if container is None else _container(refs, container),
        "run": target.run + 1 if target.run >= 0 else None,
    }


def _container(refs: References, container: Container) -> Json:
    known = container.known
    return {
        "id": container.id,
        "name": known.name,
        "image": known.image,
        "runtime": container.runtime,
        "namespace": known.namespace,
        "runs": [_run(refs, number, run) for number, run in enumerate(container.runs, 1)],
    }


def _run(refs: References, number: int, run: Run) -> Json:
    return {"run": number, "init": refs.ref(run.init), "end": refs.end(run.end)}


# --- the short answer --------------------------------------------------------------------------


def _answer(story: Story, target: Target) -> Json:
    """Two sentences: the end itself, and what it came from."""
    first, *rest = story.reasons
    text = _sentence(_clause(first))
    container = target.container
    if target.by_name and container is not None:
        text = f"{_lead(story, target, container)}{text}"
    clauses = [_clause(reason) for reason in rest]
    if len(clauses) > _CLAUSES:
        clauses = [*clauses[: _CLAUSES - 3], "and so on, up to the first cause", *clauses[-2:]]
    if clauses:
        text = f"{text} {_sentence('; '.join(clauses))}"
    return {
        "text": text,
        "certainty": worst([reason.certainty for reason in story.reasons]),
        "reasons": [{"text": r.text, "certainty": r.certainty} for r in story.reasons],
    }


def _clause(reason: Reason) -> str:
    """A reason, with how sure it is unless it is sure or says so itself."""
    sure = reason.certainty in (CONFIRMED, UNKNOWN)
    return reason.text if sure else f"{reason.text} [{reason.certainty}]"


def _lead(story: Story, target: Target, container: Container) -> str:
    run = container.runs[target.run]
    name = name_container(container)
    if len(container.runs) > 1:
        name = f"{name} (run {target.run + 1} of {len(container.runs)})"
    if run.init != target.pos:
        return f"{name}, of which no process 1 was seen: "
    how = story.scene.end_of(run.init).how if run.init is not None else "not-seen"
    if how in ("running", "not-seen"):
        return f"{name}: "
    return f"{name} ended: "


def _sentence(text: str) -> str:
    """With a full stop, and a capital where the first word is one of ours, not a name."""
    ours = ("its ", "how ", "it ")
    if text.startswith(ours):
        text = text[0].upper() + text[1:]
    return text if text.endswith(".") else f"{text}."


# --- people ------------------------------------------------------------------------------------


def _lineage(refs: References, story: Story) -> list[Json]:
    if story.culprit is None:
        return []
    pos, ts_ns = story.culprit
    return [
        {**_person(refs, ancestor.pos), "ended_ns": ancestor.left_ns}
        for ancestor in lineage(refs.scene, pos, ts_ns)
    ]


def _person(refs: References, pos: int) -> dict[str, Any]:
    unit = unit_of(refs.scene, pos)
    return {
        "process": refs.ref(pos),
        "command": command_of(refs.scene, pos),
        "unit": None if unit is None else printable(unit),
    }


def _victim(refs: References, victim: Victim) -> Json:
    return {
        "process": refs.ref(victim.pos),
        "end": refs.end(victim.end),
        "cause": victim.cause,
    }


def _survivor(refs: References, survivor: Survivor) -> Json:
    adoption = survivor.adoption
    return {
        "process": refs.ref(survivor.pos),
        "adopted_by": None if adoption is None else refs.ref(adoption.new),
        "reason": None if adoption is None else adoption.reason,
        "certainty": None if adoption is None else adoption.certainty,
        "end": refs.end(refs.scene.end_of(survivor.pos)),
    }


def _missing(story: Story, aftermath: Aftermath) -> list[str]:
    found = list(story.missing)
    for total, what in ((aftermath.died_total, "died"), (aftermath.survived_total, "survived")):
        if total > LISTED:
            found.append(f"{total - LISTED} more processes that {what} are not listed.")
    return found


def _processes(refs: References, story: Story) -> list[Json]:
    """Everybody in the chain, with command and unit."""
    named = {pos for entry in story.entries for pos in entry.processes}
    return [_person(refs, pos) for pos in sorted(named)]
