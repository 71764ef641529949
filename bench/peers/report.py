"""The comparison as tables: one for the README, and one for each storm."""

from __future__ import annotations

from collections.abc import Sequence

from bench.peers.suite import LOADS, Standing
from bench.stats import Summary
from bench.table import render_cells

_OVERVIEW = (
    "tool",
    "storm's CPU",
    "tool's CPU, us",
    "written, B",
    "lost",
    "peak RSS, MB",
    "first event, ms",
)
_DETAILS = (
    "tool",
    "storm's CPU",
    "quartiles",
    "best runs",
    "wall time",
    "tool's CPU, us",
    "quartiles",
    "written, B",
    "lost",
    "by its own report",
    "at its end, ms",
)


def render_overview(standings: Sequence[Standing]) -> str:
    """A line a tool, as the README quotes it; figures are of vfork / fork / exec storm."""
    rows: list[tuple[str, ...]] = [_OVERVIEW]
    for standing in standings:
        if standing.problem is not None:
            rows.append((standing.name, f"not measured: {standing.problem}", *[""] * 5))
            continue
        idle_share = standing.idle_share()
        storms = [standing.loads[load] for load in LOADS]
        rows.append(
            (
                standing.name,
                " / ".join(f"{measured.cpu_ratio().median:.2f}" for measured in storms),
                " / ".join(f"{measured.cpu_us(idle_share).median:.1f}" for measured in storms),
                " / ".join(f"{measured.output_bytes().median:.0f}" for measured in storms),
                " / ".join(_lost(measured.lost_share()) for measured in storms),
                f"{standing.rss_bytes() / 1e6:.0f}",
                f"{standing.first_event_s().median * 1e3:.0f}",
            )
        )
    return render_cells(rows)


def render_load(standings: Sequence[Standing], load: str) -> str:
    """A line a tool, everything that was measured on one storm."""
    rows: list[tuple[str, ...]] = [_DETAILS]
    for standing in standings:
        if standing.problem is not None:
            continue
        measured = standing.loads[load]
        ratio, cpu = measured.cpu_ratio(), measured.cpu_us(standing.idle_share())
        reported = measured.reported_lost()
        rows.append(
            (
                standing.name,
                f"{ratio.median:.3f}",
                _quartiles(ratio, 3),
                f"{measured.best_cpu_ratio():.3f}",
                f"{measured.wall_ratio().median:.3f}",
                f"{cpu.median:.2f}",
                _quartiles(cpu, 2),
                f"{measured.output_bytes().median:.1f}",
                _lost(measured.lost_share()),
                "no report" if reported is None else f"{reported:,}",
                f"{measured.end_cpu_ms().median:.0f}",
            )
        )
    return render_cells(rows)


def _quartiles(summary: Summary, digits: int) -> str:
    return f"{summary.low_quartile:.{digits}f} .. {summary.high_quartile:.{digits}f}"


def _lost(share: float) -> str:
    """Not one lost is 0, and one lost is not."""
    if not share:
        return "0"
    return f"{share:.1%}" if share >= 0.001 else "< 0.1%"
