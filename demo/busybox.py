"""An image that needs no registry: Debian's static busybox and links to it."""

from __future__ import annotations

import io
import shutil
import subprocess
import tarfile
from pathlib import Path

# Not among the applets of every busybox, or not what a container's process 1 should be.
_LEFT_OUT = frozenset({"busybox", "init", "linuxrc"})


def find_busybox() -> Path | None:
    """The static busybox (package busybox-static), None where it is not installed."""
    found = shutil.which("busybox", path="/bin:/usr/bin")
    return Path(found) if found else None


def image_tar(busybox: Path) -> bytes:
    """A root file system for `docker import`: busybox, a link per applet, /etc/passwd, /tmp."""
    listed = subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True)
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for folder, mode in (("bin", 0o755), ("etc", 0o755), ("root", 0o700), ("tmp", 0o1777)):
            _add(tar, folder, tarfile.DIRTYPE, mode)
        _add(tar, "bin/busybox", tarfile.REGTYPE, 0o755, content=busybox.read_bytes())
        for applet in sorted(set(listed.stdout.split()) - _LEFT_OUT):
            _add(tar, f"bin/{applet}", tarfile.SYMTYPE, 0o777, link="busybox")
        _add(tar, "etc/passwd", tarfile.REGTYPE, 0o644, content=b"root:x:0:0::/root:/bin/sh\n")
        _add(tar, "etc/group", tarfile.REGTYPE, 0o644, content=b"root:x:0:\n")
    return stream.getvalue()


def _add(
    tar: tarfile.TarFile, name: str, kind: bytes, mode: int, *, content: bytes = b"", link: str = ""
) -> None:
    member = tarfile.TarInfo(name)
    member.type, member.mode, member.size, member.linkname = kind, mode, len(content), link
    tar.addfile(member, io.BytesIO(content))
