"""The comparator of tests/kernel/trees on hand-made histories: each violation, and what is none."""

from __future__ import annotations

import pytest

from tests.kernel.trees.comparator import (
    Certainty,
    Comparison,
    Fault,
    Interval,
    Observation,
    ProcessId,
    WitnessedProcess,
    compare,
)

PARENT, REAPER, STRANGER = 10, 1, 77
CONFIRMED, PREDICTED = Certainty.CONFIRMED, Certainty.PREDICTED
INFERRED, UNKNOWN = Certainty.INFERRED, Certainty.UNKNOWN

BORN_NS = 1_000_000
PARENT_START_NS = 500_000


def seen(
    parent: int, lo_ns: int, hi_ns: int, last_ns: int | None = None, *, start_ns: int | None = None
) -> Observation:
    """A sighting; times count from the process's birth."""
    start = None if start_ns is None else (start_ns - 10, start_ns + 10)
    last_ns = lo_ns if last_ns is None else last_ns
    return Observation("test", parent, start, BORN_NS + lo_ns, BORN_NS + hi_ns, BORN_NS + last_ns)


def stated(
    parent: int | None,
    lo_ns: int,
    hi_ns: int,
    certainty: Certainty = CONFIRMED,
    *,
    start_ns: int | None = None,
) -> Interval:
    """An interval; times count from the process's birth."""
    return Interval(BORN_NS + lo_ns, BORN_NS + hi_ns, parent, start_ns, certainty)


def process(*observations: Observation, tgid: int = 42) -> WitnessedProcess:
    return WitnessedProcess("test", tgid, BORN_NS - 50, BORN_NS + 50, observations)


def judge(observations: list[Observation], intervals: list[Interval]) -> Comparison:
    """Compare one process, without slack."""
    return compare([process(*observations)], {(42, BORN_NS): intervals}, slack_ns=0)


def faults(comparison: Comparison) -> dict[Fault, int]:
    return {fault: n for fault, n in comparison.faults.items() if n}


# PARENT until somewhere in 100_000..110_000, then REAPER.
MOVED = [seen(PARENT, 100, 200, 100_000), seen(REAPER, 109_000, 110_000, 900_000)]


def test_a_true_history_has_no_faults() -> None:
    result = judge(MOVED, [stated(PARENT, 0, 0), stated(REAPER, 101_000, 109_000)])

    assert not faults(result)
    assert (result.processes, result.observations, result.changes_seen) == (1, 2, 1)
    assert result.reparents == {CONFIRMED: 1}
    assert result.confirmed_share == 1


def test_brackets_that_only_overlap_are_no_contradiction() -> None:
    result = judge(MOVED, [stated(PARENT, 0, 0), stated(REAPER, 50_000, 500_000)])

    assert not faults(result)


def test_a_parent_between_two_sightings_cannot_be_refuted() -> None:
    result = judge(
        MOVED,
        [
            stated(PARENT, 0, 0),
            stated(STRANGER, 102_000, 103_000),
            stated(REAPER, 104_000, 105_000),
        ],
    )

    assert not faults(result)
    assert result.reparents_total == 2


def test_confirmed_parent_that_another_one_was() -> None:
    result = judge(MOVED, [stated(PARENT, 0, 0), stated(STRANGER, 101_000, 109_000)])

    assert faults(result) == {Fault.CONFIRMED_WRONG: 1, Fault.MISSING_PARENT: 1}
    assert result.confirmed_wrong == 1
    assert result.offences[0].interval == stated(STRANGER, 101_000, 109_000)


@pytest.mark.parametrize("certainty", [PREDICTED, INFERRED])
def test_wrong_but_marked_as_unsure(certainty: Certainty) -> None:
    result = judge(MOVED, [stated(PARENT, 0, 0), stated(STRANGER, 101_000, 109_000, certainty)])

    assert faults(result) == {Fault.UNSURE_WRONG: 1, Fault.MISSING_PARENT: 1}
    assert result.unsure_wrong_share == 1
    assert result.confirmed_share == 0


def test_wrong_from_the_beginning() -> None:
    result = judge(
        [seen(PARENT, -50, 50, -50), *MOVED],
        [stated(STRANGER, 0, 0), stated(REAPER, 101_000, 109_000)],
    )

    assert faults(result) == {Fault.CONFIRMED_WRONG: 1, Fault.MISSING_PARENT: 2}


def test_a_reparent_that_the_capture_lacks() -> None:
    result = judge(MOVED, [stated(PARENT, 0, 0)])

    assert faults(result) == {Fault.CONFIRMED_WRONG: 1, Fault.MISSING_PARENT: 1}
    assert result.reparents_total == 0


def test_a_reparent_that_is_stated_too_early() -> None:
    result = judge(MOVED, [stated(PARENT, 0, 0), stated(REAPER, 60_000, 70_000)])

    assert faults(result) == {Fault.CONFIRMED_WRONG: 1, Fault.MISTIMED_PARENT: 1}
    assert result.offences[0].interval == stated(REAPER, 60_000, 70_000)


def test_a_reparent_that_is_stated_too_late_is_the_new_parents_fault() -> None:
    result = judge(MOVED, [stated(PARENT, 0, 0), stated(REAPER, 300_000, 310_000, PREDICTED)])

    assert faults(result) == {Fault.UNSURE_WRONG: 1, Fault.MISTIMED_PARENT: 1}
    assert result.offences[-1].interval == stated(REAPER, 300_000, 310_000, PREDICTED)


def test_a_short_parent_while_another_one_is_seen() -> None:
    """Each bracket is longer than the stay: neither has a sure instant, but it begins in vain."""
    result = judge(
        MOVED,
        [
            stated(PARENT, 0, 0),
            stated(STRANGER, 40_000, 50_000),
            stated(PARENT, 45_000, 55_000),
            stated(REAPER, 101_000, 109_000),
        ],
    )

    assert faults(result) == {Fault.CONFIRMED_WRONG: 1, Fault.MISTIMED_PARENT: 1}
    assert result.offences[0].interval == stated(STRANGER, 40_000, 50_000)


def test_a_single_glance_counts_when_the_other_parent_is_stated_for_all_of_its_time() -> None:
    glance = seen(REAPER, 50_000, 60_000)

    assert faults(judge([glance], [stated(PARENT, 0, 0)])) == {
        Fault.CONFIRMED_WRONG: 1,
        Fault.MISSING_PARENT: 1,
    }
    assert not faults(judge([glance], [stated(PARENT, 0, 0), stated(REAPER, 59_000, 59_500)]))


def test_a_parent_that_nothing_allows_is_wrong_even_if_no_one_instant_is_sure() -> None:
    """Whether PARENT or STRANGER was meant at the time of the glance, it was REAPER."""
    glance = seen(REAPER, 50_000, 60_000)

    sure = judge([glance], [stated(PARENT, 0, 0), stated(STRANGER, 40_000, 70_000)])
    unsure = judge([glance], [stated(PARENT, 0, 0), stated(STRANGER, 40_000, 70_000, INFERRED)])

    assert faults(sure) == {Fault.CONFIRMED_WRONG: 1, Fault.MISSING_PARENT: 1}
    assert faults(unsure) == {Fault.UNSURE_WRONG: 1, Fault.MISSING_PARENT: 1}


def test_the_last_sighting_counts_too() -> None:
    """Seen twice, far apart: in between there was no other."""
    intervals = [stated(PARENT, 0, 0), stated(STRANGER, 5_000, 5_000), stated(PARENT, 6_000, 6_000)]

    result = judge([seen(PARENT, 100, 200, 90_000)], intervals)

    assert result.confirmed_wrong == 1


def test_same_number_but_another_process() -> None:
    observations = [seen(PARENT, 100, 200, 100_000, start_ns=PARENT_START_NS)]

    reused = judge(observations, [stated(PARENT, 0, 0, start_ns=7_000)])
    right = judge(observations, [stated(PARENT, 0, 0, start_ns=PARENT_START_NS + 3)])
    open_start = judge(observations, [stated(PARENT, 0, 0, start_ns=None)])

    assert faults(reused) == {Fault.CONFIRMED_WRONG: 1, Fault.MISSING_PARENT: 1}
    assert not faults(right)
    assert not faults(open_start)


def test_what_the_capture_does_not_know_is_no_fault() -> None:
    result = judge(MOVED, [stated(PARENT, 0, 0), stated(None, 101_000, 105_000, UNKNOWN)])

    assert not faults(result)
    assert result.unstated == 1
    assert result.reparents == {UNKNOWN: 1}
    assert result.confirmed_share == 0


def test_no_statement_for_a_time_in_which_a_confirmed_parent_goes_on_is_its_own_matter() -> None:
    """The process moved at 100_000; the capture says PARENT, confirmed, until 300_000."""
    result = judge(MOVED, [stated(PARENT, 0, 0), stated(None, 300_000, 300_000, UNKNOWN)])

    assert result.confirmed_wrong == 1


def test_missing_process() -> None:
    result = compare([process(*MOVED)], {(43, BORN_NS): [stated(PARENT, 0, 0)]})

    assert faults(result) == {Fault.MISSING_PROCESS: 1}


def test_a_reused_number_is_another_process() -> None:
    """tgid 42 lived before and lives afterwards: only the birth in the bracket is meant."""
    history: dict[ProcessId, list[Interval]] = {
        (42, BORN_NS - 900_000): [stated(STRANGER, -900_000, -900_000)],
        (42, BORN_NS + 20): [stated(PARENT, 0, 0), stated(REAPER, 101_000, 109_000)],
        (42, BORN_NS + 990_000): [stated(STRANGER, 990_000, 990_000)],
    }

    assert not faults(compare([process(*MOVED)], history, slack_ns=0))

    del history[42, BORN_NS + 20]
    assert faults(compare([process(*MOVED)], history, slack_ns=0)) == {Fault.MISSING_PROCESS: 1}


def test_slack_forgives_clocks_not_statements() -> None:
    late = [stated(PARENT, 0, 0), stated(REAPER, 111_000, 111_500)]

    assert compare([process(*MOVED)], {(42, BORN_NS): late}, slack_ns=0).confirmed_wrong == 1
    assert not faults(compare([process(*MOVED)], {(42, BORN_NS): late}, slack_ns=2_000))
    assert compare([process(*MOVED)], {(42, BORN_NS): late}, slack_ns=500).confirmed_wrong == 1


def test_a_thread_move_is_no_reparent() -> None:
    result = judge(
        [seen(PARENT, 100, 200, 100_000)], [stated(PARENT, 0, 0), stated(PARENT, 5_000, 5_100)]
    )

    assert not faults(result)
    assert result.reparents_total == 0


def test_an_interval_is_wrong_once_however_often_it_was_seen() -> None:
    observations = [seen(REAPER, at_ns, at_ns + 10) for at_ns in range(1_000, 9_000, 1_000)]

    result = judge(observations, [stated(STRANGER, 0, 0)])

    assert faults(result) == {Fault.CONFIRMED_WRONG: 1, Fault.MISSING_PARENT: 8}


def test_the_summary_names_the_offender() -> None:
    text = judge(MOVED, [stated(PARENT, 0, 0), stated(STRANGER, 101_000, 109_000)]).summary()

    assert "1 stated as confirmed, and wrong" in text
    assert "tgid 42" in text
    assert "! stated 77" in text


def test_offences_are_kept_up_to_a_bound_and_all_are_counted() -> None:
    crowd = [process(tgid=tgid) for tgid in range(100, 150)]

    result = compare(crowd, {}, keep=3)

    assert result.faults[Fault.MISSING_PROCESS] == 50
    assert len(result.offences) == 3
