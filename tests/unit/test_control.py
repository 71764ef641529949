"""`rtrace snapshot` and the recorder's socket: also dead, silent and babbling recorders."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from tracer import control
from tracer.cli.snapshot import snapshot
from tracer.errors import CaptureError, HostError, RtraceError
from tracer.saves import Request, Saved

DEAD_PID = 1 << 22


@pytest.fixture(autouse=True)
def run_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(control, "DIRECTORY", str(tmp_path / "run"))
    monkeypatch.setattr(control, "ANSWER_TIMEOUT_S", 0.3)
    monkeypatch.setattr(control, "_QUESTION_TIMEOUT_S", 0.3)
    monkeypatch.setattr(control, "_ALIVE_EVERY_S", 0.1)
    return tmp_path / "run"


class Saver:
    """Answers requests as it is told."""

    def __init__(self, result: Saved | RtraceError | None) -> None:
        self.result = result
        self.paths: list[str | None] = []

    def request(self, path: str | None) -> Request:
        self.paths.append(path)
        request = Request("saved", 0.0, path, result=self.result)
        if self.result is not None:
            request.done.set()
        self.last = request
        return request


@pytest.fixture
def serve() -> Iterator[Callable[[Saver], control.ControlServer]]:
    servers: list[control.ControlServer] = []

    def start(saver: Saver) -> control.ControlServer:
        servers.append(control.ControlServer("x.rtrace", saver.request))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.fixture
def listen(run_directory: Path) -> Iterator[Callable[[int, bytes | None], None]]:
    """A recorder that says only this, or nothing at all (None: it is dead)."""
    opened: list[socket.socket] = []

    def start(pid: int, says: bytes | None) -> None:
        run_directory.mkdir(mode=0o700, exist_ok=True)
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(control.socket_path(pid))
        if says is None:
            listener.close()
            return
        listener.listen()
        opened.append(listener)

        def answer() -> None:
            connection, _ = listener.accept()
            opened.append(connection)
            connection.sendall(says)
            connection.shutdown(socket.SHUT_WR) if says else None

        threading.Thread(target=answer, daemon=True).start()

    yield start
    for opened_socket in opened:
        opened_socket.close()


def test_a_save(serve: Callable[[Saver], control.ControlServer], run_directory: Path) -> None:
    saver = Saver(Saved("/d/y.rtrace", 12, 345, (7, 8)))
    server = serve(saver)
    path = Path(control.socket_path(os.getpid()))
    assert stat.S_IMODE(run_directory.stat().st_mode) == 0o700
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert control.find_recorders() == {os.getpid(): os.path.abspath("x.rtrace")}
    assert control.ask_to_save(os.getpid(), None) == Saved("/d/y.rtrace", 12, 345, (7, 8))
    assert control.ask_to_save(os.getpid(), "z") == Saved("/d/y.rtrace", 12, 345, (7, 8))
    assert saver.paths == [None, os.path.abspath("z")]
    server.close()
    assert not run_directory.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="missing: root")
def test_another_user_is_not_answered(
    serve: Callable[[Saver], control.ControlServer], run_directory: Path
) -> None:
    saver = Saver(Saved("/d/y.rtrace", 12, 345, (7, 8)))
    serve(saver)
    name = f"{os.getpid()}.sock"
    # GIVEN somebody who opened the way to it
    run_directory.chmod(0o755)
    (run_directory / name).chmod(0o666)
    for user, answered in ((65534, False), (0, True)):
        child = os.fork()
        if not child:
            with contextlib.suppress(BaseException):
                os.chdir(run_directory)
                os.setuid(user)
                with socket.socket(socket.AF_UNIX) as asking:
                    asking.connect(name)
                    with contextlib.suppress(OSError):
                        asking.sendall(b'{"do": "save"}\n')
                        os._exit(0 if bool(asking.recv(100)) == answered else 2)
                    os._exit(3 if answered else 0)  # it broke off
            os._exit(4)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert saver.paths == [None]


def test_a_save_that_takes_longer_than_the_timeout(
    serve: Callable[[Saver], control.ControlServer],
) -> None:
    saver = Saver(None)
    serve(saver)

    def finish() -> None:
        saver.last.result = Saved("y", 1, 2, (7, 8))
        saver.last.done.set()

    timer = threading.Timer(1.0, finish)
    timer.start()
    assert control.ask_to_save(os.getpid(), None).events == 1


def test_a_save_that_fails(serve: Callable[[Saver], control.ControlServer]) -> None:
    serve(Saver(CaptureError("cannot write y", "the disk is full", "make room")))
    with pytest.raises(CaptureError, match="cannot write y: the disk is full; make room"):
        control.ask_to_save(os.getpid(), "y")


def test_nonsense_does_not_hurt_a_recorder(
    serve: Callable[[Saver], control.ControlServer],
) -> None:
    saver = Saver(Saved("y", 1, 2, (7, 8)))
    serve(saver)
    for question in (b"\n", b"nonsense\n", b"[" * 5000 + b"\n", b"x" * 100_000, b""):
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(5)
            client.connect(control.socket_path(os.getpid()))
            try:
                client.sendall(question)
                client.shutdown(socket.SHUT_WR)
                assert client.recv(100) == b""
            except ConnectionError:
                pass
    assert saver.paths == []
    for path in (7, None, ["x"]):
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(control.socket_path(os.getpid()))
            client.sendall(json.dumps({"do": "save", "path": path}).encode() + b"\n")
            assert b'"saved"' in client.recv(1000)
    assert saver.paths == [None, None, None]


def test_the_socket_of_a_dead_recorder(listen: Callable[[int, bytes | None], None]) -> None:
    listen(DEAD_PID, None)
    with pytest.raises(HostError, match="there is no such recorder"):
        control.ask_to_save(DEAD_PID, None)
    assert control.find_recorders() == {}
    assert not os.path.exists(control.socket_path(DEAD_PID))


def test_a_recorder_removes_what_dead_ones_left(
    listen: Callable[[int, bytes | None], None],
    serve: Callable[[Saver], control.ControlServer],
    run_directory: Path,
) -> None:
    listen(DEAD_PID, None)
    listen(os.getppid(), None)  # it lives, and may listen soon
    serve(Saver(None))
    names = {path.name for path in run_directory.iterdir()}
    assert names == {f"{os.getppid()}.sock", f"{os.getpid()}.sock"}


def test_a_pid_that_is_used_again(listen: Callable[[int, bytes | None], None]) -> None:
    listen(os.getpid(), None)
    control.ControlServer("x", Saver(None).request).close()


@pytest.mark.parametrize(
    ("says", "message"),
    [
        (b"", "it says nothing for 0.3 s; see what keeps it"),
        (b"nonsense\n", "it gave no valid answer"),
        (b"{", "it broke off"),
        (b"[1]\n", "it gave no valid answer"),
        (b"{}\n", "it gave no valid answer"),
        (b'{"state":"saving"}\n', "it broke off"),
        (b'{"error":"all of it"}\n', "it gave no valid answer"),
    ],
)
def test_a_recorder_that_does_not_answer_well(
    listen: Callable[[int, bytes | None], None], says: bytes, message: str
) -> None:
    listen(DEAD_PID, says)
    with pytest.raises(HostError, match=f"cannot save the recording of {DEAD_PID}: {message}"):
        control.ask_to_save(DEAD_PID, None)


@pytest.mark.parametrize("what", ["file", "theirs", "open"])
def test_a_directory_that_is_not_ones_own(run_directory: Path, what: str) -> None:
    if what == "file":
        run_directory.write_text("")
    else:
        run_directory.mkdir(mode=0o700)
        if what == "open":
            run_directory.chmod(0o755)
        elif os.geteuid() == 0:
            os.chown(run_directory, 1234, 1234)
        else:
            pytest.skip("missing: root")
    with pytest.raises(HostError, match="use kill -USR1"):
        control.ControlServer("x", Saver(None).request)


# --- the command -----------------------------------------------------------------------------


def run(*arguments: str) -> str:
    """What it printed; its error is raised."""
    result = CliRunner().invoke(snapshot, arguments, standalone_mode=False)
    if result.exception is not None:
        raise result.exception
    return result.output


def test_no_recorder() -> None:
    with pytest.raises(HostError, match="no recorder is running; start one: sudo rtrace record"):
        run()


def test_several_recorders(
    serve: Callable[[Saver], control.ControlServer],
    listen: Callable[[int, bytes | None], None],
) -> None:
    saver = Saver(Saved("/no/y.rtrace", 1234, 2048, (7, 8)))
    serve(saver)
    listen(DEAD_PID, b"")
    with pytest.raises(HostError) as caught:
        run()
    own = f"{os.getpid()} ({os.path.abspath('x.rtrace')})"
    assert f"there are 2: {own}, {DEAD_PID} (does not answer); say which" in str(caught.value)
    printed = run("--pid", str(os.getpid()))
    assert printed.startswith("/no/y.rtrace: 1,234 events, 2.0 KiB\n")
    assert printed.endswith("next: rtrace report /no/y.rtrace\n")
