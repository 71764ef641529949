"""Every question: a life for which the claim holds, one that contradicts it, and a near miss."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from analysis.model import open_capture
from analysis.render_text import render_text
from analysis.report import build_report
from tests import lives
from tests.found import MS, SECOND, check
from tests.lives import CID, OTHER_CID, Host
from tests.streams import Proc
from tracer.abi import Context, Origin

SHIM = "/usr/bin/containerd-shim-runc-v2"
IDS = [
    "start",
    "dockerd-exit",
    "containerd-exit",
    "shim-exit",
    "container-exit",
    "restart",
    "exec",
    "reap",
]


def answers(h: Host, tmp_path: Path, *, wait: int = 6 * SECOND, **options: Any) -> dict[str, Any]:
    """Behaviours by id, some time later, with a snapshot of the end."""
    selection = {k: options.pop(k) for k in ("container", "since_ns") if k in options}
    h.stream.wait(wait)
    if options.pop("snapshot", True):
        h.stream.snapshot("end")
    path = h.stream.write(tmp_path / "x.rtrace", **options)
    capture = open_capture(path)
    report = build_report(capture, **selection)
    check(capture, report)
    listed = {process["id"] for process in report["processes"]}
    for behaviour in report["behaviours"]:
        for occurrence in behaviour["occurrences"]:
            assert occurrence["subject"]["id"] in listed
            assert {e["id"] for e in occurrence["evidence"]} <= listed
            assert occurrence["what"].isprintable()
            assert occurrence["why"].isprintable()
    assert [b["id"] for b in report["behaviours"]] == IDS
    return {b["id"]: b for b in report["behaviours"]}


def only(behaviour: Any) -> Any:
    [occurrence] = behaviour["occurrences"]
    return occurrence


def kill(h: Host, target: Proc, sender: Proc, number: int = 9) -> None:
    h.stream.signal(target, number, sender)
    h.stream.die(target, signal=number)


def runc_kill(h: Host, shim: Proc, init: Proc, number: int = 9, cid: str = CID) -> None:
    """The shim runs runc kill, which ends process 1."""
    s = h.stream
    runc = s.fork(shim)
    s.exec(runc, "/usr/bin/runc", f"runc --root /r kill {cid} {number}")
    kill(h, init, runc, number)
    s.die(runc)


def clean_up(h: Host, shim: Proc, by: Proc | None = None) -> None:
    """The shim deletes its container and ends; of v1, containerd kills it."""
    s = h.stream
    s.wait(5 * MS)
    lives.call(h, shim, f"/usr/bin/runc --root /r delete {CID}")
    if by is not None:
        kill(h, shim, by)
    else:
        s.die(shim)


def parent_death(h: Host, victim: Proc, parent: Proc) -> None:
    """dockerd ends, and the kernel kills its containerd with it."""
    s = h.stream
    dying = Context.PDEATH | Context.EXITING
    s.die(parent, signal=9)
    s.signal(victim, 9, parent, origin=Origin.NOINFO, context=dying)
    s.die(victim, signal=9)


def new_dockerd(h: Host, *, managed: bool) -> None:
    """systemd starts another one."""
    s = h.stream
    s.wait(SECOND)
    h.dockerd = s.fork(h.init, "dockerd")
    s.exec(h.dockerd, "/usr/sbin/dockerd", "/usr/sbin/dockerd -H fd://")
    if managed:
        h.containerd = s.fork(h.dockerd)
        toml = "/var/run/docker/containerd/containerd.toml"
        s.exec(h.containerd, "/usr/bin/containerd", f"containerd --config {toml}")


def kill_dockerd(h: Host, *, managed: bool) -> None:
    h.stream.signal(h.dockerd, 9, h.shell)
    if managed:
        parent_death(h, h.containerd, h.dockerd)
    else:
        h.stream.die(h.dockerd, signal=9)


# --- nothing, and the shape --------------------------------------------------------------------


def test_a_capture_without_containers(tmp_path: Path) -> None:
    found = answers(lives.host(), tmp_path)
    assert {b["verdict"] for b in found.values()} == {"not-observed"}
    assert not any(b["observed"] or b["occurrences"] or b["certainty"] for b in found.values())
    assert found["start"]["shape"] == "docker-18"


@pytest.mark.parametrize(("managed", "shape"), [(True, "docker-18"), (False, "docker-19")])
@pytest.mark.parametrize("shim", ["v1", "v2"])
def test_shape_and_shim_by_events(managed: bool, shape: str, shim: str, tmp_path: Path) -> None:
    """GIVEN a version's number that fits neither THEN the events decide."""
    h = lives.host(managed=managed)
    h.stream.fact("runtime", name="docker", version="28.5.2")
    lives.begin(h, shim=shim)
    found = answers(h, tmp_path)
    assert {b["shape"] for b in found.values()} == {shape}
    assert {b["shim_version"] for b in found.values()} == {shim}


def test_the_shape_is_unknown_where_no_containerd_was_seen(tmp_path: Path) -> None:
    h = lives.host(start=False)
    shim = h.stream.process(
        "containerd-shim", h.init, exe=SHIM, args=[SHIM, "-namespace", "moby", "-id", CID]
    )
    shim.subreaper = True
    h.stream.process("sleep", shim, ns_tgid=1, pidns=4026532500, cgroup=f"/docker/{CID}")
    h.stream.processes = [p for p in h.stream.processes if p is not h.containerd]
    h.dockerd.children.clear()
    h.stream.snapshot("start")
    kill(h, h.dockerd, h.shell)
    dockerd = answers(h, tmp_path)["dockerd-exit"]
    assert (dockerd["shape"], dockerd["verdict"]) == ("unknown", "not-observed")
    assert "docker-18: " in dockerd["claim"]
    assert "docker-19: " in dockerd["claim"]


# --- start, exec -------------------------------------------------------------------------------


@pytest.mark.parametrize("shim", ["v1", "v2"])
def test_start(shim: str, tmp_path: Path) -> None:
    h = lives.host(managed=False)
    p = lives.begin(h, shim=shim)
    start = answers(h, tmp_path)["start"]
    assert (start["verdict"], start["certainty"]) == ("holds", "confirmed")
    occurrence = only(start)
    assert occurrence["subject"]["id"] == p["init"].id
    assert occurrence["container"]["outcome"] == "reparented"
    assert occurrence["container"]["from"]["id"] == p["create"].id
    assert occurrence["container"]["to"]["id"] == p["shim"].id
    assert occurrence["container"]["latency_ns"] >= 0
    assert [e["event"] for e in occurrence["evidence"]] == ["FORK", "EXIT", "REPARENT"]
    if shim == "v1":
        assert occurrence["shim"]["outcome"] == "unaffected"
        assert occurrence["shim"]["parent"]["id"] == h.containerd.id
    else:
        assert occurrence["shim"]["outcome"] == "reparented"
        assert occurrence["shim"]["to"]["id"] == h.init.id


def test_start_under_somebody_else(tmp_path: Path) -> None:
    """GIVEN a shim that is no subreaper THEN init becomes the parent: contradicted."""
    h = lives.host()
    begin_badly(h)
    start = answers(h, tmp_path)["start"]
    assert start["verdict"] == "contradicted"
    assert only(start)["container"]["to"]["id"] == h.init.id


def begin_badly(h: Host) -> None:
    """A shim that has forgotten PR_SET_CHILD_SUBREAPER."""
    s = h.stream
    subreaper, s.subreaper = s.subreaper, lambda process: 0  # type: ignore[method-assign]
    try:
        lives.begin(h, shim="v1")
    finally:
        s.subreaper = subreaper  # type: ignore[method-assign]


def test_a_process_1_that_never_got_that_far(tmp_path: Path) -> None:
    """GIVEN runc create killed process 1 and failed THEN there is nothing to judge."""
    h = lives.host()
    s = h.stream
    p = lives.begin(h, shim="v1", client=None)
    runc = s.fork(p["shim"])
    s.exec(runc, "/usr/bin/runc", f"runc --root /r create --bundle /b {OTHER_CID}")
    stage = lives.stages(h, runc, OTHER_CID, pidns=4026532600)
    kill(h, stage, runc)
    s.die(runc, 1)
    start = answers(h, tmp_path)["start"]
    assert start["verdict"] == "holds"  # of the one that began
    [failed] = [o for o in start["occurrences"] if o["container_id"] == OTHER_CID]
    assert failed["verdict"] == "not-observed"
    assert "had ended before runc" in failed["why"]


def test_exec(tmp_path: Path) -> None:
    h = lives.host()
    p = lives.begin(h)
    process = lives.run_exec(h, p["shim"], CID, "/bin/sh")
    exec_ = answers(h, tmp_path)["exec"]
    assert (exec_["verdict"], exec_["certainty"]) == ("holds", "confirmed")
    occurrence = only(exec_)
    assert occurrence["subject"]["id"] == process.id
    assert occurrence["process"]["to"]["id"] == p["shim"].id
    assert occurrence["shim"]["outcome"] == occurrence["container"]["outcome"] == "unaffected"


def test_exec_of_something_short(tmp_path: Path) -> None:
    """GIVEN a process that ended before runc exec did (a probe) THEN nobody adopted it."""
    h = lives.host()
    p = lives.begin(h)
    s = h.stream
    runc = s.fork(p["shim"])
    s.exec(runc, "/usr/bin/runc", f"runc --root /r exec --process /p {CID}")
    process = lives.stages(h, runc, CID)
    s.exec(process, "/bin/true", "true")
    s.die(process)
    s.die(runc)
    exec_ = answers(h, tmp_path)["exec"]
    assert (exec_["observed"], exec_["verdict"]) == (True, "not-observed")


# --- restart -----------------------------------------------------------------------------------


def restart(h: Host, *, shim: str = "v2") -> tuple[dict[str, Proc], dict[str, Proc]]:
    first = lives.begin(h, shim=shim)
    client = h.stream.fork(h.shell)
    h.stream.exec(client, "/usr/bin/docker", "docker restart web")
    runc_kill(h, first["shim"], first["init"])
    clean_up(h, first["shim"])
    second = lives.begin(h, shim=shim, client=None, fact=False, pidns=4026532501)
    h.stream.die(client)
    return first, second


@pytest.mark.parametrize("shim", ["v1", "v2"])
def test_restart(shim: str, tmp_path: Path) -> None:
    h = lives.host()
    first, second = restart(h, shim=shim)
    found = answers(h, tmp_path)
    assert found["restart"]["verdict"] == "holds"
    occurrence = only(found["restart"])
    assert occurrence["shim"]["outcome"] == occurrence["container"]["outcome"] == "recreated"
    assert occurrence["shim"]["from"]["id"] == first["shim"].id
    assert occurrence["shim"]["to"]["id"] == second["shim"].id
    assert occurrence["container"]["to"]["id"] == second["init"].id
    assert "docker restart web" in occurrence["what"]
    assert len(found["container-exit"]["occurrences"]) == 1


def test_a_restart_under_the_same_shim(tmp_path: Path) -> None:
    h = lives.host()
    p = lives.begin(h)
    s = h.stream
    runc_kill(h, p["shim"], p["init"])
    lives.call(h, p["shim"], f"/usr/bin/runc --root /r delete {CID}")
    runc = s.fork(p["shim"])
    s.exec(runc, "/usr/bin/runc", f"runc --root /r create --bundle /b {CID}")
    init = lives.stages(h, runc, CID, pidns=4026532501)
    s.die(runc)
    s.exec(init, "/bin/app", "app")
    found = answers(h, tmp_path)["restart"]
    assert found["verdict"] == "contradicted"
    assert only(found)["shim"]["outcome"] == "unaffected"


def test_two_containers_are_no_restart(tmp_path: Path) -> None:
    h = lives.host()
    lives.begin(h)
    lives.begin(h, cid=OTHER_CID, name="other", pidns=4026532501)
    assert not answers(h, tmp_path)["restart"]["observed"]


# --- the shim ----------------------------------------------------------------------------------


def recycle(h: Host, wait: int = 6 * MS) -> None:
    """containerd's helper cleans up behind a dead shim."""
    s = h.stream
    s.wait(wait)
    helper = s.fork(h.containerd)
    s.exec(helper, SHIM, f"{SHIM} -namespace moby -id {CID} -bundle /b delete")
    runc = s.fork(helper)
    s.exec(runc, "/usr/bin/runc", f"runc --root /run/runtime-runc/moby delete --force {CID}")
    kill(h, h.procs["init"], runc)
    s.die(runc)
    s.die(helper)


def test_a_container_is_recycled_with_its_shim(tmp_path: Path) -> None:
    h = lives.host(managed=False)
    p = lives.begin(h)
    kill(h, p["shim"], h.shell)
    recycle(h)
    found = answers(h, tmp_path)
    assert (found["shim-exit"]["verdict"], found["shim-exit"]["certainty"]) == (
        "holds",
        "confirmed",
    )
    occurrence = only(found["shim-exit"])
    assert occurrence["shim"]["outcome"] == "killed"
    assert occurrence["shim"]["by"]["id"] == h.shell.id
    container = occurrence["container"]
    assert container["outcome"] == "killed"
    assert container["by"]["role"] == "runc"
    assert container["after_ns"] >= 6 * MS
    assert container["meanwhile"]["outcome"] == "reparented"
    assert container["meanwhile"]["to"]["id"] == h.init.id
    assert "meanwhile it was a child of systemd (1), for 6 ms" in occurrence["why"]
    assert not found["container-exit"]["observed"]


def test_a_container_that_outlives_its_shim(tmp_path: Path) -> None:
    h = lives.host(managed=False)
    p = lives.begin(h)
    kill(h, p["shim"], h.shell)
    shim_exit = answers(h, tmp_path)["shim-exit"]
    assert shim_exit["verdict"] == "contradicted"
    container = only(shim_exit)["container"]
    assert container["outcome"] == "reparented"
    assert container["then"]["outcome"] == "unaffected"
    assert container["then"]["after_ns"] >= 6 * SECOND


def test_a_shim_that_died_just_before_the_end(tmp_path: Path) -> None:
    h = lives.host(managed=False)
    p = lives.begin(h)
    kill(h, p["shim"], h.shell)
    shim_exit = answers(h, tmp_path, wait=20 * MS)["shim-exit"]
    assert (shim_exit["observed"], shim_exit["verdict"]) == (True, "not-observed")


def test_one_kill_for_shim_and_process_1(tmp_path: Path) -> None:
    """GIVEN `kill -9 SHIM INIT` THEN the container's end is not the shim's doing."""
    h = lives.host(managed=False)
    p = lives.begin(h)
    kill(h, p["shim"], h.shell)
    kill(h, p["init"], h.shell)
    shim_exit = answers(h, tmp_path)["shim-exit"]
    assert shim_exit["verdict"] == "not-observed"
    assert "the same process killed both" in only(shim_exit)["why"]


def test_a_container_recycled_when_containerd_is_back(tmp_path: Path) -> None:
    h = lives.host(managed=False)
    p = lives.begin(h)
    kill(h, h.containerd, h.shell)
    h.stream.wait(2 * SECOND)
    kill(h, p["shim"], h.shell)
    h.stream.wait(2 * SECOND)
    h.containerd = h.stream.fork(h.init)
    h.stream.exec(h.containerd, "/usr/bin/containerd", "containerd")
    recycle(h)
    found = answers(h, tmp_path)
    assert found["shim-exit"]["verdict"] == "holds"
    assert "had been started 2.00 s after the shim's end" in only(found["shim-exit"])["why"]
    # That is the shim's doing, not containerd's.
    assert only(found["containerd-exit"])["container"]["outcome"] == "unaffected"


# --- process 1 ---------------------------------------------------------------------------------


@pytest.mark.parametrize("by_containerd", [False, True])
def test_the_shim_ends_with_process_1(by_containerd: bool, tmp_path: Path) -> None:
    h = lives.host()
    p = lives.begin(h)
    h.stream.die(p["init"], 3)
    clean_up(h, p["shim"], h.containerd if by_containerd else None)
    found = answers(h, tmp_path)
    exits = found["container-exit"]
    assert (exits["verdict"], exits["certainty"]) == ("holds", "confirmed")
    occurrence = only(exits)
    assert occurrence["shim"]["outcome"] == ("killed" if by_containerd else "exited")
    assert occurrence["container"]["outcome"] == "exited"
    assert occurrence["container"]["end"]["exit_status"] == 3
    assert occurrence["zombies"] == 0
    assert not found["shim-exit"]["observed"]
    assert not found["reap"]["observed"]


def test_a_shim_that_stays(tmp_path: Path) -> None:
    h = lives.host()
    p = lives.begin(h)
    h.stream.die(p["init"])
    exits = answers(h, tmp_path)["container-exit"]
    assert exits["verdict"] == "contradicted"
    assert only(exits)["shim"]["outcome"] == "unaffected"


def test_a_shim_that_is_still_at_it(tmp_path: Path) -> None:
    h = lives.host()
    p = lives.begin(h)
    h.stream.die(p["init"])
    exits = answers(h, tmp_path, wait=SECOND)["container-exit"]
    assert (exits["observed"], exits["verdict"]) == (True, "not-observed")


def test_a_shim_that_serves_another_container(tmp_path: Path) -> None:
    """A pod's shim outlives its containers: the claim is not about those."""
    h = lives.host(managed=False)
    p = lives.begin(h)
    s = h.stream
    runc = s.fork(p["shim"])
    s.exec(runc, "/usr/bin/runc", f"runc --root /r create --bundle /b {OTHER_CID}")
    other = lives.stages(h, runc, OTHER_CID, pidns=4026532600)
    s.exec(other, "/bin/app", "app")
    s.die(runc)
    s.die(p["init"])
    exits = answers(h, tmp_path)["container-exit"]
    assert exits["verdict"] == "not-observed"
    assert "served 1 other container" in only(exits)["why"]


def test_a_pod_that_ends_one_container_after_the_other(tmp_path: Path) -> None:
    """GIVEN a shim that ends with its last container THEN it is unaffected by the first's end."""
    h = lives.host(managed=False)
    p = lives.begin(h)
    s = h.stream
    runc = s.fork(p["shim"])
    s.exec(runc, "/usr/bin/runc", f"runc --root /r create --bundle /b {OTHER_CID}")
    other = lives.stages(h, runc, OTHER_CID, pidns=4026532600)
    s.exec(other, "/bin/app", "app")
    s.die(runc)
    s.die(p["init"])
    s.wait(20 * MS)
    s.die(other)
    clean_up(h, p["shim"])
    first, last = answers(h, tmp_path)["container-exit"]["occurrences"]
    assert (first["verdict"], first["shim"]["outcome"]) == ("not-observed", "unaffected")
    assert (last["verdict"], last["shim"]["outcome"]) == ("holds", "exited")


def test_a_zombie_stays(tmp_path: Path) -> None:
    h = lives.host()
    p = lives.begin(h, pidns=0)
    process = lives.run_exec(h, p["shim"], CID, "/bin/sh", pidns=0)
    s = h.stream
    s.die(process, reap=False)
    s.die(p["init"])
    s.wait(5 * MS)
    exits = answers(h, tmp_path)["container-exit"]
    assert only(exits)["zombies"] == 1


def test_a_shim_that_its_init_has_not_waited_for_yet(tmp_path: Path) -> None:
    """GIVEN a recording that ends as the shim does: inits look for the dead now and then."""
    h = lives.host()
    p = lives.begin(h)
    h.stream.die(p["init"])
    h.stream.exit(p["shim"])
    exits = answers(h, tmp_path, wait=SECOND)["container-exit"]
    assert (exits["verdict"], only(exits)["zombies"]) == ("holds", 0)


def test_without_a_snapshot_of_the_end_zombies_are_not_known(tmp_path: Path) -> None:
    h = lives.host()
    p = lives.begin(h)
    h.stream.die(p["init"])
    clean_up(h, p["shim"])
    exits = answers(h, tmp_path, snapshot=False)["container-exit"]
    assert exits["verdict"] == "holds"
    assert only(exits)["zombies"] is None
    assert "not known" in only(exits)["why"]


# --- what process 1 leaves ---------------------------------------------------------------------


@pytest.mark.parametrize("seen", [True, False])
def test_the_shim_reaps_what_is_left(tmp_path: Path, seen: bool) -> None:
    """With the host's pid namespace, orphans go to the shim. Without a REAP, the snapshot at the
    end tells that it has waited."""
    h = lives.host()
    p = lives.begin(h, pidns=0)
    s = h.stream
    left = s.fork(p["init"])
    s.die(p["init"])
    s.signal(left, 9, p["shim"])
    s.die(left, signal=9, reap=seen)
    s.reap_unseen(left)
    clean_up(h, p["shim"])
    reap = answers(h, tmp_path)["reap"]
    assert (reap["verdict"], reap["certainty"]) == ("holds", "confirmed")
    assert only(reap)["left"] == {
        "total": 1,
        "with_process_1": 0,
        "by_shim": 1,
        "zombies": 0,
        "alive": 0,
    }


def test_the_kernel_leaves_nothing_to_the_shim(tmp_path: Path) -> None:
    h = lives.host()
    p = lives.begin(h)
    s = h.stream
    left = s.fork(p["init"])
    s.signal(left, 9, p["init"], origin=Origin.NOINFO, context=Context.EXITING)
    s.die(left, signal=9)
    s.die(p["init"])
    clean_up(h, p["shim"])
    reap = answers(h, tmp_path)["reap"]
    assert not reap["observed"]  # it had died by then


def test_a_shim_that_is_gone_reaps_nothing(tmp_path: Path) -> None:
    """GIVEN a shim that died before process 1 THEN who reaps is no question of the shim."""
    h = lives.host(managed=False)
    p = lives.begin(h)
    lives.run_exec(h, p["shim"], CID, "/bin/sh")
    kill(h, p["shim"], h.shell)
    recycle(h)
    assert not answers(h, tmp_path)["reap"]["observed"]


def test_a_zombie_that_the_shim_does_not_reap(tmp_path: Path) -> None:
    h = lives.host()
    p = lives.begin(h, pidns=0)
    s = h.stream
    left = s.fork(p["init"])
    s.die(p["init"])
    s.signal(left, 9, p["shim"])
    s.die(left, signal=9, reap=False)
    reap = answers(h, tmp_path)["reap"]
    assert reap["verdict"] == "contradicted"
    assert only(reap)["zombies"] == 1


# --- daemons -----------------------------------------------------------------------------------


def test_dockerd_dies_and_containerd_with_it(tmp_path: Path) -> None:
    """The docker 18 shape: both claims hold to the letter with a v1 shim."""
    h = lives.host(managed=True)
    p = lives.begin(h, shim="v1")
    old = h.containerd
    kill_dockerd(h, managed=True)
    new_dockerd(h, managed=True)
    found = answers(h, tmp_path)
    for id_ in ("dockerd-exit", "containerd-exit"):
        assert (found[id_]["verdict"], found[id_]["certainty"]) == ("holds", "confirmed"), id_
        occurrence = only(found[id_])
        assert occurrence["shim"]["outcome"] == "reparented"
        assert occurrence["shim"]["from"]["id"] == old.id
        assert occurrence["shim"]["to"]["id"] == h.init.id
        assert occurrence["container"]["outcome"] == "unaffected"
        assert "REPARENT" in {e["event"] for e in occurrence["evidence"]}
    assert only(found["dockerd-exit"])["subject"]["role"] == "dockerd"
    assert not found["shim-exit"]["observed"]
    assert p["init"].alive


def test_a_v2_shim_is_not_taken_over(tmp_path: Path) -> None:
    h = lives.host(managed=True)
    lives.begin(h, shim="v2")
    kill_dockerd(h, managed=True)
    dockerd = answers(h, tmp_path)["dockerd-exit"]
    assert dockerd["verdict"] == "contradicted"
    assert only(dockerd)["container"]["outcome"] == "unaffected"
    assert "was a child of systemd (1) before" in only(dockerd)["why"]


@pytest.mark.parametrize("shim", ["v1", "v2"])
def test_dockerd_dies_beside_a_containerd_of_its_own(shim: str, tmp_path: Path) -> None:
    """The docker 19 shape: nothing happens."""
    h = lives.host(managed=False)
    lives.begin(h, shim=shim)
    kill_dockerd(h, managed=False)
    found = answers(h, tmp_path)
    dockerd = found["dockerd-exit"]
    assert (dockerd["verdict"], dockerd["certainty"]) == ("holds", "confirmed")
    assert only(dockerd)["shim"]["outcome"] == only(dockerd)["container"]["outcome"] == "unaffected"
    assert not found["containerd-exit"]["observed"]


def test_a_dockerd_that_comes_back_and_kills(tmp_path: Path) -> None:
    h = lives.host(managed=False)
    p = lives.begin(h)
    kill_dockerd(h, managed=False)
    new_dockerd(h, managed=False)
    h.stream.wait(SECOND)
    runc_kill(h, p["shim"], p["init"])
    clean_up(h, p["shim"])
    found = answers(h, tmp_path)
    dockerd = found["dockerd-exit"]
    assert (dockerd["verdict"], dockerd["certainty"]) == ("contradicted", "inferred")
    occurrence = only(dockerd)
    assert occurrence["container"]["outcome"] == "killed"
    assert occurrence["container"]["by"]["role"] == "runc"
    assert occurrence["container"]["after_ns"] > 2 * SECOND
    assert occurrence["shim"]["outcome"] == "exited"
    assert f"dockerd ({h.dockerd.tgid}) had been started" in occurrence["why"]
    assert found["container-exit"]["verdict"] == "holds"


def test_a_dockerd_that_stops_its_containers_as_it_ends(tmp_path: Path) -> None:
    h = lives.host(managed=False)
    p = lives.begin(h)
    h.stream.signal(h.dockerd, 15, h.init)
    runc_kill(h, p["shim"], p["init"])
    clean_up(h, p["shim"])
    h.stream.die(h.dockerd)
    occurrence = only(answers(h, tmp_path)["dockerd-exit"])
    assert occurrence["verdict"] == "contradicted"
    assert occurrence["container"]["outcome"] == "killed"
    assert "before dockerd (600) was gone" in occurrence["why"]


def test_what_a_client_asked_for_is_not_the_daemons_doing(tmp_path: Path) -> None:
    """GIVEN docker kill after a restart of dockerd THEN its exit left the container alone."""
    h = lives.host(managed=False)
    p = lives.begin(h)
    kill_dockerd(h, managed=False)
    new_dockerd(h, managed=False)
    h.stream.wait(5 * SECOND)
    client = h.stream.fork(h.shell)
    h.stream.exec(client, "/usr/bin/docker", "docker kill web")
    runc_kill(h, p["shim"], p["init"])
    h.stream.die(client)
    clean_up(h, p["shim"])
    dockerd = answers(h, tmp_path)["dockerd-exit"]
    assert dockerd["verdict"] == "holds"
    assert only(dockerd)["container"]["outcome"] == "unaffected"


def test_what_ends_by_itself_is_not_the_daemons_doing(tmp_path: Path) -> None:
    h = lives.host(managed=False)
    p = lives.begin(h)
    kill_dockerd(h, managed=False)
    h.stream.wait(2 * SECOND)
    h.stream.die(p["init"])
    clean_up(h, p["shim"])
    assert answers(h, tmp_path)["dockerd-exit"]["verdict"] == "holds"


def test_a_container_that_was_told_to_end_and_has_not_yet(tmp_path: Path) -> None:
    h = lives.host(managed=False)
    p = lives.begin(h)
    kill_dockerd(h, managed=False)
    new_dockerd(h, managed=False)
    runc = h.stream.fork(p["shim"])
    h.stream.exec(runc, "/usr/bin/runc", f"runc --root /r kill {CID} 15")
    h.stream.signal(p["init"], 15, runc)
    h.stream.die(runc)
    dockerd = answers(h, tmp_path, wait=2 * SECOND)["dockerd-exit"]
    assert (dockerd["observed"], dockerd["verdict"]) == (True, "not-observed")
    assert only(dockerd)["container"]["by"]["id"] == runc.id


def test_dockerd_died_just_before_the_end(tmp_path: Path) -> None:
    h = lives.host(managed=False)
    lives.begin(h)
    kill_dockerd(h, managed=False)
    dockerd = answers(h, tmp_path, wait=20 * MS)["dockerd-exit"]
    assert (dockerd["observed"], dockerd["verdict"]) == (True, "not-observed")


@pytest.mark.parametrize("how", [{}, {"origin": Origin.NOINFO, "context": Context(0)}])
def test_whole_unit_killed(how: dict[str, Any], tmp_path: Path) -> None:
    """GIVEN systemd killed dockerd and the shims, by kill() or by their cgroup, THEN nothing is
    said of consequences."""
    h = lives.host(managed=False)
    p = lives.begin(h)
    h.stream.signal(h.dockerd, 9, h.init)
    h.stream.signal(p["shim"], 9, h.init, **how)
    for victim in (h.dockerd, p["shim"]):
        h.stream.die(victim, signal=9)
    dockerd = answers(h, tmp_path)["dockerd-exit"]
    assert dockerd["verdict"] == "not-observed"
    assert "killed by the same process at the same time" in only(dockerd)["why"]


@pytest.mark.parametrize(("shim", "verdict"), [("v1", "holds"), ("v2", "contradicted")])
def test_containerd_exits(shim: str, verdict: str, tmp_path: Path) -> None:
    h = lives.host(managed=False)
    lives.begin(h, shim=shim)
    kill(h, h.containerd, h.shell)
    found = answers(h, tmp_path)
    assert found["containerd-exit"]["verdict"] == verdict
    occurrence = only(found["containerd-exit"])
    assert occurrence["container"]["outcome"] == "unaffected"
    assert occurrence["shim"]["outcome"] == ("reparented" if shim == "v1" else "unaffected")
    assert not found["dockerd-exit"]["observed"]


def test_another_dockerds_end(tmp_path: Path) -> None:
    """GIVEN two dockerds on a host THEN the end of one has nothing to do with the other's."""
    h = lives.host(managed=True)
    lives.begin(h, shim="v1")
    other = h.stream.fork(h.shell)
    h.stream.exec(other, "/usr/sbin/dockerd", "dockerd --data-root /tmp/x")
    h.stream.wait(SECOND)
    kill(h, other, h.shell)
    assert not answers(h, tmp_path)["dockerd-exit"]["observed"]


# --- what a capture lacks ----------------------------------------------------------------------


def test_losses_make_a_verdict_doubtful(tmp_path: Path) -> None:
    h = lives.host(managed=False)
    lives.begin(h)
    kill_dockerd(h, managed=False)
    h.stream.wait(SECOND)
    h.stream.lost(3)
    h.stream.die(h.stream.fork(h.shell))
    dockerd = answers(h, tmp_path)["dockerd-exit"]
    assert (dockerd["verdict"], dockerd["certainty"]) == ("holds", "inferred")
    assert any("lost" in doubt for doubt in dockerd["doubts"])


def test_a_cut_is_named(tmp_path: Path) -> None:
    h = lives.host(managed=False)
    p = lives.begin(h)
    kill(h, p["shim"], h.shell)
    h.stream.wait(2 * SECOND)
    h.stream.die(h.stream.fork(h.shell))
    shim_exit = answers(h, tmp_path, snapshot=False, complete=False)["shim-exit"]
    assert "the capture is cut: what came later is missing" in shim_exit["doubts"]
    assert shim_exit["verdict"] in ("contradicted", "not-observed")


def test_a_filter_is_named(tmp_path: Path) -> None:
    h = lives.host()
    h.stream.header["filter"] = {"kind": "pidns", "pid": 1, "pidns": 4026531836}
    lives.begin(h)
    [doubt] = answers(h, tmp_path)["start"]["doubts"]
    assert "filter (pidns)" in doubt


def test_a_selection_counts_what_it_selects(tmp_path: Path) -> None:
    h = lives.host()
    lives.begin(h)
    lives.begin(h, cid=OTHER_CID, name="other", pidns=4026532501)
    found = answers(h, tmp_path, container="other")
    assert only(found["start"])["container_id"] == OTHER_CID
    later = answers(h, tmp_path, since_ns=h.stream.now, wait=SECOND)
    assert not later["start"]["observed"]


def test_the_text_tells_them_in_short(tmp_path: Path) -> None:
    h = lives.host(managed=False)
    p = lives.begin(h)
    for _ in range(3):
        lives.run_exec(h, p["shim"], CID, "/bin/sh")
    kill(h, p["shim"], h.shell)
    recycle(h)
    h.stream.snapshot("end")
    report = build_report(open_capture(h.stream.write(tmp_path / "x.rtrace")))
    text = render_text(report, width=80, color=False)
    assert "BEHAVIOURS, against what was published on docker 18 and 19" in text
    assert "  exec: holds: runc enters and exits, the shim becomes the parent\n" in text
    assert "2 more times: --all tells them" in text
    assert "  not observed: dockerd-exit, containerd-exit, container-exit, restart, reap\n" in text
    full = render_text(report, width=80, color=False, full=True)
    assert "more times" not in full
