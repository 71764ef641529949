"""The builder that the analysis is tested with says what the kernel would."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.streams import Proc, Stream
from tracer import abi
from tracer.abi import Flag, Hook, Reason, Type
from tracer.capture_format import EVENT_STRIDE, load_json
from tracer.capture_reader import CaptureReader


def events(stream: Stream) -> list[abi.Event]:
    found = []
    for kind, content in stream.chunks():
        if kind == b"EVTS":
            for offset in range(8, len(content), EVENT_STRIDE):
                found.append(abi.Event.from_buffer_copy(content, offset))
    return found


def types(stream: Stream) -> list[str]:
    return [Type(event.type).name for event in events(stream)]


@pytest.fixture
def host() -> tuple[Stream, Proc, Proc]:
    stream = Stream()
    init = stream.process("systemd", tgid=1)
    shim = stream.process("containerd-shim", init, subreaper=True)
    return stream, init, shim


def test_birth(host: tuple[Stream, Proc, Proc]) -> None:
    stream, _, shim = host
    runc = stream.fork(shim)
    stream.exec(runc, "/usr/bin/runc", "runc 'a b'", cgroup="/docker/abc")
    assert types(stream) == ["FORK", "COMM", "EXEC"]
    fork, comm, exec_ = events(stream)
    assert (fork.tgid, fork.start_ns) == (runc.tgid, runc.start_ns)
    assert (fork.fork.parent_tgid, fork.fork.parent_start_ns) == (shim.tgid, shim.start_ns)
    assert fork.ts_ns < comm.ts_ns < exec_.ts_ns
    assert (fork.fork.comm, exec_.exec.comm) == (b"containerd-shim", b"runc")
    content = dict(stream.chunks())[b"DETL"]
    (detail,) = abi.decode_details(content)
    assert (detail.ts_ns, detail.filename) == (exec_.ts_ns, b"/usr/bin/runc")
    assert detail.args == (b"runc", b"a b")
    assert detail.cgroup == b"/docker/abc"
    assert not detail.args_cut


def test_orphans_go_to_the_subreaper(host: tuple[Stream, Proc, Proc]) -> None:
    stream, _, shim = host
    runc = stream.fork(shim)
    child, zombie = stream.fork(runc), stream.fork(runc)
    stream.exit(zombie)
    exit_ns = stream.die(runc, signal=9)
    assert child.parent is shim
    assert types(stream)[4:] == ["REPARENT", "REPARENT", "EXIT", "REAPER", "REAP"]
    first, second, exit_, reaper, reap = events(stream)[4:]
    assert first.ts_ns == second.ts_ns == exit_.ts_ns == reaper.reaper.exit_ns == exit_ns
    assert first.reparent.reason == reaper.reaper.reason == Reason.SUBREAPER
    assert first.reparent.reaper_tgid == reaper.reaper.reaper_tgid == shim.tgid
    assert first.reparent.parent_tgid == runc.tgid
    assert (first.flags, second.flags) == (0, Flag.ZOMBIE)
    assert reaper.reaper.children == 2
    assert exit_.exit.exit_code == reap.reap.exit_code == 9
    assert runc not in shim.children


def test_orphans_go_to_init_of_their_namespace(host: tuple[Stream, Proc, Proc]) -> None:
    stream, init, shim = host
    stream.die(shim)
    top = stream.fork(init, ns_tgid=1, pidns=77)
    parent = stream.fork(top)
    child = stream.fork(parent)
    stream.die(parent)
    assert child.parent is top
    assert events(stream)[-2].reaper.reason == Reason.INIT
    start = len(events(stream))
    stream.die(top)
    assert not child.alive
    assert types(stream)[start:] == ["EXIT", "SIGNAL", "EXIT", "REAP", "REAP"]


def test_threads_keep_their_children_in_the_process(host: tuple[Stream, Proc, Proc]) -> None:
    stream, _, shim = host
    child = stream.fork(shim)
    exit_ns = stream.reparent(child, tid=55, reason=Reason.THREAD)
    stream.reaper(shim, shim, exit_ns, tid=55, hook=Hook.SCHED_SWITCH)
    assert child.parent is shim
    reparent, reaper = events(stream)[-2:]
    assert (reparent.reparent.parent_tid, reaper.tid) == (55, 55)
    assert reparent.reparent.reaper_tgid == reaper.reaper.reaper_tgid == shim.tgid
    assert reaper.reaper.reason == Reason.THREAD


def test_any_field_can_be_given(host: tuple[Stream, Proc, Proc]) -> None:
    stream, _, shim = host
    stream.signal(shim, 9, shim, si_code=-6, at=5, cpu=1, flags=3, tid=9, result=2)
    (event,) = events(stream)
    assert (event.ts_ns, event.cpu, event.flags, event.tid) == (5, 1, 3, 9)
    assert (event.signal.si_code, event.signal.result, event.signal.signal) == (-6, 2, 9)
    with pytest.raises(TypeError, match="no field"):
        stream.oom(shim, nonsense=1)


def test_losses(host: tuple[Stream, Proc, Proc]) -> None:
    stream, _, shim = host
    with stream.drop():
        child = stream.fork(shim)
        stream.exec(child, "/bin/x")
    stream.lost(5, cpu=1)
    stream.die(child, reap=False)
    stream.comm(child, "x", cpu=1)
    stream.loss()
    assert [event.cpu_lost for event in events(stream)] == [3, 5]
    chunks = list(stream.chunks())
    assert load_json(*chunks[-1])["cpus"] == [[3, 1], [5, 0]]


def test_snapshot_and_file(host: tuple[Stream, Proc, Proc], tmp_path: Path) -> None:
    stream, _, shim = host
    stream.snapshot("start")
    stream.fact("container", id="abc", name="web", image=None, runtime="docker")
    stream.exit(shim)
    stream.snapshot("end")
    with CaptureReader(stream.write(tmp_path / "x")) as reader:
        chunks = list(reader.chunks())
    assert [kind for kind, _ in chunks] == [
        b"TASK", b"PROC", b"FACT", b"EVTS", b"TASK", b"PROC", b"TAIL",
    ]  # fmt: skip
    assert reader.complete
    task = abi.Task.from_buffer_copy(chunks[4][1], 8 + abi.TASK_SIZE)
    assert (task.tgid, task.exit_state, task.comm) == (shim.tgid, 32, b"containerd-shim")
    assert len(load_json(*chunks[5])["processes"]) == 1
    assert stream.to_bytes() == (tmp_path / "x").read_bytes()
