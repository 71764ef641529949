"""A deterministic process tree recorded by every engine: the same processes, parents, reasons."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from tests.kernels.checks.result import Result
from tests.kernels.programs import INSIDE
from tests.kernels.recording import record

if TYPE_CHECKING:
    from analysis.model import Capture

# Of tests/kernel/family.c: orphans, subreapers, zombies, CLONE_PARENT, vfork.
_TREE = """
for mode in orphan subreaper subreaper-zombie "many 40" late-wait clone-parent vfork; do
    {family} $mode
done
{family} rename a-name
sh -c 'exit 3'
sh -c 'kill -TERM $$'
true
""".format(family=INSIDE / "family")

# Name: options, whether the kernel's BTF is hidden, engine that must have been taken.
_WAYS = {
    "core": (["--engine", "core"], False, "core"),
    "bcc": (["--engine", "bcc"], False, "bcc"),
    "bcc-headers": (["--engine", "auto"], True, "bcc"),
}


def run(folder: Path) -> None:
    """Records it each way; one that fails does not keep the others from being tried."""
    for name, (options, hide_btf, _engine) in _WAYS.items():
        try:
            record(folder / f"{name}.rtrace", options, ["sh", "-c", _TREE], hide_btf=hide_btf)
        except RuntimeError as error:
            (folder / f"{name}.failed").write_text(str(error))


def judge(folder: Path) -> Iterator[Result]:
    """Holds each against core."""
    from analysis.model import open_capture

    told = None
    for name, (_options, _hide_btf, engine) in _WAYS.items():
        label = {"bcc": "bcc, BTF", "bcc-headers": "bcc, headers, BTF hidden"}.get(name, name)
        failure = folder / f"{name}.failed"
        if failure.exists():
            yield Result(f"record with {label}", False, failure.read_text())
            continue
        capture = open_capture(folder / f"{name}.rtrace")
        found = describe(capture)
        told = told or found
        header = capture.table.header
        text = (
            f"{len(found)} processes, {sum(len(line.split(';')) - 1 for line in found)} reparents"
        )
        wrong = [f"{a!r} instead of {b!r}" for a, b in zip(found, told, strict=False) if a != b] + (
            ["another number of processes"] if len(found) != len(told) else []
        )
        if header["engine"] != engine:
            wrong.append(f"recorded with {header['engine']}")
        if not capture.table.complete or len(found) < 60:
            wrong.append("incomplete")
        yield Result(f"record with {label}", not wrong, "; ".join([text, *wrong[:3]]))


def describe(capture: Capture) -> list[str]:
    """The recorded command's processes by birth: their end, and their parents with reasons.

    A process is named by its number among them. Process 1 of the machine, outside, adopts some.
    """
    processes, reparents = capture.processes, capture.reparents
    born = processes[processes.fork_ns.notna()].sort_values("start_ns")
    root = born[born.args.map(lambda args: tuple(args[:1]) == ("sh",) and len(args) == 3)].index[0]
    names = {root: "0"}
    for identity, row in born.iterrows():
        if row.forker in names and identity != root:
            names[identity] = str(len(names))
    lines = []
    for identity, name in names.items():
        row = processes.loc[identity]
        moves = reparents[reparents.child == identity].sort_values("step")
        changes = [
            f"; {names.get(m.from_, 'outside')} -> {names.get(m.to, 'outside')} {m.reason}"
            for m in moves.itertuples()
        ]
        end = f"status {row.exit_status} signal {row.exit_signal}"
        lines.append(
            f"{name} by {names.get(row.forker, 'rtrace')} {row.comm} {end}{''.join(changes)}"
        )
    return lines
