"""The processes of a trace: their tracks, lives, programs, time as zombies, and arrows.

All of it is made by columns, a few thousand processes in memory at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from analysis.columns import objects
from analysis.export.perfetto_columns import (
    Ints,
    Numbers,
    begins,
    ends,
    instants,
    numbers_of,
    shown,
    shown_args,
    tracks,
)
from analysis.export.perfetto_packets import Packets, number_of
from analysis.export.protobuf_columns import Encoded, Only, varints
from analysis.frames.history import signal_columns
from analysis.scene import End, Scene
from tracer.abi import COMM_LEN
from tracer.runtime_args import base_name

Array = npt.NDArray[Any]

DAEMONS, OTHERS = "daemons and commands of runtimes", "other processes"
_BLOCK = 1 << 14


def container_track(id_: str) -> int:
    """Number of the track of a container, below which its processes are."""
    return number_of("container", id_)


@dataclass(frozen=True, slots=True)
class _Reparents:
    """By row: when, until when (-1: not observed), and positions; -1 where not known."""

    ts_ns: Ints
    until_ns: Ints
    child: Ints
    old: Ints
    new: Ints
    about: dict[str, Any]


class People:
    """Writes them.

    Args:
        first_ns, last_ns: what is shown is between.
    """

    def __init__(self, scene: Scene, packets: Packets, first_ns: int, last_ns: int) -> None:
        self.scene, self.packets = scene, packets
        self.first_ns, self.last_ns = first_ns, last_ns
        self.signals = signal_columns(scene)
        moved = scene.reparents
        self.reparents = _Reparents(
            moved.filled("ts_ns"),
            moved.filled("until_ns"),
            moved.filled("child_no"),
            moved.filled("from_no"),
            moved.filled("to_no"),
            {name: moved[name].to_numpy(object) for name in ("reason", "certainty", "evidence")},
        )
        # The end of a life that was not seen is that of the recording.
        self.begin_ns: Ints = np.maximum(scene.fork_ns, first_ns)
        seen = np.where(scene.exit_ns >= 0, scene.exit_ns, scene.gone_ns)
        self.end_ns: Ints = np.maximum(np.where(seen >= 0, seen, last_ns), self.begin_ns)

    def write_sources(self) -> None:
        """Marks at forkers, senders, and parents that ended: where arrows begin."""
        scene, put = self.scene, self.packets.write
        forker = scene.programs.forker
        for at in _blocks(np.flatnonzero((scene.fork_ns >= 0) & (forker >= 0))):
            # The kernel reads start_boottime before the event is recorded.
            ts_ns = np.minimum(scene.start_ns[at], scene.fork_ns[at])
            put(
                instants(
                    self._tracks(forker[at]),
                    np.maximum(ts_ns, self.first_ns),
                    self._said("fork ", at),
                    "fork",
                    args={"child": self._ids(at)},
                    flows=self._births[at],
                )
            )
        signals = self.signals
        for rows in _blocks(np.flatnonzero(signals["sender"] >= 0)):
            target = signals["target"][rows]
            names = shown(signals["name"][rows])
            name = pc.binary_join_element_wise(names, self._said("to ", target), " ")
            put(
                instants(
                    self._tracks(signals["sender"][rows]),
                    signals["ts_ns"][rows],
                    name,
                    "signal",
                    args={"target": self._ids(target), "result": shown(signals["result"][rows])},
                    flows=_numbers("signal", rows),
                )
            )
        moved = self.reparents
        for rows in _blocks(np.flatnonzero(moved.old >= 0)):  # else nobody knows whose it was
            child, new = moved.child[rows], moved.new[rows]
            args = {"child": self._ids(child), "to": self._ids(new), **self._about(rows)}
            put(
                instants(
                    self._tracks(moved.old[rows]),
                    moved.ts_ns[rows],
                    self._said("loses ", child),
                    "reparent",
                    args=args,
                    flows=Only(new >= 0, _numbers("reparent", rows)),
                )
            )

    def write_lives(self, on_progress: Callable[[float], None]) -> None:
        """The track of each process, and all that is on it.

        What is at the same time on a track has to come in the order in which it nests.
        """
        count = len(self.scene.ids)
        marks = _ByTarget(self.signals["target"], count), _ByTarget(self.reparents.child, count)
        for begin in range(0, count, _BLOCK):
            on_progress(begin / count)
            at = np.arange(begin, min(begin + _BLOCK, count))
            self._write_block(at, *(found.rows(int(at[0]), int(at[-1]) + 1) for found in marks))

    def write_adopters(self) -> None:
        """Marks at new parents, when they were observed: where arrows end."""
        moved = self.reparents
        for rows in _blocks(np.flatnonzero(moved.new >= 0)):
            child, old = moved.child[rows], moved.old[rows]
            args = {"child": self._ids(child), "from": self._ids(old), **self._about(rows)}
            self.packets.write(
                instants(
                    self._tracks(moved.new[rows]),
                    np.maximum(moved.ts_ns[rows], moved.until_ns[rows]),
                    self._said("adopts ", child),
                    "reparent",
                    args=args,
                    ends=Only(old >= 0, _numbers("reparent", rows)),
                )
            )

    # --- a block of lives ----------------------------------------------------------------------

    def _write_block(self, at: Ints, signals: Ints, reparents: Ints) -> None:
        scene, put, track = self.scene, self.packets.write, self._tracks(at)
        begin_ns, end_ns = self.begin_ns[at], self.end_ns[at]
        roles = scene.roles[at]
        suffix = objects(["" if role == "other" else f" {role}" for role in roles.tolist()])
        name = pc.binary_join_element_wise(self._labels(at), pa.array(suffix, pa.string()), "")
        put(tracks(track, name, self._groups(at), at))
        rows, since, until, end = self._programs(at)
        programs = scene.programs
        numbers = programs.args.numbers
        last = np.append(numbers, np.int32(-1))[programs.last[at]]
        args, args_of_rows = shown_args(programs.args.lines, last, numbers[rows])
        born = scene.fork_ns[at] >= 0
        put(
            begins(
                track,
                begin_ns,
                self._names(at),
                "process",
                args=self._life(at, born, args),
                ends=Only(born, self._births[at]),
            )
        )
        more = until < end
        executed = programs.pos[rows]
        self._put(ends, self._tracks(executed[more]), until[more])
        self._write_programs(rows, since, args_of_rows)
        self._write_signals(signals)
        self._write_oom(at)
        self._write_reparents(reparents)
        self._put(ends, self._tracks(executed[~more]), until[~more])
        put(ends(track, end_ns))
        reap_ns = scene.reap_ns[at]
        # Its reaping may not have been recorded: no zombie without a proof.
        until = np.where(scene.at_end.zombies[at], self.last_ns, reap_ns)
        dead = np.flatnonzero((scene.exit_ns[at] >= 0) & (until > end_ns))
        if len(dead):
            waited = {"reaped": reap_ns[dead] >= 0}
            put(begins(track.take(pa.array(dead)), end_ns[dead], "zombie", "zombie", args=waited))
            put(ends(track.take(pa.array(dead)), until[dead]))

    def _life(self, at: Ints, born: npt.NDArray[np.bool_], args: Encoded) -> dict[str, Any]:
        scene = self.scene
        code, end = self._exit_code[at], self._ends(at)
        exited, killed = (code >= 0) & (code & 0x7F == 0), (code >= 0) & (code & 0x7F != 0)
        return {
            "id": self._ids(at),
            "role": shown(scene.roles[at]),
            "container": self._container_ids.take(pa.array(self._container[at])),
            "start_ns": scene.start_ns[at],
            "parent": self._ids(scene.first_parent[at]),
            "parent_certainty": shown(self._certainty[at]),
            "args": args,
            "end": end,
            "exit_status": Only(exited, code >> 8 & 0xFF),
            "exit_signal": Only(killed, code & 0x7F),
            "began": pc.if_else(pa.array(born), "recorded", "before, or not seen"),
        }

    def _programs(self, at: Ints) -> tuple[Ints, Ints, Ints, Ints]:
        """Rows of the programs that these executed, since when, until when, and their end."""
        programs = self.scene.programs
        begin, end = programs.rows(int(at[0])).start, programs.rows(int(at[-1])).stop
        rows = begin + np.flatnonzero(programs.executed[begin:end])
        pos = programs.pos[rows]
        end_ns = self.end_ns[pos]
        since = np.clip(programs.from_ns[rows], self.begin_ns[pos], end_ns)
        until = end_ns.copy()
        following = np.flatnonzero(pos[1:] == pos[:-1])
        until[following] = since[following + 1]
        shown_rows = until > since
        return rows[shown_rows], since[shown_rows], until[shown_rows], end_ns[shown_rows]

    def _write_programs(self, rows: Ints, since: Ints, argv: Encoded) -> None:
        if not len(rows):
            return
        programs = self.scene.programs
        filename = programs.filename[rows]
        codes, distinct = pd.factorize(filename)
        names = objects([base_name(path) or "?" for path in distinct.tolist()])[codes]
        args = {"filename": shown(filename), "args": argv}
        track = self._tracks(programs.pos[rows])
        self.packets.write(begins(track, since, shown(names), "exec", args=args))

    def _write_signals(self, rows: Ints) -> None:
        if not len(rows):
            return
        found = {name: column[rows] for name, column in self.signals.items()}
        sent = found["sender"] >= 0
        args = {
            "kind": shown(found["kind"]),
            "sender": self._ids(found["sender"]),
            "context": self._ids(found["context"]),
            "result": shown(found["result"]),
            "to_process": found["to_process"],
            "fatal": found["fatal"],
        }
        self.packets.write(
            instants(
                self._tracks(found["target"]),
                found["ts_ns"],
                shown(found["name"]),
                "signal",
                args=args,
                ends=Only(sent, _numbers("signal", rows)),
            )
        )

    def _write_oom(self, at: Ints) -> None:
        chosen = self.scene.oom_ns
        for pos in sorted(chosen.keys() & set(at.tolist())) if chosen else ():
            mark = "chosen by the OOM killer"
            self.packets.instant(int(self.track[pos]), chosen[pos], mark, "oom")

    def _write_reparents(self, rows: Ints) -> None:
        if not len(rows):
            return
        moved = self.reparents
        old, new = moved.old[rows], moved.new[rows]
        name = pc.if_else(
            pa.array(new >= 0), self._said("adopted by ", new), "adopted by nobody known"
        )
        args = {"from": self._ids(old), "to": self._ids(new), **self._about(rows)}
        track = self._tracks(moved.child[rows])
        self.packets.write(instants(track, moved.ts_ns[rows], name, "reparent", args=args))

    def _put(self, make: Callable[..., Any], track: Any, ts_ns: Ints) -> None:
        if len(track):
            self.packets.write(make(track, ts_ns))

    # --- columns of processes ------------------------------------------------------------------

    @cached_property
    def track(self) -> Numbers:
        """Number of each process's track, made of its id: a tgid may be used again."""
        return self._numbers_of("process")

    @cached_property
    def _encoded_tracks(self) -> Any:
        return varints(self.track)

    def _tracks(self, positions: Array) -> Any:
        return self._encoded_tracks.take(pa.array(positions))

    @cached_property
    def _births(self) -> Numbers:
        """Number of the arrow that leads to each birth."""
        return self._numbers_of("fork")

    def _numbers_of(self, kind: str) -> Numbers:
        ids = self._all_ids[:-1]
        blocks = [
            numbers_of(kind, ids.slice(begin, _BLOCK).to_pylist())
            for begin in range(0, len(ids), _BLOCK)
        ]
        return np.concatenate([np.empty(0, np.uint64), *blocks])

    @cached_property
    def _all_ids(self) -> Any:
        """Ids of all, and null behind."""
        everybody = np.arange(len(self.scene.ids))
        blocks = [pa.array(self.scene.ids.of(at), pa.string()) for at in _blocks(everybody)]
        return pa.concat_arrays([*blocks, pa.array([None], pa.string())])

    def _ids(self, positions: Array) -> Any:
        return self._all_ids.take(_or_last(positions, len(self._all_ids)))

    def _names(self, at: Array) -> Any:
        scene = self.scene
        names = scene.comm[at]
        # Of few the name is not comm: of those that it was cut for, and of an init.
        codes, distinct = pd.factorize(names)
        lengths = np.array([len(name) for name in distinct.tolist()], np.int64)[codes]
        for i in np.flatnonzero((lengths == COMM_LEN - 1) | (lengths == 0)).tolist():
            names[i] = scene.name(int(at[i]))
        names[names == ""] = "?"
        return shown(names)

    @cached_property
    def _all_labels(self) -> Any:
        """`Scene.label` of all, and behind them of one not known."""
        blocks = []
        for at in _blocks(np.arange(len(self.scene.ids))):
            tgid = pa.array(self.scene.tgid[at]).cast(pa.string())
            blocks.append(pc.binary_join_element_wise(self._names(at), " (", tgid, ")", ""))
        return pa.concat_arrays([*blocks, pa.array([self.scene.label(-1)], pa.string())])

    def _labels(self, positions: Array) -> Any:
        return self._all_labels.take(_or_last(positions, len(self._all_labels)))

    def _said(self, verb: str, at: Array) -> Any:
        return pc.binary_join_element_wise(verb, self._labels(at), "")

    def _about(self, rows: Ints) -> dict[str, Any]:
        return {name: shown(values[rows]) for name, values in self.reparents.about.items()}

    def _ends(self, at: Ints) -> Any:
        """How they ended, in words. Nearly all exited: the others are looked at one by one."""
        scene, code = self.scene, self._exit_code[at]
        exited = np.array([scene.end_text(End("exited", status=n)) for n in range(256)], object)
        words = exited[code >> 8 & 0xFF]
        for i in np.flatnonzero((code < 0) | (code & 0x7F != 0)).tolist():
            words[i] = scene.end_text(scene.end_of(int(at[i])))
        return shown(words)

    @cached_property
    def _exit_code(self) -> Ints:
        """-1: not known."""
        return self.scene.processes.filled("exit_code")

    @cached_property
    def _certainty(self) -> Array:
        """How sure the first parent is."""
        parents = self.scene.parents
        child, certainty = parents.filled("child_no"), parents["certainty"].to_numpy(object)
        found = np.full(len(self.scene.ids), None, object)
        # Written backwards, so that the first interval is the one that stays.
        found[child[::-1]] = certainty[::-1]
        return found

    @cached_property
    def _container(self) -> Ints:
        """Number of the container that each process is in or serves; that behind all: none."""
        membership = self.scene.membership
        found = np.where(membership.serves >= 0, membership.serves, membership.inside)
        return np.where(found >= 0, found, len(membership.ids)).astype(np.int64)

    @cached_property
    def _container_ids(self) -> Any:
        return shown(objects([*self.scene.membership.ids, None]))

    @cached_property
    def _container_tracks(self) -> Numbers:
        ids = self.scene.membership.ids
        return np.array([*map(container_track, ids), 0], np.uint64)

    def _groups(self, at: Ints) -> Numbers:
        """Number of the track that each process's is below."""
        other = self.scene.roles[at] == "other"
        below = np.where(other, np.uint64(number_of(OTHERS)), np.uint64(number_of(DAEMONS)))
        container = self._container_tracks[self._container[at]]
        return np.where(container > 0, container, below)


class _ByTarget:
    """Rows of some positions: in their own order for each position."""

    def __init__(self, target: Ints, count: int) -> None:
        self._order = np.argsort(target, kind="stable")
        self._first = np.searchsorted(target[self._order], np.arange(count + 1))

    def rows(self, begin: int, end: int) -> Ints:
        """Of positions from ``begin`` to ``end``."""
        return self._order[self._first[begin] : self._first[end]]


def _blocks(rows: Ints) -> Iterator[Ints]:
    for begin in range(0, len(rows), _BLOCK):
        yield rows[begin : begin + _BLOCK]


def _or_last(positions: Array, count: int) -> Any:
    """Where to take from: -1 is the last one."""
    return pa.array(np.where(positions >= 0, positions, count - 1))


def _numbers(kind: str, rows: Ints) -> Numbers:
    return numbers_of(kind, map(str, rows.tolist()))
