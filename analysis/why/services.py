"""Signals that systemd sent: which unit, and who asked for it."""

from __future__ import annotations

import numpy as np
import pandas as pd

from analysis.scene import Scene
from analysis.signals import Signal
from analysis.steps import Evidence
from analysis.why.lineage import command_of, origin_text, unit_of
from analysis.why.story import INFERRED, Story
from tracer.runtime_args import base_name
from tracer.text import printable

_CONTROLS = ("systemctl", "service", "deb-systemd-invoke", "invoke-rc.d", "shutdown", "reboot")
VERBS = ("stop", "restart", "try-restart", "kill", "isolate", "reload-or-restart")
# A command may have queued its job and be gone when the signal comes.
_QUEUED_NS = 1_000_000_000
_BOUND_NS = 10_000_000_000


def explain(story: Story, pos: int, signal: Signal) -> bool:
    """Why the host's init sent a signal: which unit was stopped, who asked, which other it is
    bound to.

    Returns:
        False: the process is in no unit, so that init need not have stopped one.
    """
    scene = story.scene
    unit = unit_of(scene, pos)
    if unit is None:
        return False
    name = printable(unit)
    asked = requests(story, signal.ts_ns)
    own = [p for p in asked if names_unit(story, p, unit)]
    request = own[0] if own else asked[0] if asked else None
    if request is not None:
        ran = scene.exec_ns(request)
        words = command_of(scene, request)
        text = f"{origin_text(scene, request)} ran: {words}"
        story.add(ran, "client", text, [request], [Evidence("EXEC", ran or 0, request)])
    other = None if own else _bound(story, pos, unit, signal)
    if other is not None:
        bound = printable(unit_of(scene, other) or "")
        delay = story.delay(scene.end_of(other).ts_ns, signal.ts_ns)
        story.add_end(other)
        story.because(
            f"systemd had stopped {bound} {delay} before, and stops {name} with it if that is "
            "bound to it (BindsTo=, Requires= or PartOf=)",
            INFERRED,
        )
        if request is None:
            story.follow(other)
    if request is not None:
        words = command_of(scene, request)
        story.because(f"{scene.label(request)} had asked systemd: {words}", INFERRED)
        story.blame(request, signal.ts_ns)
        return True
    if other is None:
        story.because(f"systemd stopped {name}", INFERRED)
        story.lacks(
            f"Who asked systemd to stop {name} is not recorded: no systemctl was running. The "
            "journal says; it may be a rule of the unit, or a request through D-Bus."
        )
    return True


def requests(story: Story, ts_ns: int) -> list[int]:
    """Commands that ask systemd to stop something, at work then; the last begun first."""
    scene, programs = story.scene, story.scene.programs
    found = []
    for row in control_rows(scene):
        pos, began = int(programs.pos[row]), int(programs.from_ns[row])
        ended = int(scene.exit_ns[pos])
        if began <= ts_ns and (ended < 0 or ended + _QUEUED_NS >= ts_ns) and asks(scene, row):
            found.append(pos)
    return list(dict.fromkeys(reversed(found)))


def control_rows(scene: Scene) -> list[int]:
    """Rows of the programs that talk to systemd."""
    programs = scene.programs
    codes, uniques = pd.factorize(programs.filename)
    wanted = np.array([base_name(str(name)) in _CONTROLS for name in uniques], bool)
    return np.flatnonzero(wanted[codes]).tolist() if len(codes) else []


def asks(scene: Scene, row: int, verbs: tuple[str, ...] = VERBS) -> bool:
    """Such a program was told to stop something (or what else ``verbs`` say)."""
    programs = scene.programs
    plain = base_name(programs.filename[row]) in ("shutdown", "reboot")
    return plain or not set(programs.args[row][1:]).isdisjoint(verbs)


def names_unit(story: Story, request: int, unit: str) -> bool:
    """A request to systemd names a unit, with or without .service."""
    words = story.scene.args(request)[1:]
    return unit in words or unit.removesuffix(".service") in words


def _bound(story: Story, pos: int, unit: str, signal: Signal) -> int | None:
    """A daemon of another unit that systemd ended just before."""
    scene = story.scene
    for other in reversed(scene.positions("dockerd", "containerd")):
        end = scene.end_of(other)
        if other == pos or end.ts_ns is None or unit_of(scene, other) in (None, unit):
            continue
        told = [
            s
            for s in scene.signals.to(other)
            if s.sender == signal.sender and s.kind == "process" and s.delivered
        ]
        if told and 0 <= signal.ts_ns - told[-1].ts_ns < _BOUND_NS:
            return other
    return None
