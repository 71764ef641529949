"""A watch of triggers never fails, whatever it gets to see, and batches make no difference."""

from __future__ import annotations

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from tests import lives
from tests.watching import show
from tracer import abi
from tracer.capture_format import DETAILS, EVENT_STRIDE, EVENTS, PROCESSES
from tracer.triggers import Trigger, TriggerWatch

ALL = tuple(Trigger)
# Few values, so that processes meet each other.
SMALL = st.integers(0, 3)
WORDS = st.sampled_from(
    (
        *("", "-", "--", "-id", "start", "delete", "create", "exec", "run", "init", "config"),
        *("--version", "-c", "--cid", "-workdir", "/a/b", "/proc/self/exe", "runc", "-e", "\udce9"),
    )
)
PROGRAMS = st.sampled_from(
    (
        *("/usr/bin/dockerd", "/usr/bin/containerd", "/usr/bin/containerd-shim", "/usr/bin/docker"),
        *("/usr/bin/containerd-shim-runc-v2", "/usr/bin/runc", "/usr/bin/crun", "/usr/bin/conmon"),
        *("/usr/bin/podman", "/proc/self/exe", "/bin/sh", ""),
    )
)


@st.composite
def events(draw: st.DrawFn) -> bytes:
    record = bytearray(draw(st.binary(min_size=EVENT_STRIDE, max_size=EVENT_STRIDE)))
    event = abi.Event.from_buffer(record, 8)
    event.type, event.flags = draw(st.integers(0, 12)), draw(st.integers(0, 63))
    event.tgid, event.start_ns = draw(SMALL), draw(SMALL)
    event.exit.parent_tgid, event.exit.parent_start_ns = draw(SMALL), draw(SMALL)
    if event.type == abi.Type.SIGNAL:
        event.signal.signal = draw(st.integers(0, 64))
        event.signal.result = draw(st.integers(0, 4))
        event.signal.origin = draw(st.integers(0, 2))
    del event
    return bytes(record)


@st.composite
def details(draw: st.DrawFn) -> bytes:
    filename = draw(PROGRAMS).encode()
    words = draw(st.lists(WORDS, max_size=6))
    args = b"".join(word.encode("utf-8", "surrogateescape") + b"\0" for word in words)
    header = abi.DetailHeader(
        tgid=draw(SMALL),
        start_ns=draw(SMALL),
        type=draw(st.integers(1, 2)),
        filename_len=len(filename),
        args_len=len(args),
    )
    record = bytes(header) + filename + args
    return record + bytes(-len(record) % 8)


@st.composite
def snapshots(draw: st.DrawFn) -> bytes:
    cgroup = draw(st.sampled_from(["0::/\n", f"0::/docker/{lives.CID}\n", "", "0::/x/y\n1:a:/b\n"]))
    process = {
        "tgid": draw(SMALL),
        "start_ns": draw(SMALL),
        "exe": draw(st.none() | PROGRAMS),
        "args": draw(st.lists(WORDS, max_size=6)),
        "cgroup": cgroup,
    }
    return json.dumps({"processes": [process]}).encode()


CHUNKS = st.lists(
    st.tuples(st.just(EVENTS), st.lists(events(), max_size=8).map(b"".join))
    | st.tuples(st.just(DETAILS), st.lists(details(), max_size=4).map(b"".join))
    | st.tuples(st.just(PROCESSES), snapshots()),
    max_size=30,
)


@settings(max_examples=200, deadline=None)
@given(CHUNKS)
def test_nothing_makes_it_fail(chunks: list[tuple[bytes, bytes]]) -> None:
    watch = TriggerWatch(ALL)
    for hit in show(watch, chunks):
        assert hit.trigger in ALL
        assert hit.what.isprintable()
    assert len(watch.processes) <= 4 * 2, "of four tgids, two starts at most"


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.fixed_dictionaries(
            {"pidns": st.sampled_from([0, 4026532500]), "shim": st.sampled_from(["v1", "v2"])}
        ),
        min_size=1,
        max_size=4,
    ),
    st.integers(1, 60),
)
def test_batches_make_no_difference(kinds: list[dict[str, object]], at_once: int) -> None:
    h = lives.host()
    for kind in kinds:
        begun = lives.begin(h, **kind)  # type: ignore[arg-type]
        h.stream.signal(begun["shim"], 15, h.shell)
        lives.end(h, status=3, stop=False)
    chunks = list(h.stream.chunks())
    whole = show(TriggerWatch(ALL), chunks)
    assert len(whole) == 3 * len(kinds)
    assert show(TriggerWatch(ALL), chunks, at_once=at_once) == whole
