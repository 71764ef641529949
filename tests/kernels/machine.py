"""A machine under qemu's software emulation: boots, says on its console how far it is, powers off.

Emulated, since the point is another kernel, and hardware virtualization is not everywhere: some
ten times slower than the host, and nothing that it says of times holds elsewhere.
"""

from __future__ import annotations

import selectors
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from tests.kernels.errors import RigError
from tests.kernels.image import Image

MEMORY = "6G"
CPUS = 2
PROGRESS = "rtrace: "  # begins a line on the console that is meant for the host
_BOOT_S = 300.0
_BOOTS = 3
_COMMAND_LINE = "console=ttyS0 quiet panic=-1 mitigations=off"


def run(
    image: Image,
    initramfs: Path,
    disk: Path,
    console: Path,
    *,
    limit_s: float,
    on_progress: Callable[[str], None],
) -> None:
    """Boots and waits until the machine has powered off.

    Under emulation a boot may hang, with none of rtrace running yet; it is then tried again.

    Args:
        disk: file system with what it is to do, and for what comes out.
        console: file that gets all that it says.
        on_progress: called with each line that is meant for the host.

    Raises:
        RigError: it did not boot, or did not end in time.
    """
    for attempt in range(1, _BOOTS + 1):
        if _run_once(image, initramfs, disk, console, limit_s, on_progress):
            return
        on_progress(f"it did not boot in {_BOOT_S:.0f} s (attempt {attempt} of {_BOOTS})")
    raise RigError(f"{image.release} does not boot, see {console}")


def _run_once(
    image: Image,
    initramfs: Path,
    disk: Path,
    console: Path,
    limit_s: float,
    on_progress: Callable[[str], None],
) -> bool:
    """False: it never came to the point of saying anything to the host."""
    begun = time.monotonic()
    deadline = begun + _BOOT_S
    booted = False
    with (
        open(console, "wb") as log,
        subprocess.Popen(
            _command(image, initramfs, disk),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            bufsize=0,
        ) as machine,
        selectors.DefaultSelector() as output,
    ):
        assert machine.stdout is not None
        output.register(machine.stdout, selectors.EVENT_READ)
        line = b""
        try:
            while (left := deadline - time.monotonic()) > 0:
                if not output.select(left):
                    continue
                if not (said := machine.stdout.read(65536)):
                    break
                log.write(said)
                log.flush()
                *lines, line = (line + said).split(b"\n")
                for text in (raw.decode("utf-8", "replace").rstrip() for raw in lines):
                    if text.startswith(PROGRESS):
                        booted, deadline = True, begun + limit_s
                        on_progress(text.removeprefix(PROGRESS))
            else:
                if booted:
                    raise RigError(f"it did not end in {limit_s:.0f} s, see {console}")
        finally:
            machine.kill()
    if not booted and machine.returncode > 0:
        raise RigError(f"qemu failed, see {console}")
    return booted


def _command(image: Image, initramfs: Path, disk: Path) -> list[str]:
    return [
        *("nice", "-n", "10", "qemu-system-x86_64", "-no-user-config", "-nodefaults"),
        *("-accel", "tcg,thread=multi", "-cpu", "max", "-smp", str(CPUS), "-m", MEMORY),
        *("-display", "none", "-serial", "stdio", "-no-reboot"),
        *("-kernel", str(image.kernel), "-initrd", str(initramfs), "-append", _COMMAND_LINE),
        *("-drive", f"file={image.root},if=virtio,format=raw,snapshot=on"),
        *("-drive", f"file={disk},if=virtio,format=raw"),
    ]
