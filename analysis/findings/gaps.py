"""Lost events where the report concludes something."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from analysis.findings.finding import DAEMONS, WARNING, Case, Finding, listed
from analysis.runs import Run
from analysis.text_layout import count, seconds
from analysis.why.story import name_container

_NAMED = 5


def losses_that_touch(case: Case) -> Iterator[Finding]:
    """Windows of lost events within the life of a container, or of a daemon that ended."""
    scene, table = case.scene, case.table
    lost = table.losses
    if lost.empty:
        return
    touched: list[tuple[str, int]] = []
    for container, run in case.runs():
        first, last = _life(case, run)
        if case.lost_between(first, last):
            people = [p for p in (run.init, run.shim) if p is not None]
            touched.append((name_container(container), people[0] if people else -1))
    for pos in scene.positions(*DAEMONS):
        ended = int(scene.exit_ns[pos])
        if ended >= 0 and case.lost_between(max(int(scene.fork_ns[pos]), 0), ended):
            touched.append((scene.label(pos), pos))
    if not touched:
        return
    names = list(dict.fromkeys(name for name, _ in touched))
    shown = ", ".join(names[:_NAMED])
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    begins = np.maximum(lost["from_ns"].to_numpy(np.int64), table.kept_from_ns)
    counts = {noun: int(lost[f"{noun}s"].sum()) for noun in ("event", "detail")}
    what = " and ".join(count(n, noun) for noun, n in counts.items() if n)
    start, stop = int(begins.min()), int(lost["to_ns"].max())
    base = table.started_ns
    people = listed(pos for _, pos in touched)
    evidence = [e for pos in people for e in case.cite_end(pos) or case.cite_state(pos)]
    yield Finding(
        "losses-touch",
        WARNING,
        f"{what} {'was' if sum(counts.values()) == 1 else 'were'} lost between "
        f"{seconds(start - base, sign=True, digits=3)} and "
        f"{seconds(min(stop, table.last_ns) - base, sign=True, digits=3)} s, in the life of "
        f"{shown}{more}: who ended whom, and whose child it was, may be incomplete there",
        "`losses` in the JSON has each window; record again with a larger --buffer",
        start,
        people,
        listed(evidence),
    )


def _life(case: Case, run: Run) -> tuple[int, int]:
    """From the first sign of a run to its last; up to the end if it has not ended."""
    times = [ts for ts in run.phases.values() if ts is not None]
    first = min(times) if times and not run.before else case.table.kept_from_ns
    over = run.end.how in ("exited", "killed") and run.end.ts_ns is not None
    return first, max(times) if over and times else case.table.last_ns
