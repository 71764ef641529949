"""Every finding, and beside it a near miss that must not be taken for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from analysis.model import open_capture
from analysis.render_text import render_text
from analysis.report import build_report
from tests import lives
from tests.found import MS, SECOND, findings_of, grave
from tests.lives import CID, OTHER_CID, Host
from tests.streams import Proc
from tracer.abi import Context, Origin, Reason

SHIM = "/usr/bin/containerd-shim-runc-v2"
DELETE = f"/usr/bin/runc --root /run/runtime-runc/moby delete {CID}"


def found(h: Host, tmp_path: Path, wait: int = 6 * SECOND, **options: Any) -> Any:
    """Findings by kind, with a snapshot at the end, some time later."""
    h.stream.wait(wait)
    h.stream.snapshot("end")
    return findings_of(h.stream, tmp_path, **options)


def kill(h: Host, target: Proc, sender: Proc, number: int = 9, **options: Any) -> None:
    h.stream.signal(target, number, sender)
    h.stream.die(target, signal=number, **options)


def older_shim(h: Host) -> Proc:
    """A shim of before the recording; of its container nothing was seen."""
    args = [SHIM, "-namespace", "moby", "-id", CID, "-address", "/run/containerd/containerd.sock"]
    return h.stream.process("containerd-shim", h.init, exe=SHIM, args=args, subreaper=True)


# --- healthy lives -----------------------------------------------------------------------------


@pytest.mark.parametrize("shim", ["v1", "v2"])
@pytest.mark.parametrize("managed", [True, False])
def test_a_healthy_life_has_no_findings(managed: bool, shim: str, tmp_path: Path) -> None:
    h = lives.life(managed=managed, shim=shim)
    h.stream.wait(60 * SECOND)
    assert findings_of(h.stream, tmp_path) == {}


def test_stopped_killed_and_executed_by_docker(tmp_path: Path) -> None:
    """GIVEN docker exec, a signal that was ignored, SIGKILL by runc THEN no finding."""
    h = lives.host()
    p = lives.begin(h)
    s = h.stream
    s.die(lives.run_exec(h, p["shim"], CID, "/bin/sh"), 3)
    for number in (15, 9):
        runc = s.fork(p["shim"])
        s.exec(runc, "/usr/bin/runc", f"runc --root /r kill {CID} {number}")
        s.signal(p["init"], number, runc, result=int(number == 15))
        s.die(runc)
    lives.end(h, signal=9)
    assert findings_of(h.stream, tmp_path) == {}


def test_a_containerd_kills_the_v1_shim_of_what_has_ended(tmp_path: Path) -> None:
    h = lives.host()
    p = lives.begin(h, shim="v1")
    h.stream.die(p["init"])
    lives.call(h, p["shim"], DELETE)
    kill(h, p["shim"], h.containerd)
    assert found(h, tmp_path) == {}


def test_the_text_says_that_there_are_none(tmp_path: Path) -> None:
    h = lives.life()
    path = h.stream.write(tmp_path / "x.rtrace")
    text = render_text(build_report(open_capture(path)), width=100, color=False)
    assert "\nno findings\n" in text


def test_nothing_is_said_of_an_end_that_no_snapshot_shows(tmp_path: Path) -> None:
    h = lives.host()
    p = lives.begin(h)
    kill(h, p["shim"], h.shell)
    h.stream.wait(60 * SECOND)
    h.stream.die(h.stream.fork(h.shell))
    assert set(findings_of(h.stream, tmp_path)) == {"runtime-killed"}
    assert set(findings_of(h.stream, tmp_path, complete=False)) == {"runtime-killed"}


# --- shims and process 1 -----------------------------------------------------------------------


def test_a_shim_without_children(tmp_path: Path) -> None:
    h = lives.host(start=False)
    shim = older_shim(h)
    h.stream.snapshot("start")
    finding = found(h, tmp_path)["shim-without-children"]
    assert (finding["severity"], finding["certainty"]) == ("warning", "confirmed")
    assert finding["processes"] == [shim.id]
    assert finding["container"] == CID
    assert [e["event"] for e in finding["evidence"]] == ["TASK"]
    assert "has had none for at least 6.00 s" in finding["text"]


def test_a_shim_with_a_child_or_only_for_a_moment_without(tmp_path: Path) -> None:
    h = lives.host(start=False)
    shim = older_shim(h)
    h.stream.process("sleep", shim, ns_tgid=1, pidns=4026532500, cgroup=f"/docker/{CID}")
    h.stream.snapshot("start")
    assert grave(found(h, tmp_path)) == set()
    h = lives.host(start=False)
    older_shim(h)
    h.stream.snapshot("start")
    assert grave(found(h, tmp_path, 4 * SECOND)) == set()


def test_a_shim_without_children_where_events_were_lost(tmp_path: Path) -> None:
    h = lives.host(start=False)
    older_shim(h)
    h.stream.snapshot("start")
    h.stream.wait(SECOND)
    h.stream.lost(3)
    h.stream.die(h.stream.fork(h.shell))
    assert found(h, tmp_path)["shim-without-children"]["certainty"] == "inferred"


def test_process_1_dead_and_deleted_and_the_shim_alive(tmp_path: Path) -> None:
    h = lives.host()
    p = lives.begin(h)
    h.stream.die(p["init"], 1)
    lives.call(h, p["shim"], DELETE)
    findings = found(h, tmp_path)
    assert grave(findings) == {"init-dead-shim-alive"}
    finding = findings["init-dead-shim-alive"]
    assert finding["certainty"] == "confirmed"
    assert finding["processes"][:2] == [p["shim"].id, p["init"].id]
    assert {e["event"] for e in finding["evidence"]} == {"EXIT", "TASK"}


def test_process_1_dead_and_the_shim_alive_for_a_moment(tmp_path: Path) -> None:
    h = lives.host()
    p = lives.begin(h)
    h.stream.die(p["init"], 1)
    lives.call(h, p["shim"], DELETE)
    assert grave(found(h, tmp_path, 4 * SECOND)) == set()


def test_a_shim_that_has_another_container(tmp_path: Path) -> None:
    """A pod's shim outlives its containers."""
    h = lives.host()
    p, s = lives.begin(h), h.stream
    runc = s.fork(p["shim"])
    s.exec(runc, "/usr/bin/runc", f"runc --root /r create --bundle /b {OTHER_CID}")
    other = lives.stages(h, runc, OTHER_CID, pidns=4026532600)
    s.exec(other, "/bin/app", "app")
    s.die(runc)
    s.die(p["init"], 1)
    lives.call(h, p["shim"], DELETE)
    assert grave(found(h, tmp_path)) == set()


@pytest.mark.parametrize("reaped", [True, False])
def test_an_end_that_nobody_noticed(reaped: bool, tmp_path: Path) -> None:
    h = lives.host()
    p = lives.begin(h)
    h.stream.die(p["init"], 1, reap=reaped)
    findings = found(h, tmp_path)
    assert grave(findings) == {"exit-not-noticed"}  # and the zombie is not told twice
    finding = findings["exit-not-noticed"]
    assert (finding["severity"], finding["certainty"]) == ("error", "confirmed")
    assert ("has not waited for it: a zombie" in finding["text"]) is not reaped
    assert ("has done nothing" in finding["text"]) is reaped


def test_what_a_client_of_containerd_has_not_deleted_yet(tmp_path: Path) -> None:
    """ctr deletes a task when it is told to: not the runtime's fault."""
    h = lives.host()
    p = lives.begin(h, client=None, fact=False)
    h.stream.fact("container", id=CID, name=None, runtime="containerd", namespace="default")
    h.stream.die(p["init"], 1)
    findings = found(h, tmp_path)
    assert findings["exit-not-noticed"]["severity"] == "info"


def test_an_end_behind_a_dead_shim_that_nobody_noticed(tmp_path: Path) -> None:
    h = lives.host()
    p = lives.begin(h)
    kill(h, p["shim"], h.shell)
    h.stream.wait(SECOND)
    h.stream.die(p["init"])
    findings = found(h, tmp_path)
    assert grave(findings) == {"exit-not-noticed", "runtime-killed"}
    assert "its shim was gone" in findings["exit-not-noticed"]["text"]


def test_without_arguments_any_call_may_have_been_the_delete(tmp_path: Path) -> None:
    h = lives.host()
    h.stream.header["no_args"] = True
    p = lives.begin(h, args=False)
    h.stream.die(p["init"])
    lives.call(h, p["shim"], "/usr/bin/runc", args=False)
    assert "exit-not-noticed" not in found(h, tmp_path)


def test_a_dead_shim_and_a_living_process_1(tmp_path: Path) -> None:
    h = lives.host()
    p = lives.begin(h)
    kill(h, p["shim"], h.shell)
    findings = found(h, tmp_path)
    assert grave(findings) == {"shim-dead-init-alive", "runtime-killed"}
    finding = findings["shim-dead-init-alive"]
    assert (finding["severity"], finding["certainty"]) == ("error", "confirmed")
    assert finding["processes"] == [p["init"].id, p["shim"].id, h.init.id]
    assert {e["event"] for e in finding["evidence"]} == {"SIGNAL", "EXIT", "REPARENT", "TASK"}


def test_a_shim_that_died_just_before_the_end(tmp_path: Path) -> None:
    h = lives.host()
    p = lives.begin(h)
    kill(h, p["shim"], h.shell)
    assert grave(found(h, tmp_path, 20 * MS)) == {"runtime-killed"}


def recycle(h: Host) -> None:
    """containerd's helper cleans up behind a dead shim."""
    s = h.stream
    helper = s.fork(h.containerd)
    s.exec(helper, SHIM, f"{SHIM} -namespace moby -id {CID} -bundle /b delete")
    runc = s.fork(helper)
    s.exec(runc, "/usr/bin/runc", f"runc --root /run/runtime-runc/moby delete --force {CID}")
    s.wait(8 * MS)
    kill(h, h.procs["init"], runc)
    s.die(runc)
    s.die(helper)


def test_a_container_that_was_recycled(tmp_path: Path) -> None:
    h = lives.host()
    p = lives.begin(h)
    kill(h, p["shim"], h.shell)
    h.stream.wait(6 * MS)
    recycle(h)
    findings = found(h, tmp_path)
    assert grave(findings) == {"container-recycled", "runtime-killed"}
    finding = findings["container-recycled"]
    assert (finding["severity"], finding["certainty"]) == ("error", "confirmed")
    assert "cleaned up by runc delete" in finding["text"]
    assert [e["event"] for e in finding["evidence"]] == ["SIGNAL", "EXIT", "SIGNAL", "EXIT"]


def test_who_exits_by_itself_was_not_recycled(tmp_path: Path) -> None:
    h = lives.host()
    p = lives.begin(h)
    kill(h, p["shim"], h.shell)
    h.stream.die(p["init"], 0)
    lives.call(h, h.containerd, DELETE)
    assert grave(found(h, tmp_path)) == {"runtime-killed"}


# --- who is whose child ------------------------------------------------------------------------


def nsenter(h: Host, pidns: int = 4026532500) -> tuple[Proc, Proc]:
    """A shell that somebody on the host brought into the container."""
    s = h.stream
    tool = s.fork(h.shell)
    s.exec(tool, "/usr/bin/nsenter", "nsenter -a -t 1 sh")
    inside = s.fork(tool, ns_tgid=77, pidns=pidns)
    s.exec(inside, "/bin/sh", "sh")
    return tool, inside


def test_a_process_in_a_container_outside_its_shim(tmp_path: Path) -> None:
    h = lives.host()
    lives.begin(h)
    tool, inside = nsenter(h)
    finding = found(h, tmp_path)["container-process-outside-shim"]
    assert finding["severity"] == "warning"
    assert finding["processes"] == [inside.id, tool.id]
    assert "nsenter" in finding["text"]


def test_processes_of_docker_exec_and_of_runc_itself_are_in_place(tmp_path: Path) -> None:
    h = lives.host()
    p = lives.begin(h)
    lives.run_exec(h, p["shim"], CID, "/bin/sh")
    runc = h.stream.fork(p["shim"])
    h.stream.exec(runc, "/usr/bin/runc", f"runc --root /r exec {CID} true")
    lives.stages(h, runc, CID)
    assert grave(found(h, tmp_path)) == set()


def test_a_parent_outside_of_the_filter_says_nothing(tmp_path: Path) -> None:
    h = lives.host(start=False)
    h.stream.header["filter"] = {"kind": "cgroup", "path": "/docker"}
    shim = h.stream.process("containerd-shim", h.init)
    init = h.stream.process("nginx", shim, ns_tgid=1, pidns=4026532500, cgroup=f"/docker/{CID}")
    h.stream.stub(shim)
    h.stream.task("start", init)
    h.stream.proc("start", init)
    h.stream.wait(6 * SECOND)
    h.stream.task("end", init)
    assert findings_of(h.stream, tmp_path) == {}


def test_an_orphan_that_init_adopted(tmp_path: Path) -> None:
    h = lives.host()
    p = lives.begin(h)
    tool, inside = nsenter(h)
    h.stream.die(tool)
    findings = found(h, tmp_path)
    finding = findings["orphan-unexpected-parent"]
    assert (finding["severity"], finding["certainty"]) == ("warning", "confirmed")
    assert finding["processes"] == [h.init.id, p["shim"].id, inside.id]
    assert [e["event"] for e in finding["evidence"]] == ["REPARENT"]


def test_an_orphan_whose_shim_had_died_before(tmp_path: Path) -> None:
    """Nobody else was left to adopt it: no surprise, and the dead shim is told."""
    h = lives.host()
    p = lives.begin(h)
    tool, _ = nsenter(h)
    kill(h, p["shim"], h.shell)
    h.stream.die(tool)
    findings = found(h, tmp_path)
    assert "orphan-unexpected-parent" not in findings
    assert "shim-dead-init-alive" in findings


@pytest.mark.parametrize("pidns", [4026532500, 0])
def test_orphans_of_a_container_that_stay_in_it(pidns: int, tmp_path: Path) -> None:
    """Adopted by process 1, or with the host's pid namespace by the shim."""
    h = lives.host()
    p = lives.begin(h, pidns=pidns)
    middle = h.stream.fork(p["init"], "sh")
    child = h.stream.fork(middle, "sleep")
    h.stream.die(middle)
    assert child.parent is (p["init"] if pidns else p["shim"])
    assert grave(found(h, tmp_path)) == set()


def test_a_v2_shim_under_init_is_expected(tmp_path: Path) -> None:
    h = lives.host()
    p = lives.begin(h)
    findings = found(h, tmp_path)
    assert set(findings) == {"orphan-expected"}
    assert findings["orphan-expected"]["severity"] == "info"
    assert findings["orphan-expected"]["processes"] == [p["shim"].id]


def test_a_v1_shim_is_an_orphan_when_its_containerd_has_died(tmp_path: Path) -> None:
    h = lives.host(managed=False)
    lives.begin(h, shim="v1")
    assert found(h, tmp_path) == {}
    h.stream.die(h.containerd)
    findings = found(h, tmp_path)
    assert set(findings) == {"orphan-expected"}
    assert "is a v1 shim with init as parent" in findings["orphan-expected"]["text"]


# --- zombies -----------------------------------------------------------------------------------


def test_zombies_of_a_container(tmp_path: Path) -> None:
    h = lives.host()
    p = lives.begin(h)
    dead = [h.stream.fork(p["init"], "worker") for _ in range(3)]
    for process in dead:
        h.stream.die(process, reap=False)
    findings = found(h, tmp_path)
    assert grave(findings) == {"zombies"}
    finding = findings["zombies"]
    assert (finding["severity"], finding["certainty"]) == ("warning", "confirmed")
    assert finding["processes"] == [p["init"].id, *(process.id for process in dead)]
    assert "3 zombies in web" in finding["text"]
    assert "the first dead for 6.00 s" in finding["text"]
    assert "docker run --init" in finding["next"]


def test_what_is_reaped_or_died_just_now_is_no_zombie(tmp_path: Path) -> None:
    h = lives.host()
    p = lives.begin(h)
    h.stream.die(h.stream.fork(p["init"]))
    h.stream.wait(6 * SECOND)
    h.stream.die(h.stream.fork(p["init"]), reap=False)
    assert grave(found(h, tmp_path, 500 * MS)) == set()


def test_what_was_reaped_without_a_word_is_no_zombie(tmp_path: Path) -> None:
    """GIVEN a process whose REAP is missing, and a real zombie THEN only the snapshot decides."""
    h = lives.host()
    p = lives.begin(h)
    s = h.stream
    reaped, zombie = s.fork(p["init"]), s.fork(p["init"])
    for child in (reaped, zombie):
        s.die(child, reap=False)
    s.reap_unseen(reaped)
    assert found(h, tmp_path)["zombies"]["processes"] == [p["init"].id, zombie.id]
    report = build_report(open_capture(s.write(tmp_path / "again.rtrace")))
    told = {p["id"]: (p["reap_ns"], p["zombie"]) for p in report["processes"]}
    assert (told[reaped.id], told[zombie.id]) == ((None, False), (None, True))
    # From within a pid namespace the snapshot does not show everybody.
    s.header["pidns"] = 4026532000
    report = build_report(open_capture(s.write(tmp_path / "inside.rtrace")))
    told = {p["id"]: (p["reap_ns"], p["zombie"]) for p in report["processes"]}
    assert (told[reaped.id], told[zombie.id]) == ((None, None), (None, True))


@pytest.mark.parametrize(("seconds", "kinds"), [(3, set()), (6, {"zombies"})])
def test_an_init_may_take_its_time(seconds: int, kinds: set[str], tmp_path: Path) -> None:
    h = lives.host()
    h.stream.die(h.stream.fork(h.init), reap=False)
    assert set(found(h, tmp_path, seconds * SECOND)) == kinds


def test_a_zombie_on_the_host_is_only_worth_knowing(tmp_path: Path) -> None:
    h = lives.host()
    h.stream.die(h.stream.fork(h.shell), reap=False)
    assert found(h, tmp_path)["zombies"]["severity"] == "info"


def test_a_zombie_in_a_container_of_which_nothing_else_is_known(tmp_path: Path) -> None:
    """GIVEN a member by its cgroup's name; no process 1, no shim, no name."""
    h = lives.host(start=False)
    cgroup = f"/docker/{OTHER_CID}"
    app = h.stream.process("app", h.shell, exe="/app", cgroup=cgroup)
    h.stream.snapshot("start")
    h.stream.die(h.stream.fork(app), reap=False)
    finding = found(h, tmp_path)["zombies"]
    assert finding["text"].startswith(f"1 zombie in {OTHER_CID[:12]}: ")
    assert f"; in {OTHER_CID[:12]})" in finding["text"]
    assert (finding["severity"], finding["container"]) == ("warning", OTHER_CID)


def test_a_dead_leader_of_living_threads_is_no_zombie(tmp_path: Path) -> None:
    """GIVEN a snapshot that shows it as one, and no EXIT of the whole process."""
    h = lives.host(start=False)
    leader = h.stream.process("java", h.init, exe="/usr/bin/java")
    h.stream.snapshot("start")
    h.stream.wait(6 * SECOND)
    h.stream.task("end", leader, exit_state=32)
    h.stream.fork(leader, at=h.stream.now + 1000)
    assert findings_of(h.stream, tmp_path) == {}


def test_zombies_of_a_probe(tmp_path: Path) -> None:
    h = lives.host()
    p = lives.begin(h)
    probe = lives.run_exec(h, p["shim"], CID, "/bin/sh")
    child = h.stream.fork(probe, "curl")
    h.stream.die(probe)
    assert child.parent is p["init"]
    h.stream.die(child, reap=False)
    findings = found(h, tmp_path)
    assert grave(findings) == {"exec-probe-zombies"}
    assert findings["exec-probe-zombies"]["processes"] == [p["init"].id, child.id]


# --- kills -------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", ["dockerd", "containerd", "shim"])
def test_a_killed_part_of_the_runtime(target: str, tmp_path: Path) -> None:
    h = lives.host(managed=False)
    p = lives.begin(h)
    victim = p["shim"] if target == "shim" else getattr(h, target)
    kill(h, victim, h.shell)
    finding = found(h, tmp_path)["runtime-killed"]
    assert (finding["severity"], finding["certainty"]) == ("error", "confirmed")
    assert finding["processes"] == [victim.id, h.shell.id]
    assert "sent by bash" in finding["text"]
    assert finding["container"] == (CID if target == "shim" else None)


def test_a_killed_daemon_of_whose_signal_nothing_was_recorded(tmp_path: Path) -> None:
    h = lives.host(managed=False)
    h.stream.die(h.dockerd, signal=9)
    finding = found(h, tmp_path)["runtime-killed"]
    assert finding["certainty"] == "unknown"
    assert "sender not recorded" in finding["text"]


def test_daemons_that_end_as_they_are_told_to(tmp_path: Path) -> None:
    h = lives.host(managed=True)
    h.stream.signal(h.dockerd, 15, h.shell)
    h.stream.signal(h.containerd, 15, h.dockerd)
    h.stream.die(h.containerd)
    h.stream.die(h.dockerd)
    assert found(h, tmp_path) == {}


def test_a_container_that_the_host_killed(tmp_path: Path) -> None:
    h = lives.host()
    p = lives.begin(h)
    h.stream.signal(p["init"], 9, h.shell)
    lives.end(h, signal=9, stop=False)
    findings = found(h, tmp_path)
    assert grave(findings) == {"container-killed-from-outside"}
    assert findings["container-killed-from-outside"]["processes"] == [p["init"].id, h.shell.id]


@pytest.mark.parametrize("who", ["inside", "itself"])
def test_a_container_that_killed_itself(who: str, tmp_path: Path) -> None:
    h = lives.host()
    p = lives.begin(h)
    sender = p["init"] if who == "itself" else h.stream.fork(p["init"])
    h.stream.signal(p["init"], 15, sender)
    lives.end(h, signal=15, stop=False)
    assert findings_of(h.stream, tmp_path) == {}


def parent_death(h: Host, child: Proc, parent: Proc, *, thread: bool) -> None:
    s = h.stream
    context = Context.EXITING | Context.PDEATH | (0 if thread else Context.GROUP_EXIT)
    ts_ns = s.now + s.step
    s.reparent(child, at=ts_ns, tid=parent.tgid + 7, reason=Reason.THREAD if thread else None)
    if not thread:
        s.exit(parent, signal=9, at=ts_ns)
    s.signal(child, 9, parent, origin=Origin.NOINFO, context=context)
    s.reaper(
        parent,
        parent if thread else s.find_reaper(parent)[0],
        ts_ns,
        tid=parent.tgid + 7,
        children=[child],
    )
    s.die(child, signal=9)


def test_a_managed_containerd_dies_with_its_dockerd(tmp_path: Path) -> None:
    h = lives.host()
    h.stream.signal(h.dockerd, 9, h.shell)
    parent_death(h, h.containerd, h.dockerd, thread=False)
    findings = found(h, tmp_path)
    assert grave(findings) == {"runtime-killed", "killed-by-parent-death"}
    finding = findings["killed-by-parent-death"]
    assert (finding["severity"], finding["certainty"]) == ("error", "confirmed")
    assert finding["processes"] == [h.containerd.id, h.dockerd.id]
    assert findings["runtime-killed"]["processes"] == [h.dockerd.id, h.shell.id]


def test_a_sandbox_that_dies_with_its_parent(tmp_path: Path) -> None:
    h = lives.host()
    p = lives.begin(h)
    parent = h.stream.fork(p["init"], "browser")
    child = h.stream.fork(parent, "zygote")
    parent_death(h, child, parent, thread=False)
    h.stream.reap(parent)
    assert grave(found(h, tmp_path)) == set()


@pytest.mark.parametrize("process_1", [True, False])
def test_out_of_memory(process_1: bool, tmp_path: Path) -> None:
    h = lives.host()
    p = lives.begin(h)
    victim = p["init"] if process_1 else h.stream.fork(p["init"], "hog")
    h.stream.oom(victim)
    context = Context.EXITING
    h.stream.signal(victim, 9, victim, origin=Origin.PRIV, context=context)
    if process_1:
        lives.end(h, signal=9, stop=False)
    else:
        h.stream.die(victim, signal=9)
    findings = found(h, tmp_path)
    assert grave(findings) == {"oom"}
    finding = findings["oom"]
    assert (finding["severity"], finding["certainty"]) == ("error", "confirmed")
    assert ("that was its process 1" in finding["text"]) is process_1
    assert ("nginx" in finding["text"] and "lives on" in finding["text"]) is not process_1
    assert "OOM" in {e["event"] for e in finding["evidence"]}


def test_a_sigkill_is_not_out_of_memory(tmp_path: Path) -> None:
    h = lives.host()
    p = lives.begin(h)
    kill(h, h.stream.fork(p["init"], "hog"), h.shell)
    assert "oom" not in found(h, tmp_path)


# --- daemons -----------------------------------------------------------------------------------


def start(h: Host, status: int, times: int, every_ns: int) -> None:
    """systemd starts dockerd, which ends at once, again and again."""
    for _ in range(times):
        daemon = h.stream.fork(h.init)
        h.stream.exec(daemon, "/usr/sbin/dockerd", "/usr/sbin/dockerd -H fd://")
        h.stream.wait(every_ns)
        h.stream.die(daemon, status)


@pytest.mark.parametrize(("status", "severity"), [(1, "error"), (0, "warning")])
def test_a_daemon_that_starts_again_and_again(status: int, severity: str, tmp_path: Path) -> None:
    h = lives.host(managed=False)
    start(h, status, 4, 2 * SECOND)
    finding = found(h, tmp_path)["daemon-restart-loop"]
    assert finding["severity"] == severity
    assert "dockerd (dockerd) was started 4 times in 6.00 s" in finding["text"]
    assert f"exited {status}" in finding["text"]


@pytest.mark.parametrize(("times", "every_ns"), [(2, SECOND), (3, 100 * SECOND)])
def test_a_daemon_that_was_restarted(times: int, every_ns: int, tmp_path: Path) -> None:
    h = lives.host(managed=False)
    start(h, 1, times, every_ns)
    assert found(h, tmp_path) == {}


def services(h: Host) -> None:
    h.stream.attach(h.dockerd, "/system.slice/docker.service")
    h.stream.attach(h.containerd, "/system.slice/containerd.service")


def test_dockerd_stopped_as_containerd_had_crashed(tmp_path: Path) -> None:
    h = lives.host(managed=False)
    services(h)
    h.stream.die(h.containerd, 2)
    h.stream.wait(30 * MS)
    h.stream.signal(h.dockerd, 15, h.init)
    h.stream.die(h.dockerd)
    findings = found(h, tmp_path)
    assert grave(findings) == {"daemon-stopped-with-unit"}
    finding = findings["daemon-stopped-with-unit"]
    assert (finding["severity"], finding["certainty"]) == ("warning", "inferred")
    assert {e["event"] for e in finding["evidence"]} == {"SIGNAL", "EXIT"}
    assert "exited 2 30 ms before" in finding["text"]


def test_dockerd_stopped_on_purpose_as_containerd_had_crashed(tmp_path: Path) -> None:
    h = lives.host(managed=False)
    services(h)
    h.stream.die(h.containerd, 2)
    control = h.stream.fork(h.shell)
    h.stream.exec(control, "/usr/bin/systemctl", "systemctl stop docker")
    h.stream.signal(h.dockerd, 15, h.init)
    h.stream.die(h.dockerd)
    h.stream.die(control)
    assert found(h, tmp_path) == {}


@pytest.mark.parametrize("words", ["stop docker containerd", "restart docker"])
def test_a_dockerd_that_somebody_stopped(words: str, tmp_path: Path) -> None:
    h = lives.host(managed=False)
    services(h)
    control = h.stream.fork(h.shell)
    h.stream.exec(control, "/usr/bin/systemctl", f"systemctl {words}")
    for daemon in (h.dockerd, h.containerd):
        h.stream.signal(daemon, 15, h.init)
        h.stream.die(daemon)
    h.stream.die(control)
    assert found(h, tmp_path) == {}


def test_a_shutdown_stops_both(tmp_path: Path) -> None:
    h = lives.host(managed=False)
    services(h)
    for daemon in (h.dockerd, h.containerd):
        h.stream.signal(daemon, 15, h.init)
        h.stream.die(daemon)
    assert found(h, tmp_path) == {}


def test_both_were_restarted(tmp_path: Path) -> None:
    """An upgrade of both: docker is back, as it should be."""
    h = lives.host(managed=False)
    services(h)
    for daemon in (h.dockerd, h.containerd):
        h.stream.signal(daemon, 15, h.init)
        h.stream.die(daemon)
    for name in ("containerd", "dockerd"):
        h.stream.exec(h.stream.fork(h.init), f"/usr/bin/{name}", f"/usr/bin/{name}")
    assert found(h, tmp_path) == {}


# --- restarts and numbers ----------------------------------------------------------------------


@pytest.mark.parametrize(("status", "severity"), [(1, "warning"), (0, "info")])
def test_a_container_that_was_restarted(status: int, severity: str, tmp_path: Path) -> None:
    h = lives.host()
    lives.begin(h)
    lives.end(h, status=status, stop=False)
    p = lives.begin(h, pidns=4026532501, client=None)
    findings = found(h, tmp_path)
    assert set(findings) == {"container-restarts", "orphan-expected"}
    finding = findings["container-restarts"]
    assert finding["severity"] == severity
    assert "web was started 2 times within" in finding["text"]
    assert p["init"].id in finding["processes"]


@pytest.mark.parametrize(("status", "kinds"), [(1, {"container-restarts"}), (0, set())])
def test_a_restart_that_was_asked_for(status: int, kinds: set[str], tmp_path: Path) -> None:
    """It is worth a word only if what was started again had failed."""
    h = lives.host()
    lives.begin(h)
    lives.end(h, status=status, stop=False)
    lives.begin(h, pidns=4026532501, client="docker restart web")
    lives.end(h)
    assert set(findings_of(h.stream, tmp_path)) == kinds


def test_two_containers_are_no_restart(tmp_path: Path) -> None:
    h = lives.host()
    lives.begin(h)
    lives.end(h, status=1, stop=False)
    lives.begin(h, cid=OTHER_CID, name="db", pidns=4026532501)
    lives.end(h, cid=OTHER_CID)
    assert findings_of(h.stream, tmp_path) == {}


def test_a_number_that_was_used_again(tmp_path: Path) -> None:
    h = lives.life()
    shim = h.procs["shim"]
    taken = h.stream.fork(h.shell, "tail", tgid=shim.tgid)
    finding = found(h, tmp_path)["recycled-pid"]
    assert finding["severity"] == "info"
    assert finding["processes"] == [shim.id, taken.id]
    assert "which has it now" in finding["text"]


def test_a_number_that_others_used_again_later(tmp_path: Path) -> None:
    """GIVEN three holders of one number THEN the last two of them are nobody's matter."""
    h = lives.life()
    shim = h.procs["shim"]
    for _ in range(2):
        other = h.stream.fork(h.shell, "true", tgid=shim.tgid)
        h.stream.die(other)
    h.stream.snapshot("end")
    path = h.stream.write(tmp_path / "x.rtrace")
    kinds = [f["kind"] for f in build_report(open_capture(path))["findings"]]
    assert kinds == ["recycled-pid"]


def test_numbers_of_processes_that_nobody_keeps(tmp_path: Path) -> None:
    h = lives.life()
    one = h.stream.fork(h.shell, "true")
    h.stream.die(one)
    h.stream.die(h.stream.fork(h.shell, "true", tgid=one.tgid))
    assert found(h, tmp_path) == {}


# --- losses ------------------------------------------------------------------------------------


def test_losses_in_the_life_of_a_container(tmp_path: Path) -> None:
    h = lives.host()
    lives.begin(h)
    h.stream.wait(SECOND)
    h.stream.lost(5)
    lives.end(h)
    finding = findings_of(h.stream, tmp_path)["losses-touch"]
    assert finding["severity"] == "warning"
    assert "5 events were lost between" in finding["text"]
    assert "in the life of web" in finding["text"]


def test_losses_behind_the_end_of_all(tmp_path: Path) -> None:
    h = lives.life()
    h.stream.wait(SECOND)
    for _ in range(4):
        h.stream.die(h.stream.fork(h.shell))
    h.stream.cpu = 1
    h.stream.die(h.stream.fork(h.shell))
    h.stream.wait(SECOND)
    h.stream.lost(5)
    h.stream.die(h.stream.fork(h.shell))
    assert findings_of(h.stream, tmp_path) == {}


# --- the parts of a capture --------------------------------------------------------------------


def test_findings_of_one_container_and_of_a_stretch_of_time(tmp_path: Path) -> None:
    h = lives.host()
    p = lives.begin(h)
    kill(h, p["shim"], h.shell)
    h.stream.wait(2 * SECOND)
    lives.begin(h, cid=OTHER_CID, name="db", pidns=4026532501)
    h.stream.wait(6 * SECOND)
    h.stream.snapshot("end")
    capture = open_capture(h.stream.write(tmp_path / "x.rtrace"))

    def kinds(**options: Any) -> list[str]:
        return [f["kind"] for f in build_report(capture, **options)["findings"]]

    assert kinds() == ["shim-dead-init-alive", "runtime-killed", "orphan-expected"]
    assert kinds(container="web") == ["shim-dead-init-alive", "runtime-killed"]
    assert kinds(container="db") == ["orphan-expected"]
    assert kinds(since_ns=h.stream.start_ns + 2 * SECOND) == ["orphan-expected"]


def test_a_bounded_capture(tmp_path: Path) -> None:
    """GIVEN a recording whose beginning was dropped THEN what is kept has its findings."""
    h = lives.host()
    p = lives.begin(h)
    h.stream.wait(SECOND)
    h.stream.rotate(drop=True)
    kill(h, p["shim"], h.shell)
    h.stream.rotate()
    findings = found(h, tmp_path)
    assert grave(findings) == {"shim-dead-init-alive", "runtime-killed"}


# --- other engines, and other shapes -----------------------------------------------------------


def test_the_process_1_of_a_shared_pid_namespace_adopts(tmp_path: Path) -> None:
    """GIVEN a pod whose containers share the pid namespace of the first."""
    h = lives.host()
    pause = lives.begin(h)["init"]
    p = lives.begin(h, cid=OTHER_CID, name="db", client=None)
    assert p["init"].pidns == pause.pidns
    middle = h.stream.fork(p["init"], "sh")
    child = h.stream.fork(middle, "sleep")
    h.stream.reparent(child, pause, reason=Reason.INIT)
    exit_ns = h.stream.exit(middle, at=h.stream.now)
    h.stream.reaper(middle, pause, exit_ns, reason=Reason.INIT)
    h.stream.reap(middle)
    assert child.parent is pause
    assert grave(found(h, tmp_path)) == set()


def test_an_engine_without_a_role_kills_its_containers(tmp_path: Path) -> None:
    h = lives.host()
    engine = h.stream.fork(h.init)
    h.stream.exec(engine, "/usr/bin/crio", "/usr/bin/crio")
    p = lives.begin(h, client=None)
    h.stream.signal(p["init"], 9, engine)
    lives.end(h, signal=9, stop=False)
    assert findings_of(h.stream, tmp_path) == {}


def test_a_host_that_shuts_down(tmp_path: Path) -> None:
    h = lives.host()
    p = lives.begin(h)
    h.stream.signal(p["init"], 15, h.init)
    lives.end(h, signal=15, stop=False)
    finding = findings_of(h.stream, tmp_path)["container-killed-from-outside"]
    assert finding["severity"] == "warning"


def test_a_delete_whose_arguments_may_be_lost(tmp_path: Path) -> None:
    h = lives.host()
    p = lives.begin(h)
    h.stream.die(p["init"])
    h.stream.lost(0, 1)
    runc = h.stream.fork(p["shim"])
    h.stream.exec(runc, "/usr/bin/runc", DELETE, detail=False)
    h.stream.die(runc)
    lives.call(h, h.shell, "/bin/true")
    finding = found(h, tmp_path)["exit-not-noticed"]
    assert (finding["severity"], finding["certainty"]) == ("warning", "inferred")


def test_children_outside_of_the_filter_are_not_missed(tmp_path: Path) -> None:
    h = lives.host(start=False)
    h.stream.header["filter"] = {"kind": "cgroup", "path": "/system.slice/containerd.service"}
    older_shim(h)
    h.stream.snapshot("start")
    assert grave(found(h, tmp_path)) == set()
