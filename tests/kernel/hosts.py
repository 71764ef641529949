"""Hosts of other kinds, made of namespaces, mounts and missing rights: nobody else sees them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tracer
from tests.kernel.recording import DEADLINE_S, Ended

NOBODY = 65534


def run(command: Sequence[str | Path], **keywords: Any) -> Ended:
    """Any command; `rtrace` in it never shows a traceback."""
    done = subprocess.run(
        [str(part) for part in command],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
        **keywords,
    )
    assert "Traceback" not in done.stderr
    return Ended(done.returncode, done.stdout, done.stderr)


def in_mount_namespace(script: str, *arguments: str | Path) -> list[str]:
    """Runs a shell script that may mount what it likes: nobody else sees it."""
    return ["unshare", "--mount", "sh", "-euc", script, "sh", *map(str, arguments)]


def limited(*capabilities: str) -> list[str]:
    """Runs a command as nobody, with these capabilities ("bpf") and no others."""
    kept = "".join(f",+{name}" for name in capabilities)
    return [
        "setpriv",
        f"--reuid={NOBODY}",
        f"--regid={NOBODY}",
        "--clear-groups",
        *(f"--{kind}=-all{kept}" for kind in ("inh-caps", "ambient-caps", "bounding-set")),
    ]


class Nobody:
    """rtrace for a user who is not root, wherever the checkout is.

    Attributes:
        home: where that user may write.
    """

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="rtrace-test-"))
        self._folder.chmod(0o755)
        (self._folder / "packages").mkdir()
        self.home = self._folder / "home"
        self.home.mkdir()
        os.chown(self.home, NOBODY, NOBODY)
        checkout = Path(tracer.__file__).parents[1]
        for package in ("tracer", "analysis"):
            shutil.copytree(checkout / package, self._folder / package)
        subprocess.run(["chmod", "-R", "a+rX", self._folder], check=True)

    def rtrace(
        self, *arguments: str | Path, capabilities: Sequence[str] = (), prepare: str = ":"
    ) -> Ended:
        """Runs it in `home`, with these capabilities, after a shell command of root's."""
        script = (
            'packages=$1 folder=$2; shift 2; mount --bind "$packages" "$folder/packages"; '
            f'{prepare}; cd "$folder/home"; export PYTHONDONTWRITEBYTECODE=1 '
            'PYTHONPATH="$folder:$folder/packages"; exec "$@"'
        )
        command = [
            *limited(*capabilities),
            os.path.realpath(sys.executable),
            "-c",
            "from tracer.cli import main; main()",
            *arguments,
        ]
        packages = sysconfig.get_path("purelib")
        return run(in_mount_namespace(script, packages, self._folder, *command))

    def remove(self) -> None:
        """Leaves nothing behind."""
        shutil.rmtree(self._folder)
