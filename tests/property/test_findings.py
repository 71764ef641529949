"""Findings of random streams, also of what is cut, lossy, filtered or shuffled: they never raise,
and never rest on a record that the capture does not hold."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from analysis.model import open_capture
from analysis.report import build_report
from analysis.why.story import CONFIRMED
from tests import lives
from tests.found import MS, SECOND, check
from tests.lives import Host
from tests.streams import Proc
from tracer.abi import Context, Flag, Origin
from tracer.errors import CaptureError

SEEDS = st.integers(0, 2**32 - 1)
SLOW = settings(
    deadline=None,
    max_examples=10,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


class Chaos:
    """A host on which anything happens to anybody."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        chance = self.chance
        self.host: Host = lives.host(
            managed=chance.random() < 0.5,
            old_names=chance.random() < 0.3,
            start=chance.random() < 0.8,
        )
        self.stream = self.host.stream
        self.containers = 0
        self.acts: list[Callable[[], object]] = [
            self.begin,
            self.end,
            self.call,
            self.enter,
            self.fork,
            self.fork,
            self.die,
            self.die,
            self.kill,
            self.kernel_signal,
            self.oom,
            self.daemon,
            self.wait,
            self.wait,
            self.lose,
            self.rotate,
        ]

    def run(self, steps: int) -> None:
        for _ in range(steps):
            self.chance.choice(self.acts)()

    def anybody(self) -> Proc:
        alive = [p for p in self.stream.processes if p.alive and p.tgid != 1]
        return self.chance.choice(alive or [self.host.init])

    def begin(self) -> None:
        self.containers += 1
        again = self.chance.random() < 0.3
        number = self.chance.randrange(3) if again else self.containers
        lives.begin(
            self.host,
            cid=f"{number:064x}",
            name=f"c{number}\x1b[2J\n",
            shim=self.chance.choice(["v1", "v2"]),
            pidns=self.chance.choice([0, 4026532500 + self.containers]),
            args=self.chance.random() < 0.9,
            fact=self.chance.random() < 0.7,
        )

    def end(self) -> None:
        p = self.host.procs
        if p and p["init"].alive and p["shim"].alive:
            lives.end(self.host, cid=f"{self.containers:064x}", stop=False)

    def call(self) -> None:
        verb = self.chance.choice(["delete", "kill", "start", "state"])
        lives.call(self.host, self.anybody(), f"/usr/bin/runc --root /r {verb} {self._id()}")

    def enter(self) -> None:
        p = self.host.procs
        if p and p["shim"].alive and p["init"].alive:
            lives.run_exec(self.host, p["shim"], self._id(), "/bin/sh", p["init"].pidns)

    def _id(self) -> str:
        return f"{self.chance.randint(0, self.containers):064x}"

    def fork(self) -> None:
        parent = self.anybody()
        dead = [p.tgid for p in self.stream.processes if not p.alive]
        tgid = self.chance.choice(dead) if dead and self.chance.random() < 0.2 else 0
        comm = self.chance.choice([None, "ev\x1b[31mil\n"])
        child = self.stream.fork(parent, comm, tgid=tgid)
        if self.chance.random() < 0.3:
            program = self.chance.choice(["/bin/sh", "/usr/sbin/dockerd", "/usr/bin/runc"])
            self.stream.exec(child, program, detail=self.chance.random() < 0.9)

    def die(self) -> None:
        status, number = self.chance.choice([(0, 0), (1, 0), (0, 9), (0, 15)])
        self.stream.die(self.anybody(), status, signal=number, reap=self.chance.random() < 0.7)

    def kill(self) -> None:
        target, number = self.anybody(), self.chance.choice([9, 15])
        sender = self.chance.choice([self.anybody(), self.host.init])
        self.stream.signal(target, number, sender)
        if self.chance.random() < 0.7:
            self.stream.die(target, signal=number)

    def kernel_signal(self) -> None:
        context = Context(self.chance.randrange(8))
        origin = self.chance.choice([Origin.NOINFO, Origin.PRIV])
        target = self.anybody()
        self.stream.signal(target, 9, self.anybody(), origin=origin, context=context)
        self.stream.die(target, signal=9)

    def oom(self) -> None:
        target = self.anybody()
        known = {} if self.chance.random() < 0.5 else {"start_ns": 0}
        self.stream.oom(target, **known)
        if self.chance.random() < 0.7:
            self.stream.die(target, signal=9)

    def daemon(self) -> None:
        daemon = self.stream.fork(self.host.init)
        name = self.chance.choice(["dockerd", "containerd", "kubelet"])
        self.stream.exec(daemon, f"/usr/bin/{name}", f"/usr/bin/{name}")
        self.stream.die(daemon, self.chance.choice([0, 1]))

    def wait(self) -> None:
        self.stream.wait(self.chance.choice([MS, 100 * MS, 2 * SECOND, 10 * SECOND]))
        self.stream.flush()  # chunks to cut between

    def lose(self) -> None:
        with self.stream.drop():
            self.fork()
            self.die()

    def rotate(self) -> None:
        self.stream.rotate(drop=self.chance.random() < 0.3, snapshot=self.chance.random() < 0.8)

    def spoil(self) -> None:
        """What a header may say, and how a recording may end."""
        s, chance = self.stream, self.chance
        if chance.random() < 0.8:
            s.snapshot("end", proc=chance.random() < 0.8)
        if chance.random() < 0.1:
            s.task("end", self.anybody(), flags=Flag.ZOMBIE, exit_state=32)
        if chance.random() < 0.2:
            s.header["filter"] = {"kind": "cgroup", "path": "/docker"}
            for process in s.processes[:5]:
                s.stub(process)
        if chance.random() < 0.2:
            s.header["no_args"] = True


def report_of(chaos: Chaos, path: Path) -> dict[str, Any]:
    complete = chaos.chance.random() < 0.8
    capture = open_capture(chaos.stream.write(path, complete=complete))
    report = build_report(capture)
    check(capture, report)
    return report


@SLOW
@given(seed=SEEDS)
def test_findings_never_raise_and_rest_on_what_is_there(seed: int, tmp_path: Path) -> None:
    chaos = Chaos(seed)
    chaos.run(40)
    chaos.spoil()
    report_of(chaos, tmp_path / "x.rtrace")


@SLOW
@given(seed=SEEDS, share=st.floats(0.3, 0.99))
def test_findings_of_a_file_that_is_cut_anywhere(seed: int, share: float, tmp_path: Path) -> None:
    chaos = Chaos(seed)
    chaos.run(25)
    chaos.spoil()
    path = chaos.stream.write(tmp_path / "x.rtrace")
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    try:
        capture = open_capture(path)
    except CaptureError:
        assume(False)  # in the middle of its header
    report = build_report(capture)
    check(capture, report)
    ends = {"shim-without-children", "zombies", "shim-dead-init-alive", "exit-not-noticed"}
    if not capture.table.complete:
        assert ends.isdisjoint(f["kind"] for f in report["findings"])


@SLOW
@given(seed=SEEDS)
def test_where_events_were_lost_all_through_nothing_of_the_end_is_sure(
    seed: int, tmp_path: Path
) -> None:
    chaos = Chaos(seed)
    chaos.run(20)
    s = chaos.stream
    s.wait(6 * SECOND)
    s.snapshot("end")
    s.lost_totals = [[5, 0] for _ in s.lost_totals]
    report = report_of(chaos, tmp_path / "x.rtrace")
    about_absence = {"shim-without-children", "init-dead-shim-alive", "exit-not-noticed"}
    for finding in report["findings"]:
        if finding["kind"] in about_absence:
            assert finding["certainty"] != CONFIRMED
