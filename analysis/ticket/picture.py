"""The timeline as a picture that a tracker shows in line: who lived when, who killed whom.

Drawn of the report's data alone, by matplotlib, with nothing of the machine that draws it.
"""

from __future__ import annotations

from typing import Any, BinaryIO

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from analysis.html.lanes import build_groups
from analysis.references import Json
from analysis.signals import name_of
from tracer.text import printable

_LANES = 60  # more cannot be read in a picture
_ARROWS = 200  # likewise
_WIDE = 1000  # so many places side by side can be told apart
_ROW_INCHES = 0.24
_WIDTH_INCHES = 11.0
_DPI = 110
_NAME = 38
_COLORS = {
    "init": "#8c8c8c",
    "dockerd": "#2f6db5",
    "containerd": "#2f9db5",
    "containerd-managed": "#2f9db5",
    "shim-v1": "#7a5ab5",
    "shim-v2": "#7a5ab5",
    "shim-start": "#b9a6dc",
    "conmon": "#7a5ab5",
    "runc": "#c98a2b",
    "runc-init": "#e0b873",
    "crun": "#c98a2b",
    "container-init": "#2f8f4e",
    "container-process": "#8fc9a1",
    "docker-client": "#4b5563",
}
_OTHER = "#b3b3b3"
_KILLED, _FAILED = "#c0392b", "#d98c1f"


def draw_timeline(report: Json, target: BinaryIO) -> int:
    """Writes a PNG; gives how many processes found no place in it.

    Lanes are grouped as on the page: daemons, each container, the rest. Of more than fit those
    stay that findings and the timeline name, then those that a runtime is made of.
    """
    boot_ns = report["capture"]["started"]["boot_ns"]
    end_ns = max(report["capture"]["duration_ns"], 1)
    lanes = _lanes(report)
    figure = Figure(figsize=(_WIDTH_INCHES, 1.4 + _ROW_INCHES * max(len(lanes), 1)), dpi=_DPI)
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0.27, 0.0, 0.71, 1.0))
    figure.subplots_adjust()
    height = figure.get_figheight()
    axes.set_position((0.27, 0.6 / height, 0.71, 1 - 1.0 / height))
    rows = {process["id"]: row for row, (process, _) in enumerate(lanes)}
    for row, (process, title) in enumerate(lanes):
        _bar(axes, row, process, boot_ns, end_ns)
        label = f"{_short(process)} {process['tgid']}"
        axes.text(
            -0.008, row, label, transform=axes.get_yaxis_transform(), ha="right", va="center",
            fontsize=7.5, parse_math=False,
        )  # fmt: skip
        if title is not None:
            axes.axhline(row - 0.5, color="#dddddd", linewidth=0.8, zorder=0)
            axes.text(
                0.998, row - 0.05, printable(title)[:60], transform=axes.get_yaxis_transform(),
                ha="right", va="center", fontsize=7, color="#555555", parse_math=False,
                bbox={"facecolor": "white", "alpha": 0.75, "linewidth": 0, "pad": 1},
            )  # fmt: skip
    for begin, end in _lost(report["losses"]["windows"], boot_ns, end_ns / _WIDE):
        axes.axvspan(begin / 1e9, end / 1e9, color="#f4d6d2", zorder=-1)
    arrows_left = _draw_reparents(axes, report, rows, boot_ns)
    axes.set_xlim(0, end_ns / 1e9 * 1.002)
    axes.set_ylim(len(lanes) - 0.4, -0.8)
    axes.set_yticks([])
    axes.set_xlabel("seconds since the recording began", fontsize=8)
    axes.tick_params(axis="x", labelsize=8)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    left_out = len(report["processes"]) - len(lanes)
    more = f", {left_out} more processes are not drawn" if left_out else ""
    more += f", nor {arrows_left} more adoptions" if arrows_left else ""
    figure.text(
        0.01, 1 - 0.22 / height, f"rtrace: who lived when{more}. Red: killed, orange: failed, "
        "arrow: adopted.", fontsize=8.5, va="center", parse_math=False,
    )  # fmt: skip
    figure.savefig(target, format="png", metadata={"Software": "rtrace"})
    return left_out


def _lanes(report: Json) -> list[tuple[Json, str | None]]:
    """Processes from top to bottom; the first of a group with the group's title."""
    known = {process["id"]: process for process in report["processes"]}
    named = {id_ for finding in report["findings"] for id_ in finding["processes"]}
    named |= {id_ for step in report["timeline"] for id_ in step["processes"]}
    groups = build_groups(report)
    ordered = [(id_, group) for group in groups for id_, _ in group["lanes"]]

    def rank(place: int) -> tuple[int, int]:
        process = known[ordered[place][0]]
        part = process["role"] not in ("other", "container-process", "init")
        return (0 if process["id"] in named and part else 1 if part or process["id"] in named
                else 2, place)  # fmt: skip

    chosen = sorted(sorted(range(len(ordered)), key=rank)[:_LANES])
    result: list[tuple[Json, str | None]] = []
    before: Any = None
    for place in chosen:
        id_, group = ordered[place]
        result.append((known[id_], group["title"] if group is not before else None))
        before = group
    return result


def _bar(axes: Any, row: int, process: Json, boot_ns: int, end_ns: int) -> None:
    begin_ns = process["fork_ns"]
    begin = 0.0 if begin_ns is None else max(begin_ns - boot_ns, 0) / 1e9
    over_ns = process["exit_ns"]
    end = (end_ns if over_ns is None else over_ns - boot_ns) / 1e9
    color = _COLORS.get(process["role"], _OTHER)
    axes.barh(row, max(end - begin, end_ns / 1e9 / 700), left=begin, height=0.62, color=color)
    if over_ns is None:
        return
    killed = process["exit_signal"]
    if killed or process["exit_status"]:
        mark = "X" if killed else "o"
        axes.plot(
            [end], [row], mark, color=_KILLED if killed else _FAILED, markersize=4.5,
            markeredgewidth=0, clip_on=False,
        )  # fmt: skip
        text = name_of(killed) if killed else f"exit {process['exit_status']}"
        late = end > 0.9 * end_ns / 1e9  # no room to the right
        axes.annotate(
            text, (end, row), (-5 if late else 5, 0), textcoords="offset points", fontsize=6.5,
            va="center", ha="right" if late else "left", color="#ffffff" if late else "#555555",
            parse_math=False,
        )  # fmt: skip


def _lost(windows: list[Json], boot_ns: int, near_ns: float) -> list[tuple[int, int]]:
    """From when to when, ns: windows that cannot be told apart in a picture are one."""
    found: list[tuple[int, int]] = []
    for window in sorted(windows, key=lambda window: int(window["from_ns"])):
        begin, end = max(window["from_ns"] - boot_ns, 0), window["to_ns"] - boot_ns
        if found and begin - found[-1][1] < near_ns:
            found[-1] = found[-1][0], max(found[-1][1], end)
        else:
            found.append((begin, end))
    return found


def _draw_reparents(axes: Any, report: Json, rows: dict[str, int], boot_ns: int) -> int:
    """An arrow each; gives how many more there would be between these rows."""
    arrows = []
    for reparent in report["reparents"]:
        ends = reparent["child"], reparent["to"]
        if reparent["reason"] == "thread" or None in ends:
            continue
        child, new = (rows.get(end["id"]) for end in ends)
        if child is not None and new is not None:
            arrows.append(((reparent["ts_ns"] - boot_ns) / 1e9, child, new))
    for at, child, new in arrows[:_ARROWS]:
        axes.annotate(
            "", (at, new), (at, child),
            arrowprops={"arrowstyle": "->", "color": "#444444", "lw": 0.7, "ls": "--"},
        )  # fmt: skip
    return max(len(arrows) - _ARROWS, 0)


def _short(process: Json) -> str:
    name = printable(process["comm"] or "?")
    role = process["role"]
    shown = name if role in ("other", name) else f"{name} ({role})"
    return shown if len(shown) <= _NAME else f"{shown[: _NAME - 3]}..."
