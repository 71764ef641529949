"""Cgroups that tests make for themselves, and take away."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tracer.cgroups import read_hierarchies


class Group:
    """A cgroup of its own.

    Attributes:
        directory: where it is.
        path: below the root of its hierarchy, as /proc/PID/cgroup has it.
        version: of the hierarchy.
    """

    def __init__(self, mount: Path, path: str, version: int) -> None:
        self.mount, self.path, self.version = mount, path, version
        self.directory = mount / path.lstrip("/")
        self.directory.mkdir()

    def below(self, name: str) -> Group:
        """A cgroup in this one, removed with it."""
        return Group(self.mount, f"{self.path}/{name}", self.version)

    def pids(self) -> list[int]:
        """Processes in it and below."""
        found = []
        for file in self.directory.rglob("cgroup.procs"):
            with contextlib.suppress(OSError):
                found += [int(line) for line in file.read_text().split()]
        return found

    def write(self, name: str, value: str) -> None:
        """Sets a control file."""
        (self.directory / name).write_text(value)

    def popen(self, command: Sequence[str | Path], **keywords: Any) -> subprocess.Popen[bytes]:
        """A program that is exec'd in here: its process comes from outside."""
        enter = f'echo $$ >"{self.directory}/cgroup.procs" && exec "$@"'
        return subprocess.Popen(["sh", "-c", enter, "sh", *map(str, command)], **keywords)

    def __enter__(self) -> Group:
        return self

    def __exit__(self, *_: object) -> None:
        deadline = time.monotonic() + 20
        below = sorted(path for path in self.directory.rglob("*") if path.is_dir())
        for directory in (*reversed(below), self.directory):
            while True:
                try:
                    directory.rmdir()
                    break
                except OSError:
                    if time.monotonic() > deadline:
                        raise
                for pid in self.pids():
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                time.sleep(0.02)


def make_group(hierarchy: str) -> Group | None:
    """A new cgroup in the hierarchy of a v1 controller, or in "v2"; None where there is none."""
    for found in read_hierarchies():
        names = [controller.name.lower() for controller in found.controllers]
        if found.root == "/" and (hierarchy in names or (hierarchy, found.version) == ("v2", 2)):
            with contextlib.suppress(OSError):
                name = f"/rtrace-test-{uuid.uuid4().hex[:12]}"
                return Group(Path(found.mount), name, found.version)
    return None
