"""What the end of a shim, or of a container's process 1, has for consequences."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from analysis.behaviours.behaviour import (
    CONTRADICTED,
    HOLDS,
    NOT_OBSERVED,
    UNAFFECTED,
    Left,
    Occurrence,
    Outcome,
)
from analysis.behaviours.view import Life, View
from analysis.findings.finding import listed
from analysis.text_layout import count, span
from analysis.why.story import INFERRED, worst

# A runtime cleans up within milliseconds; what it has not done by then it does not do by itself.
_WATCHED_NS = 1_000_000_000
# A shim waits for its runtime to delete the container; a busy one takes its time.
_STAYED_NS = 5_000_000_000


def shim_exits(view: View) -> Iterator[Occurrence]:
    """A shim ends before process 1 of its container does."""
    for life in view.lives:
        died = int(view.scene.exit_ns[life.shim])
        if died < 0 or life.init is None or not view.scene.alive_at(life.init, died):
            continue
        if not 0 <= view.scene.exit_ns[life.init] <= died:
            yield _shim_exit(view, life, life.init, died)


def _shim_exit(view: View, life: Life, init: int, died: int) -> Occurrence:
    scene, case = view.scene, view.case
    shim = view.ended(life.shim, died)
    # Its thread with the children may have ended before the last one did.
    adoption = view.taken_over(init, died - _WATCHED_NS, view.last_ns, {life.shim})
    meanwhile = None if adoption is None else view.reparented(adoption, died)
    contained = _behind_shim(view, life, init, died)
    if contained.token != UNAFFECTED:
        contained = replace(contained, meanwhile=meanwhile)
    elif meanwhile is not None:
        contained = replace(meanwhile, then=contained)
    verdict, why = _recycled(view, life, init, contained)
    certainties = [case.surety(died, contained.ts_ns)]
    evidence = case.cite_end(life.shim)
    if adoption is not None:
        evidence += case.cite_adoption(adoption)
        certainties.append(adoption.certainty)
        if contained.end is not None:
            under = span((contained.ts_ns or died) - adoption.ts_ns)
            why += f"; meanwhile it was a child of {scene.label(adoption.new)}, for {under}"
    if contained.end is not None:
        evidence += case.cite_end(init)
        sure = contained.by >= 0 or view.same_hand(life.shim, init)
        certainties += [] if sure else [INFERRED]
    else:
        evidence += case.cite_state(init)
    return Occurrence(
        died,
        f"{scene.label(life.shim)}, the shim of {life.name}, "
        f"{scene.end_text(scene.end_of(life.shim))}",
        life.shim,
        life.container.id,
        view.shape(life),
        verdict,
        why,
        shim=shim,
        container=contained,
        evidence=listed(evidence),
        certainty=worst(certainties),
    )


def _behind_shim(view: View, life: Life, init: int, died: int) -> Outcome:
    """What became of process 1."""
    found = view.ended(init, died)
    if found is None:
        return Outcome(UNAFFECTED, view.last_ns, max(view.last_ns - died, 0))
    if found.by < 0:
        orders = [s for s in view.orders(init) if s.ts_ns >= died and s.delivered]
        found = replace(found, by=orders[-1].sender if orders else -1)
    return found


def _recycled(view: View, life: Life, init: int, contained: Outcome) -> tuple[str, str]:
    scene, label = view.scene, view.scene.label(init)
    end = contained.end
    if end is None:
        watched = (contained.then or contained).after_ns or 0
        text = f"process 1 of {life.name}, {label}, lived on for {span(watched)}"
        if contained.new >= 0:
            text += f" as a child of {scene.label(contained.new)}"
        if watched < _WATCHED_NS or not view.scene.alive_at(init, view.last_ns):
            return NOT_OBSERVED, f"{text}; then the recording ended"
        near = [p for p in view.containerds if scene.pidns[p] == scene.pidns[life.shim]]
        if near and not any(scene.alive_at(p, view.last_ns) for p in near):
            text += ", with no containerd to recycle it"
        return CONTRADICTED, f"{text}, up to the end of the recording"
    after = span(contained.after_ns or 0)
    how = f"process 1 of {life.name}, {label}, {scene.end_text(end)}, {after} after its shim"
    if view.same_hand(life.shim, init):
        return NOT_OBSERVED, f"{how}; the same process killed both"
    orders = view.orders(init)
    if orders:
        asked = view.asked_by(life, orders[0].ts_ns)
        if asked is not None:
            return NOT_OBSERVED, f"{how}; {scene.label(asked)} had asked for that"
        return HOLDS, how + _returned(view, life, orders[0].ts_ns)
    return NOT_OBSERVED, f"{how}; that was not its runtime's doing"


def _returned(view: View, life: Life, ts_ns: int) -> str:
    """containerd was down when the shim died, and is back."""
    scene = view.scene
    died = int(scene.exit_ns[life.shim])
    near = [p for p in view.containerds if scene.pidns[p] == scene.pidns[life.shim]]
    if any(scene.exec_ns(p) is None or (scene.exec_ns(p) or 0) <= died for p in near) and any(
        scene.alive_at(p, died) and (scene.exec_ns(p) or 0) <= died for p in near
    ):
        return ""
    for pos in near:
        began = scene.exec_ns(pos)
        if began is not None and died < began <= ts_ns:
            later = span(began - died)
            return f"; {scene.label(pos)} had been started {later} after the shim's end"
    return ""


# --- process 1 ---------------------------------------------------------------------------------


def container_exits(view: View) -> Iterator[Occurrence]:
    """Process 1 of a container ends while its shim is there."""
    for life in view.lives:
        ended = -1 if life.init is None else int(view.scene.exit_ns[life.init])
        if ended >= 0 and life.init is not None and view.scene.alive_at(life.shim, ended):
            yield _container_exit(view, life, life.init, ended)


def _container_exit(view: View, life: Life, init: int, ended: int) -> Occurrence:
    scene, case = view.scene, view.case
    others = view.also_served(life, ended)
    shim = None if others else view.ended(life.shim, ended)
    if shim is None:
        died = int(scene.exit_ns[life.shim])
        last = died if died >= 0 else view.last_ns
        shim = Outcome(UNAFFECTED, last, max(last - ended, 0))
    zombies = None if case.at_end.ns is None else len(view.zombies(life))
    verdict, why = _shim_followed(view, life, shim, zombies, others)
    evidence = case.cite_end(init)
    evidence += case.cite_end(life.shim) if shim.end is not None else case.cite_state(life.shim)
    evidence += [e for pos in view.zombies(life)[:5] for e in case.cite_state(pos)]
    return Occurrence(
        ended,
        f"process 1 of {life.name}, {scene.label(init)}, {scene.end_text(scene.end_of(init))}",
        init,
        life.container.id,
        view.shape(life),
        verdict,
        why,
        shim=shim,
        container=view.ended(init, ended),
        zombies=zombies,
        evidence=listed(evidence),
        certainty=case.surety(ended, shim.ts_ns),
    )


def _shim_followed(
    view: View, life: Life, shim: Outcome, zombies: int | None, others: int
) -> tuple[str, str]:
    scene, name = view.scene, view.scene.label(life.shim)
    if shim.end is None:
        watched = shim.after_ns or 0
        text = f"its shim, {name}, was still there {span(watched)} later"
        if others:
            return NOT_OBSERVED, f"{text}: it served {count(others, 'other container')} too"
        if watched < _STAYED_NS:
            return NOT_OBSERVED, f"{text}, when the recording ended"
        return CONTRADICTED, text
    text = f"its shim, {name}, {scene.end_text(shim.end)} {span(shim.after_ns or 0)} later"
    if zombies is None:
        return HOLDS, f"{text}; whether zombies stayed is not known without a snapshot of the end"
    if zombies:
        return CONTRADICTED, f"{text}, but {count(zombies, 'zombie')} stayed"
    return HOLDS, f"{text}; no zombies stayed"


# --- what process 1 leaves behind --------------------------------------------------------------


def reapings(view: View) -> Iterator[Occurrence]:
    """Process 1 of a container ends before others in it do, and its shim is there."""
    for life in view.lives:
        ended = -1 if life.init is None else int(view.scene.exit_ns[life.init])
        if life.init is None or ended < 0 or not view.scene.alive_at(life.shim, ended):
            continue
        told = ("container-process", "init")
        left = [p for p in view.members_at(life, ended) if view.scene.roles[p] in told]
        if left:
            yield _reaping(view, life, life.init, ended, left)


def _reaping(view: View, life: Life, init: int, ended: int, left: list[int]) -> Occurrence:
    scene, case = view.scene, view.case
    with_it, by_shim, zombies, alive = [], [], [], []
    for pos in left:
        end = scene.end_of(pos)
        if end.by is not None and end.by.kind == "pid-namespace-end":
            with_it.append(pos)
        reaped = int(scene.reap_ns[pos])
        parent = scene.last_parent[pos] if reaped < 0 else scene.parent_at(pos, reaped)
        if case.at_end.is_released(pos) and parent == life.shim:
            by_shim.append(pos)
        if case.unreaped[pos]:
            zombies.append(pos)
        if case.at_end.alive[pos]:
            alive.append(pos)
    found = Left(len(left), len(with_it), len(by_shim), len(zombies), len(alive))
    verdict, why = _reaped(view, life, found)
    evidence = case.cite_end(init)
    for pos in left[:5]:
        evidence += case.cite_end(pos) + case.cite("REAP", int(scene.reap_ns[pos]), pos)
    last = max((int(max(scene.reap_ns[p], scene.exit_ns[p])) for p in left), default=ended)
    return Occurrence(
        ended,
        f"process 1 of {life.name}, {scene.label(init)}, "
        f"{scene.end_text(scene.end_of(init))}, and left {case.names(left)}",
        init,
        life.container.id,
        view.shape(life),
        verdict,
        why,
        container=view.ended(init, ended),
        left=found,
        zombies=None if case.at_end.ns is None else found.zombies,
        evidence=listed(evidence),
        certainty=case.surety(ended, max(last, ended)),
    )


def _reaped(view: View, life: Life, left: Left) -> tuple[str, str]:
    shim = view.scene.label(life.shim)
    parts = []
    if left.with_process_1:
        parts.append(f"{left.with_process_1} killed by the kernel with process 1's pid namespace")
    parts.append(f"{left.by_shim} reaped by the shim, {shim}")
    if left.zombies:
        parts.append(f"{count(left.zombies, 'zombie')} at the end")
    if left.alive:
        parts.append(f"{left.alive} alive at the end")
    text = f"of {count(left.total, 'process', 'es')} left: {', '.join(parts)}"
    if left.zombies or left.alive:
        return CONTRADICTED, text
    if left.by_shim:
        return HOLDS, text
    if left.with_process_1 == left.total:
        return CONTRADICTED, f"{text}: nothing was left for the shim to reap"
    return NOT_OBSERVED, text
