"""How containers begin: who becomes the parent of what runc has made."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from analysis.behaviours.behaviour import (
    CONTRADICTED,
    HOLDS,
    NOT_OBSERVED,
    RECREATED,
    UNAFFECTED,
    Occurrence,
    Outcome,
)
from analysis.behaviours.view import Life, View
from analysis.containers import exec_process
from analysis.scene import Adoption
from analysis.text_layout import span
from analysis.why.story import worst
from tracer.text import printable


def starts(view: View) -> Iterator[Occurrence]:
    """runc create makes process 1 and exits."""
    for life in view.lives:
        create, init = life.run.create, life.init
        if create is None or init is None or view.scene.born_ns(init) is None:
            continue
        exited = int(view.scene.exit_ns[create.pos])
        if exited >= 0:
            yield _start(view, life, create.pos, init, exited)


def _start(view: View, life: Life, create: int, init: int, exited: int) -> Occurrence:
    scene, case = view.scene, view.case
    runc = scene.label(create)
    adoption = _left(view, init, create)
    verdict, why = _judge(view, adoption, life.shim, f"process 1 of {life.name}")
    ended = int(scene.exit_ns[init])
    if adoption is None and 0 <= ended <= exited:
        why = f"process 1 of {life.name} had ended before {runc} did"
    evidence = case.cite("FORK", scene.born_ns(init), init) + case.cite("EXIT", exited, create)
    certainties = [case.surety(int(scene.fork_ns[init]), exited)]
    if adoption is not None:
        evidence += case.cite_adoption(adoption)
        certainties.append(adoption.certainty)
    return Occurrence(
        exited if adoption is None else adoption.ts_ns,
        f"{scene.label(create)} made process 1 of {life.name}, {scene.label(init)}, and "
        f"{scene.end_text(scene.end_of(create))}; {_origin(view, life)}",
        init,
        life.container.id,
        view.shape(life),
        verdict,
        why,
        shim=_shim_began(view, life),
        container=None if adoption is None else view.reparented(adoption),
        evidence=evidence,
        certainty=worst(certainties),
    )


def _left(view: View, child: int, runc: int) -> Adoption | None:
    return view.taken_over(child, 0, view.last_ns, {runc})


def _judge(view: View, adoption: Adoption | None, shim: int, who: str) -> tuple[str, str]:
    """Whether the shim became the parent of what runc had made."""
    scene = view.scene
    if adoption is None:
        return NOT_OBSERVED, f"who became the parent of {who} was not seen"
    new = scene.label(adoption.new)
    if adoption.new == shim:
        return HOLDS, f"{new}, its shim, became the parent of {who}"
    if adoption.new < 0:
        return NOT_OBSERVED, f"who became the parent of {who} is not known"
    return CONTRADICTED, f"{new}, which is not its shim, became the parent of {who}"


def _settled(view: View, life: Life) -> tuple[int, Adoption | None]:
    """Whose child the shim is once it serves, and how it became that one's."""
    scene, starter = view.scene, life.run.starter
    adoption = None
    if starter is not None:
        adoption = view.taken_over(life.shim, 0, view.last_ns, {starter})
    if adoption is not None:
        return adoption.new, adoption
    return int(scene.first_parent[life.shim]), None


def _shim_began(view: View, life: Life) -> Outcome | None:
    parent, adoption = _settled(view, life)
    if adoption is not None:
        return view.reparented(adoption)
    return None if parent < 0 else Outcome(UNAFFECTED, view.scene.born_ns(life.shim), new=parent)


def _origin(view: View, life: Life) -> str:
    """Whose child its shim is."""
    scene = view.scene
    parent, adoption = _settled(view, life)
    shim = f"its shim, {scene.label(life.shim)} ({scene.roles[life.shim].removeprefix('shim-')}),"
    if parent < 0:
        return f"whose child {shim} is, is not known"
    text = f"{shim} is a child of {scene.label(parent)}"
    if adoption is not None:
        text += f", which adopted it when {scene.call_label(adoption.old)} exited"
    return text


def restarts(view: View) -> Iterator[Occurrence]:
    """A container gets another process 1."""
    for lives in view.by_container.values():
        for old, new in pairwise(lives):
            began = new.run.anchor_ns
            if new.run.before or began is None or old.init is None or old.init == new.init:
                continue
            yield _restart(view, old, new, began)


def _restart(view: View, old: Life, new: Life, began: int) -> Occurrence:
    scene, case = view.scene, view.case
    assert old.init is not None
    same = old.shim == new.shim
    evidence = case.cite_end(old.init)
    shim = Outcome(UNAFFECTED, began, new=old.shim)
    if not same:
        evidence += case.cite_end(old.shim) + case.cite("FORK", began, new.shim)
        shim = Outcome(RECREATED, began, old=old.shim, new=new.shim)
    contained, verdict = None, NOT_OBSERVED
    why = "its new process 1 was not seen"
    if new.init is not None:
        evidence += case.cite("FORK", scene.born_ns(new.init), new.init)
        contained = Outcome(RECREATED, scene.born_ns(new.init), old=old.init, new=new.init)
        verdict = CONTRADICTED if same else HOLDS
        who = f"{scene.label(new.init)} instead of {scene.label(old.init)}"
        why = f"a new process 1, {who}, under "
        why += f"the shim that there was, {scene.label(old.shim)}" if same else "a new shim"
        why += "" if same else f", {scene.label(new.shim)} instead of {scene.label(old.shim)}"
    client = new.run.client
    asked = ""
    if client is not None:
        words = printable(" ".join(scene.args(client))[:120])
        asked = f", for {scene.label(client)}" + (f": {words}" if words else "")
    ended = int(scene.exit_ns[old.init])
    gap = f", {span(began - ended)} after its process 1 had ended" if 0 <= ended <= began else ""
    return Occurrence(
        began,
        f"{new.name} was started again{gap}{asked}",
        old.init if new.init is None else new.init,
        new.container.id,
        view.shape(new),
        verdict,
        why,
        shim=shim,
        container=contained,
        evidence=evidence,
        certainty=case.surety(ended if 0 <= ended <= began else began, began),
    )


def execs(view: View) -> Iterator[Occurrence]:
    """runc exec brings a process into a container and exits."""
    for life in view.lives:
        for call in life.run.execs:
            process = exec_process(view.scene, call)
            exited = int(view.scene.exit_ns[call.pos])
            if process is not None and exited >= 0:
                yield _exec(view, life, call.pos, process, exited)


def _exec(view: View, life: Life, call: int, process: int, exited: int) -> Occurrence:
    scene, case = view.scene, view.case
    adoption = _left(view, process, call)
    ended = int(scene.exit_ns[process])
    verdict, why = _judge(view, adoption, life.shim, scene.label(process))
    if adoption is None and 0 <= ended <= exited:
        why = f"{scene.label(process)} had ended before {scene.label(call)} did"
    evidence = case.cite("EXIT", exited, call)
    began = max(int(scene.fork_ns[process]), 0)
    certainties = [case.surety(began, exited)]
    if adoption is not None:
        evidence += case.cite_adoption(adoption)
        certainties.append(adoption.certainty)
    lives_on = life.init is not None and scene.alive_at(life.init, exited)
    return Occurrence(
        exited if adoption is None else adoption.ts_ns,
        f"{scene.call_label(call)} brought {scene.label(process)} into {life.name}, and "
        f"{scene.end_text(scene.end_of(call))}",
        process,
        life.container.id,
        view.shape(life),
        verdict,
        why,
        shim=Outcome(UNAFFECTED, exited) if scene.alive_at(life.shim, exited) else None,
        container=Outcome(UNAFFECTED, exited) if lives_on else None,
        process=None if adoption is None else view.reparented(adoption),
        evidence=evidence,
        certainty=worst(certainties),
    )
