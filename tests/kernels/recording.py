"""Recording inside of a machine."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.kernels.machine import PROGRESS

RTRACE = str(Path(sys.executable).with_name("rtrace"))

# As root in a mount namespace of its own: what the kernel says of its types is out of sight there.
_HIDE_BTF = [
    "unshare",
    "--mount",
    "sh",
    "-c",
    'mount -t tmpfs none /sys/kernel/btf && exec "$@"',
    "sh",
]


def tell_host(text: str) -> None:
    """Shows a line on the host."""
    print(f"{PROGRESS}{text}", flush=True)


def record(
    capture: Path,
    options: Sequence[str],
    command: Sequence[str | Path],
    *,
    hide_btf: bool = False,
    limit_s: float = 1800,
) -> None:
    """Records a command, and tells the host; what was said is beside the capture.

    Raises:
        RuntimeError: it failed.
    """
    wrapper = _HIDE_BTF if hide_btf else []
    with open(capture.with_suffix(".txt"), "w") as said:
        status = subprocess.run(
            [*wrapper, RTRACE, "record", "-o", capture, *options, "--", *command],
            stdout=said,
            stderr=subprocess.STDOUT,
            timeout=limit_s,
        ).returncode
    if status != 0:
        lines = capture.with_suffix(".txt").read_text().splitlines()
        raise RuntimeError(f"{capture.stem}: status {status}: {lines[-1] if lines else ''}")
    tell_host(f"  recorded {capture.stem}")
