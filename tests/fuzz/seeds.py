"""Files that fuzzing begins with, made when they are needed: by the generator, or golden ones."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tests import incidents, lives
from tests.fuzz.parts import Chunk, Member, decode, encode, pack_archive, prefix
from tests.streams import Stream
from tracer.capture_format import HEAD

GOLDEN = Path(__file__).parent.parent / "golden" / "captures"
FOUND = Path(__file__).parent / "found"
_EVERY = 12


def seeds() -> Iterator[tuple[str, bytes]]:
    """Names and contents: whole, cut and bounded captures, and archives, 2 to 20 KiB each."""
    made = {
        "recycled": incidents.recycled().stream,
        "life": lives.life().stream,
        "old-names": lives.life(old_names=True, shim="v1").stream,
        "empty": Stream(),
        "bounded": bounded(),
        "odd": odd(),
    }
    for name, stream in made.items():
        yield name, stream.to_bytes()
    whole = made["recycled"].to_bytes()
    yield "cut", whole[: len(whole) * 2 // 3]
    yield "segments", segments(whole)
    yield "archive", pack_archive([Member("summary.md", b"# x"), Member("capture.rtrace", whole)])
    for path in sorted(GOLDEN.glob("*.rtrace"))[::_EVERY]:
        yield path.stem, path.read_bytes()


def segments(capture: bytes) -> bytes:
    """The same capture as three segments behind each other."""
    parts = decode(capture)
    head = next(part for part in parts if isinstance(part, Chunk) and part.kind == HEAD)
    third = max(len(parts) // 3, 1)
    cuts = [parts[:third], parts[third : 2 * third], parts[2 * third :]]
    return b"".join(encode(cut if i == 0 else [prefix(), head, *cut]) for i, cut in enumerate(cuts))


def bounded() -> Stream:
    """A recording that has dropped its beginning, with clocks that were set, losses, a trigger."""
    host = lives.host()
    stream = host.stream
    lives.begin(host)
    stream.rotate(drop=True)
    stream.clock(set_by=-(10**12), suspended=10**10)
    stream.lost(3, 1)
    stream.loss()
    stream.trigger("exit", host.shell, "x")
    stream.rotate()
    lives.end(host)
    stream.snapshot("end")
    return stream


def odd() -> Stream:
    """Kinds of records that others have not."""
    stream = Stream()
    init = stream.process("systemd", tgid=1)
    stream.snapshot("start")
    process = stream.fork(init)
    stream.comm(process, "\x1b[2J")
    stream.subreaper(process)
    stream.attach(process, "/docker/x")
    child = stream.fork(process, ns_tgid=1, pidns=4026532500)
    stream.stub(stream.fork(child))
    stream.oom(child)
    stream.signal(child, 9, process)
    stream.die(child, signal=9)
    stream.die(process, 3)
    stream.fact(
        "oom", tgid=child.tgid, constraint="memcg", cgroup="/x", usage_bytes=1, limit_bytes=2
    )
    stream.fact("problem", what="something")
    stream.fact("runtime", name="docker", version="26.1.5", live_restore=True)
    stream.chunk(b"WHAT", b"anything")
    stream.snapshot("end")
    return stream


def donors() -> list[Chunk]:
    """Chunks of all seeds, to put into others."""
    return [part for _, data in seeds() for part in decode(data) if isinstance(part, Chunk)]
