"""The disk that takes rtrace and the test programs into a machine, and its results out.

A file system in a file, made and read by e2fsprogs: nothing is mounted on the host.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.kernels.image import make_file_system
from tests.kernels.plan import Plan
from tests.kernels.programs import build_programs

_FOLDERS = ("bpf", "tracer", "analysis", "rtrace", "demo", "tests", "pyproject.toml")
_SIZE_BYTES = 4 << 30  # sparse


def write_disk(path: Path, checkout: Path, plan: Plan) -> None:
    """A file system with this checkout, compiled test programs, and what to run."""
    with tempfile.TemporaryDirectory(prefix="rtrace-kernels-") as scratch:
        inside = Path(scratch, "checkout")
        inside.mkdir()
        for name in _FOLDERS:
            source = checkout / name
            if source.is_dir():
                ignored = shutil.ignore_patterns("__pycache__", "*.rtrace")
                shutil.copytree(source, inside / name, ignore=ignored)
            else:
                shutil.copy2(source, inside / name)
        build_programs(Path(scratch, "programs"))
        Path(scratch, "results").mkdir()
        plan.write(Path(scratch, "results"))
        make_file_system(path, Path(scratch), _SIZE_BYTES)


def read_results(disk: Path, folder: Path) -> None:
    """Copies what the machine left: `folder` becomes its folder of that name."""
    command = ["debugfs", "-R", f'rdump /{folder.name} "{folder.parent}"', str(disk)]
    subprocess.run(command, check=True, capture_output=True)
