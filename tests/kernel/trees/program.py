"""Build randomtree, and how to run it."""

from __future__ import annotations

import subprocess
from pathlib import Path

_SOURCES = sorted(Path(__file__).parent.glob("*.c"))


def build(folder: Path) -> Path:
    """Compile into the folder, statically where libc allows it: then forks are cheaper.

    Raises:
        subprocess.CalledProcessError: gcc refuses; its messages are in `stderr`.
        FileNotFoundError: there is no gcc.
    """
    program = folder / "randomtree"
    command = ["gcc", "-O2", "-g", "-Wall", "-Wextra", "-o", str(program)]
    command += map(str, _SOURCES)
    try:
        subprocess.run([*command, "-static"], check=True, capture_output=True, text=True)
    except subprocess.CalledProcessError:
        subprocess.run(command, check=True, capture_output=True, text=True)
    return program


def command(
    program: Path,
    log: Path,
    *,
    seed: int = 1,
    rounds: int = 10,
    processes_per_round: int = 180,
    timeout_s: int = 600,
) -> list[str]:
    """The command line, to run as it is or below `rtrace record --`.

    About four fifths of the processes of a plan are born: others kill or are killed before. One
    round in eight has another 100 to 400 below one parent. 620 rounds make 100,000 processes.
    """
    return [
        str(program),
        f"--log={log}",
        f"--seed={seed}",
        f"--rounds={rounds}",
        f"--processes-per-round={processes_per_round}",
        f"--timeout={timeout_s}",
    ]
