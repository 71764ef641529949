"""What the end of dockerd or containerd has for consequences, for each container that ran then."""

from __future__ import annotations

import bisect
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from analysis.behaviours.behaviour import (
    CONTRADICTED,
    HOLDS,
    MANAGED,
    NOT_OBSERVED,
    RECREATED,
    REPARENTED,
    SERVICE,
    UNAFFECTED,
    Occurrence,
    Outcome,
)
from analysis.behaviours.view import Life, View
from analysis.findings.finding import listed
from analysis.signals import Signal
from analysis.text_layout import span
from analysis.why.story import INFERRED, is_near, worst

# A daemon that is told to end has so long at most; so does one that comes back, to clean up.
_ENDING_NS = 120_000_000_000
# From the death of a parent to that of a child which dies with it.
_WITH_IT_NS = 1_000_000_000
# "Unaffected" is said of what was watched for so long.
_WATCHED_NS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Exit:
    """One end of a daemon.

    Attributes:
        began_ns: when it was told to end; its exit, if it was not.
        gone: the daemon, and what died with it.
        next: who took its place; None: nobody in the capture.
        horizon_ns: when that one began to end, or the capture's end.
    """

    pos: int
    began_ns: int
    exit_ns: int
    gone: set[int]
    next: int | None
    horizon_ns: int


# Of what became of shim and container: the verdict, and why.
Judge = Callable[[View, Exit, Life, Outcome, Outcome], tuple[str, str]]


def dockerd_exits(view: View) -> Iterator[Occurrence]:
    for end in _exits(view, ("dockerd",)):
        for life in view.running(end.began_ns):
            if life.container.runtime == "docker" and _concerns(view, end, life, life.run.daemon):
                yield _occurrence(view, end, life, _judge_dockerd)


def containerd_exits(view: View) -> Iterator[Occurrence]:
    for end in _exits(view, ("containerd", "containerd-managed")):
        for life in view.running(end.began_ns):
            if _concerns(view, end, life, life.run.manager):
                yield _occurrence(view, end, life, _judge_containerd)


# --- ends of daemons ---------------------------------------------------------------------------


def _exits(view: View, roles: tuple[str, ...]) -> Iterator[Exit]:
    scene = view.scene
    daemons = scene.positions(*roles)
    begins: dict[tuple[str, int], list[tuple[int, int, int]]] = {}
    for number, pos in enumerate(daemons):
        if (executed := scene.exec_ns(pos)) is not None:
            kind = scene.roles[pos], int(scene.pidns[pos])
            begins.setdefault(kind, []).append((executed, number, pos))
    for found in begins.values():
        found.sort()
    for pos in daemons:
        exited = int(scene.exit_ns[pos])
        if exited < 0:
            continue
        alike = begins.get((scene.roles[pos], int(scene.pidns[pos])), [])
        later = bisect.bisect_left(alike, (exited,))
        following = alike[later][2] if later < len(alike) else None
        horizon = view.last_ns
        if following is not None and scene.exit_ns[following] >= 0:
            horizon = _told_ns(view, following, int(scene.exit_ns[following]))
        began = _told_ns(view, pos, exited)
        yield Exit(pos, began, exited, _gone(view, pos, exited), following, horizon)


def _told_ns(view: View, pos: int, exited: int) -> int:
    """When a daemon was told to end, or killed: its threads end one by one before it does."""
    told = [
        s.ts_ns
        for s in view.scene.signals.to(pos)
        if s.delivered and s.signal in (2, 3, 15) and 0 <= exited - s.ts_ns <= _ENDING_NS
    ]
    by = view.scene.end_of(pos).by
    told += [by.ts_ns] if by is not None and 0 <= exited - by.ts_ns <= _ENDING_NS else []
    return min(told, default=exited)


def _gone(view: View, pos: int, exited: int) -> set[int]:
    """A daemon, and the containerd of its own that died with it."""
    scene = view.scene
    found = {pos}
    for other in scene.positions("containerd-managed"):
        ended = int(scene.exit_ns[other])
        above = int(scene.programs.forker[other])
        above = above if above >= 0 else int(scene.first_parent[other])
        by = scene.end_of(other).by
        with_it = by is not None and by.kind == "parent-death" and by.sender == pos
        near = ended >= 0 and abs(ended - exited) <= _WITH_IT_NS
        told = _told_ns(view, pos, exited)
        if above == pos and (with_it or near or told <= ended <= exited):
            found.add(other)
    return found


def _concerns(view: View, end: Exit, life: Life, own: int | None) -> bool:
    """The container ran under that daemon when it began to end."""
    scene = view.scene
    if life.init is None or not scene.alive_at(life.init, end.began_ns):
        return False
    if 0 <= scene.exit_ns[life.shim] < end.began_ns:
        return False
    if own == end.pos:
        return True
    if scene.pidns[life.shim] != scene.pidns[end.pos]:
        return False
    # A successor has taken it over; with several daemons at once, nobody can tell.
    others = [
        p
        for p in scene.positions("dockerd", "containerd", "containerd-managed")
        if p != end.pos
        and scene.roles[p] == scene.roles[end.pos]
        and scene.pidns[p] == scene.pidns[end.pos]
        and scene.start_ns[p] <= end.began_ns
        and scene.alive_at(p, end.began_ns)
    ]
    if others:
        return False
    return own is None or 0 <= scene.exit_ns[own] <= max(int(scene.start_ns[end.pos]), 0)


# --- what became of a container ----------------------------------------------------------------


def _occurrence(view: View, end: Exit, life: Life, judge: Judge) -> Occurrence:
    scene, case = view.scene, view.case
    assert life.init is not None
    contained, sure = _container(view, end, life, life.init)
    adoption = view.taken_over(life.shim, end.began_ns, end.horizon_ns, end.gone)
    shim = _shim(view, end, life, contained)
    if adoption is not None:
        then = None if shim.token == UNAFFECTED else shim
        shim = replace(view.reparented(adoption, end.exit_ns), then=then)
    verdict, why = judge(view, end, life, shim, contained)
    watched = contained.ts_ns if contained.token != UNAFFECTED else end.horizon_ns
    certainties = [case.surety(end.began_ns, watched)]
    evidence = case.cite_end(end.pos)
    if adoption is not None:
        evidence += case.cite_adoption(adoption)
        certainties.append(adoption.certainty)
    if contained.end is not None:
        if end.next is not None and end.exit_ns < (contained.ts_ns or 0):
            evidence += case.cite("EXEC", scene.exec_ns(end.next), end.next)
        evidence += case.cite_end(life.init)
        certainties += [] if sure else [INFERRED]
    elif contained.token == UNAFFECTED and scene.exit_ns[life.init] < 0:
        evidence += case.cite_state(life.init)
    return Occurrence(
        end.exit_ns,
        f"{scene.label(end.pos)} {scene.end_text(scene.end_of(end.pos))} while {life.name} was "
        "running",
        end.pos,
        life.container.id,
        view.shape(life),
        verdict,
        why,
        shim=shim,
        container=contained,
        evidence=listed(evidence),
        certainty=worst(certainties),
    )


def _container(view: View, end: Exit, life: Life, init: int) -> tuple[Outcome, bool]:
    """What the end of a daemon had for process 1; whether that it was because of it is sure."""
    ended = int(view.scene.exit_ns[init])
    if not 0 <= ended <= end.horizon_ns:
        told = _order(view, end, life, init)
        told = told if told is not None and told.ts_ns <= end.horizon_ns else None
        watched = max(end.horizon_ns - end.exit_ns, 0)
        teller = -1 if told is None else told.sender
        return Outcome(UNAFFECTED, end.horizon_ns, watched, by=teller), True
    fate = view.ended(init, end.exit_ns)
    assert fate is not None
    by = fate.end.by if fate.end is not None else None
    if by is not None and by.kind == "parent-death" and by.sender in (*end.gone, life.shim):
        return fate, True
    order = _order(view, end, life, init)
    if order is None:
        watched = max(ended - end.exit_ns, 0)
        return Outcome(UNAFFECTED, ended, watched), True
    fate = replace(fate, by=fate.by if fate.by >= 0 else order.sender)
    following = [
        r for r in life.container.runs if (r.anchor_ns or -1) > ended and r.init is not None
    ]
    if following and following[0].client is None:
        again = following[0]
        began = again.anchor_ns
        fate = replace(
            fate,
            then=Outcome(
                RECREATED, began, (began or ended) - ended, old=init, new=again.init or -1
            ),
        )
    return fate, order.sender in end.gone


def _order(view: View, end: Exit, life: Life, init: int) -> Signal | None:
    """The first signal of the runtime to process 1 that the end of the daemon explains: sent
    before it was gone, or when its successor had come. None: another cause, or none known."""
    scene = view.scene
    shim_died = int(scene.exit_ns[life.shim])
    for order in view.orders(init):
        if order.ts_ns < end.began_ns:
            continue
        if view.asked_by(life, order.ts_ns) is not None or 0 <= shim_died < order.ts_ns:
            return None
        if order.ts_ns <= end.exit_ns:
            return order
        began = None if end.next is None else scene.exec_ns(end.next)
        if began is None or not is_near(began, order.ts_ns):
            return None
        return None if _other_came(view, end, order.ts_ns) else order
    return None


def _other_came(view: View, end: Exit, ts_ns: int) -> bool:
    """Of containerd as a service: a dockerd was started meanwhile, which stops what it finds."""
    scene = view.scene
    if scene.roles[end.pos] != "containerd":
        return False
    return any(
        end.began_ns <= (scene.exec_ns(p) or -1) <= ts_ns and scene.pidns[p] == scene.pidns[end.pos]
        for p in scene.positions("dockerd")
    )


def _shim(view: View, end: Exit, life: Life, contained: Outcome) -> Outcome:
    """What became of the shim, its parent apart."""
    scene = view.scene
    died = int(scene.exit_ns[life.shim])
    watched = min(died, end.horizon_ns) if died >= 0 else end.horizon_ns
    unaffected = Outcome(UNAFFECTED, watched, max(watched - end.exit_ns, 0))
    if not end.began_ns <= died <= end.horizon_ns:
        return unaffected
    fate = view.ended(life.shim, end.exit_ns)
    if fate is None:
        return unaffected
    by = fate.end.by if fate.end is not None else None
    with_it = by is not None and by.kind == "parent-death" and by.sender in end.gone
    return fate if with_it or contained.token != UNAFFECTED else unaffected


# --- verdicts ----------------------------------------------------------------------------------


def _judge_dockerd(
    view: View, end: Exit, life: Life, shim: Outcome, contained: Outcome
) -> tuple[str, str]:
    shape = view.shape(life)
    if shape == MANAGED:
        return _judge_containerd(view, end, life, shim, contained)
    if shape != SERVICE:
        return NOT_OBSERVED, "whether containerd is dockerd's child is not known"
    other = _other_cause(view, end, life)
    if other is not None:
        return NOT_OBSERVED, other
    name = view.scene.label(life.shim)
    changed = _text_of_shim(view, life, shim) if shim.token != UNAFFECTED else None
    if contained.token != UNAFFECTED:
        return CONTRADICTED, _text_of_container(view, end, life, contained)
    if changed is not None:
        return CONTRADICTED, changed
    lived = _text_of_container(view, end, life, contained)
    if _is_open(contained):
        return NOT_OBSERVED, f"{lived}; what was to come was not seen"
    return HOLDS, f"{lived}, and {name} stayed its shim, with the parent that it had"


def _judge_containerd(
    view: View, end: Exit, life: Life, shim: Outcome, contained: Outcome
) -> tuple[str, str]:
    """The shim is taken over by systemd, the container is unaffected."""
    other = _other_cause(view, end, life)
    if other is not None:
        return NOT_OBSERVED, other
    of_shim = _text_of_shim(view, life, shim)
    text = f"{of_shim}; {_text_of_container(view, end, life, contained)}"
    if contained.token != UNAFFECTED:
        return CONTRADICTED, text
    if shim.token == REPARENTED and not view.is_systemd(shim.new):
        return (NOT_OBSERVED if shim.new < 0 else CONTRADICTED), text
    if shim.token != REPARENTED:
        parent = view.scene.parent_at(life.shim, end.began_ns)
        if parent < 0 or parent in end.gone:
            return NOT_OBSERVED, f"whose child the shim became was not seen; {text}"
        return CONTRADICTED, text
    if _is_open(contained):
        return NOT_OBSERVED, f"{text}; what was to come was not seen"
    return HOLDS, text


def _other_cause(view: View, end: Exit, life: Life) -> str | None:
    """The daemon did not end alone: what followed may not be because of it."""
    scene = view.scene
    hit = [end.pos]
    by = scene.end_of(end.pos).by
    if by is not None and by.kind == "parent-death" and by.sender >= 0:
        hit.append(by.sender)
    for pos, what in ((life.shim, "the shim"), (life.init, "process 1")):
        if pos is not None and any(view.same_hand(other, pos) for other in hit):
            return (
                f"{what} of {life.name}, {scene.label(pos)}, was killed by the same process at "
                "the same time: that is no consequence"
            )
    return None


def _is_open(contained: Outcome) -> bool:
    """It had not been watched for long when the recording ended, or had been told to end."""
    return (contained.after_ns or 0) < _WATCHED_NS or contained.by >= 0


def _text_of_shim(view: View, life: Life, shim: Outcome) -> str:
    scene, name = view.scene, f"the shim, {view.scene.label(life.shim)},"
    if shim.token == REPARENTED:
        text = f"{scene.label(shim.new)} took over {name} when {scene.label(shim.old)} exited"
        if shim.then is not None and shim.then.end is not None:
            text += f" (it {scene.end_text(shim.then.end)} {span(shim.then.after_ns or 0)} later)"
        return text
    if shim.end is not None:
        return f"{name} {scene.end_text(shim.end)}"
    parent = scene.parent_at(life.shim, shim.ts_ns or 0)
    if parent < 0:
        return f"{name} was seen with no other parent"
    return f"{name} was not taken over: it was a child of {scene.label(parent)} before"


def _text_of_container(view: View, end: Exit, life: Life, contained: Outcome) -> str:
    scene = view.scene
    if contained.end is None:
        text = f"{life.name} ran on for {span(contained.after_ns or 0)}"
        if contained.by >= 0:
            return f"{text}, but {scene.call_label(contained.by)} had told it to end"
        if end.next is None:
            return f"{text}, in which no other {_kind(view, end)} was started"
        began = scene.exec_ns(end.next)
        if began is None:
            return text
        return (
            f"{text}, also when {scene.label(end.next)} had come {span(began - end.exit_ns)} after"
        )
    text = f"process 1 of {life.name} {scene.end_text(contained.end)}"
    ended = contained.ts_ns or 0
    if contained.end.how == "exited" and contained.by >= 0:
        text += f", told to by {scene.call_label(contained.by)}"
    if ended <= end.exit_ns:
        text += f" {span(end.exit_ns - ended)} before {scene.label(end.pos)} was gone"
    else:
        text += f" {span(ended - end.exit_ns)} after that"
    began = None if end.next is None else scene.exec_ns(end.next)
    if end.next is not None and began is not None and began <= ended:
        text += f", {span(ended - began)} after {scene.label(end.next)} had been started"
    return text


def _kind(view: View, end: Exit) -> str:
    return str(view.scene.roles[end.pos]).removesuffix("-managed")
