"""Parents over time, held against a model of the kernel that knows the truth."""

from __future__ import annotations

import random
from collections.abc import Callable
from types import SimpleNamespace

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analysis.parents import df_parents, df_reparents
from analysis.processes import df_processes
from analysis.table import Table, from_chunks
from tests.kernel_model import Kernel, Process
from tests.streams import Stream
from tracer import abi
from tracer.capture_format import EVENT_STRIDE, EVENTS

SEEDS = st.integers(0, 2**32 - 1)
SLOW = settings(deadline=None, max_examples=10, suppress_health_check=[HealthCheck.too_slow])
EVER = 2**62


def events_of(stream: Stream) -> list[bytes]:
    content = b"".join(data for kind, data in stream.chunks() if kind == EVENTS)
    return [content[i : i + EVENT_STRIDE] for i in range(0, len(content), EVENT_STRIDE)]


def make_table(stream: Stream, events: list[bytes], *, complete: bool = True) -> Table:
    trailer = {"ts_ns": stream.now + 10**9, "losses": []} if complete else None
    reader = SimpleNamespace(header=stream.header, trailer=trailer, complete=complete, damage=None)
    return from_chunks(reader, [(EVENTS, b"".join(events))])


def analyse(table: Table) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    processes = df_processes(table)
    reparents = df_reparents(table, processes, use_snapshots=False)
    return processes, reparents, df_parents(table, processes, reparents, use_snapshots=False)


def lose(events: list[bytes], lost: Callable[[int], bool]) -> list[bytes]:
    """Events without some, counted as lost on their CPU as the recorder does."""
    counts: dict[int, int] = {}
    kept = []
    for number, raw in enumerate(events):
        event = abi.Event.from_buffer_copy(raw, 8)
        count = counts.get(event.cpu, 0)
        if lost(number):
            counts[event.cpu] = count + 1
            continue
        event.cpu_lost = count
        kept.append(raw[:8] + bytes(event))
    # What is lost at the very end has no later event to tell: the trailer would.
    return kept


def spans(process: Process) -> list[tuple[str, int, int]]:
    """(parent, from, until) as it was."""
    times = [time for time, _ in process.truth] + [process.end_ns or EVER]
    return [(parent, times[i], times[i + 1]) for i, (_, parent) in enumerate(process.truth)]


def find_wrong(kernel: Kernel, parents: pd.DataFrame) -> list[str]:
    """Confirmed statements that are not true for all of their time."""
    truth = {process.id: spans(process) for process in kernel.processes}
    wrong = []
    for row in parents[parents["certainty"] == "confirmed"].itertuples():
        begin = row.from_ns if row.settled_ns is pd.NA else row.settled_ns
        end = EVER if row.until_ns is pd.NA else row.until_ns
        for parent, since, until in truth[row.child]:
            if max(begin, since) < min(end, until) and parent != row.parent:
                wrong.append(f"{row} but {truth[row.child]}")
    return wrong


def find_missing(kernel: Kernel, processes: pd.DataFrame, parents: pd.DataFrame) -> list[str]:
    """Parents of the living that the history does not have at their time."""
    stated = dict(iter(parents.groupby("child")))
    missing = []
    for process in kernel.processes:
        exit_ns = processes["exit_ns"].get(process.id, 0)
        dead = EVER if exit_ns is pd.NA else exit_ns
        for parent, since, until in spans(process):
            if process is kernel.init or since >= dead:
                continue
            rows = stated[process.id]
            # Where it is not sure it may be wrong, and says so.
            fits = (rows["parent"] == parent) | (rows["certainty"] != "confirmed")
            rows = rows[fits & (rows["from_ns"] <= until)]
            if not (rows["until_ns"].isna() | (rows["until_ns"] >= since - 2_000_000)).any():
                missing.append(f"{parent} {since}..{until} of {process.id}")
    return missing


@pytest.mark.parametrize("signals", [0.0, 0.6, 1.0])
@SLOW
@given(seed=SEEDS)
def test_no_confirmed_parent_is_wrong_and_none_is_missing(seed: int, signals: float) -> None:
    for race in (True, False):
        kernel = Kernel(seed, signals=signals, race=race)
        kernel.run(1500)
        processes, _, parents = analyse(make_table(kernel.stream, events_of(kernel.stream)))
        assert not find_wrong(kernel, parents)
        # Who was the parent for some microseconds only, and missed it, leaves no trace.
        assert race or not find_missing(kernel, processes, parents)


@SLOW
@given(seed=SEEDS)
def test_a_walk_that_ends_early_only_costs_certainty(seed: int) -> None:
    kernel = Kernel(seed, walk=2, crowd=0.2)
    kernel.run(1500)
    _, reparents, parents = analyse(make_table(kernel.stream, events_of(kernel.stream)))
    assert not find_wrong(kernel, parents)
    assert (reparents["evidence"] == "overflow").any() or kernel.hops < 200


@SLOW
@given(seed=SEEDS, share=st.sampled_from([0.001, 0.01, 0.1, 0.5]))
def test_lost_events_only_cost_certainty(seed: int, share: float) -> None:
    kernel = Kernel(seed)
    kernel.run(1000)
    chance = random.Random(seed)
    events = lose(events_of(kernel.stream), lambda _: chance.random() < share)
    # Whatever comes last must tell of all losses before it.
    events += events_of(marker(kernel, events))
    _, _, parents = analyse(make_table(kernel.stream, events))
    assert not find_wrong(kernel, parents)


def marker(kernel: Kernel, events: list[bytes]) -> Stream:
    """An event of init at the end, that says how many were lost on the one CPU."""
    stream = Stream(start_ns=kernel.stream.now + 60_000_000)
    stream.lost(len(events_of(kernel.stream)) - len(events))
    stream.comm(kernel.init.proc, "end")
    return stream


@SLOW
@given(seed=SEEDS, data=st.data())
def test_any_one_event_may_be_missing(seed: int, data: st.DataObject) -> None:
    kernel = Kernel(seed)
    kernel.run(300)
    events = events_of(kernel.stream)
    gone = data.draw(st.integers(0, len(events) - 1))
    for complete in (True, False):
        table = make_table(kernel.stream, events[:gone] + events[gone + 1 :], complete=complete)
        _, reparents, parents = analyse(table)
        assert set(reparents["certainty"]) <= {"confirmed", "predicted", "inferred", "unknown"}
        assert parents["parent"].notna().sum() > 0


@SLOW
@given(seed=SEEDS, order=st.randoms(use_true_random=False))
def test_the_order_in_the_capture_does_not_matter(seed: int, order: random.Random) -> None:
    kernel = Kernel(seed)
    kernel.run(300)
    events = events_of(kernel.stream)
    expected = analyse(make_table(kernel.stream, events))
    order.shuffle(events)
    for frame, other in zip(analyse(make_table(kernel.stream, events)), expected, strict=True):
        pd.testing.assert_frame_equal(frame, other)


@SLOW
@given(seed=SEEDS, end=st.integers(1, 10_000))
def test_a_cut_capture_states_nothing_wrong(seed: int, end: int) -> None:
    kernel = Kernel(seed)
    kernel.run(300)
    events = events_of(kernel.stream)
    table = make_table(kernel.stream, events[: end % len(events) + 1], complete=False)
    _, _, parents = analyse(table)
    cut = table.last_ns
    closed = parents[parents["until_ns"].notna() & (parents["until_ns"] < cut)]
    assert not find_wrong(kernel, closed)


@settings(deadline=None, max_examples=100)
@given(content=st.lists(st.binary(min_size=EVENT_STRIDE, max_size=EVENT_STRIDE), max_size=30))
def test_nonsense_never_raises(content: list[bytes]) -> None:
    at = 8 + abi.Event.type.offset
    typed = [raw[:at] + bytes([1 + i % 11]) + raw[at + 1 :] for i, raw in enumerate(content)]
    for events in (content, typed):
        _, reparents, parents = analyse(make_table(Stream(), events))
        assert len(reparents) >= 0
        assert len(parents) >= 0
