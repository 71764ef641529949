"""What people could not find out, by the issue threads in which they asked: the finding, or the
answer of `rtrace why`, that tells them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from analysis.model import open_capture
from analysis.why.answer import build_why
from tests import lives
from tests.found import MS, SECOND, findings_of, grave
from tests.lives import CID, OTHER_CID, Host
from tests.streams import Proc, Stream
from tracer.abi import Context, Origin, Reason

SHIM = "/usr/bin/containerd-shim-runc-v2"


def found(h: Host, tmp_path: Path) -> dict[str, Any]:
    h.stream.wait(10 * SECOND)
    h.stream.snapshot("end")
    return findings_of(h.stream, tmp_path)


def why(h: Host, tmp_path: Path, target: str | Proc) -> dict[str, Any]:
    path = h.stream.write(tmp_path / "why.rtrace")
    return build_why(open_capture(path), target if isinstance(target, str) else target.id)


def test_nomad_6060_who_sent_sigkill(tmp_path: Path) -> None:
    """Exit code 137, and nothing in any log: a script that cron ran (akash support#657)."""
    h = lives.host()
    p = lives.begin(h)
    s = h.stream
    cron = s.fork(h.init)
    s.exec(cron, "/usr/sbin/cron", "/usr/sbin/cron -f", cgroup="/system.slice/cron.service")
    script = s.fork(cron)
    s.exec(script, "/bin/sh", ["/bin/sh", "-c", "/usr/local/bin/reap-old"])
    s.signal(p["init"], 9, script)
    lives.end(h, signal=9, stop=False)
    finding = found(h, tmp_path)["container-killed-from-outside"]
    assert f"sent by sh ({script.tgid}) of cron ({cron.tgid}), unit cron.service" in finding["text"]
    assert "137" in finding["next"]
    assert "/usr/local/bin/reap-old" in why(h, tmp_path, "web")["answer"]["text"]


def test_moby_44215_killed_as_a_thread_ended(tmp_path: Path) -> None:
    """containerd was killed, by nobody: the thread of dockerd that had started it had ended."""
    h = lives.host()
    s, child, parent = h.stream, h.containerd, h.dockerd
    tid, ts_ns = parent.tgid + 7, s.now + s.step
    s.reparent(child, at=ts_ns, tid=tid, reason=Reason.THREAD)
    context = Context.EXITING | Context.PDEATH
    s.signal(child, 9, parent, origin=Origin.NOINFO, context=context, sender_tid=tid)
    s.reaper(parent, parent, ts_ns, tid=tid, children=[child])
    s.die(child, signal=9)
    findings = found(h, tmp_path)
    assert grave(findings) == {"killed-by-parent-death"}
    finding = findings["killed-by-parent-death"]
    assert "a thread of dockerd (600) had ended" in finding["text"]
    assert "dockerd (600) itself lived on" in finding["text"]


def test_containerd_9719_killed_with_the_pid_namespace(tmp_path: Path) -> None:
    """Processes of docker exec got SIGKILL: process 1 had exited."""
    h = lives.host()
    p = lives.begin(h)
    member = lives.run_exec(h, p["shim"], CID, "/bin/sh")
    lives.end(h, stop=False)
    assert found(h, tmp_path) == {}
    answer = why(h, tmp_path, member)["answer"]["text"]
    assert "pid namespace" in answer
    assert "nginx" in answer


def test_containerd_13692_shims_with_ppid_1_are_no_orphans(tmp_path: Path) -> None:
    """containerd#3200 asked the same."""
    h = lives.host(managed=False)
    lives.begin(h)
    lives.begin(h, cid=OTHER_CID, name="db", pidns=4026532600)
    findings = found(h, tmp_path)
    assert set(findings) == {"orphan-expected"}
    assert "have init as parent by design" in findings["orphan-expected"]["text"]


def test_containerd_13849_a_shim_without_children_behind_process_1(tmp_path: Path) -> None:
    """containerd#8931. Process 1 had died, and every request about the container hung."""
    h = lives.host(managed=False)
    p = lives.begin(h)
    h.stream.die(p["init"], signal=9)
    findings = found(h, tmp_path)
    assert grave(findings) == {"exit-not-noticed"}
    finding = findings["exit-not-noticed"]
    assert finding["processes"] == [p["init"].id, p["shim"].id]
    assert "has done nothing to clean up behind it" in finding["text"]


def test_containerd_12344_shims_leak(tmp_path: Path) -> None:
    """Found long after their containers had ended."""
    h = lives.host(managed=False, start=False)
    args = [SHIM, "-namespace", "k8s.io", "-id", CID, "-address", "/run/containerd.sock"]
    shim = h.stream.process("containerd-shim", h.init, exe=SHIM, args=args, subreaper=True)
    h.stream.snapshot("start")
    findings = found(h, tmp_path)
    assert grave(findings) == {"shim-without-children"}
    assert findings["shim-without-children"]["processes"] == [shim.id]


def test_docker_for_linux_779_the_process_is_dead_and_docker_says_running(tmp_path: Path) -> None:
    """moby#43022. The shim had been killed before, and containerd was down."""
    h = lives.host(managed=False)
    p = lives.begin(h)
    h.stream.die(h.containerd, signal=9)
    h.stream.die(p["shim"], signal=9)
    h.stream.wait(SECOND)
    h.stream.die(p["init"], 1)
    finding = found(h, tmp_path)["exit-not-noticed"]
    assert finding["severity"] == "error"
    assert "nothing has cleaned up behind it: its shim was gone" in finding["text"]
    assert "it may still call web running" in finding["next"]


def test_kubernetes_81042_zombies_of_exec_probes(tmp_path: Path) -> None:
    """moby#34683, containerd#10002: a probe's children, which process 1 does not wait for."""
    h = lives.host()
    p = lives.begin(h)
    for _ in range(20):
        probe = lives.run_exec(h, p["shim"], CID, "/bin/sh")
        child = h.stream.fork(probe, "curl")
        h.stream.die(probe, signal=9)
        h.stream.die(child, reap=False)
    findings = found(h, tmp_path)
    assert grave(findings) == {"exec-probe-zombies"}
    finding = findings["exec-probe-zombies"]
    assert finding["text"].startswith("20 zombies of exec (docker exec, or a probe) in web: ")
    assert f"their parent, nginx ({p['init'].tgid}; process 1 of web)" in finding["text"]


def test_moby_39432_containers_survive_an_upgrade(tmp_path: Path) -> None:
    """moby#38726, containerd#7040: from 18.06, where containerd was dockerd's child, to 18.09."""
    h = lives.host(managed=True, old_names=True)
    p = lives.begin(h, shim="v1")
    s = h.stream
    s.signal(h.dockerd, 15, h.init)
    s.die(h.containerd)
    s.die(h.dockerd)
    assert p["shim"].parent is h.init
    containerd, dockerd = s.fork(h.init), s.fork(h.init)
    s.exec(containerd, "/usr/bin/containerd", "/usr/bin/containerd")
    s.exec(dockerd, "/usr/bin/dockerd", "dockerd --containerd=/run/containerd/containerd.sock")
    findings = found(h, tmp_path)
    assert grave(findings) == {"container-left-behind"}
    finding = findings["container-left-behind"]
    assert finding["processes"] == [p["shim"].id, p["init"].id, h.containerd.id, containerd.id]
    assert "was dockerd's own child" in finding["text"]
    assert finding["certainty"] == "inferred"


def test_a_restart_of_the_same_docker_leaves_nothing_behind(tmp_path: Path) -> None:
    """The near miss of moby#39432: live-restore, and dockerd starts its containerd again."""
    h = lives.host(managed=True, old_names=True)
    lives.begin(h, shim="v1")
    s = h.stream
    s.die(h.containerd)
    s.die(h.dockerd)
    dockerd = s.fork(h.init)
    s.exec(dockerd, "/usr/sbin/dockerd", "/usr/sbin/dockerd -H fd://")
    containerd = s.fork(dockerd)
    s.exec(containerd, "/usr/bin/docker-containerd", ["docker-containerd", "--config", "/c.toml"])
    assert grave(found(h, tmp_path)) == set()


def test_docker_for_linux_1155_an_update_of_containerd_stops_docker(tmp_path: Path) -> None:
    """moby#48179. systemd stops first what is bound to the unit that it is asked to stop."""
    h = lives.host(managed=False)
    s = h.stream
    s.attach(h.dockerd, "/system.slice/docker.service")
    s.attach(h.containerd, "/system.slice/containerd.service")
    upgrade = s.fork(h.init)
    s.exec(upgrade, "/usr/bin/unattended-upgrade", "/usr/bin/unattended-upgrade")
    control = s.fork(upgrade)
    s.exec(control, "/usr/bin/systemctl", "systemctl stop containerd.service")
    for daemon in (h.dockerd, h.containerd):
        s.signal(daemon, 15, h.init)
        s.wait(300 * MS)
        s.die(daemon)
    s.die(control)
    findings = found(h, tmp_path)
    assert grave(findings) == {"daemon-stopped-with-unit"}
    finding = findings["daemon-stopped-with-unit"]
    assert "systemctl stop containerd.service" in finding["text"]
    assert {h.dockerd.id, h.containerd.id, control.id} <= set(finding["processes"])
    assert "BindsTo" in finding["next"]


def test_docker_for_linux_1155_where_no_systemctl_was_recorded(tmp_path: Path) -> None:
    """containerd is back and docker is not."""
    h = lives.host(managed=False)
    s = h.stream
    for daemon in (h.dockerd, h.containerd):
        s.signal(daemon, 15, h.init)
        s.wait(300 * MS)
        s.die(daemon)
    s.wait(SECOND)
    again = s.fork(h.init)
    s.exec(again, "/usr/bin/containerd", "/usr/bin/containerd")
    finding = found(h, tmp_path)["daemon-stopped-with-unit"]
    assert finding["certainty"] == "inferred"


def test_moby_38352_oom_of_a_child_and_the_flag_of_docker(tmp_path: Path) -> None:
    """nomad#12735. Process 1 lives on, or exits with a status of its own."""
    h = lives.host()
    p = lives.begin(h)
    s = h.stream
    hog = s.fork(p["init"], "hog")
    s.oom(hog)
    s.signal(hog, 9, hog, origin=Origin.PRIV, context=Context.EXITING)
    s.die(hog, signal=9)
    lives.end(h, status=1, stop=False)
    findings = found(h, tmp_path)
    assert grave(findings) == {"oom"}
    text = findings["oom"]["text"]
    assert f"the kernel chose hog ({hog.tgid}) in web when memory ran out" in text
    assert "that was not its process 1: nginx" in text
    assert "exited 1" in text


def test_containerd_4204_the_number_of_a_shim_is_somebody_elses(tmp_path: Path) -> None:
    """containerd asked with kill(9750, 0) whether its shim was gone, for ever."""
    h = lives.life(managed=False)
    shim = h.procs["shim"]
    other = h.stream.fork(h.shell, "java", tgid=shim.tgid)
    findings = found(h, tmp_path)
    assert set(findings) == {"recycled-pid"}
    assert findings["recycled-pid"]["processes"] == [shim.id, other.id]
    assert f"java ({other.tgid}), which has it now" in findings["recycled-pid"]["text"]
    assert shim.id in findings["recycled-pid"]["next"]


def test_containerd_13049_two_execs_with_one_number(tmp_path: Path) -> None:
    """The shim took the exit of the second for that of the first."""
    h = lives.host()
    p = lives.begin(h)
    first = lives.run_exec(h, p["shim"], CID, "/bin/true")
    h.stream.die(first)
    h.stream._next_tgid = first.tgid - 3  # so that the process behind the stages has it again
    second = lives.run_exec(h, p["shim"], CID, "/bin/false")
    assert second.tgid == first.tgid
    h.stream.die(second, 1)
    finding = found(h, tmp_path)["recycled-pid"]
    assert finding["processes"] == [first.id, second.id]
    assert finding["text"].count("in web") == 2


def test_containerd_13049_a_zombie_that_is_taken_for_alive(tmp_path: Path) -> None:
    h = lives.host()
    p = lives.begin(h)
    h.stream.die(p["init"], 1, reap=False)
    finding = found(h, tmp_path)["exit-not-noticed"]
    assert "a zombie, whose number still seems alive" in finding["text"]


def test_a_host_without_containers_has_no_findings(tmp_path: Path) -> None:
    s = Stream()
    init = s.process("systemd", tgid=1)
    s.snapshot("start")
    s.die(s.fork(init), 1)
    s.snapshot("end")
    assert findings_of(s, tmp_path) == {}
