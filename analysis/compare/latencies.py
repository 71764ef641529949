"""How long the steps of containers take, and by what factor that differs between groups.

The factor is the median of all ratios of a value of one group to one of the other (Hodges and
Lehmann's estimate on a logarithmic scale), with the interval that belongs to the rank-sum test of
Mann and Whitney: it supposes no distribution, and is as wide as few values make it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from analysis.behaviours.behaviour import Behaviour, Occurrence
from analysis.model import Capture
from analysis.runs import Run

# Below that nothing is said of a distribution.
FEW = 5
# Of more values, so many quantiles stand for all: their ratios fit into memory.
_MOST = 1000
# And of what a document holds of a distribution.
_SHOWN = 200
_CONFIDENCE = 0.95
_EXACT = 30  # values of either group up to which the test's distribution is counted out

Samples = dict[str, list[int]]
Floats = npt.NDArray[np.float64]

# From one phase of a run (analysis.runs.PHASES) to another.
_PHASES = {
    "run": ("client_ns", "workload_ns", "first run: from the client's start to the workload's"),
    "shim": ("client_ns", "shim_ns", "first run: from the client's start to the fork of the shim"),
    "create": ("create_ns", "create_exit_ns", "runc create"),
    "start": ("start_ns", "workload_ns", "from runc start to the workload's exec"),
    "reap": ("exit_ns", "reap_ns", "from the exit of process 1 to its reaping"),
    "shim-end": ("exit_ns", "shim_exit_ns", "from the exit of process 1 to that of its shim"),
}
_OTHERS = {
    "adoption": "from the exit of runc create to the observation of the new parent of process 1",
    "exec": "from the exec of runc exec to its exit",
    "takeover": "from containerd's exit to the observation of a shim's new parent",
    "recycling": "from a shim's exit to the end of its container",
    "restart": "from the exit of process 1 to the fork of the next one",
}
LATENCIES = {**{name: text for name, (_, _, text) in _PHASES.items()}, **_OTHERS}


def measure_latencies(capture: Capture, behaviours: Sequence[Behaviour]) -> Samples:
    """Latencies of a capture in ns, by id."""
    found: Samples = {name: [] for name in LATENCIES}
    for container in capture.container_list:
        for number, run in enumerate(container.runs):
            _add_phases(capture, run, found, is_first=number == 0)
    for behaviour in behaviours:
        for occurrence in behaviour.occurrences:
            named = _of_occurrence(capture, behaviour.question.id, occurrence)
            if named is not None:
                found[named[0]].append(named[1])
    return found


def _add_phases(capture: Capture, run: Run, found: Samples, *, is_first: bool) -> None:
    for name, (first, last, _) in _PHASES.items():
        # The client of a later run may have been busy with the end of the one before.
        if first == "client_ns" and not (run.client_sure and is_first):
            continue
        begin, end = run.phases.get(first), run.phases.get(last)
        if begin is not None and end is not None and end >= begin:
            found[name].append(end - begin)
    for call in run.execs:
        ended = int(capture.scene.exit_ns[call.pos])
        if 0 <= call.ts_ns <= ended:
            found["exec"].append(ended - call.ts_ns)


def _of_occurrence(capture: Capture, id_: str, occurrence: Occurrence) -> tuple[str, int] | None:
    """Name and value of the latency that an occurrence shows, if it does."""
    shim, container = occurrence.shim, occurrence.container
    name, value = "", None
    if id_ == "start" and container is not None:
        name, value = "adoption", container.latency_ns
    elif id_ == "containerd-exit" and shim is not None:
        name, value = "takeover", shim.latency_ns
    elif id_ == "shim-exit" and container is not None and container.end is not None:
        name, value = "recycling", container.after_ns
    elif id_ == "restart" and container is not None and container.ts_ns is not None:
        ended = int(capture.scene.exit_ns[container.old]) if container.old >= 0 else -1
        name = "restart"
        value = container.ts_ns - ended if 0 <= ended <= container.ts_ns else None
    return None if value is None else (name, value)


@dataclass(frozen=True, slots=True)
class Summary:
    """``p90_ns`` and the ratio to the baseline are None where there are fewer than FEW values."""

    n: int
    median_ns: int | None
    p90_ns: int | None
    max_ns: int | None
    ratio: float | None = None
    low: float | None = None
    high: float | None = None


def summarize(values: Sequence[int], baseline: Sequence[int] | None) -> Summary:
    """Statistics of a group's latencies.

    Args:
        baseline: those of the baseline; None: this is it.
    """
    if not values:
        return Summary(0, None, None, None)
    array = np.array(values, np.float64)
    p90 = round(float(np.quantile(array, 0.9))) if len(values) >= FEW else None
    summary = Summary(len(values), round(float(np.median(array))), p90, max(values))
    if baseline is None or min(len(values), len(baseline)) < FEW:
        return summary
    ratio, low, high = ratio_to(array, np.array(baseline, np.float64))
    return Summary(summary.n, summary.median_ns, p90, summary.max_ns, ratio, low, high)


def shown_values(values: Sequence[int]) -> list[int]:
    """Values of a latency in order, for a picture; of very many, quantiles that stand for all."""
    if len(values) <= _SHOWN:
        return sorted(values)
    quantiles = np.quantile(np.array(values, np.float64), np.linspace(0, 1, _SHOWN))
    found: list[int] = quantiles.round().astype(np.int64).tolist()
    return found


def ratio_to(values: Floats, baseline: Floats) -> tuple[float, float, float]:
    """By what factor values differ from others: estimate, and bounds of the 95 % interval."""
    ours, theirs = _logs(values), _logs(baseline)
    ratios = np.sort((ours[:, None] - theirs[None, :]).ravel())
    cut = _rank(len(ours), len(theirs))
    found = (np.median(ratios), ratios[cut], ratios[len(ratios) - 1 - cut])
    estimate, low, high = (float(math.exp(value)) for value in found)
    return estimate, low, high


def _logs(values: Floats) -> Floats:
    if len(values) > _MOST:
        values = np.quantile(values, np.linspace(0, 1, _MOST))
    logs: Floats = np.log(np.maximum(values, 1.0))  # a clock's tick, where none was seen
    return logs


def _rank(n: int, m: int) -> int:
    """Place of the lower bound among the sorted ratios; the upper one has it from the end.

    It is the test's critical value (Hollander and Wolfe, 4.3): counted out for few values, by the
    normal distribution for many.
    """
    tail = (1 - _CONFIDENCE) / 2
    if max(n, m) > _EXACT:
        z = 1.959963984540054
        return max(int(n * m / 2 - z * math.sqrt(n * m * (n + m + 1) / 12)) - 1, 0)
    below, rank = 0, -1
    total = math.comb(n + m, n)
    for count in _rank_sums(n, m):
        below += count
        if below / total > tail:
            break
        rank += 1
    return max(rank, 0)


@cache
def _rank_sums(n: int, m: int) -> tuple[int, ...]:
    """How many orders of n and m values give each value of the statistic, from 0 up."""
    counts = np.zeros(n * m + 1, object)
    counts[0] = 1
    # The coefficients of the Gaussian binomial: products of (1 - q^(m+i)) / (1 - q^i).
    for i in range(1, n + 1):
        for k in range(n * m, m + i - 1, -1):
            counts[k] -= counts[k - m - i]
        for k in range(i, n * m + 1):
            counts[k] += counts[k - i]
    return tuple(int(count) for count in counts)
