"""The host's timeline: daemons that come and go, commands of no container, and what is folded."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from analysis.model import open_capture
from analysis.render_text import render_text
from analysis.report import build_report
from tests import lives
from tests.lives import CID, OTHER_CID, Host
from tests.streams import Proc, Stream
from tests.unit.test_report import report_of, validator
from tracer.abi import Context, Origin

MS, SECOND = 1_000_000, 1_000_000_000


def host_texts(report: Any, *kinds: str) -> list[str]:
    """Sentences about the host with process ids taken out."""
    return [
        re.sub(r" \(\d{3,}\)|(?<=systemd) \(1\)", "", entry["text"])
        for entry in report["timeline"]
        if entry["container"] is None and (not kinds or entry["kind"] in kinds)
    ]


def text_of(stream: Stream, tmp_path: Path, *, columns: int = 100, **options: Any) -> str:
    path = stream.write(tmp_path / "x.rtrace")
    report = build_report(open_capture(path), full=options.get("full", False))
    return render_text(report, width=columns, color=False, **options)


def start(h: Host, name: str, line: str, by: Proc | None = None, unit: str = "") -> Proc:
    """A daemon is started."""
    daemon = h.stream.fork(by or h.init)
    cgroup = f"/system.slice/{unit}" if unit else None
    h.stream.exec(daemon, f"/usr/bin/{name}", line, cgroup=cgroup)
    return daemon


def client(h: Host, line: str, status: int = 0) -> Proc:
    s = h.stream
    process = s.fork(h.shell)
    s.exec(process, "/usr/bin/docker", line)
    s.wait(20 * MS)
    s.die(process, status)
    return process


# --- daemons -----------------------------------------------------------------------------------


def test_a_containerd_that_is_killed_and_comes_back(tmp_path: Path) -> None:
    # GIVEN a container, and a containerd that is a service
    h = lives.host(managed=False)
    lives.begin(h)
    # WHEN somebody kills containerd, and systemd starts it again
    h.stream.signal(h.containerd, 9, h.shell)
    h.stream.die(h.containerd, signal=9)
    h.stream.wait(100 * MS)
    again = start(h, "containerd", "/usr/bin/containerd", unit="containerd.service")
    h.stream.snapshot("end")
    # THEN the host's timeline says so, with the sender, its unit and the time in between
    report = report_of(h.stream, tmp_path)
    assert host_texts(report, "daemon") == [
        "containerd was killed by SIGKILL (9), sent by bash",
        f"systemd started containerd ({again.tgid}; containerd.service): /usr/bin/containerd; "
        "containerd had ended 100 ms before",
    ]
    former, latter = (d for d in report["daemons"] if d["process"]["role"] == "containerd")
    assert (former["began"], former["end"]["how"], former["former"]) == ("before", "killed", None)
    assert latter["former"]["id"] == h.containerd.id
    assert (latter["unit"], latter["starter"]["id"]) == ("containerd.service", h.init.id)
    # AND the container's report has both, since one took the place of the other
    (container,) = report["containers"]
    assert container["daemons"] == [h.dockerd.id, h.containerd.id, again.id]
    only = report_of(h.stream, tmp_path, container="web")
    assert host_texts(only, "daemon") == host_texts(report, "daemon")


def test_dockerd_dies_and_takes_its_containerd_with_it(tmp_path: Path) -> None:
    h = lives.host(managed=True)
    lives.begin(h, shim="v1")
    s = h.stream
    s.signal(h.dockerd, 9, h.shell)
    death = {"origin": Origin.NOINFO, "context": Context.EXITING | Context.PDEATH}
    s.signal(h.containerd, 9, h.dockerd, **death)
    s.die(h.containerd, signal=9, reap=False)
    s.die(h.dockerd, signal=9)
    found = host_texts(report_of(s, tmp_path), "daemon")
    assert found == [
        "containerd was killed by SIGKILL (9), the parent-death signal of dockerd; systemd adopted "
        "containerd-shim, shim of web: init of the pid namespace, confirmed",
        "dockerd was killed by SIGKILL (9), sent by bash; systemd adopted containerd, dead by then:"
        " init of the pid namespace, confirmed",
    ]


def test_signals_that_a_daemon_survives_are_told_and_those_that_say_nothing_are_not(
    tmp_path: Path,
) -> None:
    h = lives.host()
    s = h.stream
    s.signal(h.dockerd, 1, h.shell)  # reload
    s.signal(h.dockerd, 13, h.dockerd)  # a client went away
    s.signal(h.dockerd, 15, h.init)
    s.signal(h.dockerd, 18, h.init)
    s.wait(SECOND)
    s.signal(h.dockerd, 9, h.init)
    s.signal(h.dockerd, 9, h.init)
    s.die(h.dockerd, signal=9)
    assert host_texts(report_of(s, tmp_path), "signal") == [
        "SIGHUP (1) to dockerd, sent by bash",
        "SIGTERM (15) to dockerd, sent by systemd",
    ]


def test_a_daemon_in_the_background_is_adopted(tmp_path: Path) -> None:
    h = lives.host()
    s = h.stream
    starter = s.fork(h.shell)
    daemon = start(h, "kubelet", "/usr/bin/kubelet", starter)
    s.die(starter)
    entries = [e for e in report_of(s, tmp_path)["timeline"] if e["kind"] == "daemon"]
    assert [re.sub(r" \(\d{3,}\)|(?<=systemd) \(1\)", "", e["text"]) for e in entries] == [
        "bash started kubelet: /usr/bin/kubelet",
        "systemd adopted kubelet from bash: init of the pid namespace, confirmed",
    ]
    assert entries[1]["certainty"] == "confirmed"
    assert entries[1]["evidence"][0]["id"] == daemon.id


def test_another_dockerd_with_other_arguments_took_nobodys_place(tmp_path: Path) -> None:
    """Two dockerds on a host: the one that comes back is the one with its arguments."""
    h = lives.host()
    s = h.stream
    mine = start(h, "dockerd", "/usr/bin/dockerd --data-root /a")
    other = start(h, "dockerd", "/usr/bin/dockerd --data-root /b")
    s.die(mine)
    s.wait(SECOND)
    s.die(other)
    again = start(h, "dockerd", "/usr/bin/dockerd --data-root /a")
    daemons = {d["process"]["id"]: d for d in report_of(s, tmp_path)["daemons"]}
    assert daemons[again.id]["former"]["id"] == mine.id
    assert daemons[other.id]["former"] is None


def test_a_helper_of_containerd_is_no_daemon(tmp_path: Path) -> None:
    h = lives.host()
    short = start(h, "containerd", "/usr/bin/containerd --version", h.dockerd)
    h.stream.die(short)
    report = report_of(h.stream, tmp_path)
    assert short.id not in {d["process"]["id"] for d in report["daemons"]}
    assert host_texts(report) == []


# --- commands ----------------------------------------------------------------------------------


def test_commands_of_no_container_and_requests_to_systemd(tmp_path: Path) -> None:
    h = lives.host()
    s = h.stream
    client(h, "docker info")
    for line in ("systemctl is-active docker", "systemctl restart docker"):
        process = s.fork(h.shell)
        s.exec(process, "/usr/bin/systemctl", line)
        s.wait(5 * MS)
        s.die(process)
    assert host_texts(report_of(s, tmp_path)) == [
        "docker ran: docker info, which exited 0 after 20 ms",
        "systemctl ran: systemctl restart docker, which exited 0 after 5 ms",
    ]


def test_a_command_that_began_before(tmp_path: Path) -> None:
    h = lives.host(start=False)
    old = h.stream.process("docker", h.shell, exe="/usr/bin/docker", args=["docker", "events"])
    still = h.stream.process("docker", h.shell, exe="/usr/bin/docker", args=["docker", "stats"])
    h.stream.snapshot("start")
    h.stream.die(old, 1)
    assert still.alive
    assert host_texts(report_of(h.stream, tmp_path)) == [
        "docker, which had begun before, exited 1: docker events"
    ]


def test_a_shim_and_a_runc_of_unknown_containers_are_told_of_the_host(tmp_path: Path) -> None:
    h = lives.host()
    lives.call(h, h.dockerd, "/usr/bin/runc --version")
    s = h.stream
    shim = s.fork(h.containerd)
    s.exec(shim, "/usr/bin/containerd-shim")
    assert host_texts(report_of(s, tmp_path)) == [
        "dockerd ran runc: /usr/bin/runc --version, which exited 0 after 2 ms",
        "containerd ran containerd-shim: /usr/bin/containerd-shim",
    ]


def test_what_the_recorder_itself_runs_is_not_told_but_its_command_is(tmp_path: Path) -> None:
    h = lives.host()
    s = h.stream
    recorder = s.process("rtrace", h.init, tgid=800, exe="/usr/bin/python3", args=["rtrace"])
    s.header |= {"pid": 800, "argv": ["rtrace", "record", "--", "docker", "ps"]}
    for binary, line in (("podman", "podman --version"), ("crun", "crun --version")):
        own = s.fork(recorder)
        s.exec(own, f"/usr/bin/{binary}", line)
        s.die(own)
    command = s.fork(recorder)
    s.exec(command, "/usr/bin/docker", "docker ps")
    assert host_texts(report_of(s, tmp_path)) == ["docker ran: docker ps"]


# --- folding -----------------------------------------------------------------------------------


def health_check(h: Host, status: int = 0) -> None:
    s = h.stream
    process = lives.run_exec(h, h.procs["shim"], CID, "/bin/check --all")
    s.wait(10 * MS)
    s.die(process, status)
    s.wait(SECOND)


def folds(report: Any) -> list[Any]:
    return [e for e in report["timeline"] if e["kind"] == "fold"]


def test_health_checks_are_folded_up_to_the_one_that_failed(tmp_path: Path) -> None:
    # GIVEN five good health checks, a bad one, three good ones
    h = lives.host()
    lives.begin(h)
    for status in (0, 0, 0, 0, 0, 1, 0, 0, 0):
        health_check(h, status)
    lives.end(h)
    report = report_of(h.stream, tmp_path)
    # THEN both rows are folded, and the bad one is told
    before, after = folds(report)
    assert re.fullmatch(
        r"5 execs of: /bin/check --all, all exited 0, in 4\.\d\d s, folded", before["text"]
    )
    assert (before["count"], after["count"]) == (5, 3)
    assert before["container"] == after["container"] == CID
    inside = [e for e in report["timeline"] if e["fold"] == before["fold"] and e is not before]
    assert len(inside) % 5 == 0
    assert len(inside) >= 15
    assert before["until_ns"] == inside[-1]["ts_ns"]
    assert before["ts_ns"] == inside[0]["ts_ns"]
    assert {e["kind"] for e in inside} == {"exec", "adoption"}
    (bad,) = [e for e in report["timeline"] if "exited 1" in e["text"]]
    assert bad["fold"] is None
    # AND the text has the steps only when asked for
    text = text_of(h.stream, tmp_path)
    assert "--unfold tells what is folded" in text
    assert text.count("entered the container") == 1
    unfolded = text_of(h.stream, tmp_path, unfold=True)
    assert unfolded.count("entered the container") == 9
    assert "folded" not in unfolded


def test_two_are_no_row_and_what_was_killed_is_never_folded(tmp_path: Path) -> None:
    h = lives.host()
    lives.begin(h)
    for _ in range(2):
        health_check(h)
    for _ in range(4):
        process = lives.run_exec(h, h.procs["shim"], CID, "/bin/slow")
        h.stream.signal(process, 9, h.shell)
        h.stream.die(process, signal=9)
    assert folds(report_of(h.stream, tmp_path)) == []


def test_polls_are_folded_and_commands_that_change_something_are_not(tmp_path: Path) -> None:
    h = lives.host()
    for _ in range(4):
        client(h, "docker ps -q")
        client(h, "docker stop gone", 1)
    report = report_of(h.stream, tmp_path)
    (fold,) = folds(report)
    assert fold["text"].startswith("4 times: docker ps -q, all exited 0, in ")
    text = text_of(h.stream, tmp_path)
    assert text.count("docker ps -q") == 1
    assert text.count("docker stop gone") == 4


def test_a_fold_with_events_lost_in_between_says_at_least(tmp_path: Path) -> None:
    h = lives.host()
    for number in range(4):
        client(h, "docker ps")
        if number == 1:
            with h.stream.drop():
                client(h, "docker ps")
    (fold,) = folds(report_of(h.stream, tmp_path))
    assert fold["text"].startswith("at least 4 times: docker ps")


def test_a_window_folds_what_is_in_it(tmp_path: Path) -> None:
    h = lives.host()
    for _ in range(6):
        client(h, "docker ps")
        h.stream.wait(SECOND)
    whole = report_of(h.stream, tmp_path)
    middle = [e["ts_ns"] for e in whole["timeline"] if e["kind"] == "client"][3]
    late = report_of(h.stream, tmp_path, since_ns=middle)
    assert [fold["count"] for fold in folds(late)] == [3]


# --- everybody else ----------------------------------------------------------------------------


def crowd(h: Host) -> None:
    s = h.stream
    for _ in range(5):
        job = s.fork(h.shell, "cron")
        s.exec(job, "/usr/bin/grep", "grep x")
        s.die(job, 1)
    worker = s.fork(h.procs["init"], "worker")
    s.die(worker)


def test_processes_of_no_concern_are_counted(tmp_path: Path) -> None:
    h = lives.host()
    lives.begin(h)
    crowd(h)
    lives.end(h)
    report = report_of(h.stream, tmp_path)
    assert [(u["container"], u["processes"], u["names"]) for u in report["untold"]] == [
        (None, 5, [{"name": "grep", "count": 5}]),
        (CID, 1, [{"name": "worker", "count": 1}]),
    ]
    assert "process" not in {e["kind"] for e in report["timeline"]}
    text = text_of(h.stream, tmp_path)
    assert "not told: 1 other process of the container (worker); --all tells of it" in text


def test_all_tells_each_of_them(tmp_path: Path) -> None:
    h = lives.host()
    lives.begin(h)
    crowd(h)
    lives.end(h)
    report = report_of(h.stream, tmp_path, full=True)
    assert report["untold"] == []
    told = [e for e in report["timeline"] if e["kind"] == "process"]
    assert [
        (e["container"], re.sub(r" \(\d{3,}\)|(?<=systemd) \(1\)", "", e["text"])) for e in told
    ] == [(None, "bash forked grep: grep x, which exited 1 after 3 us")] * 5 + [
        (CID, "nginx forked worker, which exited 0 after 1 us")
    ]
    assert "nginx (1006) forked worker" in text_of(h.stream, tmp_path, full=True)


def test_every_process_is_told_or_counted(tmp_path: Path) -> None:
    h = lives.host()
    lives.begin(h)
    crowd(h)
    lives.end(h)
    report = report_of(h.stream, tmp_path)
    told = {id_ for e in report["timeline"] for id_ in e["processes"]}
    moved = [p for p in report["processes"] if p["fork_ns"] or p["exit_ns"]]
    made = {p["id"] for p in moved if p["comm"].startswith("runc:[")}
    counted = sum(u["processes"] for u in report["untold"])
    assert len({p["id"] for p in moved} - told - made) == counted


# --- text --------------------------------------------------------------------------------------


def restarted(h: Host) -> None:
    lives.begin(h)
    h.stream.signal(h.containerd, 9, h.shell)
    h.stream.die(h.containerd, signal=9)
    start(h, "containerd", "/usr/bin/containerd", unit="containerd.service")
    lives.end(h)


def test_the_host_stands_before_the_containers_with_their_main_steps(tmp_path: Path) -> None:
    h = lives.host(managed=False)
    restarted(h)
    text = text_of(h.stream, tmp_path)
    host = text[text.index("\nHOST\n") : text.index("\nCONTAINER web")]
    assert "  containerd  containerd (612): was killed by SIGKILL (9), sent by bash (900)" in host
    assert "containerd.service, since +0.0" in host
    assert "web: process 1 (1006) started the workload" in host
    assert "web: nginx (1006), process 1, exited 0" in host
    assert "runc (1003)" not in host
    # AND a daemon's end stands in the container's timeline, too
    container = text[text.index("\nCONTAINER web") :]
    assert "containerd (612) was killed by SIGKILL" in container


def test_no_host_section_where_nothing_happened_but_to_containers(tmp_path: Path) -> None:
    assert "\nHOST\n" not in text_of(lives.life().stream, tmp_path)
    # but where there is no container there is one
    h = lives.host()
    assert "  dockerd     dockerd (600): " in text_of(h.stream, tmp_path)


@pytest.mark.parametrize("columns", [60, 80, 120, 200])
@pytest.mark.parametrize("times", ["auto", "relative", "utc", "both"])
def test_it_fits(columns: int, times: str, tmp_path: Path) -> None:
    h = lives.host(managed=False)
    restarted(h)
    crowd(h)
    for _ in range(5):
        client(h, "docker ps --format " + "x" * 50)
    text = text_of(h.stream, tmp_path, columns=columns, times=times)
    assert max(map(len, text.splitlines())) <= min(columns, 160)


def test_times_can_be_chosen(tmp_path: Path) -> None:
    h = lives.life()
    relative, clock = "+0.0000", "22:13:20.000"

    def line(times: str, columns: int) -> str:
        text = text_of(h.stream, tmp_path, columns=columns, times=times)
        return next(line for line in text.splitlines() if "ran: docker run" in line)

    for times, columns, expected in (
        ("auto", 80, (True, False)),
        ("auto", 120, (True, True)),
        ("relative", 120, (True, False)),
        ("utc", 80, (False, True)),
        ("both", 80, (True, True)),
    ):
        found = line(times, columns)
        assert (relative in found, clock in found) == expected, (times, columns)


def test_a_recording_of_unknown_wall_time_has_relative_times(tmp_path: Path) -> None:
    h = lives.life()
    h.stream.header["clock"]["wall_ns"] = 0
    text = text_of(h.stream, tmp_path, times="utc")
    assert "  +0.0000" in text
    assert "UTC" not in text[text.index("CONTAINER") :]


def test_two_containers_are_told_apart(tmp_path: Path) -> None:
    h = lives.host()
    lives.begin(h)
    lives.end(h, stop=False)
    lives.begin(h, cid=OTHER_CID, name="shop", client="docker run --name shop nginx")
    lives.end(h, cid=OTHER_CID)
    client(h, "docker ps")
    host = text_of(h.stream, tmp_path).split("\nCONTAINER")[0]
    assert "web: process 1" in host
    assert "shop: process 1" in host


def test_the_schema_knows_the_new_keys() -> None:
    assert {"daemons", "untold"} <= set(validator().schema["required"])
