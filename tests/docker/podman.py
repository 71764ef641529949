"""A podman of one's own, with conmon and runc or crun: as `demo.privatedocker` is for docker.

Its folders, cgroups and mounts are its own. All its commands run in one mount namespace, in which
mounts that crun cannot use may be taken away.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

from demo import leftovers
from demo.busybox import find_busybox, image_tar
from demo.process import Process

IMAGE = "localhost/rtrace-busybox:latest"

# crun refuses a v1 hierarchy with a v2 one beside it: in its own mount namespace it sees v1 alone.
_HYBRID = Path("/sys/fs/cgroup/unified")

# podman gives root limits beyond the current ones, for which CAP_SYS_RESOURCE is needed.
_LIMITS = ("--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024")


def find_missing(runtime: str) -> list[str]:
    """What keeps a private podman from starting here, in words."""
    missing = [] if os.geteuid() == 0 else ["root"]
    for name in ("podman", "conmon", runtime):
        if shutil.which(name) is None:
            missing.append(f"{name} (package {name})")
    if find_busybox() is None:
        missing.append("busybox (package busybox-static)")
    return missing


class PrivatePodman:
    """A private podman, as a context manager.

    Args:
        runtime: "runc" or "crun".

    Attributes:
        command: podman with all that makes it private, in front of a verb.
        image: a busybox image.
        run_options: what `podman run` needs here.
    """

    image = IMAGE

    def __init__(self, runtime: str) -> None:
        self.runtime = runtime

    def __enter__(self) -> Self:
        leftovers.sweep_stale()
        self.folder = Path(tempfile.mkdtemp(prefix=leftovers.PREFIX, dir=leftovers.PARENT))
        self.cgroup_parent = f"/{self.folder.name}"
        self._state = leftovers.State.now(self.cgroup_parent)
        self._state.write(self.folder)
        hide = f"umount {_HYBRID}; " if _HYBRID.is_mount() and self.runtime == "crun" else ""
        words = ["unshare", "--mount", "--propagation", "private"]
        words += ["sh", "-c", f"{hide}echo; exec sleep infinity"]
        self._holder = subprocess.Popen(words, stdout=subprocess.PIPE)
        try:
            holder = Process.of(self._holder.pid)
            assert holder is not None
            assert self._holder.stdout is not None
            self._state.daemons.append(holder)
            self._state.write(self.folder)
            self._holder.stdout.readline()
            self.command = [
                *("nsenter", "--target", str(holder.pid), "--mount"),
                *("podman", "--root", f"{self.folder}/root", "--runroot", f"{self.folder}/run"),
                *("--tmpdir", f"{self.folder}/tmp", "--storage-driver", "vfs"),
                *("--cgroup-manager", "cgroupfs", "--events-backend", "none"),
                *("--runtime", self.runtime, "--runtime-flag", f"root={self.folder}/oci"),
            ]
            self.run_options = (
                *("--network", "none", "--cgroup-parent", self.cgroup_parent),
                *_LIMITS,
            )
            busybox = find_busybox()
            assert busybox is not None
            subprocess.run(
                [*self.command, "import", "-", IMAGE],
                input=image_tar(busybox),
                capture_output=True,
                check=True,
            )
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            subprocess.run(
                [*self.command, "rm", "--all", "--force", "--time", "0"],
                capture_output=True,
                timeout=60,
                check=False,
            )
        finally:
            self._remove()

    def _remove(self) -> None:
        leftovers.remove(self.folder, self._state)
        self._holder.kill()
        self._holder.communicate()
