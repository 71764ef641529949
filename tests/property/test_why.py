"""Who killed whom in random worlds: the truth where all was recorded, never an untruth else."""

from __future__ import annotations

import random

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analysis.model import Capture
from analysis.why.answer import build_why
from tests.property.test_parents import events_of, lose, make_table
from tests.streams import Proc, Stream
from tracer.abi import Context, Origin

SEEDS = st.integers(0, 2**32 - 1)
SLOW = settings(deadline=None, max_examples=8, suppress_health_check=[HealthCheck.too_slow])
PDEATH = Context.EXITING | Context.PDEATH | Context.GROUP_EXIT


class World:
    """Processes that fork, exit and kill each other.

    Attributes:
        killers: by id of a killed process, the id of who sent the signal; for one that the end of
            its parent has killed (parent-death signal) that of the parent.
        exited: ids of those that exited without any signal.
    """

    def __init__(self, seed: int, steps: int = 60) -> None:
        self.chance = random.Random(seed)
        self.stream = s = Stream()
        init = s.process("init", tgid=1)
        self.alive: list[Proc] = [s.fork(init)]
        self.killers: dict[str, str] = {}
        self.exited: set[str] = set()
        for _ in range(steps):
            self._step()

    def _step(self) -> None:
        s, chance = self.stream, self.chance
        s.wait(chance.randrange(1, 40_000_000))
        s.cpu = chance.randrange(s.cpus)
        one = chance.choice(self.alive)
        what = chance.random()
        if what < 0.5 or len(self.alive) < 3:
            self.alive.append(s.fork(one, f"p{len(s.processes)}"))
        elif what < 0.6:
            s.signal(one, 15, chance.choice(self.alive), result=1)  # ignored
        elif what < 0.8:
            killer = chance.choice([p for p in self.alive if p is not one])
            self._kill(one, killer)
        elif what < 0.9:
            self._end(one, chance.choice([0, 1]))
            self.exited.add(one.id)
        else:
            self._die_with_child(one)

    def _kill(self, target: Proc, killer: Proc) -> None:
        number = self.chance.choice([9, 15])
        self.stream.signal(target, number, killer)
        if self.chance.random() < 0.3:  # one more, too late
            self.stream.signal(target, number, self.chance.choice(self.alive), result=2)
        self.killers[target.id] = killer.id
        self._end(target, signal=number)

    def _die_with_child(self, parent: Proc) -> None:
        child = next((p for p in parent.children if p.alive), None)
        killer = self.chance.choice([p for p in self.alive if p is not parent])
        if child is None or child is killer:
            return
        self._kill(parent, killer)
        context = {"origin": Origin.NOINFO, "context": PDEATH}
        self.stream.signal(child, 9, parent, **context)
        self.killers[child.id] = parent.id
        self._end(child, signal=9)

    def _end(self, process: Proc, status: int = 0, *, signal: int = 0) -> None:
        self.stream.die(process, status, signal=signal)
        self.alive.remove(process)


def sender_of(why: dict[str, object]) -> str | None:
    """Who the answer says has sent the fatal signal (or was the parent that it is of)."""
    end = why["target"]["end"]  # type: ignore[index]
    cause = end["cause"] if end else None
    who = (cause["sender"] or cause["context"]) if cause else None
    return who["id"] if who else None


@SLOW
@given(SEEDS)
def test_the_sender_is_the_true_one(seed: int) -> None:
    world = World(seed)
    capture = Capture(make_table(world.stream, events_of(world.stream)))
    for target, killer in world.killers.items():
        why = build_why(capture, target)
        assert sender_of(why) == killer
        # Followed to the first cause: the killer, or who killed the parent.
        first = world.killers.get(killer) if sender_is_context(why) else killer
        assert why["lineage"][0]["process"]["id"] == (first or killer)
        times = [step["ts_ns"] for step in why["chain"]]
        assert times == sorted(times)
        assert why["answer"]["reasons"][0]["certainty"] == "confirmed"
    for target in world.exited:
        why = build_why(capture, target)
        assert why["target"]["end"]["how"] == "exited"


def sender_is_context(why: dict[str, object]) -> bool:
    cause = why["target"]["end"]["cause"]  # type: ignore[index]
    return cause["sender"] is None


@SLOW
@given(SEEDS, st.sampled_from([0.02, 0.2, 0.5]))
def test_with_events_lost_no_other_is_blamed(seed: int, share: float) -> None:
    world = World(seed)
    chance = random.Random(seed)
    kept = lose(events_of(world.stream), lambda number: chance.random() < share)
    capture = Capture(make_table(world.stream, kept))
    known = set(capture.scene.ids.tolist())
    for target, killer in world.killers.items():
        if target not in known:
            continue
        why = build_why(capture, target)
        assert sender_of(why) in (killer, None)
        if sender_of(why) is None and why["target"]["end"]["how"] == "killed":
            assert why["answer"]["certainty"] == "unknown"
            assert why["missing"]


@SLOW
@given(SEEDS)
def test_the_order_in_the_file_does_not_matter(seed: int) -> None:
    world = World(seed, steps=40)
    events = events_of(world.stream)
    shuffled = random.Random(seed).sample(events, len(events))
    first = Capture(make_table(world.stream, events))
    second = Capture(make_table(world.stream, shuffled))
    for target in (*world.killers, *world.exited):
        assert build_why(first, target) == build_why(second, target)
