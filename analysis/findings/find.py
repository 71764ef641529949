"""All findings of a capture: the registry of those that look for one kind each."""

from __future__ import annotations

from analysis.findings import control_path, daemons, gaps, kills, orphans, restarts, shims, zombies
from analysis.findings.finding import SEVERITIES, Case, Finder, Finding
from analysis.model import Capture

FINDERS: tuple[Finder, ...] = (
    shims.shims_without_children,
    shims.ends_not_acted_on,
    shims.shims_dead,
    orphans.outside_of_shims,
    orphans.unexpected_parents,
    orphans.expected_orphans,
    orphans.left_behind,
    zombies.find_zombies,
    kills.runtimes_killed,
    kills.containers_killed,
    kills.parent_deaths,
    kills.out_of_memory,
    control_path.daemons_without_containerd,
    control_path.shims_without_containerd,
    control_path.kubelets_without_runtime,
    control_path.sockets_removed,
    daemons.restart_loops,
    daemons.stopped_with_unit,
    restarts.container_restarts,
    restarts.recycled_pids,
    gaps.losses_that_touch,
)


def find_findings(capture: Capture) -> list[Finding]:
    """What is wrong in a capture, or looks so: the gravest first, then by time."""
    case = Case(capture)
    found = [finding for finder in FINDERS for finding in finder(case)]
    return sorted(found, key=lambda f: (SEVERITIES.index(f.severity), f.ts_ns))
