"""What a witness's looks rule out, and what they cannot."""

from __future__ import annotations

from typing import Any

import pytest

from tests.lab.judging import invented_takeovers, misjudged_ends

TICK = 10_000_000
WATCHED = {"tgid": 7, "start_ns": 3 * TICK}


def look(at_ns: int, after_ns: int, ppid: int, state: str = "alive") -> dict[str, Any]:
    """An answer of /proc that was another than the one before, at `after_ns`."""
    value = {"state": state, "ppid": ppid, "after_ns": after_ns}
    return {"source": "proc", "what": "web", "at_ns": at_ns, "value": value, **WATCHED}


LOG = {
    "observations": [
        look(5_000, 0, 100),
        look(9_000, 8_000, 200),
        {"source": "proc", "what": "parent of web", "at_ns": 9_500, "value": 200, **WATCHED},
    ]
}


def told(since: int, until: int | None, **changed: Any) -> list[str]:
    child = {"tgid": 7, "start_ns": 3 * TICK + 123, "comm": "web"}
    move = {"child": child, "to": {"tgid": 200}, "reason": "subreaper", "certainty": "confirmed"}
    return invented_takeovers(
        LOG, {"reparents": [{**move, "ts_ns": since, "until_ns": until} | changed]}
    )


@pytest.mark.parametrize(("since", "until"), [(8_500, 8_600), (7_000, 8_100), (8_900, 99_000)])
def test_between_two_different_answers(since: int, until: int) -> None:
    assert told(since, until) == []


def test_before_anybody_looked() -> None:
    assert told(1_000, 2_000) == []


@pytest.mark.parametrize(("since", "until"), [(6_000, 7_000), (9_100, 9_200)])
def test_between_two_equal_answers(since: int, until: int) -> None:
    (said,) = told(since, until)
    assert said.startswith(f"web (7) at {since}")


def test_what_is_not_claimed_as_seen() -> None:
    assert told(6_000, None, certainty="predicted") == []
    assert told(6_000, 7_000, reason="thread") == []


def test_others_are_not_known() -> None:
    other = {"tgid": 7, "start_ns": 5 * TICK, "comm": "later"}
    assert told(6_000, 7_000, child=other) == []


def test_an_answer_that_names_the_same_parent_shows_no_other() -> None:
    died = look(20_000, 19_000, 200, "zombie")
    move = {"child": {**WATCHED, "comm": "web"}, "to": None, "reason": "init"}
    move |= {"certainty": "confirmed", "ts_ns": 19_300, "until_ns": 19_400}
    log = {"observations": [*LOG["observations"], died]}
    assert len(invented_takeovers(log, {"reparents": [move]})) == 1


def ends(*looks: dict[str, Any], exit_ns: int | None, zombie: bool = False) -> list[str]:
    told = {"tgid": 7, "start_ns": 3 * TICK + 123, "exit_ns": exit_ns, "zombie": zombie}
    other = {**WATCHED, "source": "docker", "what": "docker ps", "at_ns": 30_000, "value": "web"}
    return misjudged_ends({"observations": [*looks, other]}, {"processes": [told]})


ALIVE, ZOMBIE = look(5_000, 0, 100), look(9_000, 8_000, 100, "zombie")
GONE = look(12_000, 11_000, 0, "gone")


def test_ends_that_were_seen() -> None:
    assert ends(ALIVE, exit_ns=None) == []
    assert ends(ALIVE, exit_ns=30_001) == []
    assert ends(ALIVE, ZOMBIE, exit_ns=8_500, zombie=True) == []
    # The leader's; the last thread ended later.
    assert ends(ALIVE, ZOMBIE, GONE, exit_ns=10_000) == []
    assert ends(ALIVE, GONE, exit_ns=10_900) == []


def test_ends_that_were_seen_otherwise() -> None:
    assert "was alive at 30000" in ends(ALIVE, exit_ns=29_000)[0]
    assert "exited None, was gone at 12000" in ends(ALIVE, GONE, exit_ns=None)[0]
    assert "exited 12001, was gone at 12000" in ends(ALIVE, GONE, exit_ns=12_001)[0]
    assert "zombie True, was gone" in ends(ALIVE, GONE, exit_ns=11_500, zombie=True)[0]
    assert "zombie False, was zombie" in ends(ALIVE, ZOMBIE, exit_ns=8_500)[0]
