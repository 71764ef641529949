"""Events and details as lines."""

from __future__ import annotations

import random
import re
from pathlib import Path

import pytest

from tests.streams import Stream
from tracer import abi
from tracer.abi import Context, Flag, Hook, Origin, Reason, Type
from tracer.capture_reader import CaptureReader
from tracer.event_text import detail_text, event_text, exit_text, signal_name


def make(kind: Type, flags: int = 0, **fields: object) -> abi.Event:
    event = abi.Event(ts_ns=1, start_ns=500, tgid=100, tid=100, type=kind, flags=flags)
    payload = {
        Type.SUBREAPER: "comm",
        Type.STUB: "comm",
        Type.COMM: "comm",
    }.get(kind, kind.name.lower())
    for name, value in fields.items():
        setattr(getattr(event, payload), name, value)
    return event


PARENT = {"parent_tgid": 9, "parent_start_ns": 90}


@pytest.mark.parametrize(
    ("event", "text"),
    [
        (
            make(Type.FORK, comm=b"sh", forker_tgid=9, forker_start_ns=90, **PARENT),
            "fork      100:500 sh parent=9:90",
        ),
        (
            make(Type.FORK, comm=b"sh", forker_tgid=8, pidns=77, ns_tgid=1, **PARENT),
            "fork      100:500 sh parent=9:90 forker=8:0 ns_tgid=1 pidns=77",
        ),
        (make(Type.EXEC, comm=b"sh", old_tid=100, **PARENT), "exec      100:500 sh parent=9:90"),
        (
            make(Type.EXEC, comm=b"sh", old_tid=101, **PARENT),
            "exec      100:500 sh parent=9:90 by thread 101",
        ),
        (
            make(Type.EXIT, comm=b"\x1b[1m", exit_code=0x8B, **PARENT),
            r"exit      100:500 \x1b[1m killed by SIGSEGV, core dumped parent=9:90",
        ),
        (
            make(
                Type.REPARENT,
                Flag.ZOMBIE | Flag.MORE,
                parent_tid=9,
                reaper_tgid=1,
                reaper_start_ns=2,
                reason=Reason.INIT,
                **PARENT,
            ),
            "reparent  100:500 parent=9:90 thread=9 predicted=1:2 reason=init zombie "
            "(more children)",
        ),
        (
            make(
                Type.REAPER,
                reaper_tgid=1,
                reaper_start_ns=2,
                reason=Reason.SUBREAPER,
                hook=Hook.SIGNAL,
                children=3,
            ),
            "reaper    100:500 thread=100 gave 3 children to 1:2 reason=subreaper seen-at=signal",
        ),
        (
            make(
                Type.SIGNAL,
                signal=9,
                group=1,
                sender_tgid=7,
                sender_start_ns=70,
                comm=b"init",
                origin=Origin.PRIV,
                context=Context.EXITING | Context.NS_INIT,
            ),
            "signal    100:500 SIGKILL to process, delivered, in the context of init 7:70 "
            "si_code=0 origin=priv context=exiting|ns_init",
        ),
        (
            make(Type.SIGNAL, signal=15, result=1, si_code=-6),
            "signal    100:500 SIGTERM to thread 100, ignored, in the context of - 0:0 "
            "si_code=-6 origin=info",
        ),
        (make(Type.OOM, comm=b"eater"), "oom       100:500 eater chosen by the OOM killer"),
        (make(Type.SUBREAPER, comm=b"shim", **PARENT), "subreaper 100:500 shim parent=9:90"),
        (make(Type.COMM, comm=b"new", **PARENT), "comm      100:500 new parent=9:90"),
        (make(Type.STUB, comm=b"out", **PARENT), "stub      100:500 out parent=9:90"),
        (make(Type.REAP, exit_code=1 << 8), "reap      100:500 exited 1"),
    ],
)
def test_events(event: abi.Event, text: str) -> None:
    assert event_text(event) == text


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (0, "exited 0"),
        (255 << 8, "exited 255"),
        (9, "killed by SIGKILL"),
        (0x86, "killed by SIGABRT, core dumped"),
        (64, "killed by SIGRTMAX"),
        (35, "killed by signal 35"),
        (0x7F, "killed by signal 127"),
    ],
)
def test_exit_codes(code: int, text: str) -> None:
    assert exit_text(code) == text


def test_signals_without_a_name() -> None:
    assert (signal_name(15), signal_name(0), signal_name(60)) == (
        "SIGTERM",
        "signal 0",
        "signal 60",
    )


def test_whatever_is_in_it_a_line_is_made() -> None:
    chance = random.Random(1)
    for _ in range(3000):
        text = event_text(abi.Event.from_buffer_copy(chance.randbytes(abi.EVENT_SIZE)))
        assert text.isprintable()
        assert text


def details(tmp_path: Path, stream: Stream) -> list[abi.Detail]:
    with CaptureReader(stream.write(tmp_path / "x.rtrace")) as reader:
        return [d for t, c in reader.chunks() if t == b"DETL" for d in abi.decode_details(c)]


def test_details(tmp_path: Path) -> None:
    stream = Stream()
    process = stream.fork(stream.process("init", tgid=1))
    stream.exec(process, "/bin/a b", ["a", "", "\x1b", "x\ny"], cgroup="/g", cgroup_v1="/v/w")
    stream.exec(process, "/bin/cut", ["cut"], args_total=9000)
    stream.attach(process, "/docker/\x07", hierarchy=4)

    first, second, third = (detail_text(detail) for detail in details(tmp_path, stream))

    assert first == (rf"args      {process.id} /bin/a b: a '' \x1b x\ny cgroup=/g v1=/v/w")
    assert second == f"args      {process.id} /bin/cut: cut ... (9000 bytes) cgroup=/g"
    assert third == rf"attach    {process.id} hierarchy=4 /docker/\x07"


def test_every_type_has_its_words() -> None:
    for kind in Type:
        assert re.match(rf"{kind.name.lower()} +100:500", event_text(make(kind)))
    assert event_text(abi.Event(type=99)) == "unknown event 99"
