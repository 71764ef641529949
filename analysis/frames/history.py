"""Execs and signals of all processes, as frames. Vectorised: no loop over events."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.columns import frame, int64, nullable, objects
from analysis.identity import identify
from analysis.scene import Scene
from analysis.signals import SIGKILL, name_of
from tracer.abi import Type
from tracer.signal_kind import signal_kind

Ints = npt.NDArray[np.int64]

# enum in include/trace/events/signal.h.
RESULTS = ("delivered", "ignored", "already-pending", "queue-full", "info-lost")


def df_execs(scene: Scene) -> pd.DataFrame:
    """One row an exec, or an image that only /proc showed, by process, then time."""
    programs = scene.programs
    pos, begin = programs.pos, programs.from_ns
    end = scene.exit_ns[pos]
    following = np.flatnonzero(pos[1:] == pos[:-1])
    end[following] = begin[following + 1]
    verbs = objects([None] * len(pos))
    for row, program in programs.parsed.items():
        verbs[row] = program.verb
    container = objects([*scene.membership.ids, None])[_container_numbers(scene)]
    return frame(
        {
            "process": scene.ids.of(pos),
            "ts_ns": nullable(begin, begin >= 0),
            "until_ns": nullable(end, end >= 0),
            "recorded": programs.executed,
            "filename": programs.filename,
            "args": programs.args.of(np.arange(len(pos))),
            "program": programs.role,
            "verb": verbs,
            "container": container[pos],
        }
    )


def _container_numbers(scene: Scene) -> Ints:
    membership = scene.membership
    numbers: Ints = np.where(membership.serves >= 0, membership.serves, membership.inside)
    return numbers


def df_signals(scene: Scene) -> pd.DataFrame:
    """One row a signal, by time."""
    rows, found = scene.table.of(Type.SIGNAL), signal_columns(scene)
    return frame(
        {
            "ts_ns": found["ts_ns"],
            **{name: scene.ids.of(found[name]) for name in ("target", "sender", "context")},
            **{name: found[name] for name in ("signal", "name", "kind", "result", "to_process")},
            "target_tid": int64(rows["tid"]),
            "sender_tid": nullable(int64(rows["sender_tid"]), rows["sender_tid"] > 0),
            "fatal": found["fatal"],
        }
    )


def signal_columns(scene: Scene) -> dict[str, npt.NDArray[Any]]:
    """Signals by time; target, sender, context are positions of processes, -1 where not known."""
    rows, who = scene.table.of(Type.SIGNAL), identify(scene.table)
    target = who.of(Type.SIGNAL).astype(np.int64)
    sender = who.of(Type.SIGNAL, "sender").astype(np.int64)
    kind = kinds_of(rows)
    by_process = kind == "process"
    number = int64(rows["signal"])
    codes, uniques = pd.factorize(number)
    names = objects([name_of(int(n)) for n in uniques])
    result = int64(rows["result"])
    ts_ns = int64(rows["ts_ns"])
    return {
        "ts_ns": ts_ns,
        "target": target,
        "sender": np.where(by_process, sender, -1),
        "context": np.where(by_process, -1, sender),
        "signal": number,
        "name": names[codes] if len(codes) else np.empty(0, object),
        "kind": kind,
        "result": objects([*RESULTS, "unknown"])[np.minimum(result, len(RESULTS))],
        "to_process": rows["group"] != 0,
        "fatal": _fatal(scene, target, number, result == 0, ts_ns),
    }


def kinds_of(rows: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """`signal_kind` of each, found once for each combination of what it looks at."""
    keys = (int64(rows["origin"]) << 48) | (int64(rows["context"]) << 40)
    keys |= int64(rows["si_code"]) & 0xFFFFFFFF
    codes, uniques = pd.factorize(keys)
    first = np.zeros(len(uniques), np.int64)
    first[codes[::-1]] = np.arange(len(codes) - 1, -1, -1)
    kinds = [
        signal_kind(int(row["origin"]), int(row["si_code"]), int(row["context"]))
        for row in rows[first]
    ]
    return objects(kinds)[codes] if len(codes) else np.empty(0, object)


def _fatal(
    scene: Scene, target: Ints, number: Ints, delivered: npt.NDArray[np.bool_], ts_ns: Ints
) -> npt.NDArray[np.bool_]:
    """As `signals.Signals.fatal`: of SIGKILLs the first that was delivered, of others the last."""
    fatal = np.zeros(len(target), bool)
    killed_by = scene.processes["exit_signal"].fillna(0).to_numpy(np.int64)[target]
    ended = scene.exit_ns[target]
    rows = np.flatnonzero(
        (target >= 0)
        & delivered
        & (number > 0)
        & (killed_by == number)
        & ((ended < 0) | (ts_ns <= ended))
    )
    for kill in (True, False):
        own = rows[(number[rows] == SIGKILL) == kill]
        own = own if kill else own[::-1]
        fatal[own[np.unique(target[own], return_index=True)[1]]] = True
    return fatal
