"""Steps of a story: what happened when, in words that a docker engineer uses.

Every sentence rests on events that it names, so that `rtrace dump` shows what it was
made of. Sentences are harmless to print: see text_safety.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

from analysis.scene import Adoption, Scene
from analysis.signals import Signal
from analysis.text_safety import command_line

# Between the exits of the threads of one process that is ending.
_EXIT_NS = 100_000_000
_SIGPIPE, _SIGCONT = 13, 18
_NAMED = 4  # children named in one adoption

# Verbs of clients that look, or run something in a container: those come in rows.
_QUIET = ("exec", "ps", "ls", "list", "inspect", "logs", "top", "stats", "info", "version")

REASONS = {
    "thread": "another thread of the same process",
    "subreaper": "nearest subreaper",
    "init": "init of the pid namespace",
    "unknown": "rule not known",
}
CERTAINTIES = {
    "confirmed": "confirmed",
    "predicted": "predicted, not confirmed",
    "inferred": "inferred from what was seen later",
    "unknown": "not certain",
}


@dataclass(frozen=True, slots=True)
class Evidence:
    """An event: its type as in tracer.abi, its time, and its subject (a position)."""

    event: str
    ts_ns: int
    pos: int


@dataclass(frozen=True, slots=True)
class Repeat:
    """What may come again and again, such as a health check: see `analysis.folds`.

    Attributes:
        key: the same for those that are alike.
        what: words for several of them, harmless to print.
        outcome: how it ended, "exited 0"; None: not to be folded.
        pos: position of the process that it is about.
    """

    key: str
    what: str
    outcome: str | None
    pos: int


@dataclass(slots=True)
class Entry:
    """One step of a story.

    Attributes:
        kind: client, shim, runc, init, adoption (of process 1, an exec'd process or the shim),
            orphan (adoption of another process in the container), exec, signal, exit (of
            process 1), reap, note, fold (several steps in one sentence), process (one that is no
            part of any story); of the host: daemon, trigger, suspend, clock.
        processes: positions of those that it is about.
        certainty: of an adoption; None else.
        main: the host's story tells it too: a workload starts, process 1 or a shim ends.
        repeat: what it is a step of, if that may come again and again.
        fold: the entry that tells this one together with others.
        until_ns, count: of a fold: its last step, and how many things it sums up.
    """

    ts_ns: int
    kind: str
    text: str
    processes: list[int]
    evidence: list[Evidence]
    certainty: str | None = None
    rank: int = 0
    main: bool = False
    repeat: Repeat | None = None
    fold: Entry | None = None
    until_ns: int | None = None
    count: int | None = None


def rule_text(adoption: Adoption) -> str:
    """Rule and certainty in words."""
    if adoption.new < 0:
        return CERTAINTIES["unknown"]
    return f"{REASONS.get(adoption.reason, adoption.reason)}, {CERTAINTIES[adoption.certainty]}"


def adoption_entry(
    scene: Scene,
    ts_ns: int,
    kind: str,
    text: str,
    old: int,
    adopted: list[Adoption],
    evidence: list[Evidence],
    part: Callable[[int], str] = lambda pos: "",
) -> Entry:
    """One entry: what ended (``text``), and who adopted whom, those with the same fate together.

    Args:
        old: who ended. part: what to say behind a child's name, such as ", process 1,".
    """
    groups: dict[tuple[int, str, str], list[Adoption]] = defaultdict(list)
    for adoption in adopted:
        groups[adoption.new, adoption.reason, adoption.certainty].append(adoption)
    for (new, _, _), members in groups.items():
        names = [f"{scene.label(a.child)}{part(a.child)}".rstrip(",") for a in members[:_NAMED]]
        shown = ", ".join(names)
        if len(members) > _NAMED:
            shown += f" and {len(members) - _NAMED} more"
        rule = rule_text(members[0])
        if new < 0:
            text += f"; who adopted {shown} is not known"
        else:
            text += f"; {scene.label(new)} adopted {shown}: {rule}"
        if old >= 0 and scene.roles[old] == "shim-start" and new >= 0:
            text += "; this is by design of shim v2"
    certainties = [a.certainty for a in adopted]
    order = ("unknown", "inferred", "predicted", "confirmed")
    worst = min(certainties, key=order.index) if certainties else None
    # Keys of a dict: an entry may have very many children.
    people = dict.fromkeys([old] if old >= 0 else [])
    for adoption in adopted:
        people |= dict.fromkeys(p for p in (adoption.new, adoption.child) if p >= 0)
        evidence.append(Evidence("REPARENT", adoption.ts_ns, adoption.child))
    kept = ("exit", "orphan", "daemon")
    kind = "adoption" if adopted and kind not in kept else kind
    return Entry(ts_ns, kind, text, list(people), evidence, worst)


def command_repeat(scene: Scene, pos: int) -> Repeat:
    """Commands with the same words are alike, but those that change something are told each."""
    end, words = scene.end_of(pos), command_line(scene.args(pos), limit=80)
    quiet = end.how == "exited" and words and scene.program(pos).verb in _QUIET
    outcome = scene.end_text(end) if quiet else None
    return Repeat(f"command {words}", f"times: {words}", outcome, pos)


def is_at_end(adoption: Adoption, exit_ns: int) -> bool:
    """The children left because their parent process ended, not one of its threads only.

    The last of its threads to pass the exit tracepoint need not be the one that EXIT is of.
    """
    near = exit_ns >= 0 and abs(adoption.ts_ns - exit_ns) < _EXIT_NS
    return near and adoption.reason != "thread"


def says_nothing(signal: Signal) -> bool:
    """SIGCONT, which systemd sends with each SIGTERM; SIGPIPE, which servers get whenever somebody
    does not listen any more, and ignore."""
    return signal.signal in (_SIGCONT, _SIGPIPE)
