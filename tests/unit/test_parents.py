"""Parents over time on synthetic captures: every kind of evidence, and every kind of doubt."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from analysis.parents import df_parents, df_reparents
from analysis.processes import df_processes
from analysis.table import load
from tests.streams import Proc, Stream
from tracer.abi import Flag, Hook, Reason

SECOND = 1_000_000_000


class Scene:
    """init, a subreaper below it, a father below that, and the analysis of what happens."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.s = Stream()
        self.init = self.s.process("init", tgid=1)
        self.shim = self.s.fork(self.init, "shim")
        self.s.subreaper(self.shim)
        self.father = self.s.fork(self.shim, "father")

    def rows(self, *, use_snapshots: bool = False, complete: bool = True) -> pd.DataFrame:
        self.s.wait(SECOND)
        self.table = load(self.s.write(self.path / "x.rtrace", complete=complete))
        processes = df_processes(self.table)
        found = df_reparents(self.table, processes, use_snapshots=use_snapshots)
        self.parents = df_parents(self.table, processes, found, use_snapshots=use_snapshots)
        return found

    def told(self, child: Proc, **options: bool) -> list[tuple[str | None, str, str, str]]:
        """(to, reason, certainty, evidence) of each move of a child."""
        rows = self.rows(**options)
        rows = rows[rows["child"] == child.id]
        columns = (rows[name] for name in ("to", "reason", "certainty", "evidence"))
        return list(zip(*columns, strict=True))


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def test_a_signal_from_inside_exit_notify_is_exact(scene: Scene) -> None:
    child = scene.s.fork(scene.father)
    at = scene.s.die(scene.father)

    rows = scene.rows()

    assert rows[["child", "from_", "to"]].values.tolist() == [
        [child.id, scene.father.id, scene.shim.id]
    ]
    row = rows.iloc[0]
    assert (row["ts_ns"], row["until_ns"]) == (at, at + scene.s.step)
    assert (row["reason"], row["certainty"]) == ("subreaper", "confirmed")
    assert row["evidence"] == "reaper-signal"


def test_the_first_reaper_is_known_from_its_own_exit(scene: Scene) -> None:
    s, middle = scene.s, scene.s.fork(scene.shim)
    s.subreaper(middle)
    father = s.fork(middle)
    child = s.fork(father)
    exit_ns = s.reparent(child, middle)
    s.exit(father, at=exit_ns)
    s.reparent(child, scene.shim, parent=middle, at=exit_ns + 50_000)
    s.exit(middle, at=exit_ns + 50_000)
    s.reaper(middle, scene.shim, exit_ns + 50_000, at=exit_ns + 60_000, children=[])
    # Read late: the first reaper has gone already.
    s.reaper(father, scene.shim, exit_ns, at=exit_ns + 90_000, hook=Hook.SCHED_SWITCH)

    assert scene.told(child) == [
        (middle.id, "subreaper", "confirmed", "next-parent"),
        (scene.shim.id, "subreaper", "confirmed", "reaper-signal"),
    ]


@pytest.mark.parametrize("late", [False, True])
def test_a_later_event_tells_the_parent(scene: Scene, late: bool) -> None:
    s, child = scene.s, scene.s.fork(scene.father)
    exit_ns = s.reparent(child, scene.init)  # the rule is wrong here
    s.exit(scene.father, at=exit_ns)
    if late:
        s.comm(child, "still", parent_tgid=scene.father.tgid)  # before exit_notify()
    at = s.comm(child, "x", parent_tgid=scene.shim.tgid, parent_start_ns=scene.shim.start_ns)

    assert scene.told(child) == [(scene.shim.id, "subreaper", "confirmed", "event")]
    assert scene.rows()["until_ns"].tolist() == [at]


def test_siblings_share_a_reaper(scene: Scene) -> None:
    s = scene.s
    zombie, sister = s.fork(scene.father), s.fork(scene.father)
    s.exit(zombie)
    exit_ns = s.reparent(zombie, scene.init)
    s.reparent(sister, scene.init, at=exit_ns)
    s.exit(scene.father, at=exit_ns)
    s.comm(sister, "x", parent_tgid=scene.shim.tgid, parent_start_ns=scene.shim.start_ns)

    assert scene.told(zombie) == [(scene.shim.id, "subreaper", "confirmed", "event")]


def test_without_any_observation_it_is_a_prediction(scene: Scene) -> None:
    child = scene.s.fork(scene.father)
    scene.s.exit(scene.father, at=scene.s.reparent(child))

    assert scene.told(child) == [(scene.shim.id, "subreaper", "predicted", "prediction")]
    assert scene.rows()["until_ns"].isna().all()


def test_a_prediction_on_a_dying_reaper_moves_on(scene: Scene) -> None:
    s, child = scene.s, scene.s.fork(scene.father)
    exit_ns = s.reparent(child)
    s.exit(scene.father, at=exit_ns)
    s.exit(scene.shim, at=exit_ns + 10)  # and does not list the child

    assert scene.told(child) == [(scene.init.id, "init", "inferred", "prediction")]


def test_the_rule_alone_is_a_prediction_also_where_it_cannot_fail(scene: Scene) -> None:
    s, child = scene.s, scene.s.fork(scene.father)
    s.exit(child)
    exit_ns = s.reparent(child, reason=Reason.SUBREAPER)
    s.exit(scene.father, at=exit_ns)
    s.reaper(scene.father, None, exit_ns)
    s.reap(child)

    assert scene.told(child) == [(scene.shim.id, "subreaper", "predicted", "rule")]


def test_a_thread_adopts(scene: Scene) -> None:
    s, child = scene.s, scene.s.fork(scene.father)
    exit_ns = s.reparent(child, reason=Reason.THREAD, tid=77)
    s.reaper(scene.father, scene.father, exit_ns, tid=77, hook=Hook.SCHED_SWITCH)
    s.die(scene.father)

    assert scene.told(child) == [
        (scene.father.id, "thread", "confirmed", "next-parent"),
        (scene.shim.id, "subreaper", "confirmed", "reaper-signal"),
    ]
    assert scene.rows()["from_tid"].tolist() == [77, scene.father.tgid]


def test_more_children_than_the_exit_lists(scene: Scene) -> None:
    s = scene.s
    reaped, listed, zombie, alive = (s.fork(scene.father) for _ in range(4))
    for dead in (reaped, zombie):
        s.exit(dead)
    exit_ns = s.reparent(listed, flags=Flag.MORE)
    s.exit(scene.father, at=exit_ns)
    s.reaper(scene.father, scene.shim, exit_ns)
    s.reap(reaped)
    s.reap(zombie)

    assert scene.told(alive) == [(scene.shim.id, "subreaper", "confirmed", "overflow")]
    assert scene.told(zombie) == [(scene.shim.id, "subreaper", "inferred", "overflow")]
    # Older than one that is listed, and not listed: reaped before.
    assert scene.told(reaped) == []


def test_a_child_that_comes_after_the_walk(scene: Scene) -> None:
    s, child = scene.s, scene.s.fork(scene.father)
    exit_ns = s.reparent(child)
    s.exit(scene.father, at=exit_ns)
    late = s.fork(child, parent=scene.father)
    s.reaper(scene.father, scene.shim, exit_ns)

    [(to, _, certainty, _)] = scene.told(late)
    assert (to, certainty) == (scene.shim.id, "inferred")


def test_contradicting_observations_both_stay(scene: Scene) -> None:
    s, child = scene.s, scene.s.fork(scene.father)
    other = s.fork(scene.init, "other")
    s.die(scene.father)
    s.comm(child, "x", parent_tgid=other.tgid, parent_start_ns=other.start_ns)

    assert scene.told(child) == [
        (scene.shim.id, "subreaper", "confirmed", "reaper-signal"),
        (other.id, "unknown", "inferred", "event"),
    ]


def test_an_event_just_before_a_move_may_show_what_came_after(scene: Scene) -> None:
    s, child = scene.s, scene.s.fork(scene.father)
    before = s.now + 100
    s.comm(child, "x", at=before, parent_tgid=1, parent_start_ns=scene.init.start_ns)
    s.wait(1000)
    exit_ns = s.reparent(child, scene.init, reason=Reason.INIT)
    s.exit(scene.father, at=exit_ns)
    s.reaper(scene.father, scene.init, exit_ns, reason=Reason.INIT)

    assert scene.told(child) == [(scene.init.id, "init", "confirmed", "reaper-signal")]


def test_losses_leave_doubt_where_a_move_may_be_missing(scene: Scene) -> None:
    s = scene.s
    by_event, by_reaper = s.fork(scene.father), s.fork(scene.shim)
    grandchild = s.fork(by_reaper)
    s.die(by_reaper)
    exit_ns = s.reparent(by_event)
    s.exit(scene.father, at=exit_ns)
    s.wait(10_000_000)
    s.lost(3)
    s.comm(by_event, "x", parent_tgid=scene.shim.tgid, parent_start_ns=scene.shim.start_ns)

    assert scene.told(by_event) == [(scene.shim.id, "subreaper", "inferred", "event")]
    assert scene.told(grandchild) == [(scene.shim.id, "subreaper", "confirmed", "reaper-signal")]
    # That it stayed there is not certain.
    last = scene.parents[scene.parents["child"] == grandchild.id].iloc[-1]
    assert last["certainty"] == "inferred"


def test_a_cut_capture_is_not_sure_of_its_end(scene: Scene) -> None:
    child = scene.s.fork(scene.father)
    scene.rows(complete=False)
    last = scene.parents[scene.parents["child"] == child.id].iloc[-1]
    assert (last["parent"], last["certainty"]) == (scene.father.id, "inferred")


def test_the_end_of_a_namespace_moves_nobody(scene: Scene) -> None:
    s = scene.s
    inner = s.fork(scene.shim, ns_tgid=1, pidns=4026532000)
    child = s.fork(inner)
    s.die(inner)
    assert scene.rows().empty
    last = scene.parents[scene.parents["child"] == child.id].iloc[-1]
    assert (last["parent"], last["certainty"]) == (inner.id, "confirmed")


def test_snapshots_help_only_if_they_may(scene: Scene) -> None:
    s, child = scene.s, scene.s.fork(scene.father)
    s.exit(scene.father, at=s.reparent(child, scene.init))
    child.parent = scene.shim
    s.snapshot("end")

    assert scene.told(child, use_snapshots=True) == [
        (scene.shim.id, "subreaper", "confirmed", "snapshot")
    ]
    assert scene.told(child)[0][2] == "predicted"


def test_the_first_parent_of_who_was_there_before(scene: Scene) -> None:
    s = scene.s
    old = s.process("old", scene.init)
    s.snapshot("start")
    scene.rows(use_snapshots=True)
    frame = scene.parents.set_index("child")
    assert frame.loc[old.id, ["parent", "how"]].tolist() == [scene.init.id, "snapshot"]
    assert frame.loc[scene.init.id, "parent"] == "0:0"


def test_intervals_meet_and_end(scene: Scene) -> None:
    s, child = scene.s, scene.s.fork(scene.father)
    born = s.now
    exit_ns = s.die(scene.father)
    s.exit(child)
    reap_ns = s.reap(child)
    scene.rows()
    frame = scene.parents[scene.parents["child"] == child.id]
    assert frame["parent"].tolist() == [scene.father.id, scene.shim.id]
    assert frame["from_ns"].tolist() == [born, exit_ns]
    assert frame["until_ns"].tolist() == [exit_ns, reap_ns]
    assert frame["how"].tolist() == ["fork", "subreaper"]
    assert frame["settled_ns"].iloc[1] > exit_ns


def test_times_beyond_2_to_the_53_stay_exact(tmp_path: Path) -> None:
    s = Stream(start_ns=2**53 + 1)
    init = s.process("init", tgid=1)
    father = s.fork(init)
    child = s.fork(father)
    at = s.die(father)
    table = load(s.write(tmp_path / "x.rtrace"))
    processes = df_processes(table)
    rows = df_reparents(table, processes)
    assert rows["ts_ns"].tolist() == [at]
    assert rows["child"].tolist() == [child.id]
    assert processes.loc[father.id, "exit_ns"] == at
    assert processes["exit_ns"].dtype == "Int64"
