"""No process ids left: forks fail, and the few that become free are used again at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from tests.kernels.checks.result import Result
from tests.kernels.programs import INSIDE
from tests.kernels.recording import record

_PID_MAX = Path("/proc/sys/kernel/pid_max")
_SPARE = 600  # ids for everything else, and to be filled up
_MORE = 2000
_EAGAIN = 11


def run(folder: Path) -> None:
    """Records it; pid_max is as low as the kernel lets it be."""
    before = _PID_MAX.read_text()
    _PID_MAX.write_text(str(_highest() + _SPARE))
    try:
        command = f"{INSIDE}/reuse {_MORE} > {folder}/told.txt"
        record(folder / "reuse.rtrace", [], ["sh", "-c", command])
    finally:
        _PID_MAX.write_text(before)


def judge(folder: Path) -> Iterator[Result]:
    """As many processes as were made, each with its own end and parent, though ids repeat."""
    from analysis.model import open_capture

    lines = (folder / "told.txt").read_text().splitlines()
    told = {name: int(value) for name, value in (line.split() for line in lines)}
    capture = open_capture(folder / "reuse.rtrace")
    processes = capture.processes
    (driver,) = processes.index[(processes.tgid == told["pid"]) & (processes.comm == "reuse")]
    children = processes[processes.forker == driver]
    short = children[children.exit_status == 5]
    times_used = Counter(short.tgid.tolist())
    most = max(times_used.values())
    unended = int(children.exit_ns.isna().sum())
    wrong_parent = int(
        (capture.parents[capture.parents.child.isin(children.index)].parent != driver).sum()
    )
    ok = (
        told["error"] == _EAGAIN
        and len(short) == told["reused"] == _MORE
        and len(children) == told["held"] + told["reused"]
        and unended == wrong_parent == 0
        and most > 100
    )
    yield Result(
        "pid_max reached",
        ok,
        f"{told['held']:,} processes held all ids; {len(short):,} of {told['reused']:,} more told "
        f"apart on {len(times_used)} ids, one used {most} times; {unended} without an end, "
        f"{wrong_parent} with a wrong parent",
    )


def _highest() -> int:
    """The highest process id in use."""
    return max(int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())
