"""A systemd over this host's root, for the service.

What it writes is in memory and goes with it: an overlay lies over the root, and only the checkout
is the host's. Its units are systemd's own few; nothing that the host has enabled is started.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.kernel.recording import wait_for
from tests.machines import machine
from tests.machines.cgroups import cgroup_paths
from tests.machines.machine import Machine

SYSTEMD = Path("/lib/systemd/systemd")
_PREFIX = "rtrace-service-"
_STAGE = Path(__file__).with_name("stage.sh")
_UNITS = (
    *("multi-user.target", "basic.target", "sysinit.target", "local-fs.target", "sockets.target"),
    *("slices.target", "paths.target", "timers.target", "shutdown.target", "umount.target"),
    *("systemd-journald.service", "systemd-journald.socket", "systemd-journald-dev-log.socket"),
)


@contextlib.contextmanager
def service_machine(checkout: Path) -> Iterator[Machine]:
    """The running systemd, up to multi-user.target.

    Args:
        checkout: folder that is as outside.
    """
    scratch = Path(tempfile.mkdtemp(prefix=_PREFIX))
    try:
        (scratch / "memory").mkdir()
        stage = [_STAGE, scratch, checkout, " ".join(_UNITS)]
        running = machine.start(cgroup_paths(scratch.name), stage, scratch / "console")
        try:
            wait_for(
                lambda: running.run("systemctl", "is-active", "multi-user.target").returncode == 0,
                "multi-user.target",
            )
            yield running
        finally:
            running.end()
    finally:
        shutil.rmtree(scratch)
