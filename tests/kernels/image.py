"""Root file systems with a kernel: made of Debian packages once, and kept.

They are in ~/.cache/rtrace/kernels (XDG_CACHE_HOME), each in a folder whose name ends in a hash of
all that it was made from: another list of packages, another recipe, makes another one and removes
the old. It takes mmdebstrap one to two minutes, 100 MB of packages and 1 GB of disk.
"""

from __future__ import annotations

import hashlib
import lzma
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.debian import UNWANTED, bootstrap, cache_folder, find_mirror
from tests.kernels.guests import Guest

# What the recorder needs, what the kernel tests need, and a container runtime.
PACKAGES = (
    *("python3-bpfcc", "python3-click", "python3-zstandard"),
    *("python3-numpy", "python3-pytest", "python3-pytest-timeout", "mount", "procps"),
    *("runc", "busybox-static", "kmod"),
)
_HOOK = Path(__file__).with_name("add_kernel.sh")
_SPARE_BYTES = 512 << 20


@dataclass(frozen=True, slots=True)
class Image:
    """What a machine boots from.

    Attributes:
        release: the kernel's own name (uname -r).
        modules: what the kernel needs to find its root, in loading order, decompressed.
        root: ext4 file system in a file, never written to.
    """

    folder: Path
    release: str

    @property
    def root(self) -> Path:
        """Ext4 file system in a file; it is booted without being changed."""
        return self.folder / "root.ext4"

    @property
    def kernel(self) -> Path:
        """The kernel."""
        return self.folder / "vmlinuz"

    @property
    def busybox(self) -> Path:
        """A static busybox."""
        return self.folder / "busybox"

    @property
    def modules(self) -> list[Path]:
        """What the kernel needs to find its root, in the order of loading, decompressed."""
        return sorted((self.folder / "modules").iterdir())


def provide_image(guest: Guest, mirror: str | None, log: Path) -> Image:
    """The image of a guest, from the cache or built now.

    Args:
        mirror: URI of a Debian archive; None: the one that apt uses.
        log: gets what mmdebstrap says.

    Raises:
        BootstrapError: it cannot be built.
    """
    cache, name = cache_folder("kernels"), f"{guest.kernel}-{_fingerprint(guest)}"
    folder = cache / name
    if not folder.exists():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache, prefix=".building-") as scratch:
            _build(guest, mirror or find_mirror(), Path(scratch), log)
            Path(scratch, "image").rename(folder)
        for older in cache.glob(f"{guest.kernel}-*"):
            if older != folder:
                shutil.rmtree(older)
    return Image(folder, (folder / "release").read_text().strip())


def _fingerprint(guest: Guest) -> str:
    """Changes with whatever an image is made from, but for the versions of packages."""
    parts = [guest.suite, guest.kernel_suite, *PACKAGES, *UNWANTED]
    content = "\n".join(parts).encode() + _HOOK.read_bytes()
    return hashlib.sha256(content).hexdigest()[:12]


def _build(guest: Guest, mirror: str, scratch: Path, log: Path) -> None:
    root, image = scratch / "root", scratch / "image"
    hook = f"--customize-hook=sh '{_HOOK}' {guest.kernel} \"$1\""
    bootstrap(root, [(mirror, suite) for suite in guest.suites], PACKAGES, log, [hook])
    shutil.move(root / "boot" / "rtrace", image)
    for module in (image / "modules").glob("*.xz"):
        module.with_suffix("").write_bytes(lzma.decompress(module.read_bytes()))
        module.unlink()
    release = (image / "release").read_text().strip()
    shutil.rmtree(root / "boot")
    shutil.rmtree(root / "usr" / "lib" / "modules" / release / "kernel")
    used = int(subprocess.check_output(["du", "-sB1", root]).split()[0])
    make_file_system(image / "root.ext4", root, used + _SPARE_BYTES)


def make_file_system(path: Path, content: Path, size_bytes: int) -> None:
    """An ext4 file system in a sparse file."""
    command = ["mke2fs", "-q", "-t", "ext4", "-O", "^has_journal", "-d", str(content), str(path)]
    subprocess.run([*command, f"{size_bytes >> 10}k"], check=True, capture_output=True)
