"""Compiles what the benchmarks need, into a directory that is removed afterwards."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from bench.errors import BenchError
from hatch_build import CFLAGS

# comm of all processes of this program's storms, and of nobody else's.
STORM_NAME = f"storm-{os.getpid()}"

_HERE = Path(__file__).resolve().parent


def build_storm(directory: Path) -> Path:
    """The storm program; static, so that its exec storm measures exec and not the linker."""
    target = directory / STORM_NAME
    return _run(["gcc", "-O2", "-static", "-o", str(target), str(_HERE / "storm.c")], target)


def build_flood(directory: Path) -> Path:
    """The BPF object that makes synthetic events."""
    target = directory / "flood.bpf.o"
    return _run(["clang", *CFLAGS, "-c", str(_HERE / "flood.bpf.c"), "-o", str(target)], target)


def _run(command: list[str], target: Path) -> Path:
    try:
        done = subprocess.run(
            command, cwd=_HERE.parent, capture_output=True, text=True, check=False
        )
    except OSError:
        raise BenchError(f"cannot compile {target.name}: {command[0]} is not installed") from None
    if done.returncode:
        error = next((line for line in done.stderr.splitlines() if "error" in line), "")
        raise BenchError.from_output(f"compiling {target.name}", error)
    return target
