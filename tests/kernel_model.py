"""A model of how the kernel moves orphans, for tests of the analysis: events and the truth.

Threads act one step at a time, in random order, and exit in the stages of do_exit(), so that
other threads act in between: PF_EXITING; the exit tracepoint (EXIT, REPARENT); exit_notify(),
which chooses a reaper and only then joins the lists of children; and the switch away (REAPER).
Rules: forget_original_parent(), find_new_reaper(), zap_pid_ns_processes() in kernel.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from tests.streams import Proc, Stream
from tracer import abi
from tracer.abi import Flag, Hook, Reason, Type
from tracer.capture_format import PHASES, TASK_PHASE, TASKS


@dataclass(eq=False)
class Thread:
    """A task. ``children`` are processes, as task_struct.children: each thread has its own."""

    process: Process
    tid: int
    children: list[Process] = field(default_factory=list)
    exiting: bool = False
    counted: bool = False  # signal->live was counted down
    stage: int = 0
    reaper: Thread | None = None
    moved: list[Process] = field(default_factory=list)
    exit_ns: int = 0
    seen: bool = False  # REAPER written
    last: bool = False

    @property
    def done(self) -> bool:
        return self.stage >= 5


@dataclass(eq=False)
class Process:
    """A process; ``truth`` is every parent that it ever had, with the time it came."""

    proc: Proc
    real_parent: Thread | None
    namespace: Process | None  # its process 1; None: the initial one
    threads: list[Thread] = field(default_factory=list)
    subreaper: bool = False
    ignores: bool = False  # SIGCHLD ignored: children are released as they exit
    zombie_ns: int = 0
    truth: list[tuple[int, str]] = field(default_factory=list)
    end_ns: int = 0  # released

    @property
    def live(self) -> int:
        return sum(not t.counted for t in self.threads)

    @property
    def id(self) -> str:
        return self.proc.id

    def alive_threads(self) -> list[Thread]:
        return [t for t in self.threads if not t.exiting]


class Kernel:
    """The model. ``run(steps)``, then ``stream`` has the events and ``processes`` the truth.

    Args:
        walk: how many children the walk at an exit lists.
        signals: share of REAPER events read inside exit_notify().
        unread: share of the others that nothing could be read for.
        crowd: how often a process makes many children at once.
        race: a reaper that was chosen can exit, and list its children, before it has these
            (in the kernel a window of microseconds, here a wide one).
    """

    def __init__(
        self,
        seed: int,
        *,
        walk: int = 1024,
        signals: float = 0.6,
        unread: float = 0.1,
        crowd: float = 0.02,
        late_reap_ns: int = 15_000_000,
        race: bool = True,
    ) -> None:
        self.random = random.Random(seed)
        self.stream = Stream()
        self.walk, self.signals, self.unread, self.crowd = walk, signals, unread, crowd
        self.late_reap_ns, self.race = late_reap_ns, race
        self.processes: list[Process] = []
        self.running: list[Thread] = []  # not exiting
        self.leaving: list[Thread] = []  # in do_exit()
        self.lock: Thread | None = None  # who holds tasklist_lock over a step
        self.next_tid = 5000
        self.hops = 0
        self.init = self._new(self.stream.process("init", tgid=1), None, None)
        self.top = self.init
        self.top = self.fork(self.init.threads[0])
        self.top.subreaper = True
        for _ in range(3):
            self.fork(self.top.threads[0])

    # --- steps ---------------------------------------------------------------------------------

    def run(self, steps: int) -> None:
        for _ in range(steps):
            self.step()
        while self.leaving:
            self._advance()

    def step(self) -> None:
        self.stream.now += self.random.choice((50, 300, 2_000, 30_000))
        if self.leaving and self.random.random() < min(0.85, 0.12 * len(self.leaving)):
            self._advance()
            return
        thread = self.random.choice(self.running)
        process = thread.process
        act = self.random.random()
        few = len(self.running) < 25
        if self.lock is not None and act < 0.60:
            return  # copy_process() has to wait for it
        if act < (0.55 if few else 0.22):
            self.fork(thread)
        elif act < 0.60 and self.random.random() < self.crowd:
            for _ in range(self.random.randint(3, 40)):
                self.stream.now += 20_000
                self.fork(thread)
        elif act < 0.66 and len(process.threads) < 6 and process is not self.init:
            self.next_tid += 1
            self._start(Thread(process, self.next_tid))
        elif act < 0.70:
            # Not while anybody is exiting: the prediction would be wrong, and nothing tells.
            if self.leaving:
                return
            process.subreaper = process.subreaper or process is not self.init
            process.ignores = process.ignores or self.random.random() < 0.2
        elif act < 0.74:
            self._event(Type.COMM, process, **self._parent(process))
        elif act < 0.80 or process in (self.init, self.top):
            self._wait(process)
        elif act < 0.86:
            self._begin(thread)
        else:
            # exit_group(), often of a whole family at once
            family = [process]
            if self.random.random() < 0.5 and process.real_parent:
                family.append(process.real_parent.process)
            if self.random.random() < 0.3:
                family += [c for t in process.threads for c in t.children]
            for member in family:
                if member not in (self.init, self.top):
                    for each in member.alive_threads():
                        self._begin(each)

    def fork(self, thread: Thread) -> Process:
        forker = thread.process
        parent = thread
        if (
            self.random.random() < 0.06
            and forker not in (self.init, self.top)
            and forker.real_parent
            and forker.namespace is not forker
        ):
            parent = forker.real_parent  # CLONE_PARENT
        namespace = forker.namespace
        nested = self.random.random() < 0.03 and forker is not self.init and parent is thread
        proc = self.stream.process("p", start_ns=self.stream.now - 400)
        child = self._new(proc, parent, namespace)
        if nested:
            child.namespace = child
            proc.ns_tgid, proc.pidns = 1, proc.tgid
        parent.children.append(child)
        if forker.subreaper and not forker.proc.subreaper:
            forker.proc.subreaper = True
            self._event(Type.SUBREAPER, forker, **self._parent(forker))
        self._event(
            Type.FORK,
            child,
            **self._parent(child),
            forker_tgid=forker.proc.tgid,
            forker_start_ns=forker.proc.start_ns,
            ns_tgid=proc.ns_tgid,
            pidns=proc.pidns,
        )
        return child

    def snapshot(self, phase: str = "start", *, pause: int = 1) -> None:
        """TASK: walks over the processes by tgid as the task iterator does, while others act: up to
        ``pause`` steps between two of them."""
        records, last = TASK_PHASE.pack(PHASES.index(phase)), -1
        while ahead := [p for p in self.processes if not p.end_ns and p.proc.tgid > last]:
            process = min(ahead, key=lambda p: p.proc.tgid)
            last = process.proc.tgid
            records += self._task(process)
            for _ in range(self.random.randint(0, pause)):
                self.step()
        self.stream.chunk(TASKS, records)

    def _task(self, process: Process) -> bytes:
        flags = Flag.SUBREAPER if process.subreaper else Flag(0)
        if process is (process.namespace or self.init):
            flags |= Flag.NS_INIT
        return bytes(
            abi.Task(
                ts_ns=self.stream.now,
                start_ns=process.proc.start_ns,
                tgid=process.proc.tgid,
                ns_tgid=process.proc.ns_tgid,
                pidns=process.proc.pidns,
                exit_state=32 if process.zombie_ns else 0,
                flags=flags,
                comm=process.proc.comm.encode(),
                **self._parent(process),
            )
        )

    # --- do_exit() -----------------------------------------------------------------------------

    def _begin(self, thread: Thread) -> None:
        if not thread.exiting:
            thread.exiting = True
            self.running.remove(thread)
            self.leaving.append(thread)

    def _advance(self) -> None:
        self.stream.now += self.random.choice((100, 1_000, 20_000, 400_000))
        thread = self.random.choice(self.leaving)
        process = thread.process
        if thread.stage == 0:
            thread.counted = True
            thread.last = process.live == 0
            thread.stage = 1
        elif thread.stage == 1:
            self._tracepoint(thread)
            thread.stage = 2
        elif thread.stage == 2:
            if self.lock is None and self._may_notify(thread):
                self._choose(thread)
                thread.stage = 3
                if not self.race:
                    self._advance_from_choice(thread)
        elif thread.stage == 3:
            self._advance_from_choice(thread)
        else:
            self._switch(thread)
            thread.stage = 5
            self.leaving.remove(thread)

    def _advance_from_choice(self, thread: Thread) -> None:
        self._join(thread)
        thread.stage = 4

    def _tracepoint(self, thread: Thread) -> None:
        process = thread.process
        thread.exit_ns = self.stream.now
        if thread.last:
            self._event(Type.EXIT, process, tid=thread.tid, **self._parent(process))
        if not thread.children or (thread.last and process.namespace is process):
            if thread.last and process.namespace is process:
                for other in self.processes:
                    if self._inside(other, process) and other is not process:
                        for each in other.alive_threads():
                            self._begin(each)
            return
        reaper, reason = self._rule(thread, predicted=True)
        listed = thread.children[: self.walk]
        for child in listed:
            more = child is listed[-1] and len(thread.children) > len(listed)
            self._event(
                Type.REPARENT,
                child,
                at=thread.exit_ns,
                **self._parent(child),
                parent_tid=thread.tid,
                reaper_tgid=reaper.process.proc.tgid if reaper else 0,
                reaper_start_ns=reaper.process.proc.start_ns if reaper else 0,
                reason=reason,
                flags=(Flag.MORE if more else 0) | (Flag.ZOMBIE if child.zombie_ns else 0),
            )
        thread.moved = listed

    def _inside(self, process: Process, namespace: Process) -> bool:
        """Whether a process lives in a pid namespace, or in one below."""
        at = process.namespace
        while at is not None:
            if at is namespace:
                return True
            at = at.real_parent.process.namespace if at.real_parent else None
        return False

    def _may_notify(self, thread: Thread) -> bool:
        """zap_pid_ns_processes(): process 1 waits for all others, reaping its own."""
        process = thread.process
        if not thread.last or process.namespace is not process:
            return True
        for each in process.threads:
            for child in list(each.children):
                if child.zombie_ns:
                    self._release(child)
        return not any(
            self._inside(p, process) and p is not process and not p.end_ns for p in self.processes
        )

    def _rule(self, thread: Thread, *, predicted: bool = False) -> tuple[Thread | None, Reason]:
        """find_new_reaper(); ``predicted``: with what the exit tracepoint can know of it."""
        process = thread.process
        if predicted:
            if process.live:
                return process.threads[0], Reason.THREAD
        else:
            others = [t for t in process.threads if not t.exiting]
            if others:
                return others[0], Reason.THREAD
        last = process.namespace or self.init
        above = process.real_parent
        while above is not None and above.process is not last:
            if above.process.namespace is not process.namespace:
                break
            if above.process.subreaper:
                if predicted and above.process.live:
                    return above.process.threads[0], Reason.SUBREAPER
                alive = above.process.alive_threads()
                if not predicted and alive:
                    return alive[0], Reason.SUBREAPER
            above = above.process.real_parent
        # find_child_reaper(): process 1 lives on in any of its threads.
        left = last.alive_threads() or [t for t in last.threads if t.stage < 3] or last.threads
        return left[0], Reason.INIT

    def _choose(self, thread: Thread) -> None:
        """forget_original_parent(): real_parent changes here, the lists later."""
        self.lock = thread
        if not thread.children:
            return
        thread.reaper, _ = self._rule(thread)
        assert thread.reaper is not None
        for child in thread.children:
            child.real_parent = thread.reaper
            child.truth.append((self.stream.now, thread.reaper.process.id))
            self.hops += 1
        if thread.moved and self.random.random() < self.signals:
            self._reaper(thread, thread.children[0], Hook.SIGNAL)

    def _join(self, thread: Thread) -> None:
        self.lock = None
        if thread.reaper is not None and thread.reaper is not thread:
            thread.reaper.children += thread.children
            if thread.reaper.process.ignores:
                for child in [c for c in thread.children if c.zombie_ns]:
                    self._release(child)
            thread.children = []
        process = thread.process
        if all(t.stage >= 3 for t in process.threads):
            process.zombie_ns = self.stream.now
            parent = process.real_parent
            if parent is not None and parent.process.ignores:
                self._release(process)

    def _switch(self, thread: Thread) -> None:
        if not thread.moved or thread.seen:
            return
        readable = [c for c in thread.moved if not c.end_ns]
        if readable and self.random.random() >= self.unread:
            self._reaper(thread, readable[0], Hook.SCHED_SWITCH)
        else:
            self._reaper(thread, None, Hook.NONE)

    def _reaper(self, thread: Thread, child: Process | None, hook: Hook) -> None:
        thread.seen = True
        reaper = child.real_parent.process if child and child.real_parent else None
        same = reaper is thread.process
        init = reaper is (thread.process.namespace or self.init)
        reason = Reason.THREAD if same else Reason.INIT if init else Reason.SUBREAPER
        self._event(
            Type.REAPER,
            thread.process,
            tid=thread.tid,
            exit_ns=thread.exit_ns,
            reaper_tgid=reaper.proc.tgid if reaper else 0,
            reaper_start_ns=reaper.proc.start_ns if reaper else 0,
            reason=reason if reaper else 0,
            hook=hook,
            children=len(thread.moved),
        )

    def _wait(self, process: Process) -> None:
        for thread in process.threads:
            zombies = [c for c in thread.children if c.zombie_ns]
            if zombies:
                self._release(self.random.choice(zombies))
                return

    def _release(self, process: Process) -> None:
        if process.end_ns:
            return
        process.end_ns = self.stream.now
        if process.real_parent is not None and process in process.real_parent.children:
            process.real_parent.children.remove(process)
        for holder in self.leaving:
            if process in holder.children:
                holder.children.remove(process)
        late = self.stream.now + self.random.randint(0, self.late_reap_ns)
        now = self.stream.now
        self._event(Type.REAP, process, at=late)
        self.stream.now = now

    # --- records -------------------------------------------------------------------------------

    def _new(self, proc: Proc, parent: Thread | None, namespace: Process | None) -> Process:
        process = Process(proc, parent, namespace)
        if parent is not None:
            process.truth.append((self.stream.now, parent.process.id))
        self.processes.append(process)
        self._start(Thread(process, proc.tgid))
        return process

    def _start(self, thread: Thread) -> None:
        thread.process.threads.append(thread)
        self.running.append(thread)

    def _parent(self, process: Process) -> dict[str, int]:
        parent = process.real_parent.process.proc if process.real_parent else None
        return {
            "parent_tgid": parent.tgid if parent else 0,
            "parent_start_ns": parent.start_ns if parent else 0,
        }

    def _event(self, event_type: Type, process: Process, **fields: int) -> None:
        fields.setdefault("at", self.stream.now)
        self.stream.event(event_type, process.proc, **fields)
