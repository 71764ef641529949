"""Daemons that start again and again, or end because another unit was stopped."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from analysis.findings.finding import ERROR, WARNING, Case, Finding, listed
from analysis.signals import Signal
from analysis.text_layout import span
from analysis.why.lineage import unit_of
from analysis.why.services import names_unit, requests
from analysis.why.story import CONFIRMED, INFERRED
from tracer.text import printable

# systemd gives docker three starts in a minute; other supervisors wait longer between them.
_STARTS = 3
_LOOP_NS = 120_000_000_000
# From the end of one unit to the signal to another that is bound to it.
_BOUND_NS = 10_000_000_000
_RETURN_NS = 60_000_000_000

_LOOPING = ("dockerd", "containerd", "containerd-managed", "kubelet", "cri-dockerd")


def restart_loops(case: Case) -> Iterator[Finding]:
    """A daemon that was started at least _STARTS times in _LOOP_NS, ending in between."""
    scene = case.scene
    groups: dict[tuple[str, int], list[int]] = defaultdict(list)
    for pos in scene.positions(*_LOOPING):
        if scene.exec_ns(pos) is not None:
            groups[scene.roles[pos], int(scene.pidns[pos])].append(pos)
    for (role, _), starts in groups.items():
        starts.sort(key=lambda pos: scene.exec_ns(pos) or 0)
        loop = _longest(case, starts)
        if len(loop) < _STARTS:
            continue
        began, last = scene.exec_ns(loop[0]) or 0, scene.exec_ns(loop[-1]) or 0
        ends = [case.how(pos) for pos in loop[:-1]]
        told = list(dict.fromkeys(ends))
        failed = any(not end.startswith("exited 0") for end in ends)
        name = scene.name(loop[0])
        yield Finding(
            "daemon-restart-loop",
            ERROR if failed else WARNING,
            f"{printable(name)} ({role}) was started {len(loop)} times in {span(last - began)}: "
            f"before each new start it {', '.join(told[:3])}",
            f"{case.ask_why(loop[-2])}; `journalctl -u {_unit(case, loop[-1], name)}` has its "
            "last words",
            began,
            listed(loop),
            listed(
                e
                for pos in loop
                for e in (*case.cite("EXEC", scene.exec_ns(pos), pos), *case.cite_end(pos))
            ),
            case.surety(began, last),
        )


def _longest(case: Case, starts: list[int]) -> list[int]:
    """The longest row of starts, each after the end of the one before, within _LOOP_NS."""
    scene = case.scene
    best: list[int] = []
    row: list[int] = []
    for pos in starts:
        began = scene.exec_ns(pos) or 0
        if row and not 0 <= scene.exit_ns[row[-1]] <= began:
            row = []
        row.append(pos)
        while began - (scene.exec_ns(row[0]) or 0) > _LOOP_NS:
            row.pop(0)
        if len(row) > len(best):
            best = list(row)
    return best


def _unit(case: Case, pos: int, name: str) -> str:
    return printable(unit_of(case.scene, pos) or name)


def stopped_with_unit(case: Case) -> Iterator[Finding]:
    """dockerd that systemd stopped because of containerd, which is another unit."""
    scene = case.scene
    for docker in scene.positions("dockerd"):
        told = _told_by_init(case, docker)
        if told is None:
            continue
        for containerd in scene.positions("containerd"):
            if scene.pidns[containerd] != scene.pidns[docker]:
                continue
            found = _because_of(case, docker, told, containerd)
            if found is not None:
                yield found
                break


def _told_by_init(case: Case, pos: int) -> Signal | None:
    """The SIGTERM of an init behind which a daemon ended."""
    scene = case.scene
    ended = int(scene.exit_ns[pos])
    if ended < 0:
        return None
    found = [
        s
        for s in scene.signals.to(pos)
        if s.signal == 15
        and s.kind == "process"
        and s.sender >= 0
        and scene.roles[s.sender] == "init"
        and s.delivered
        and s.ts_ns <= ended
    ]
    return found[-1] if found else None


def _because_of(case: Case, docker: int, told: Signal, containerd: int) -> Finding | None:
    """The finding, if containerd's end was what systemd ended dockerd for.

    An end of containerd by itself comes before. Where systemd was asked to stop it, it stops
    first what is bound to it and ordered behind it: dockerd.
    """
    scene = case.scene
    ended = int(scene.exit_ns[containerd])
    if ended < 0:
        return None
    other = _told_by_init(case, containerd)
    certainty, asked = INFERRED, ""
    evidence = case.cite("SIGNAL", told.ts_ns, docker)
    people = [docker, containerd, told.sender]
    asking = [
        p
        for p in requests(case.story, told.ts_ns)
        if not names_unit(case.story, p, "docker.service")
    ]
    asking = [p for p in asking if names_unit(case.story, p, "containerd.service")]
    by_itself = other is None and 0 <= told.ts_ns - ended < _BOUND_NS
    with_it = other is not None and abs(other.ts_ns - told.ts_ns) < _BOUND_NS + max(
        int(scene.exit_ns[docker]) - told.ts_ns, 0
    )
    if not by_itself and not (with_it and (asking or _only_containerd_back(case, docker, ended))):
        return None
    if by_itself and any(
        names_unit(case.story, p, "docker.service") for p in requests(case.story, told.ts_ns)
    ):
        return None
    if asking and with_it:
        request = asking[0]
        words = printable(" ".join(scene.args(request))[:200])
        asked = f"; {scene.label(request)} had asked for that: {words}"
        evidence += case.cite("EXEC", scene.exec_ns(request), request)
        people.append(request)
        certainty = CONFIRMED
    if other is not None:
        evidence += case.cite("SIGNAL", other.ts_ns, containerd)
        why = f"systemd was stopping {scene.label(containerd)}, which is another unit{asked}"
    else:
        why = f"{scene.label(containerd)}, which is another unit, {case.how(containerd)} "
        why += f"{span(told.ts_ns - ended)} before"
    return Finding(
        "daemon-stopped-with-unit",
        WARNING,
        f"systemd stopped {scene.label(docker)}, and nobody had asked for that: {why}",
        "`systemctl show docker -p BindsTo -p Requires`: with BindsTo=containerd.service (units of "
        "2018 to 2020) or Requires= an update of containerd stops docker, and need not start it "
        "again",
        told.ts_ns,
        listed(people),
        listed([*evidence, *case.cite_end(docker), *case.cite_end(containerd)]),
        case.surety(min(told.ts_ns, ended), max(told.ts_ns, ended), certainty),
    )


def _only_containerd_back(case: Case, docker: int, ended: int) -> bool:
    """containerd was started again and dockerd was not: no shutdown of both, nor of the host."""
    scene = case.scene

    def back(role: str) -> bool:
        starts = [
            scene.exec_ns(p) for p in scene.positions(role) if scene.pidns[p] == scene.pidns[docker]
        ]
        return any(s is not None and ended <= s < ended + _RETURN_NS for s in starts)

    return back("containerd") and not back("dockerd")
