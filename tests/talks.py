"""Who is connected to whom in a synthetic capture: sockets that are opened, and looks at them."""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.streams import Proc, Stream
from tracer import abi
from tracer.abi import SocketFlag
from tracer.capture_format import SOCKET_HEAD, SOCKET_REASONS, SOCKETS

LISTEN, ESTABLISHED = 10, 1

DOCKER = "/run/docker.sock"
CONTAINERD = "/run/containerd/containerd.sock"
SHIM = "/run/containerd/s/" + "a" * 64


@dataclass
class End:
    """An open socket."""

    holder: Proc
    name: bytes
    state: int
    inode: int
    flags: SocketFlag = SocketFlag.PATH
    peer: End | None = field(default=None, repr=False)
    cred: Proc | None = None
    pending: int = 0


class Talks:
    """The unix sockets of a stream's processes."""

    def __init__(self, stream: Stream) -> None:
        stream.header["sockets"] = "files"
        self.stream, self.ends = stream, list[End]()
        self._inode = 5000

    def listen(self, holder: Proc, name: str | bytes, **fields: int) -> End:
        """A name of a leading NUL is abstract."""
        raw = name.encode() if isinstance(name, str) else name
        flags = SocketFlag(0) if raw[:1] == b"\0" else SocketFlag.PATH
        return self._add(End(holder, raw.lstrip(b"\0"), LISTEN, 0, flags, cred=holder, **fields))

    def connect(self, client: Proc, server: Proc, name: str | bytes) -> End:
        """Both ends; gives the client's."""
        raw = name.encode() if isinstance(name, str) else name
        theirs = self._add(End(server, raw, ESTABLISHED, 0, cred=client))
        ours = End(client, raw, ESTABLISHED, 0, SocketFlag.PATH | SocketFlag.PEER_NAME)
        ours.cred, ours.peer, theirs.peer = server, theirs, ours
        return self._add(ours)

    def look(self, reason: str, *, cut: bool = False) -> None:
        """A SOCK chunk with what is open and whose holder lives."""
        s = self.stream
        s.now += s.step
        head = SOCKET_HEAD.pack(s.now, SOCKET_REASONS.index(reason), cut)
        alive = [end for end in self.ends if end.holder.alive]
        s.chunk(SOCKETS, head + b"".join(map(self._record, alive)))

    def _add(self, end: End) -> End:
        self._inode += 1
        end.inode = self._inode
        self.ends.append(end)
        return end

    def _record(self, end: End) -> bytes:
        flags, peer = end.flags, end.peer
        if peer is not None and not peer.holder.alive:
            flags, peer = flags | SocketFlag.PEER_CLOSED, None
        return bytes(
            abi.Socket(
                ts_ns=self.stream.now,
                tgid=end.holder.tgid,
                start_ns=end.holder.start_ns,
                inode=end.inode,
                peer_inode=peer.inode if peer in self.ends else 0,
                cred_tgid=end.cred.tgid if end.cred else 0,
                cred_start_ns=end.cred.start_ns if end.cred else 0,
                fd=3,
                netns=4026531840,
                pending=end.pending,
                type=1,
                state=end.state,
                flags=flags,
                comm=end.holder.comm.encode()[: abi.COMM_LEN - 1],
                name=end.name,
                name_len=len(end.name),
            )
        )
