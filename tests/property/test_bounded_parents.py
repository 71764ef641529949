"""A capture that begins in the middle, with a snapshot, knows the same parents as the whole one."""

from __future__ import annotations

import random
from types import SimpleNamespace

import pandas as pd
from hypothesis import example, given
from hypothesis import strategies as st

from analysis.observations import SKEW_NS
from analysis.parents import df_parents, df_reparents
from analysis.processes import df_processes
from analysis.table import Table, from_chunks
from tests.kernel_model import Kernel
from tests.property.test_parents import (
    SEEDS,
    SLOW,
    analyse,
    events_of,
    find_missing,
    find_wrong,
    lose,
    make_table,
)
from tracer import abi
from tracer.capture_format import EVENT_STRIDE, EVENTS, LOSS, dump_json

ROW = ["child", "parent", "from_ns", "until_ns", "how", "certainty"]


class Bounded:
    """A run of the model of which the beginning is dropped.

    Attributes:
        cut_ns: events from here on are kept. shown_ns: the snapshot that then began was over.
    """

    def __init__(self, kernel: Kernel, steps: int, *, later: int = 0) -> None:
        self.kernel = kernel
        for _ in range(steps):
            kernel.step()
        self.cut_ns = kernel.stream.now
        kernel.snapshot()
        self.shown_ns = kernel.stream.now
        for _ in range(later):
            for _ in range(steps // 2):
                kernel.step()
            kernel.snapshot()
        kernel.run(steps)

    def table(self, share: float = 0.0) -> Table:
        """The capture. ``share`` of its events are lost, and some before that were, too."""
        chance = random.Random(self.cut_ns)
        kept: list[tuple[bytes, bytes]] = []
        lost = 0
        for kind, content in self.kernel.stream.chunks():
            if kind != EVENTS:
                kept.append((kind, content))
                continue
            events = [
                content[i : i + EVENT_STRIDE]
                for i in range(0, len(content), EVENT_STRIDE)
                if abi.Event.from_buffer_copy(content, i + 8).ts_ns >= self.cut_ns
            ]
            left = lose(events, lambda _: chance.random() < share)
            kept.append((kind, b"".join(_after(raw, 100 + lost) for raw in left)))
            lost += len(events) - len(left)
            # What comes last in a chunk of the model has no later event to tell of losses.
            totals = {"ts_ns": self.kernel.stream.now, "cpus": [[100 + lost, 0], [0, 0]]}
            kept.append((LOSS, dump_json(totals)))
        stream = self.kernel.stream
        header = {
            **stream.header,
            "clock": {"boot_ns": self.cut_ns, "wall_ns": 1},
            "losses": [[100, 0], [0, 0]],
        }
        trailer = {"ts_ns": stream.now + 10**9, "losses": [[100 + lost, 0], [0, 0]]}
        reader = SimpleNamespace(header=header, trailer=trailer, complete=True, damage=None)
        return from_chunks(reader, kept)

    def parents(self, share: float = 0.0) -> tuple[Table, pd.DataFrame, pd.DataFrame]:
        table = self.table(share)
        processes = df_processes(table)
        reparents = df_reparents(table, processes)
        return table, processes, df_parents(table, processes, reparents)


def _after(raw: bytes, lost: int) -> bytes:
    event = abi.Event.from_buffer_copy(raw, 8)
    event.cpu_lost += lost
    return raw[:8] + bytes(event)


def rows_from(parents: pd.DataFrame, ns: int) -> set[tuple[object, ...]]:
    """Rows that begin behind a time, but for those of process 1, which no event tells of."""
    late = parents[(parents["from_ns"] > ns) & (parents["parent"] != "0:0")]
    return set(late[ROW].fillna(-1).itertuples(index=False, name=None))


@SLOW
@example(seed=877149, race=True)  # of an exit only the REAPER is kept, which could read nobody
@given(seed=SEEDS, race=st.booleans())
def test_what_is_kept_has_the_same_parents_as_the_whole(seed: int, race: bool) -> None:
    bounded = Bounded(Kernel(seed, race=race), 600)
    kernel = bounded.kernel
    _, _, whole = analyse(make_table(kernel.stream, events_of(kernel.stream)))
    _, processes, parents = bounded.parents()
    assert not find_wrong(kernel, parents)
    start = bounded.shown_ns + SKEW_NS
    expected, found = rows_from(whole, start), rows_from(parents, start)
    assert expected <= found
    # A move that began before the cut, and was not over: told by its end alone.
    assert {row[ROW.index("certainty")] for row in found - expected} <= {"inferred"}
    # Those who lived on without a move have the parent that they had.
    alive = processes.index[processes["gone_ns"].isna() & (processes["seen_ns"] < start)]
    at_cut = whole[(whole["from_ns"] < bounded.cut_ns - SKEW_NS) & whole["child"].isin(alive)]
    settled = at_cut[(at_cut["until_ns"].isna()) & (at_cut["certainty"] == "confirmed")]
    stated = set(parents[["child", "parent"]].itertuples(index=False, name=None))
    pairs = set(settled[["child", "parent"]].itertuples(index=False, name=None))
    assert {pair for pair in pairs if pair[0] in processes.index} <= stated


@SLOW
@given(seed=SEEDS, walk=st.sampled_from([1, 2, 8]))
def test_short_walks_only_cost_certainty(seed: int, walk: int) -> None:
    bounded = Bounded(Kernel(seed, walk=walk, crowd=0.2, race=False), 500)
    _, _, parents = bounded.parents()
    assert not find_wrong(bounded.kernel, parents)


@SLOW
@given(seed=SEEDS, share=st.sampled_from([0.0, 0.01, 0.1, 0.5]))
def test_later_snapshots_and_lost_events_state_nothing_wrong(seed: int, share: float) -> None:
    bounded = Bounded(Kernel(seed), 400, later=2)
    kernel = bounded.kernel
    table, processes, parents = bounded.parents(share)
    assert share or table.losses.empty  # what was lost before is no loss
    assert len(table.snapshots) == 3
    assert not find_wrong(kernel, parents)
    # Nobody is taken for gone who was not.
    ends = {process.id: process.zombie_ns or process.end_ns for process in kernel.processes}
    for id_, gone_ns in processes["gone_ns"].dropna().items():
        assert 0 < ends[id_] <= gone_ns


@SLOW
@given(seed=SEEDS)
def test_snapshots_alone_do_no_harm(seed: int) -> None:
    """GIVEN snapshots in a recording of which nothing is dropped THEN no parent is missing."""
    kernel = Kernel(seed, race=False)
    bounded = Bounded(kernel, 300, later=1)
    bounded.cut_ns = 0
    _, processes, parents = bounded.parents()
    assert not find_wrong(kernel, parents)
    assert not find_missing(kernel, processes, parents)
