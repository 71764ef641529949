"""Who is who in the golden captures, as their witnesses watched them, and what is found there:
nothing where all was well, by a table that nothing is generated from."""

from __future__ import annotations

import pytest

from analysis.compare.latencies import FEW
from tests.golden.captures import Golden, all_golden
from tests.witness import TICK_NS

# Findings by scenario, without "orphan-expected"; `+` marks what is only there where containerd is
# dockerd's child.
FINDINGS = {
    "start": "",
    "exec": "",
    "restart": "",
    "rounds": "",
    "container-exit": "",
    "dockerd-restart": "",
    "dockerd-restart-lr": "",
    "container-kill": "container-killed-from-outside",
    "orphans-host": "container-killed-from-outside",
    "containerd-kill": "runtime-killed",
    "dockerd-kill": "+killed-by-parent-death runtime-killed",
    "dockerd-kill-return": "+killed-by-parent-death runtime-killed",
    "shim-kill": "container-recycled runtime-killed",
    "shim-kill-containerd-down": "container-recycled runtime-killed",
}
MANAGED = ("B", "C")
SHIMS = {"A": "shim-v2", "B": "shim-v2", "C": "shim-v1", "D": "shim-v1"}


@pytest.fixture(params=all_golden(), ids=lambda golden: golden.name)
def golden(request: pytest.FixtureRequest) -> Golden:
    found: Golden = request.param
    return found


def seen(golden: Golden, what: str) -> dict[str, str]:
    """Roles of the processes that the witness watched as this, by id."""
    numbers = {
        (one["tgid"], one["start_ns"])
        for one in golden.witness["observations"]
        if one["source"] == "proc" and one["what"] == what
    }
    return {
        p["id"]: p["role"]
        for p in golden.report["processes"]
        if (p["tgid"], p["start_ns"] // TICK_NS * TICK_NS) in numbers
    }


def test_who_is_who(golden: Golden) -> None:
    topology = golden.witness["topology"]
    containers = [c for c in golden.report["containers"] if c["name"] == "web"]
    assert len(containers) == (FEW if golden.scenario == "rounds" else 1)
    assert {(c["runtime"], c["namespace"]) for c in containers} == {("docker", "moby")}
    runs = [run for container in containers for run in container["runs"]]
    for what, key in (("process 1 of web", "init"), ("shim of web", "shim")):
        told = {run[key]["id"] for run in runs if run[key] is not None}
        watched = set(seen(golden, what))
        assert watched
        assert watched <= told
    roles = {
        "process 1 of web": "container-init",
        "shim of web": SHIMS[topology],
        "process of docker exec": "container-process",
        "orphan": "container-process",
    }
    for what, role in roles.items():
        assert set(seen(golden, what).values()) <= {role}, what
    # What a daemon forks has its comm up to an exec, and so is called that by the witness, too.
    containerd = "containerd-managed" if topology in MANAGED else "containerd"
    for what, role in (("dockerd", "dockerd"), ("containerd", containerd)):
        assert role in seen(golden, what).values(), what
    for run in runs:
        assert run["daemon"] is None or run["daemon"]["role"] == "dockerd"
        assert run["manager"] is None or run["manager"]["role"] == containerd


def test_findings(golden: Golden) -> None:
    """None where all is well; and what is by design is named as such."""
    topology = golden.witness["topology"]
    expected = FINDINGS[golden.scenario].split()
    if topology not in MANAGED:
        expected = [kind for kind in expected if not kind.startswith("+")]
    found = [f["kind"] for f in golden.report["findings"]]
    assert sorted(kind for kind in found if kind != "orphan-expected") == sorted(
        kind.removeprefix("+") for kind in expected
    )
    living = [c for c in golden.report["containers"] if c["end"]["how"] == "running"]
    if not living:
        assert "orphan-expected" not in found
    elif topology in ("A", "B"):
        assert found.count("orphan-expected") == 1
