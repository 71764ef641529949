"""The comparison as data: what `rtrace compare --format json` prints (docs/compare-json.md)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from analysis.behaviours.behaviour import (
    CONTRADICTED,
    HOLDS,
    NOT_OBSERVED,
    QUESTIONS,
    UNKNOWN_SHAPE,
    Question,
)
from analysis.compare.gather import Skipped
from analysis.compare.groups import Group, find_baseline, group
from analysis.compare.latencies import FEW, LATENCIES, shown_values, summarize
from analysis.compare.measure import Measured, Outcomes, judged
from analysis.compare.words import group_words
from analysis.references import Json
from analysis.why.story import DOUBT

SCHEMA = 1
_RUNTIMES = ("docker", "containerd", "runc", "crun", "podman")


def build_comparison(
    measured: Sequence[Measured], skipped: Sequence[Skipped], baseline: str | None = None
) -> Json:
    """Captures side by side.

    Args:
        measured: at least one.
        baseline: label, number, docker version or name of the group that others are held
            against; the first by default.

    Raises:
        UsageError: no such baseline.
    """
    groups = group(measured)
    base = find_baseline(groups, baseline)
    behaviours = [_behaviour(question, groups, base) for question in QUESTIONS]
    return {
        "schema": SCHEMA,
        "baseline": base.id,
        "groups": [_group(g) for g in groups],
        "captures": [_capture(g, n, m) for g in groups for n, m in _numbered(g)],
        "skipped": [{"path": s.path, "error": s.error} for s in skipped],
        "behaviours": behaviours,
        "changed": [text for behaviour in behaviours for text in _changes(behaviour)],
        "latencies": [_latency(name, groups, base) for name in LATENCIES],
        "tree": {"places": _places(groups), "adoptions": _adoptions(groups)},
    }


def _numbered(one: Group) -> Iterable[tuple[int, Measured]]:
    return zip(one.numbers, one.captures, strict=True)


# --- environment -------------------------------------------------------------------------------


def _group(one: Group) -> Json:
    return {
        "id": one.id,
        "name": one.name,
        "label": one.label,
        "docker": one.docker,
        "topology": one.topology,
        "shape": one.shape,
        "shim": one.shim,
        "live_restore": one.live_restore,
        "captures": one.numbers,
        "environment": _environment(one),
    }


def _environment(one: Group) -> Json:
    """What the group's captures were recorded on: each value once."""
    found: dict[str, list[str]] = {name: [] for name in (*_RUNTIMES, *_HOST, "rtrace", "engine")}
    for measured in one.captures:
        capture = measured.capture
        for runtime in capture["runtimes"]:
            name, version = runtime.get("name"), runtime.get("version")
            if name in _RUNTIMES and isinstance(version, str):
                # One that no daemon told of is that of the recorder's host.
                told = runtime.get("daemon") or runtime.get("tgid") or name == "docker"
                source = "" if told else f" ({runtime.get('source')})"
                found[name].append(f"{version}{source}")
        for name in _HOST:
            found[name].append(str(capture["host"].get(name) or ""))
        found["rtrace"].append(capture["rtrace"] or "")
        found["engine"].append(capture["engine"] or "")
    return {name: sorted({v for v in values if v}) for name, values in found.items()}


_HOST = ("kernel", "os", "init", "cgroup", "machine")


def _capture(one: Group, number: int, measured: Measured) -> Json:
    capture = measured.capture
    return {
        "number": number,
        "path": measured.path,
        "group": one.id,
        "started_utc": capture["started"]["utc"],
        "duration_ns": capture["duration_ns"],
        "events": capture["events"],
        "processes": capture["processes"],
        "complete": capture["complete"],
        "damage": capture["damage"],
        "lost": measured.lost,
        "doubts": measured.doubts,
    }


# --- behaviours --------------------------------------------------------------------------------


def _behaviour(question: Question, groups: Sequence[Group], base: Group) -> Json:
    return {
        "id": question.id,
        "question": question.text,
        "groups": [_cell(question, g, base) for g in groups],
    }


def _cell(question: Question, one: Group, base: Group) -> Json:
    """A group's answer to a question."""
    counts: Counter[Outcomes] = Counter()
    example: dict[Outcomes, tuple[int, Json]] = {}
    verdicts: list[tuple[str, str | None]] = []
    shapes = set()
    for number, measured in _numbered(one):
        answer = measured.answers[question.id]
        counts.update(answer.counts)
        verdicts.append((answer.verdict, answer.certainty))
        shapes |= {answer.shape} if answer.counts else set()
        for outcomes, first in answer.first.items():
            example.setdefault(outcomes, (number, first))
    shape = shapes.pop() if len(shapes) == 1 else one.shape if not shapes else UNKNOWN_SHAPE
    verdict = next(
        (v for v in (CONTRADICTED, HOLDS) if v in {v for v, _ in verdicts}), NOT_OBSERVED
    )
    sure = [c for v, c in verdicts if v == verdict and c is not None]
    pick = min if verdict == CONTRADICTED else max
    differences = [] if one is base else _differences(question, one, base)
    return {
        "group": one.id,
        "shape": shape,
        "claim": question.claim(shape),
        "observed": bool(counts),
        "verdict": verdict,
        "certainty": pick(sure, key=DOUBT.index) if sure else None,
        "outcomes": [
            {
                "cause": o.cause or None,
                "shim": o.shim or None,
                "container": o.container or None,
                "process": o.process or None,
                "verdict": o.verdict,
                "count": count,
                "capture": example[o][0],
                **example[o][1],
            }
            for o, count in sorted(counts.items())
        ],
        "comparable": one is base or _comparable(question, one, base),
        "differences": differences,
    }


Answers = dict[str, set[tuple[str, str, str]]]


def _answers(question: Question, one: Group) -> Answers:
    found: Answers = {}
    for measured in one.captures:
        for cause, outcomes in judged(measured.answers[question.id]).items():
            found.setdefault(cause, set()).update(outcomes)
    return found


def _comparable(question: Question, one: Group, base: Group) -> bool:
    """Both have seen the same thing happen."""
    return bool(_answers(question, one).keys() & _answers(question, base).keys())


def _differences(question: Question, one: Group, base: Group) -> list[str]:
    """What became of things in a group and not in the baseline, or the other way round."""
    ours, theirs = _answers(question, one), _answers(question, base)
    found = []
    for cause in sorted(ours.keys() & theirs.keys()):
        if ours[cause] != theirs[cause]:
            when = f" ({'was ' if cause.startswith('killed') else ''}{cause})" if cause else ""
            found.append(f"{_words(ours[cause])}{when}; the baseline: {_words(theirs[cause])}")
    return found


def _changes(behaviour: Json) -> list[str]:
    """What differs from the baseline; groups that differ in the same way together."""
    groups: dict[str, list[str]] = {}
    for cell in behaviour["groups"]:
        for text in cell["differences"]:
            groups.setdefault(text, []).append(cell["group"])
    return [f"{behaviour['id']}: {group_words(ids)} {text}" for text, ids in groups.items()]


def _words(outcomes: set[tuple[str, str, str]]) -> str:
    """ "shim unaffected, container killed by runc; or ..."."""
    texts = []
    for parts in sorted(outcomes):
        named = zip(("shim", "container", "process"), parts, strict=True)
        texts.append(", ".join(f"{name} {part}" for name, part in named if part))
    return "; or ".join(texts)


# --- latencies ---------------------------------------------------------------------------------


def _latency(name: str, groups: Sequence[Group], base: Group) -> Json:
    baseline = base.latencies.get(name, [])
    cells = []
    for one in groups:
        values = one.latencies.get(name, [])
        s = summarize(values, None if one is base else baseline)
        cells.append(
            {
                "group": one.id,
                "n": s.n,
                "median_ns": s.median_ns,
                "p90_ns": s.p90_ns,
                "max_ns": s.max_ns,
                "too_few": s.n < FEW or (one is not base and len(baseline) < FEW),
                "ratio": _rounded(s.ratio),
                "ratio_low": _rounded(s.low),
                "ratio_high": _rounded(s.high),
                "values_ns": shown_values(values),
            }
        )
    return {"id": name, "what": LATENCIES[name], "groups": cells}


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}")


# --- tree --------------------------------------------------------------------------------------


def _places(groups: Sequence[Group]) -> list[Json]:
    trees = {one.id: one.tree.places for one in groups}
    keys = sorted({key for places in trees.values() for key in places})
    return [
        {
            "child": child,
            "parents": [{"role": role, "how": how} for role, how in steps],
            "groups": _counts({id_: places[child, steps] for id_, places in trees.items()}),
        }
        for child, steps in keys
    ]


def _adoptions(groups: Sequence[Group]) -> list[Json]:
    trees = {one.id: one.tree.adoptions for one in groups}
    keys = sorted({key for adoptions in trees.values() for key in adoptions})
    names = ("child", "from", "to", "reason")
    return [
        {
            **dict(zip(names, key, strict=True)),
            "groups": _counts({id_: adoptions[key] for id_, adoptions in trees.items()}),
        }
        for key in keys
    ]


def _counts(by_group: dict[str, int]) -> list[Json]:
    return [{"group": id_, "count": count} for id_, count in by_group.items()]


def cells_of(row: Json) -> dict[str, Any]:
    """Of a row of the matrix: the cell of each group."""
    return {cell["group"]: cell for cell in row["groups"]}
