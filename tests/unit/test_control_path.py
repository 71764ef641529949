"""Who talks to whom: chains of containers, and each broken path beside a near miss."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from analysis.html.report_page import render_report_page
from analysis.model import open_capture
from analysis.render_markdown import render_markdown
from analysis.render_text import render_text
from analysis.report import build_report
from analysis.report_tables import render_report_csv
from tests import lives
from tests.found import SECOND, findings_of, grave
from tests.lives import CID, Host
from tests.streams import Proc
from tests.talks import CONTAINERD, DOCKER, SHIM, Talks
from tracer.abi import SocketFlag


def engine(h: Host) -> Talks:
    """dockerd and containerd, connected as they are."""
    talks = Talks(h.stream)
    talks.listen(h.init, DOCKER)
    talks.listen(h.dockerd, DOCKER)
    talks.listen(h.containerd, CONTAINERD)
    talks.connect(h.dockerd, h.containerd, CONTAINERD)
    return talks


def running(*, managed: bool = False) -> tuple[Host, Talks, dict[str, Proc]]:
    """A container that runs, whose shim is connected to."""
    h = lives.host(managed=managed)
    talks = engine(h)
    talks.look("start")
    p = lives.begin(h)
    talks.listen(p["shim"], SHIM)
    talks.connect(h.containerd, p["shim"], SHIM)
    talks.connect(p["client"], h.dockerd, DOCKER)
    talks.look("change")
    return h, talks, p


def report_of(h: Host, tmp_path: Path, **options: Any) -> Any:
    return build_report(open_capture(h.stream.write(tmp_path / "x.rtrace")), **options)


def finish(h: Host, talks: Talks, wait: int = 30 * SECOND, **options: Any) -> None:
    h.stream.wait(wait)
    h.stream.snapshot("end")
    talks.look("end", **options)


def again(h: Host, role: str, wait: int = 30 * SECOND) -> Proc:
    """The daemon is started again."""
    process = h.stream.fork(h.init)
    h.stream.exec(process, f"/usr/bin/{role}", f"/usr/bin/{role}")
    h.stream.wait(wait)
    return process


# --- chains ------------------------------------------------------------------------------------


def test_the_chain_of_a_container_that_runs(tmp_path: Path) -> None:
    h, talks, p = running()
    finish(h, talks)
    report = report_of(h, tmp_path)

    links = report["containers"][0]["control_path"]
    told = [(x["from"]["id"], x["to"]["id"], x["protocol"], x["state"]) for x in links]
    assert told == [
        (p["client"].id, h.dockerd.id, "docker-api", "connected"),
        (h.dockerd.id, h.containerd.id, "containerd-grpc", "connected"),
        (h.containerd.id, p["shim"].id, "shim-ttrpc", "connected"),
    ]
    assert [look["reason"] for look in report["control_path"]["looks"]] == [
        "start",
        "change",
        "end",
    ]
    text = render_text(report, width=100, color=False)
    assert "control    docker" in text
    assert f"containerd (612) -> containerd-shim ({p['shim'].tgid}): connected" in text
    assert not grave(findings_of(h.stream, tmp_path))


def test_connections_as_a_frame(tmp_path: Path) -> None:
    h, talks, p = running()
    h.stream.die(p["client"])
    finish(h, talks)
    frame = open_capture(h.stream.write(tmp_path / "x.rtrace")).connections
    frame = frame.set_index("protocol")

    assert frame.loc["docker-api", "client"] == p["client"].id
    assert frame["at_end"].to_dict() == {
        "containerd-grpc": True,
        "docker-api": False,
        "shim-ttrpc": True,
    }
    assert frame["looks"].to_dict() == {"containerd-grpc": 3, "docker-api": 1, "shim-ttrpc": 2}
    assert frame["accepted"].all()
    assert frame.loc["docker-api", "first_ns"] == frame.loc["docker-api", "last_ns"]


def test_a_daemon_in_its_place(tmp_path: Path) -> None:
    """GIVEN a containerd that was killed and came back THEN the chain is that through the new."""
    h, talks, p = running()
    h.stream.die(h.containerd, signal=9)
    talks.look("change")
    new = again(h, "containerd")
    for client, server, name in ((h.dockerd, new, CONTAINERD), (new, p["shim"], SHIM)):
        talks.connect(client, server, name)
    finish(h, talks)

    links = report_of(h, tmp_path)["containers"][0]["control_path"]
    assert [(x["from"]["id"], x["to"]["id"], x["state"]) for x in links[1:]] == [
        (h.dockerd.id, new.id, "connected"),
        (new.id, p["shim"].id, "connected"),
    ]
    assert grave(findings_of(h.stream, tmp_path)) <= {"runtime-killed"}


def test_what_a_v1_shim_and_the_kubelet_say(tmp_path: Path) -> None:
    """Abstract names; kubelet that serves dockershim to itself, and CRI on containerd's socket."""
    h = lives.host(managed=False)
    talks = engine(h)
    p = lives.begin(h, shim="v1")
    abstract = f"/containerd-shim/moby/{CID}/shim.sock"
    end = talks.connect(h.containerd, p["shim"], abstract)
    for side in (end, end.peer):
        assert side is not None
        side.flags &= ~SocketFlag.PATH
    kubelet = h.stream.fork(h.init)
    h.stream.exec(kubelet, "/usr/bin/kubelet", "/usr/bin/kubelet --v=2")
    talks.connect(kubelet, kubelet, "/var/run/dockershim.sock")
    talks.connect(kubelet, h.containerd, CONTAINERD)
    talks.connect(kubelet, h.dockerd, "/var/run/docker.sock")
    finish(h, talks)

    frame = open_capture(h.stream.write(tmp_path / "x.rtrace")).connections
    found = dict(zip(frame["socket"], frame["protocol"], strict=True))
    assert found[f"@{abstract}"] == "shim-ttrpc"
    assert found["/var/run/dockershim.sock"] == "dockershim"
    assert found["/var/run/docker.sock"] == "docker-api"
    both = frame.loc[frame["socket"] == CONTAINERD, ["client_comm", "protocol"]]
    assert set(both.itertuples(index=False, name=None)) == {
        ("dockerd", "containerd-grpc"),
        ("kubelet", "cri"),
    }


def test_an_end_outside_of_a_filter_and_one_not_accepted(tmp_path: Path) -> None:
    h = lives.host()
    talks = Talks(h.stream)
    outside = Proc(4711, 99, None, "curl", 4711)
    talks.connect(outside, h.dockerd, DOCKER).flags |= SocketFlag.OUTSIDE
    waiting = talks.connect(h.shell, h.dockerd, DOCKER)
    assert waiting.peer is not None
    talks.ends.remove(waiting.peer)
    waiting.flags |= SocketFlag.WAITING
    finish(h, talks)
    report = report_of(h, tmp_path)

    first, second = report["control_path"]["connections"]
    assert (first["from"]["id"], first["accepted"]) == (h.shell.id, False)
    assert first["to"]["id"] == h.dockerd.id  # as the kernel noted
    assert (second["from"], second["from_end"]) == (
        None,
        {"tgid": 4711, "start_ns": 99, "comm": "curl"},
    )
    text = render_text(report, width=100, color=False)
    assert "curl (4711) -> dockerd (600): docker API" in text
    assert "not accepted" in text


def test_hostile_names_and_a_crowd_at_both_ends(tmp_path: Path) -> None:
    """GIVEN a forged capture THEN nothing reaches the terminal, nor are there a million pairs."""
    h = lives.host()
    talks = Talks(h.stream)
    name = b"/x\x1b[2J\n\xff/<b>/docker.sock"
    first = talks.connect(h.shell, h.dockerd, name)
    assert first.peer is not None
    for _ in range(1500):
        end = talks.connect(h.shell, h.dockerd, name)
        assert end.peer is not None
        end.peer.inode, end.peer, end.inode = first.peer.inode, first.peer, first.inode
    finish(h, talks)
    capture = open_capture(h.stream.write(tmp_path / "x.rtrace"))

    assert len(capture.control_path._ends()) <= 1501 * 17
    (row,) = capture.connections.to_dict("records")
    assert row["socket"] == "/x\x1b[2J\n\\xff/<b>/docker.sock"
    report = build_report(capture)
    assert "\x1b" not in render_text(report, width=100, color=False)
    page = render_report_page(report, [])
    assert "\x1b" not in page
    assert "&lt;b&gt;/docker.sock</code></td>" in page


def test_a_capture_without_sockets_says_so(tmp_path: Path) -> None:
    h = lives.life()
    report = report_of(h, tmp_path)
    assert report["control_path"]["known"] is False
    assert report["containers"][0]["control_path"] == []
    assert "WHO TALKS TO WHOM: not known" in render_text(report, width=100, color=False)


def test_one_container_of_two(tmp_path: Path) -> None:
    h, talks, _ = running()
    other = lives.begin(h, cid=lives.OTHER_CID, name="db", pidns=4026532600, client=None)
    talks.connect(h.containerd, other["shim"], SHIM.replace("a", "b"))
    finish(h, talks)
    report = report_of(h, tmp_path, container="db")
    sockets = [c["socket"] for c in report["control_path"]["connections"]]
    assert SHIM not in sockets
    assert {CONTAINERD, SHIM.replace("a", "b")} <= set(sockets)


# --- dockerd without containerd ----------------------------------------------------------------


def test_dockerd_lives_and_containerd_is_gone(tmp_path: Path) -> None:
    h, talks, p = running()
    h.stream.signal(h.containerd, 9, h.shell)
    h.stream.die(h.containerd, signal=9)
    talks.look("change")
    finish(h, talks)
    finding = findings_of(h.stream, tmp_path)["daemon-without-containerd"]

    assert (finding["severity"], finding["certainty"]) == ("error", "confirmed")
    assert finding["processes"] == [h.dockerd.id, h.containerd.id, p["shim"].id]
    assert "its containerd has gone" in finding["text"]
    assert "was killed by SIGKILL" in finding["text"]
    assert "1 shim cannot be reached" in finding["text"]
    assert [e["event"] for e in finding["evidence"]] == ["TASK", "SOCK", "SIGNAL", "EXIT"]
    links = report_of(h, tmp_path)["containers"][0]["control_path"]
    assert [x["state"] for x in links] == ["connected", "ended", "ended"]
    report = report_of(h, tmp_path)
    for told in (render_markdown(report), render_report_page(report, [])):
        assert "containerd (612) HAS ENDED; last seen connected" in told
    rows = render_report_csv(report, "connections").splitlines()
    assert sum('"containerd-grpc"' in row for row in rows) == 1


def test_another_engine_on_the_host_is_in_nobodys_place(tmp_path: Path) -> None:
    h, talks, p = running()
    other = again(h, "containerd")
    talks.listen(other, "/srv/other/containerd.sock")
    talks.look("change")
    h.stream.signal(h.containerd, 9, h.shell)
    h.stream.die(h.containerd, signal=9)
    finish(h, talks)
    finding = findings_of(h.stream, tmp_path)["daemon-without-containerd"]
    assert finding["processes"] == [h.dockerd.id, h.containerd.id, p["shim"].id]
    assert "its containerd has gone" in finding["text"]
    links = report_of(h, tmp_path)["containers"][0]["control_path"]
    assert [x["state"] for x in links] == ["connected", "ended", "ended"]
    assert other.tgid not in (x["to"]["tgid"] for x in links)


def test_both_live_and_are_not_connected(tmp_path: Path) -> None:
    h, talks, _ = running()
    ours = {id(h.dockerd), id(h.containerd)}
    talks.ends = [e for e in talks.ends if not e.peer or {id(e.holder), id(e.peer.holder)} != ours]
    finish(h, talks)
    finding = findings_of(h.stream, tmp_path)["daemon-without-containerd"]
    assert finding["severity"] == "error"
    assert "lives, and is not connected to it" in finding["text"]
    links = report_of(h, tmp_path)["containers"][0]["control_path"]
    assert "not-connected" in [x["state"] for x in links]


@pytest.mark.parametrize("wait", [SECOND, 30 * SECOND])
def test_a_containerd_that_has_just_come_back(tmp_path: Path, wait: int) -> None:
    """dockerd waits some seconds between attempts."""
    h, talks, _ = running()
    h.stream.die(h.containerd, signal=9)
    again(h, "containerd", wait=0)
    finish(h, talks, wait)
    assert ("daemon-without-containerd" in findings_of(h.stream, tmp_path)) == (wait > SECOND)


@pytest.mark.parametrize("args", ["", " --containerd=/run/containerd/containerd.sock"])
def test_a_dockerd_that_was_never_seen_connected(tmp_path: Path, args: str) -> None:
    """With a containerd in its own process there is none to be connected to."""
    h = lives.host(managed=False)
    h.stream.die(h.containerd)
    talks = Talks(h.stream)
    docker = h.stream.fork(h.init)
    h.stream.exec(docker, "/usr/bin/dockerd", f"/usr/bin/dockerd -H fd://{args}")
    h.stream.die(h.dockerd)
    finish(h, talks)
    assert ("daemon-without-containerd" in findings_of(h.stream, tmp_path)) == bool(args)


def test_nothing_is_said_where_the_end_was_not_seen(tmp_path: Path) -> None:
    for cut in (False, True):
        h, talks, _ = running()
        h.stream.die(h.containerd, signal=9)
        if cut:
            finish(h, talks, cut=True)
        else:
            h.stream.wait(30 * SECOND)
            h.stream.snapshot("end")
        assert "daemon-without-containerd" not in findings_of(h.stream, tmp_path)


def test_a_containerd_outside_of_the_filter(tmp_path: Path) -> None:
    h = lives.host(managed=False)
    h.stream.header["filter"] = {"kind": "cgroup", "path": "/docker.service", "id": 5}
    talks = Talks(h.stream)
    talks.connect(h.dockerd, Proc(77, 5, None, "containerd", 77), "/odd.sock")
    finish(h, talks)
    assert "daemon-without-containerd" not in findings_of(h.stream, tmp_path)


# --- shims, kubelet, sockets -------------------------------------------------------------------


def cut_off() -> tuple[Host, Talks, dict[str, Proc]]:
    h, talks, p = running()
    talks.ends = [e for e in talks.ends if not (e.peer and p["shim"] in (e.holder, e.peer.holder))]
    return h, talks, p


def test_a_shim_that_nobody_is_connected_to(tmp_path: Path) -> None:
    h, talks, p = cut_off()
    finish(h, talks)
    finding = findings_of(h.stream, tmp_path)["shim-without-containerd"]
    assert (finding["severity"], finding["certainty"]) == ("warning", "confirmed")
    assert finding["processes"] == [p["shim"].id, h.containerd.id]
    assert finding["container"] == CID


def test_a_shim_that_no_connection_was_ever_seen_of(tmp_path: Path) -> None:
    """Its arguments say whose it is: inferred."""
    h = lives.host(managed=False)
    talks = engine(h)
    p = lives.begin(h)
    talks.listen(p["shim"], SHIM)
    finish(h, talks)
    finding = findings_of(h.stream, tmp_path)["shim-without-containerd"]
    assert finding["certainty"] == "inferred"


def test_a_shim_whose_containerd_is_gone_too_or_that_is_young(tmp_path: Path) -> None:
    h, talks, _ = cut_off()
    h.stream.die(h.containerd)
    finish(h, talks)
    assert "shim-without-containerd" not in findings_of(h.stream, tmp_path)
    h, talks, _ = cut_off()
    finish(h, talks, 2 * SECOND)
    assert "shim-without-containerd" not in findings_of(h.stream, tmp_path)


def kubelet_of(h: Host, args: str = "") -> Proc:
    kubelet = h.stream.fork(h.init)
    h.stream.exec(kubelet, "/usr/bin/kubelet", f"/usr/bin/kubelet{args}")
    return kubelet


def test_a_kubelet_without_a_runtime(tmp_path: Path) -> None:
    h = lives.host(managed=False)
    talks = engine(h)
    kubelet = kubelet_of(h)
    talks.connect(kubelet, h.containerd, CONTAINERD)
    talks.look("change")
    h.stream.die(h.containerd, signal=9)
    finish(h, talks)
    finding = findings_of(h.stream, tmp_path)["kubelet-without-runtime"]
    assert finding["severity"] == "error"
    assert finding["processes"] == [kubelet.id, h.containerd.id]


def test_a_kubelet_with_a_runtime_or_without_any_ever(tmp_path: Path) -> None:
    h = lives.host(managed=False)
    talks = engine(h)
    kubelet_of(h)
    talks.connect(kubelet_of(h, " --container-runtime-endpoint=x"), h.containerd, CONTAINERD)
    finish(h, talks)
    assert "kubelet-without-runtime" not in findings_of(h.stream, tmp_path)


def test_a_socket_that_was_removed(tmp_path: Path) -> None:
    h = lives.host()
    talks = engine(h)
    for end in talks.ends:
        if end.name == DOCKER.encode():
            end.flags |= SocketFlag.DELETED
    finish(h, talks)
    finding = findings_of(h.stream, tmp_path)["socket-removed"]
    assert finding["severity"] == "error"
    assert finding["processes"] == [h.dockerd.id]
    text = render_text(report_of(h, tmp_path), width=100, color=False)
    assert "dockerd (600) listens at /run/docker.sock, which has been removed" in text


def test_an_old_listener_beside_the_new_one_of_the_same_daemon(tmp_path: Path) -> None:
    h = lives.host()
    talks = engine(h)
    talks.listen(h.dockerd, "/var/run/docker.sock").flags |= SocketFlag.DELETED
    finish(h, talks)
    assert "socket-removed" not in findings_of(h.stream, tmp_path)
