"""Builds the CO-RE object: the one place that knows how bpf/ is compiled.

Hatchling calls it for wheels and for editable installs, so that whoever installs rtrace has the
object and never needs clang; `python hatch_build.py` (make does that when a source is newer)
compiles in place.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SOURCE = Path("bpf/rtrace.bpf.c")
OBJECT = Path("tracer/_bpf/rtrace.bpf.o")

# -target bpf looks for no multiarch headers, which is where Debian keeps asm/types.h.
CFLAGS = (
    *("-g", "-O2", "-Wall", "-target", "bpf", "-mcpu=v3"),
    *("-D__TARGET_ARCH_x86", "-DRTRACE_CORE", "-I", "bpf"),
    *("-idirafter", "/usr/include/x86_64-linux-gnu", "-fdebug-compilation-dir=."),
)


class BuildError(Exception):
    """The object cannot be built. ``str()`` is the line for the user."""


def compile_bpf(root: Path) -> Path:
    """Compile `SOURCE` below root to `OBJECT`, without its DWARF where llvm-strip is there.

    The object appears whole or not at all: a recorder that starts meanwhile reads the old one.

    Raises:
        BuildError: there is no clang, or it refused the source.
    """
    clang = shutil.which("clang")
    if clang is None:
        raise BuildError(
            "cannot compile bpf/rtrace.bpf.c: clang not found; "
            "install clang, libbpf-dev and linux-libc-dev (`make` does), then build again"
        )
    target = root / OBJECT
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".build-") as scratch:
        made = Path(scratch, OBJECT.name)
        command = [clang, *CFLAGS, "-c", str(SOURCE), "-o", str(made)]
        if subprocess.run(command, cwd=root, stdin=subprocess.DEVNULL).returncode != 0:
            raise BuildError(
                f"cannot compile {SOURCE}: clang refused it (see above); if a header is missing, "
                "install libbpf-dev and linux-libc-dev"
            )
        _strip_dwarf(made, clang)
        made.chmod(0o644)
        os.replace(made, target)
    return target


def _strip_dwarf(made: Path, clang: str) -> None:
    """Leave BTF, drop the ten times larger DWARF. llvm-strip is not in every clang package."""
    beside_clang = Path(clang).resolve().with_name("llvm-strip")
    strip = shutil.which("llvm-strip") or shutil.which(beside_clang)
    if strip is not None:
        subprocess.run([strip, "-g", str(made)], check=True)


class BpfBuildHook(BuildHookInterface[Any]):
    """Adds the object, and the C sources for the engine that compiles at run time.

    The wheel stays `py3-none-any`: captures are read on any machine, and the object is data.
    """

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Hatchling's entry point, before it collects the files."""
        root = Path(self.root)
        try:
            compile_bpf(root)
        except BuildError as error:
            self.app.abort(f"rtrace: {error}")
        build_data["artifacts"].append(f"/{OBJECT}")
        for source in sorted([*root.glob("bpf/*.c"), *root.glob("bpf/*.h")]):
            build_data["force_include"][str(source)] = f"{OBJECT.parent}/{source.name}"


if __name__ == "__main__":
    try:
        print(compile_bpf(Path(__file__).resolve().parent).relative_to(Path.cwd()))
    except BuildError as error:
        sys.exit(f"rtrace: {error}")
