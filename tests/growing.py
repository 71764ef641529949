"""A synthetic recording that is still written, and looks at it, as `record --live` has them."""

from __future__ import annotations

from pathlib import Path

from screen.follow import Follower
from screen.link import Look, Place
from screen.picture import Picture, take_picture
from tests.streams import WALL_NS, Stream
from tracer.capture_format import TAIL, dump_json
from tracer.capture_writer import CaptureWriter
from tracer.chunk_writer import Packer


class Growing:
    """Writes what a stream has, bit by bit.

    Args:
        path: capture to create.
    """

    def __init__(self, path: Path, stream: Stream) -> None:
        self.path, self.stream = path, stream
        self._writer = CaptureWriter(path, stream.header)
        self._written = 0

    def grow(self) -> int:
        """Writes what is new; how far the capture goes then."""
        # Of an unknown type, which readers leave alone: else what comes next would join these.
        self.stream.chunk(b"MARK", b"")
        chunks = list(self.stream.chunks())
        for chunk_type, content in chunks[self._written :]:
            self._writer.write(chunk_type, content)
        self._written = len(chunks)
        return self._writer.bytes_written

    def look(self) -> Look:
        """As the recorder answers: what is written, and what lives."""
        before = self.grow()
        self.stream.snapshot("end")
        chunks = list(self.stream.chunks())
        end = chunks[self._written :]
        self._written = len(chunks)  # a look is not in the capture
        now = self.stream.now + self.stream.step
        wall_ns = WALL_NS + now - self.stream.start_ns
        tail = {"ts_ns": now, "wall_ns": wall_ns, "losses": self.stream.lost_totals}
        end.append((TAIL, dump_json(tail)))
        packer = Packer()
        data = b"".join(packer.pack(kind, content, "look") for kind, content in end)
        return Look(Place(1, before), Place(1, before), data)

    def follower(self) -> Follower:
        self.grow()
        return Follower(str(self.path), bounded=False)


def picture_of(path: Path, stream: Stream) -> Picture:
    """What the screen shows of a recording that has come so far."""
    growing = Growing(path, stream)
    look = growing.look()
    follower = growing.follower()
    follower.walk()
    try:
        return take_picture(follower, look)
    finally:
        follower.close()
