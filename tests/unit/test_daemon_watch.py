"""What makes the recorder look at sockets again, and how often it does at most."""

from __future__ import annotations

import pytest

from tests.streams import Proc, Stream
from tracer import abi, sockets
from tracer.capture_format import DETAILS, EVENTS
from tracer.daemon_watch import Change, DaemonWatch

SHIM = "/usr/bin/containerd-shim-runc-v2"


def changes(stream: Stream, watch: DaemonWatch) -> list[Change]:
    """What each chunk of a stream comes to."""
    looks = {EVENTS: watch.look_at_events, DETAILS: watch.look_at_details}
    return [looks[kind](content) for kind, content in stream.chunks() if kind in looks]


def entry(process: Proc, exe: str, *args: str) -> dict[str, object]:
    """Of a PROC chunk."""
    return {"tgid": process.tgid, "start_ns": process.start_ns, "exe": exe, "args": [exe, *args]}


@pytest.mark.parametrize(
    ("filename", "line", "change"),
    [
        ("/usr/bin/dockerd", "dockerd -H fd://", Change.DAEMON),
        ("/usr/bin/docker-containerd", "docker-containerd --config x", Change.DAEMON),
        ("/usr/bin/kubelet", "kubelet --v=2", Change.DAEMON),
        (SHIM, f"{SHIM} -namespace moby -id x", Change.SHIM),
        (SHIM, f"{SHIM} -namespace moby -id x start", Change.NOTHING),
        ("/usr/bin/containerd", "containerd --version", Change.NOTHING),
        ("/usr/bin/runc", "runc --log /run/containerd/x create y", Change.NOTHING),
        ("/usr/bin/docker", "docker ps", Change.NOTHING),
        ("/usr/bin/grep", "grep dockerd /proc/self/exe", Change.NOTHING),
    ],
)
def test_execs(filename: str, line: str, change: Change) -> None:
    s = Stream()
    s.exec(s.fork(s.process("sh")), filename, line)
    assert max(changes(s, DaemonWatch())) is change


def test_ends_of_daemons_and_shims() -> None:
    """GIVEN a storm THEN only the end of a known daemon, and of a shim by its comm, counts."""
    s, watch = Stream(), DaemonWatch()
    daemon, other = s.process("dockerd"), s.process("dockerd")
    shim, session = s.process("containerd-shim"), s.process("systemd")
    watch.look_at_process(entry(daemon, "/usr/bin/dockerd"))
    watch.look_at_process(entry(other, "/home/x/dockerd-like"))
    for process in (shim, session):
        s.subreaper(process)
    expected = []
    for process, change in (
        (other, Change.NOTHING),
        (session, Change.NOTHING),
        (shim, Change.SHIM),
        (daemon, Change.DAEMON),
        (s.process("sh"), Change.NOTHING),
    ):
        for _ in range(200):
            s.die(s.fork(other))
        s.exit(process)
        s.fact("problem", what="a new chunk of events")
        expected.append(change)
    assert changes(s, watch) == expected


def test_a_look_is_taken_at_once_some_times_and_then_seldom() -> None:
    pace = sockets._Pace()
    for _ in range(6):
        assert pace.wait_s() <= 0
        pace.spend()
    assert 0 < pace.wait_s() <= 10


def test_what_a_filter_leaves() -> None:
    """Inside all; outside the ends that those inside are connected to, and no others."""

    def record(inode: int, peer: int, flags: int) -> bytes:
        return bytes(abi.Socket(inode=inode, peer_inode=peer, flags=flags))

    outside = abi.SocketFlag.OUTSIDE
    inside, peer = record(1, 2, 0), record(2, 1, outside)
    others = record(3, 4, outside) + record(4, 3, outside) + record(5, 0, outside)
    assert sockets.select(inside + others + peer) == inside + peer
