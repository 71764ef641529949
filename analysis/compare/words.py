"""Words that all renderings of a comparison share."""

from __future__ import annotations

from collections.abc import Sequence

from analysis.references import Json
from analysis.text_layout import count, span
from tracer.text import printable

TABLES = ("behaviours", "latencies", "places", "adoptions", "groups", "captures")
TOO_FEW = "too few"


def head(document: Json) -> str:
    captures, groups = len(document["captures"]), len(document["groups"])
    return f"{count(captures, 'capture')} in {count(groups, 'group')}"


def group_words(ids: Sequence[str]) -> str:
    """ "[1]", "[1-4, 7]": groups by their ids, which are numbers from 1 on, in order."""
    runs: list[list[int]] = []
    for number in map(int, ids):
        if runs and runs[-1][1] == number - 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    parts = (str(a) if a == b else f"{a}-{b}" for a, b in runs)
    return f"[{', '.join(parts)}]"


def verdict_word(cell: Json) -> str:
    """ "holds", "contradicted?", "-"; marked with * where it differs from the baseline."""
    if not cell["observed"]:
        return "-"
    doubt = "?" if cell["certainty"] not in (None, "confirmed") else ""
    return f"{cell['verdict']}{doubt}{'*' if cell['differences'] else ''}"


def outcome_words(outcome: Json) -> str:
    """ "killed: shim reparented from containerd to init, container unaffected"."""
    parts = [
        f"{name} {outcome[name]}" for name in ("shim", "container", "process") if outcome[name]
    ]
    text = ", ".join(parts) or "outcome not known"
    return f"{outcome['cause']}: {text}" if outcome["cause"] else text


def times(number: int) -> str:
    return "once" if number == 1 else f"{number} times"


def latency_words(cell: Json) -> tuple[str, str, str, str, str]:
    """n, median, p90, max, ratio to the baseline with its interval."""
    spans = [
        "-" if cell[name] is None else span(cell[name])
        for name in ("median_ns", "p90_ns", "max_ns")
    ]
    ratio = TOO_FEW if cell["too_few"] and cell["n"] else "-"
    if cell["ratio"] is not None:
        ratio = f"x{cell['ratio']:.3g} ({cell['ratio_low']:.3g} to {cell['ratio_high']:.3g})"
    return str(cell["n"]), spans[0], spans[1], spans[2], ratio


def place_words(place: Json) -> str:
    """ "shim-v1: child of containerd, then of init (init)"."""
    first, *others = place["parents"]
    text = f"{place['child']}: child of {first['role']}"
    for step in others:
        text += f", then of {step['role']} (rule: {step['how']})"
    return text


def adoption_words(adoption: Json) -> str:
    """ "shim-v1 went from containerd to init (rule: init)"."""
    return (
        f"{adoption['child']} went from {adoption['from']} to {adoption['to']} "
        f"(rule: {adoption['reason']})"
    )


def environment_words(environment: Json) -> str:
    """ "containerd 1.4.13, kernel 6.1; ..."."""
    parts = []
    for name, values in environment.items():
        if values and name != "docker":
            parts.append(f"{name} {' and '.join(printable(value) for value in values)}")
    return ", ".join(parts)
