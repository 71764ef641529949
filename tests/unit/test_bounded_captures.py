"""Captures that begin in the middle: the rest of a bounded recording, or a save of one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from analysis.model import Capture, open_capture
from analysis.render_text import render_text
from analysis.report import build_report
from tests import lives
from tests.lives import CID, OTHER_CID, Host
from tests.streams import BOOT_NS, WALL_NS, Proc, Stream
from tests.unit.test_report import report_of
from tracer.abi import Flag, Reason

SECOND = 1_000_000_000


def opened(stream: Stream, tmp_path: Path, **options: bool) -> Capture:
    return open_capture(stream.write(tmp_path / "x.rtrace", **options))


def text_of(stream: Stream, tmp_path: Path, columns: int = 100) -> str:
    return render_text(report_of(stream, tmp_path), width=columns, color=False)


def repeat_fact(h: Host, **values: Any) -> None:
    """As each segment does."""
    fact = {"name": "web", "image": "nginx", "runtime": "docker", "namespace": "moby"}
    h.stream.fact("container", **{"id": CID, **fact, **values})


@pytest.fixture
def running() -> Host:
    """A container runs; everything before it is dropped; then an hour passes."""
    h = lives.host()
    lives.begin(h)
    h.stream.wait(SECOND)
    h.stream.rotate(drop=True)
    repeat_fact(h)
    h.stream.wait(3600 * SECOND)
    return h


# --- names, parents, roles, containers ---------------------------------------------------------


def test_what_lives_is_known_by_the_first_snapshot(running: Host, tmp_path: Path) -> None:
    p = running.procs
    capture = opened(running.stream, tmp_path)
    frame = capture.processes
    assert frame.loc[p["shim"].id, ["role", "container"]].tolist() == ["shim-v2", CID]
    assert frame.loc[p["init"].id, ["role", "container"]].tolist() == ["container-init", CID]
    assert frame.loc[running.containerd.id, "role"] == "containerd-managed"
    assert frame.loc[p["init"].id, "args"] == ("/usr/sbin/nginx", "-g", "daemon off;")
    assert frame.loc[p["client"].id, "role"] == "docker-client"
    parents = capture.parents.set_index("child")
    assert parents.loc[p["init"].id, ["parent", "how"]].tolist() == [p["shim"].id, "snapshot"]
    assert parents.loc[p["shim"].id, "parent"] == running.init.id
    # runc is gone, with all that happened before.
    assert p["create"].id not in frame.index


def test_the_containers_end_is_explained(running: Host, tmp_path: Path) -> None:
    s, p = running.stream, running.procs
    s.signal(p["init"], 9, running.shell)
    lives.end(running, signal=9)
    report = report_of(s, tmp_path)
    (container,) = report["containers"]
    assert (container["name"], container["image"], container["began"]) == ("web", "nginx", "before")
    assert container["client"]["id"] == p["client"].id
    assert container["client_named_it"] is True
    assert container["shim"]["id"] == p["shim"].id
    assert container["daemon"]["id"] == running.dockerd.id
    assert container["manager"]["id"] == running.containerd.id
    end = container["end"]
    assert end["text"] == "was killed by SIGKILL (9), sent by bash (900)"
    assert end["cause"]["sender"]["id"] == running.shell.id
    known = {name for name, at in container["phases"].items() if at is not None}
    assert known == {"exit_ns", "reap_ns", "shim_exit_ns"}
    assert "began before what is kept; was killed by SIGKILL (9), sent by bash (900)" in text_of(
        s, tmp_path
    )


def test_no_beginning_is_made_up(running: Host, tmp_path: Path) -> None:
    """A worker reload: process 1 executes itself anew, long after it started the workload."""
    s, init = running.stream, running.procs["init"]
    s.exec(init, "/usr/sbin/nginx", "/usr/sbin/nginx -g reloaded")
    lives.end(running)
    report = report_of(s, tmp_path)
    assert report["containers"][0]["phases"]["workload_ns"] is None
    texts = [entry["text"] for entry in report["timeline"]]
    assert any("process 1 (1006) executed: /usr/sbin/nginx -g reloaded" in text for text in texts)
    assert not any("started the workload" in text for text in texts)


def test_the_workloads_start_is_seen_if_it_is_kept(tmp_path: Path) -> None:
    """GIVEN a cut between runc create and runc start THEN the exec of the workload is known."""
    h = lives.host()
    s = h.stream
    shim = s.process(
        "containerd-shim", h.init, subreaper=True, exe="/usr/bin/containerd-shim-runc-v2"
    )
    shim.args = [shim.exe or "", "-namespace", "moby", "-id", CID]
    stage = s.process("runc:[2:INIT]", shim, ns_tgid=1, pidns=7, exe="/usr/bin/runc")
    stage.args, stage.cgroup = ["runc", "init"], f"/docker/{CID}"
    s.rotate(drop=True)
    at = s.exec(stage, "/bin/app", "app")
    (container,) = report_of(s, tmp_path)["containers"]
    assert container["began"] == "before"
    assert container["phases"]["workload_ns"] == at


def test_repeated_facts_make_one_container(running: Host, tmp_path: Path) -> None:
    s = running.stream
    for name in (None, "0123456789ab", "web"):
        s.rotate()
        repeat_fact(running, name=name, image=None)
        s.fact("problem", what="docker did not answer")
    report = report_of(s, tmp_path)
    (container,) = report["containers"]
    assert (container["name"], container["image"]) == ("web", "nginx")
    assert len(container["runs"]) == 1
    assert report["capture"]["problems"] == ["docker did not answer"]


def test_a_container_of_which_only_facts_are_left(running: Host, tmp_path: Path) -> None:
    s = running.stream
    repeat_fact(running, id=OTHER_CID, name="old")
    (old,) = [c for c in report_of(s, tmp_path)["containers"] if c["id"] == OTHER_CID]
    assert (old["name"], old["runs"], old["began"]) == ("old", [], "not-seen")
    assert "docker, namespace moby, image nginx: no process of it was seen" in text_of(s, tmp_path)


# --- what ended or began out of sight ----------------------------------------------------------


def test_what_ended_before_is_no_nonsense(tmp_path: Path) -> None:
    """GIVEN an exit just before the cut and its reaping behind it THEN it had ended by then."""
    s = Stream()
    init = s.process("systemd", tgid=1)
    reaped = s.fork(init, "reaped")
    s.exit(reaped, 3)
    zombie = s.fork(init, "zombie")
    s.exit(zombie)
    late = s.fork(init, "late")
    for process in (reaped, late):
        init.children.remove(process)
    late.exit_code = 0
    s.rotate(drop=True)
    reap_ns = s.reap(reaped) if reaped in init.children else s.event(10, reaped, exit_code=3 << 8)
    exit_ns = s.exit(late)
    s.snapshot("end")
    capture = opened(s, tmp_path)
    frame = capture.processes
    assert frame.loc[reaped.id, "gone_ns"] == reap_ns
    assert frame.loc[reaped.id, ["exit_status", "role"]].tolist() == [3, "other"]
    assert frame.loc[zombie.id, "gone_ns"] < reap_ns
    assert frame.loc[late.id, "exit_ns"] == exit_ns
    assert frame.loc[late.id, "comm"] == "late"
    assert frame.loc[[reaped.id, zombie.id, late.id], "fork_ns"].isna().all()
    scene = capture.scene
    at = frame.index.get_loc(zombie.id)
    assert scene.is_older(at)
    assert not scene.alive_at(at, exit_ns)
    report_of(s, tmp_path)


def test_a_leader_that_exited_first_lives_on(tmp_path: Path) -> None:
    s = Stream()
    init = s.process("systemd", tgid=1)
    threads = s.process("threads", init)
    s.task("start", init)
    s.task("start", threads, exit_state=32)
    s.rotate(snapshot=False)
    child = s.fork(threads)
    capture = opened(s, tmp_path)
    assert capture.processes["gone_ns"].isna().all()
    assert capture.parents.set_index("child").loc[child.id, "parent"] == threads.id


@pytest.fixture
def lossy(tmp_path: Path) -> tuple[Stream, dict[str, Proc]]:
    """Between two snapshots, among lost events: one ended, one began, one became another."""
    s = Stream(step=10_000_000)
    p = {"init": s.process("systemd", tgid=1, exe="/sbin/init", args=["init"])}
    p["shim"] = s.process("shim", p["init"], subreaper=True)
    p["ended"] = s.process("ended", p["shim"])
    p["child"] = s.process("child", p["ended"])
    p["changed"] = s.process("sh", p["init"], exe="/bin/sh", args=["sh"])
    s.rotate(drop=True)
    p["forked"] = s.fork(p["init"], "forked")
    with s.drop():
        s.die(p["ended"])
        s.die(p["forked"])
        p["began"] = s.fork(p["init"], "began")
        s.exec(p["began"], "/bin/began", "began -x")
        s.exec(p["changed"], "/bin/other", "other")
    s.comm(p["init"], "systemd")
    s.wait(SECOND)
    s.rotate()
    s.comm(p["init"], "systemd")
    return s, p


def test_who_is_missing_from_a_later_snapshot_has_ended(
    lossy: tuple[Stream, dict[str, Proc]], tmp_path: Path
) -> None:
    s, p = lossy
    capture = opened(s, tmp_path)
    gone = capture.processes["gone_ns"]
    assert gone[gone.notna()].index.tolist() == [p["forked"].id, p["ended"].id]
    later = capture.table.snapshots[1]
    assert gone[p["ended"].id] == later.end_ns
    rows = capture.reparents.set_index("child")
    assert rows.loc[p["child"].id, ["to", "certainty"]].tolist() == [p["shim"].id, "inferred"]
    last = capture.parents[capture.parents["child"] == p["forked"].id].iloc[-1]
    assert (last["until_ns"], last["certainty"]) == (later.end_ns, "inferred")


def test_without_losses_a_missing_process_is_the_iterators_hole(tmp_path: Path) -> None:
    s = Stream()
    init = s.process("systemd", tgid=1)
    hidden = s.process("hidden", init)
    s.snapshot("start")
    s.wait(SECOND)
    s.task("start", init)
    s.wait(SECOND)
    s.comm(init, "systemd")
    capture = opened(s, tmp_path)
    assert capture.processes["gone_ns"].isna().all()
    assert capture.parents.set_index("child").loc[hidden.id, "certainty"] == "confirmed"


def test_a_cut_snapshot_shows_nobody_as_missing(
    lossy: tuple[Stream, dict[str, Proc]], tmp_path: Path
) -> None:
    s, _ = lossy
    assert opened(s, tmp_path, complete=False).processes["gone_ns"].isna().all()


def test_who_is_first_seen_later_began_among_lost_events(
    lossy: tuple[Stream, dict[str, Proc]], tmp_path: Path
) -> None:
    s, p = lossy
    capture = opened(s, tmp_path)
    began = capture.processes.loc[p["began"].id]
    assert began["fork_ns"] is pd.NA
    assert (began["comm"], began["filename"], began["args"]) == (
        "began",
        "/bin/began",
        ("began", "-x"),
    )
    scene = capture.scene
    at = capture.processes.index.get_loc(p["began"].id)
    assert not scene.is_older(at)
    assert scene.exec_ns(at) is None
    assert not scene.alive_at(at, s.header["clock"]["boot_ns"])
    assert scene.alive_at(at, p["began"].start_ns)
    old = capture.processes.index.get_loc(p["changed"].id)
    assert scene.is_older(old)


def test_an_exec_that_was_lost_shows_in_proc(
    lossy: tuple[Stream, dict[str, Proc]], tmp_path: Path
) -> None:
    s, p = lossy
    capture = opened(s, tmp_path)
    assert capture.processes.loc[p["changed"].id, ["filename", "args"]].tolist() == [
        "/bin/other",
        ("other",),
    ]
    programs = capture.scene.programs
    at = capture.processes.index.get_loc(p["changed"].id)
    rows = programs.rows(at)
    assert programs.filename[list(rows)].tolist() == ["/bin/sh", "/bin/other"]
    assert programs.executed[list(rows)].tolist() == [False, False]
    assert programs.from_ns[rows[1]] == capture.table.snapshots[1].begin_ns


def test_proc_does_not_correct_what_was_recorded(tmp_path: Path) -> None:
    """Titles are rewritten, links and scripts show otherwise; children are no second daemons."""
    s = Stream()
    init = s.process("systemd", tgid=1, exe="/sbin/init", args=["init"])
    old = s.process("dockerd", init, exe="/usr/bin/dockerd", args=["dockerd"])
    s.rotate(drop=True)
    renamed = s.fork(init)
    s.exec(renamed, "/usr/bin/postgres", "postgres -D /x")
    renamed.args = ["postgres: writer"]
    helper = s.fork(old)
    young = s.fork(init)
    s.exec(young, "/bin/young", "young")
    s.lost(5)
    s.comm(init, "systemd")
    s.rotate()
    frame = opened(s, tmp_path).processes
    assert frame.loc[renamed.id, "args"] == ("postgres", "-D", "/x")
    assert frame.loc[helper.id, ["filename", "role"]].tolist() == ["/usr/bin/dockerd", "other"]
    assert frame.loc[old.id, "role"] == "dockerd"
    assert frame.loc[young.id, "args"] == ("young",)


def test_proc_that_was_read_late_says_nothing_of_before(tmp_path: Path) -> None:
    s = Stream()
    init = s.process("systemd", tgid=1, exe="/sbin/init", args=["init"])
    child = s.process("runc", init, exe="/usr/bin/runc", args=["runc", "init"])
    s.task("start", init, child)
    s.exec(child, "/bin/app", "app")
    s.proc("start", init, child)
    capture = opened(s, tmp_path)
    programs = capture.scene.programs
    at = capture.processes.index.get_loc(child.id)
    assert len(programs.rows(at)) == 1
    assert programs.executed[programs.rows(at)[0]]


# --- losses, clocks, triggers ------------------------------------------------------------------


def test_what_was_lost_before_is_no_loss(tmp_path: Path) -> None:
    s = Stream(step=10_000_000)
    init = s.process("systemd", tgid=1)
    s.lost(7, 2, cpu=0)
    s.lost(3, cpu=1)
    s.rotate(drop=True)
    s.comm(init, "a", cpu=0)
    s.comm(init, "b", cpu=1)
    assert opened(s, tmp_path).table.losses.empty
    s.lost(5, cpu=1)
    s.loss()
    s.comm(init, "c", cpu=1)
    report = report_of(s, tmp_path)
    assert (report["losses"]["events"], report["losses"]["details"]) == (5, 0)
    assert {window["cpu"] for window in report["losses"]["windows"]} == {1}


def test_losses_behind_an_event_that_was_still_in_the_ring(tmp_path: Path) -> None:
    s = Stream()
    init = s.process("systemd", tgid=1)
    s.lost(2, cpu=0)
    s.rotate(drop=True)
    s.comm(init, "older", cpu=0, cpu_lost=0)
    s.comm(init, "newer", cpu=0)
    assert report_of(s, tmp_path)["losses"]["events"] == 2


def test_wall_times_follow_the_clock(tmp_path: Path) -> None:
    h = lives.host()
    s = h.stream
    s.clock()
    lives.begin(h)
    before = s.now
    at = s.clock(set_by=-3600 * SECOND)
    lives.end(h)
    report = report_of(s, tmp_path)
    clocks = report["capture"]["clocks"]
    assert [c["set_ns"] for c in clocks] == [0, 0, -3600 * SECOND]
    for entry in report["timeline"]:
        reading = [c for c in clocks if c["boot_ns"] <= entry["ts_ns"]][-1]
        wall_ns = reading["wall_ns"] + entry["ts_ns"] - reading["boot_ns"]
        expected = WALL_NS + entry["rel_ns"] - (3600 * SECOND if entry["ts_ns"] >= at else 0)
        assert wall_ns == expected
        stamp = pd.Timestamp(expected // 1000, unit="us").isoformat(timespec="microseconds")
        assert entry["utc"] == f"{stamp}Z"
    assert {e["ts_ns"] > before for e in report["timeline"]} == {True, False}
    (mark,) = [e for e in report["timeline"] if e["kind"] == "clock"]
    assert (mark["ts_ns"], mark["container"]) == (at, None)
    assert mark["text"] == "the wall clock was set back by 3600.000 s"
    assert mark["text"] in text_of(s, tmp_path)


def test_a_suspend_is_a_gap(running: Host, tmp_path: Path) -> None:
    s = running.stream
    s.exec(running.procs["init"], "/bin/a")
    before = s.now
    s.clock(suspended=300 * SECOND)
    lives.end(running)
    report = report_of(s, tmp_path)
    (mark,) = [e for e in report["timeline"] if e["kind"] == "suspend"]
    assert mark["text"] == "the host was suspended for 300.0 s"
    assert before <= mark["ts_ns"] <= before + s.step
    # The wall clock went on, too.
    assert [c["set_ns"] for c in report["capture"]["clocks"]] == [0, 0]
    text = text_of(s, tmp_path)
    assert text.count("the host was suspended for 300.0 s") == 2  # in the head, in the timeline


def test_a_repeated_reading_is_no_change(tmp_path: Path) -> None:
    """GIVEN a clock that was set and a suspend before the cut THEN neither is told of again."""
    s = Stream()
    at = s.clock(set_by=SECOND, suspended=300 * SECOND)
    s.wait(SECOND)
    s.rotate(drop=True)
    s.header["clock"].pop("monotonic_ns")
    again = {"boot_ns": at, **s._other_clocks(at)}
    s.fact("clock", **again)
    s.fact("clock", **again)
    capture = report_of(s, tmp_path)["capture"]
    assert capture["clocks"] == [
        {
            "boot_ns": s.header["clock"]["boot_ns"],
            "wall_ns": s.header["clock"]["wall_ns"],
            "set_ns": 0,
            "suspended_ns": 0,
        }
    ]
    s.clock(suspended=7 * SECOND)
    suspends = [c["suspended_ns"] for c in report_of(s, tmp_path)["capture"]["clocks"]]
    assert suspends == [0, 7 * SECOND]


def test_a_clock_that_only_drifts_was_not_set(tmp_path: Path) -> None:
    s = Stream()
    s.clock(set_by=9_000_000)
    assert [c["set_ns"] for c in report_of(s, tmp_path)["capture"]["clocks"]] == [0, 0]


def test_a_save_says_why(running: Host, tmp_path: Path) -> None:
    s, p = running.stream, running.procs
    s.signal(p["shim"], 9, running.shell)
    at = s.die(p["shim"], signal=9)
    for _ in range(2):  # in the recording, and again in the save
        s.trigger("shim-exit", p["shim"], "containerd-shim (1002) was killed by SIGKILL", at)
    s.snapshot("end")
    s.header |= {"max_bytes": 20_000_000, "triggers": ["shim-exit", "oom"]}
    s.trailer = {"reason": "saved", "trigger_ns": at}
    report = report_of(s, tmp_path)
    capture = report["capture"]
    assert capture["complete"] is True
    assert capture["reason"] == "saved"
    assert capture["max_bytes"] == 20_000_000
    assert capture["trigger_words"] == ["shim-exit", "oom"]
    assert capture["recording_began_ns"] == BOOT_NS
    assert capture["recording_began_utc"] == "2023-11-14T22:13:20.000000Z"
    assert capture["kept_from_ns"] == capture["started"]["boot_ns"] > BOOT_NS
    assert capture["events_dropped"] > 0
    assert capture["snapshots"] == {"start": True, "end": True, "count": 2}
    (fired,) = capture["triggers"]
    assert (fired["trigger"], fired["at_ns"]) == ("shim-exit", at)
    assert fired["process"]["role"] == "shim-v2"
    (mark,) = [e for e in report["timeline"] if e["kind"] == "trigger"]
    assert (mark["ts_ns"], mark["processes"]) == (at, [p["shim"].id])
    text = text_of(s, tmp_path)
    began = "a save of a recording that goes on since 2023-11-14 22:13:20 UTC; events before"
    assert f"{began} 22:13:21 UTC were dropped ({capture['events_dropped']:,})" in " ".join(
        text.split()
    )
    seconds = f"+{(at - capture['kept_from_ns']) / 1e9:.6f} s"
    why = "saved because: containerd-shim (1002) was killed by SIGKILL"
    assert f"{why} at {seconds} (shim-exit)" in text
    assert "complete, nothing lost" in text


def test_a_save_on_request(running: Host, tmp_path: Path) -> None:
    running.stream.trailer = {"reason": "saved"}
    assert "saved on request" in text_of(running.stream, tmp_path)


@pytest.mark.parametrize("told", [True, False])
def test_triggers_of_other_saves_are_no_reason(running: Host, tmp_path: Path, told: bool) -> None:
    """GIVEN a trigger an hour before that of a save THEN only the last one is its reason."""
    s = running.stream
    s.trigger("oom", running.procs["init"], "the OOM killer chose nginx (1006)")
    s.wait(3600 * SECOND)
    s.trigger("shim-exit", running.procs["shim"], "containerd-shim (1002) exited 0")
    s.trailer = {"reason": "saved"} | ({"trigger_ns": s.now - s.step} if told else {})
    triggers = report_of(s, tmp_path)["capture"]["triggers"]
    assert [(fired["trigger"], fired["saved"]) for fired in triggers] == [
        ("oom", False),
        ("shim-exit", True),
    ]
    text = text_of(s, tmp_path)
    assert "trigger: the OOM killer chose nginx (1006)" in text
    assert "saved because: containerd-shim (1002) exited 0" in text
    s.trailer = {"reason": "signal"}
    assert "saved because" not in text_of(s, tmp_path)


def test_a_trigger_on_a_process_that_is_not_kept(tmp_path: Path) -> None:
    s = Stream()
    unknown = s.process("dockerd")
    s.rotate(drop=True, snapshot=False)
    s.trigger("dockerd-exit", unknown, "dockerd\x1b[2J exited")
    s.trailer = {"reason": "saved"}
    report = report_of(s, tmp_path)
    assert report["capture"]["triggers"][0]["process"] is None
    assert "dockerd\\x1b[2J exited" in text_of(s, tmp_path)


def test_marks_show_in_one_containers_report(running: Host, tmp_path: Path) -> None:
    s = running.stream
    s.exec(running.procs["init"], "/bin/a")
    at = s.clock(suspended=300 * SECOND)
    lives.end(running)
    capture = opened(s, tmp_path)
    report = build_report(capture, container="web")
    assert {e["container"] for e in report["timeline"]} == {CID, None}
    late = build_report(capture, since_ns=at)
    assert not [e for e in late["timeline"] if e["kind"] == "suspend"]


# --- more children than an exit lists ----------------------------------------------------------


def test_children_beyond_the_walk_of_whom_only_a_snapshot_tells(tmp_path: Path) -> None:
    """GIVEN an engine that lists one child of each exit THEN the others follow the same reaper."""
    s = Stream()
    init = s.process("systemd", tgid=1)
    shim = s.process("shim", init, subreaper=True)
    father = s.process("father", shim)
    listed, alive, zombie, reaped, left = (s.process(f"c{i}", father) for i in range(5))
    zombie.exit_code = 0
    s.rotate(drop=True)
    s.exit(reaped)
    s.reap(reaped)
    s.exit(left)
    s.wait(10_000_000)
    exit_ns = s.reparent(listed, flags=Flag.MORE)
    s.exit(father, at=exit_ns)
    s.reaper(father, shim, exit_ns, reason=Reason.SUBREAPER, flags=Flag.MORE)
    s.wait(500_000_000)
    s.reap(left)
    rows = opened(s, tmp_path).reparents.set_index("child")
    columns = ["to", "reason", "certainty", "evidence"]
    assert rows.loc[listed.id, columns].tolist() == [
        shim.id,
        "subreaper",
        "confirmed",
        "reaper-signal",
    ]
    assert rows.loc[alive.id, columns].tolist() == [shim.id, "subreaper", "confirmed", "overflow"]
    for dead in (zombie, left):
        assert rows.loc[dead.id, columns].tolist() == [
            shim.id,
            "subreaper",
            "inferred",
            "overflow",
        ]
    assert reaped.id not in rows.index
