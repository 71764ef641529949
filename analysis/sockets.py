"""Unix sockets as columns: the SOCK chunks of a capture (docs/capture-format.md).

Rows are records: one for each open file that is a socket, in each snapshot. Names are decoded once
each.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.columns import frame, int64, objects, text
from tracer import abi
from tracer.abi import SocketFlag
from tracer.capture_format import SOCKET_HEAD, SOCKET_REASONS

Array = npt.NDArray[Any]

_NUMBERS = (
    "ts_ns",
    "tgid",
    "start_ns",
    "cred_tgid",
    "cred_start_ns",
    "fd",
    "inode",
    "peer_inode",
    "netns",
    "pending",
    "state",
    "flags",
)


@dataclass(frozen=True, slots=True)
class SocketSnapshot:
    """One look at all open sockets.

    Attributes:
        ts_ns: when it was begun.
        reason: one of SOCKET_REASONS: "start", "end", "change".
        complete: no socket was left out for want of room.
        sockets: how many records it has.
    """

    ts_ns: int
    reason: str
    complete: bool
    sockets: int


class Sockets:
    """Collects the chunks in the order of the capture.

    Attributes:
        snapshots: in that order.
    """

    def __init__(self) -> None:
        self.snapshots: list[SocketSnapshot] = []
        self._rows: list[Array] = []

    def add(self, content: bytes) -> None:
        """A SOCK chunk."""
        begun_ns, reason, cut = SOCKET_HEAD.unpack_from(content)
        rows = np.frombuffer(content, _DTYPE, offset=SOCKET_HEAD.size)
        ts_ns = min(begun_ns, np.iinfo(np.int64).max)
        found = SocketSnapshot(ts_ns, SOCKET_REASONS[reason], not cut, len(rows))
        self.snapshots.append(found)
        self._rows.append(rows)

    def shows(self, ts_ns: int, tgid: int, start_ns: int) -> bool:
        """The snapshot begun at that time has a socket of the process."""
        return any(
            bool(np.any((rows["tgid"] == tgid) & (rows["start_ns"] == start_ns)))
            for look, rows in zip(self.snapshots, self._rows, strict=True)
            if look.ts_ns == ts_ns
        )

    def df_sockets(self) -> pd.DataFrame:
        """All records, in the order of the capture.

        Columns:
            snapshot: index in ``snapshots``.
            ts_ns, tgid, start_ns, cred_tgid, cred_start_ns, fd, inode, peer_inode, netns, pending,
                state, flags: as in ``struct rtrace_socket``.
            comm, name: text; bytes that are not UTF-8 show as \\xNN. An abstract name begins with
                "@", as ss(8) and /proc/net/unix write it.
        """
        rows = np.concatenate([np.empty(0, _DTYPE), *self._rows])
        counts = [len(part) for part in self._rows]
        data: dict[str, Any] = {"snapshot": np.repeat(np.arange(len(counts)), counts)}
        data |= {name: int64(np.ascontiguousarray(rows[name])) for name in _NUMBERS}
        lengths = np.minimum(rows["name_len"], abi.SOCKET_NAME_MAX).tolist()
        known: dict[Any, str] = {}
        names = []
        paths = (rows["flags"] & SocketFlag.PATH) != 0
        for raw, length, is_path in zip(rows["name"].tolist(), lengths, paths, strict=True):
            key = (raw[:length], bool(is_path))
            if key not in known:
                known[key] = ("" if is_path else "@") + text(key[0])
            names.append(known[key])
        data["name"] = objects(names)
        data["comm"] = objects([text(comm) for comm in rows["comm"].tolist()])
        return frame(data)


_DTYPE = np.dtype(abi.socket_layout())  # type: ignore[call-overload]
