"""Unix sockets as the recorder sees them: names, peers, holders, in every network namespace."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.kernel.recording import Recorder, read_capture, wait_for
from tests.kernel.test_filters import new_pid_namespace, tell
from tests.unit.sockets import Sock, snapshots
from tracer.abi import SocketFlag

pytestmark = pytest.mark.kernel

ME = os.getpid()
LISTEN, ESTABLISHED = 10, 1


@contextlib.contextmanager
def talking(program: Path, *roles: str, wrapper: tuple[str, ...] = ()) -> Iterator[int]:
    """A talker (see talker.c) that holds all its sockets; its pid, as it says it itself."""
    process = subprocess.Popen([*wrapper, program, *roles], stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        yield int(process.stdout.readline().split()[1])
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def record(folder: Path, engine: str, *options: str) -> list[tuple[str, list[Sock]]]:
    """The first and the last snapshot of a recording that does nothing."""
    with Recorder(folder, f"--engine={engine}", *options, command=["true"]) as recorder:
        assert recorder.stop(None).status == 0
    found = snapshots(read_capture(recorder.path).of(b"SOCK"))
    # The host may have daemons that come and go meanwhile.
    return [look for look in found if look[0] != "change"]


def of(sockets: list[Sock], tgid: int, name: bytes) -> list[Sock]:
    return [s for s in sockets if s.tgid == tgid and s.name == name]


def test_names_and_peers(tmp_path: Path, engine: str, build: Callable[[str], Path]) -> None:
    """Paths, abstract names, hostile bytes, a removed path; both ends name each other."""
    hostile = os.fsencode(tmp_path) + b"/\xff\x1b[31m\n<b>=1+1"
    names = [os.fsencode(tmp_path / "a"), b"\0rtrace-test\0with\0zeros\0", hostile]
    with contextlib.ExitStack() as stack:
        held = []
        for name in names:
            server = stack.enter_context(socket.socket(socket.AF_UNIX))
            server.bind(name)
            server.listen()
            client = stack.enter_context(socket.socket(socket.AF_UNIX))
            client.connect(name)
            accepted = stack.enter_context(server.accept()[0])
            held.append([s.fileno() for s in (server, client, accepted)])
        os.unlink(names[0])
        stack.enter_context(contextlib.closing(socket.socketpair()[0]))
        dgram = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
        dgram.bind(os.fsencode(tmp_path / "dgram"))

        taken = record(tmp_path, engine)

    assert [reason for reason, _ in taken] == ["start", "end"]
    for _, sockets in taken:
        assert len({s.inode for s in sockets if s.tgid == ME and s.name.startswith(b"rtrace")}) == 3
        for name, fds in zip(names, held, strict=True):
            shown = name.removeprefix(b"\0")
            server, client, accepted = of(sockets, ME, shown)
            assert [s.state for s in (server, client, accepted)] == [LISTEN, 1, ESTABLISHED]
            assert client.peer_inode == accepted.inode
            assert accepted.peer_inode == client.inode
            assert server.peer_inode == 0
            assert [s.fd for s in (server, client, accepted)] == fds
            assert SocketFlag.PEER_NAME in client.flags
            assert SocketFlag.PEER_NAME not in accepted.flags
            for end in (server, client, accepted):
                assert (end.cred_tgid, end.cred_start_ns) == (ME, end.start_ns)
            assert (SocketFlag.PATH in client.flags) == (name[0] != 0)
            assert (SocketFlag.DELETED in server.flags) == (name == names[0])
        assert not [s for s in sockets if s.name.endswith(b"dgram")]


def has_ended(connection: socket.socket) -> bool:
    try:
        return connection.recv(1, socket.MSG_DONTWAIT) == b""
    except BlockingIOError:
        return False
    except ConnectionResetError:  # it had not been accepted yet
        return True


def test_who_waits_and_who_has_gone(
    tmp_path: Path, engine: str, build: Callable[[str], Path]
) -> None:
    """A daemon that accepts nobody, and one that closed a connection that others hold open."""
    deaf, gone = os.fsencode(tmp_path / "deaf"), os.fsencode(tmp_path / "gone")
    with contextlib.ExitStack() as stack:
        daemon = stack.enter_context(talking(build("talker"), f"deaf:{tmp_path}/deaf"))
        for _ in range(2):
            client = stack.enter_context(socket.socket(socket.AF_UNIX))
            client.connect(deaf)
        with talking(build("talker"), f"listen:{tmp_path}/gone"):
            left = stack.enter_context(socket.socket(socket.AF_UNIX))
            left.connect(gone)
        wait_for(lambda: has_ended(left), "the end of the connection")

        ((_, sockets), _) = record(tmp_path, engine)

    (listener,) = of(sockets, daemon, deaf)
    assert (listener.state, listener.pending) == (LISTEN, 2)
    waiting = of(sockets, ME, deaf)
    assert len(waiting) == 2
    for client_end in waiting:
        assert SocketFlag.WAITING in client_end.flags
        assert (client_end.peer_inode, client_end.cred_tgid) == (0, daemon)
    (alone,) = of(sockets, ME, gone)
    assert SocketFlag.PEER_CLOSED in alone.flags
    assert SocketFlag.WAITING not in alone.flags


def test_other_network_namespace_and_a_socket_that_was_handed_on(
    tmp_path: Path, engine: str, build: Callable[[str], Path]
) -> None:
    name = os.fsencode(tmp_path / "s")
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(socket.socket(socket.AF_UNIX))
        server.bind(name)
        server.listen()
        client = stack.enter_context(
            talking(build("talker"), f"connect:{tmp_path}/s", wrapper=("unshare", "--net"))
        )
        accepted = server.accept()[0]
        heir = subprocess.Popen(["sleep", "1000"], pass_fds=[accepted.fileno()])
        stack.callback(heir.wait)
        stack.callback(heir.kill)
        accepted.close()

        ((_, sockets), _) = record(tmp_path, engine)

    (there,) = of(sockets, client, name)
    (here,) = of(sockets, heir.pid, name)
    (listener,) = of(sockets, ME, name)
    assert (there.peer_inode, here.peer_inode) == (here.inode, there.inode)
    assert here.cred_tgid == client
    assert there.cred_tgid == ME  # who listened, though another holds the connection
    # unix_stream_connect() makes what is accepted in the namespace of who connects.
    assert here.netns == there.netns != listener.netns
    assert listener.netns == os.stat("/proc/self/ns/net").st_ino


def test_filter(tmp_path: Path, engine: str, build: Callable[[str], Path]) -> None:
    """Inside all; outside only the ends that those inside are connected to."""
    with contextlib.ExitStack() as stack:
        talker = build("talker")
        # GIVEN a daemon outside with one client inside, and others that nobody inside knows
        daemon = stack.enter_context(talking(talker, f"listen:{tmp_path}/d"))
        stranger = stack.enter_context(talking(talker, f"connect:{tmp_path}/d"))
        other = stack.enter_context(talking(talker, f"listen:{tmp_path}/other"))
        init, shell = stack.enter_context(new_pid_namespace())
        tell(shell, f"{talker} connect:{tmp_path}/d >{tmp_path}/told &")
        told = tmp_path / "told"
        wait_for(lambda: told.exists() and "pid" in told.read_text(), "the client inside")

        # WHEN only the namespace is recorded
        ((_, sockets), _) = record(tmp_path, engine, "--pidns", str(init))

    outside = {s for s in sockets if SocketFlag.OUTSIDE in s.flags}
    (client,) = (s for s in sockets if s.name == os.fsencode(tmp_path / "d") and s not in outside)
    assert not {stranger, other} & {s.tgid for s in sockets}
    assert [(s.tgid, s.inode, s.comm) for s in outside if s.tgid == daemon] == [
        (daemon, client.peer_inode, b"talker")
    ]
    inside = {s.inode for s in sockets if s not in outside}
    assert all(s.peer_inode in inside for s in outside)


def test_a_look_after_a_daemon_or_shim(
    tmp_path: Path, engine: str, build: Callable[[str], Path]
) -> None:
    """A shim that appears, is connected to, and goes; and an engine that follows one daemon."""
    for name in ("containerd", "containerd-shim-runc-v2"):
        shutil.copy(build("talker"), tmp_path / name)
    shim_socket, daemon_socket = f"{tmp_path}/shim", f"{tmp_path}/containerd.sock"
    with Recorder(tmp_path, f"--engine={engine}") as recorder:
        recorder.wait_until_recording()

        def connections() -> set[tuple[int, int]]:
            """Whose ends were seen connected to each other, in a snapshot that a change caused."""
            recorder.capture.read()
            found = set()
            for reason, sockets in snapshots(recorder.capture.of(b"SOCK")):
                holders = {s.inode: s.tgid for s in sockets}
                ends = [s for s in sockets if SocketFlag.PEER_NAME in s.flags]
                if reason == "change":
                    found |= {(s.tgid, holders.get(s.peer_inode, 0)) for s in ends}
            return found

        shim = tmp_path / "containerd-shim-runc-v2"
        with talking(shim, f"listen:{shim_socket}", "-id", "x") as shim_pid:
            roles = (f"listen:{daemon_socket}", f"connect:{shim_socket}")
            with talking(tmp_path / "containerd", *roles) as daemon_pid:
                wait_for(lambda: (daemon_pid, shim_pid) in connections(), "the connection")

        def ended() -> bool:
            recorder.capture.read()
            reason, sockets = snapshots(recorder.capture.of(b"SOCK"))[-1]
            return reason == "change" and daemon_pid not in {s.tgid for s in sockets}

        wait_for(ended, "a look after the daemon's end")
        assert recorder.stop().status == 0
    assert [reason for reason, _ in snapshots(recorder.capture.of(b"SOCK"))][-1] == "end"
