"""Test programs for the machines: compiled on the host, static, so that no machine needs gcc."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.kernel.trees import program as trees
from tests.kernels.errors import RigError

INSIDE = Path("/mnt/programs")
_KERNEL_TESTS = Path(trees.__file__).parents[1]


def build_programs(folder: Path) -> None:
    """Compiles everything into a new folder.

    Raises:
        RigError: gcc refuses, or is not there.
    """
    folder.mkdir()
    flags = ["-O1", "-Wall", "-Werror", "-pthread", "-static", f"-I{_KERNEL_TESTS}"]
    try:
        trees.build(folder)
        for source in [*_KERNEL_TESTS.glob("*.c"), *Path(__file__).parent.glob("*.c")]:
            if "int main(" not in source.read_text():
                continue  # to be loaded into another program: not for a static one
            command = ["gcc", *flags, "-o", str(folder / source.stem), str(source)]
            subprocess.run(command, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise RigError(f"cannot compile the test programs: {error}") from error
