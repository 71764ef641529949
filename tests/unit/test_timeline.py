"""The timeline: what it says, in which order, on which evidence."""

from __future__ import annotations

import os
import re
from pathlib import Path

from analysis.model import Capture, open_capture
from analysis.steps import Entry
from analysis.timeline import TOLD, container_timeline
from tests import lives
from tests.lives import CID, Host
from tracer.abi import Hook, Origin, Reason, Type


def told(h: Host, tmp_path: Path) -> tuple[Capture, list[Entry]]:
    capture = open_capture(h.stream.write(tmp_path / "x.rtrace"))
    entries = [e for c in capture.container_list for e in container_timeline(capture.scene, c)]
    return capture, entries


def texts(h: Host, tmp_path: Path) -> list[str]:
    """Sentences with process ids taken out."""
    return [re.sub(r" \(\d+\)", "", e.text) for e in told(h, tmp_path)[1]]


def test_a_life_with_shim_v2(tmp_path: Path) -> None:
    assert texts(lives.life(), tmp_path) == [
        "docker ran: docker run --rm --name web nginx",
        "containerd ran containerd-shim start",
        "containerd-shim start forked containerd-shim: the shim (v2)",
        "containerd-shim start exited 0; systemd adopted containerd-shim, the shim: init of the "
        "pid namespace, confirmed; this is by design of shim v2",
        "containerd-shim ran runc create",
        "runc create made process 1, nginx, through its `init` stages",
        "runc exited 0; containerd-shim adopted nginx, process 1: nearest subreaper, confirmed",
        "containerd-shim ran runc start, which exited 0 after 2.0 ms",
        "process 1 started the workload: /usr/sbin/nginx -g 'daemon off;'",
        "nginx, process 1, exited 0",
        "nginx, process 1, had been reaped; its parent was containerd-shim",
        "containerd-shim ran runc delete, which exited 0 after 2.0 ms",
        "containerd-shim, the shim, exited 0",
        "docker exited 0",
    ]


def test_a_life_with_shim_v1_and_old_names(tmp_path: Path) -> None:
    found = texts(lives.life(shim="v1", old_names=True), tmp_path)
    assert found[1] == "docker-containerd forked docker-containerd-shim: the shim (v1)"
    assert (
        "docker-runc exited 0; docker-containerd-shim adopted nginx, process 1: nearest subreaper, "
        "confirmed" in found
    )


def test_the_shim_of_docker_18_is_adopted_when_its_containerd_dies(tmp_path: Path) -> None:
    h = lives.host(managed=True)
    lives.begin(h, shim="v1")
    h.stream.signal(h.containerd, 9, h.shell)
    h.stream.die(h.containerd, signal=9)
    lives.end(h)
    assert (
        "containerd was killed by SIGKILL, sent by bash; systemd adopted containerd-shim, the "
        "shim: init of the pid namespace, confirmed" in texts(h, tmp_path)
    )


def test_a_killed_shim_and_the_orphan(tmp_path: Path) -> None:
    h = lives.host()
    p = lives.begin(h)
    h.stream.signal(p["shim"], 9, h.shell)
    h.stream.die(p["shim"], signal=9)
    found = texts(h, tmp_path)
    # The end that follows at once tells of the signal, too, and of who sent it.
    capture, entries = told(h, tmp_path)
    (end,) = [e for e in entries if "was killed" in e.text]
    assert capture.processes.index.get_loc(h.shell.id) in end.processes
    assert "SIGKILL to containerd-shim, the shim, sent by bash" not in found
    assert (
        "containerd-shim, the shim, was killed by SIGKILL, sent by bash; systemd adopted nginx, "
        "process 1: init of the pid namespace, confirmed" in found
    )


def test_a_signal_whose_end_comes_later_is_told_when_it_was_sent(tmp_path: Path) -> None:
    h = lives.host()
    p = lives.begin(h)
    h.stream.signal(p["init"], 9, h.shell)
    h.stream.wait(3_000_000_000)  # it hung in a system call
    lives.end(h, signal=9)
    found = texts(h, tmp_path)
    assert "SIGKILL to nginx, process 1, sent by bash" in found
    assert "nginx, process 1, was killed by SIGKILL, sent by bash" in found


def test_orphans_in_the_container_and_its_end(tmp_path: Path) -> None:
    h = lives.host()
    p = lives.begin(h)
    worker = h.stream.fork(p["init"])
    orphans = [h.stream.fork(worker, "job") for _ in range(6)]
    h.stream.die(worker)
    assert all(orphan.alive for orphan in orphans)
    lives.end(h)
    found = texts(h, tmp_path)
    assert (
        "nginx exited 0; nginx adopted job, job, job, job and 2 more: "
        "init of the pid namespace, confirmed" in found
    )
    assert (
        "nginx, process 1, exited 0; the kernel killed 6 more processes in its pid namespace"
        in found
    )


def test_an_exec_is_told(tmp_path: Path) -> None:
    h = lives.host()
    p = lives.begin(h)
    entered = lives.run_exec(h, p["shim"], CID, "/bin/sh -c id")
    h.stream.die(entered, 3)
    found = texts(h, tmp_path)
    at = found.index("sh entered the container: /bin/sh -c id")
    assert found[at - 1] == "containerd-shim ran runc exec"
    assert (
        found[at + 1] == "runc exited 0; containerd-shim adopted sh: nearest subreaper, confirmed"
    )
    assert found[at + 2] == "sh exited 3"


def test_what_was_not_confirmed_is_not_called_so(tmp_path: Path) -> None:
    """GIVEN the REAPER of runc create was lost, and nothing later shows the new parent."""
    h = lives.host()
    p = lives.begin(h)
    s = h.stream
    runc = s.fork(p["shim"])
    s.exec(runc, "/usr/bin/runc", f"runc --root /run/runc exec {CID}")
    process = lives.stages(h, runc, CID)
    s.exec(process, "/bin/sh", "sh")
    ts_ns = s.reparent(process)
    s.exit(runc, at=ts_ns)
    _, entries = told(h, tmp_path)
    (entry,) = [e for e in entries if process.tgid in _tgids(e) and "adopted" in e.text]
    assert entry.certainty != "confirmed"
    assert "confirmed" not in entry.text.replace("not confirmed", "")


def _tgids(entry: Entry) -> list[int]:
    return [int(number) for number in re.findall(r"\((\d+)\)", entry.text)]


def test_an_unknown_new_parent_is_said_to_be_unknown(tmp_path: Path) -> None:
    h = lives.host()
    p = lives.begin(h)
    s = h.stream
    runc = s.fork(p["shim"])
    s.exec(runc, "/usr/bin/runc", f"runc --root /run/runc exec {CID}")
    process = lives.stages(h, runc, CID)
    ts_ns = s.reparent(process, reaper_tgid=0, reaper_start_ns=0, reason=Reason.UNKNOWN)
    s.exit(runc, at=ts_ns)
    s.reaper(runc, None, ts_ns, hook=Hook.NONE)
    assert any("is not known" in text for text in texts(h, tmp_path))


def test_every_entry_rests_on_events_that_are_in_the_capture(tmp_path: Path) -> None:
    h = lives.host()
    p = lives.begin(h)
    h.stream.signal(p["init"], 15, h.shell)
    lives.end(h, signal=15)
    capture, entries = told(h, tmp_path)
    for entry in entries:
        assert entry.evidence
        for evidence in entry.evidence:
            rows = capture.table.of(Type[evidence.event])
            tgid = capture.scene.tgid[evidence.pos]
            assert ((rows["ts_ns"] == evidence.ts_ns) & (rows["tgid"] == tgid)).any()
    assert [e.ts_ns for e in entries] == sorted(e.ts_ns for e in entries)


def test_a_storm_of_signals_is_counted(tmp_path: Path) -> None:
    h = lives.host()
    p = lives.begin(h)
    for _ in range(TOLD + 7):
        h.stream.signal(p["init"], 10, h.shell)
    found = texts(h, tmp_path)
    assert sum(text.startswith("SIGUSR1") for text in found) == TOLD
    assert "7 more signals of nginx are not listed" in found


def test_sentences_are_harmless(tmp_path: Path) -> None:
    h = lives.host()
    lives.begin(h, client="docker run --rm --name web nginx '\x1b[31mred\u202e'")
    h.stream.comm(h.procs["init"], os.fsdecode(b"\x1b]0;x\x07\xff"))
    lives.end(h)
    for text in texts(h, tmp_path):
        assert text.isprintable()


def test_hooks_of_runc_are_not_the_container(tmp_path: Path) -> None:
    """GIVEN runc create that runs dockerd's network hook, a child of its own, and --pid=host."""
    h = lives.host()
    s = h.stream
    shim = s.fork(h.containerd)
    line = f"/usr/bin/containerd-shim-runc-v2 -namespace moby -id {CID} -address /c"
    s.exec(shim, line.split()[0], line)
    s.subreaper(shim)
    create = s.fork(shim)
    s.exec(create, "/usr/bin/runc", f"runc --root /run/runc create --bundle /b {CID}")
    init = lives.stages(h, create, CID, pidns=0)
    hook = s.fork(create)
    s.exec(hook, "/proc/600/exe", ["libnetwork-setkey", CID], comm="exe")
    s.die(hook)
    s.die(create)
    s.exec(init, "/bin/sh", "sh")
    capture, _ = told(h, tmp_path)
    assert capture.processes.at[hook.id, "container"] is None
    assert capture.processes.at[hook.id, "role"] == "other"
    (container,) = capture.container_list
    (run,) = container.runs
    assert capture.scene.ids[run.init or 0] == init.id


def test_a_pid_namespace_used_again(tmp_path: Path) -> None:
    """GIVEN the inode of a dead container's namespace on another THEN they are not mixed up."""
    h = lives.life(pidns=4026532500)
    other = h.stream.fork(h.shell, ns_tgid=1, pidns=4026532500)
    child = h.stream.fork(other)
    capture, _ = told(h, tmp_path)
    assert capture.processes["container"][[other.id, child.id]].isna().all()
    assert capture.processes.at[other.id, "role"] == "init"


def test_threads_that_end_before_their_process_do_not_hide_the_adoption(tmp_path: Path) -> None:
    """GIVEN children moved from thread to thread as runc ends (Go), and a last move just behind
    its EXIT THEN one sentence tells it."""
    h = lives.host()
    p = lives.begin(h)
    s = h.stream
    runc = s.fork(p["shim"])
    s.exec(runc, "/usr/bin/runc", f"runc --root /run/runc exec {CID}")
    process = lives.stages(h, runc, CID)
    s.exec(process, "/bin/sh", "sh")
    for tid in (5001, 5002):
        ts_ns = s.reparent(process, reason=Reason.THREAD, tid=tid)
        s.reaper(runc, runc, ts_ns, reason=Reason.THREAD, tid=tid, reaper_tid=tid + 1)
    s.exit(runc)
    ts_ns = s.reparent(process, tid=5003)
    s.reaper(runc, p["shim"], ts_ns, tid=5003)
    found = texts(h, tmp_path)
    assert "runc exited 0; containerd-shim adopted sh: nearest subreaper, confirmed" in found
    assert not any("another thread" in text for text in found)


def test_an_oom_victim_known_by_its_number_alone(tmp_path: Path) -> None:
    """GIVEN mark_victim as before Linux 6.10, and a number that was used before THEN the process
    that had the number then is the victim, and no other comes of it."""
    h = lives.host()
    s = h.stream
    before = s.fork(h.shell, tgid=5000)
    s.signal(before, 9, h.shell)
    s.die(before, signal=9)
    victim = s.fork(h.shell, tgid=5000)
    s.oom(victim, start_ns=0)
    s.signal(victim, 9, victim, origin=Origin.PRIV, si_code=128)
    s.die(victim, signal=9)
    scene = open_capture(s.write(tmp_path / "x.rtrace")).scene
    ends = {scene.ids[p]: scene.end_of(p) for p in range(len(scene.ids))}
    assert ends[victim.id].oom
    assert not ends[before.id].oom
    assert "5000:0" not in ends
