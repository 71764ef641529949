"""Root file systems with docker, one a Debian suite: built when missing, kept, shared by all labs.

They are in ~/.cache/rtrace/lab/roots, each in a folder whose name ends in a hash of its recipe.
Labs never write to them; an overlay lies over each. Building takes about a minute.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from tests.debian import UNWANTED, bootstrap, cache_folder, find_mirror

_PACKAGES = (
    *("systemd", "systemd-sysv", "dbus", "docker.io", "containerd", "runc"),
    *("iptables", "iproute2", "procps", "busybox-static"),
)
# What a suite has beside that. Each has the versions that docs/docker-versions.md tells of.
SUITES: dict[str, tuple[str, ...]] = {
    "bullseye": (),
    "bookworm": ("podman", "crun", "conmon"),
    "trixie": ("docker-cli",),
    "sid": ("docker-cli", "mount"),
}
BY_HAND = ("sid",)  # it changes daily, and may be broken
# Debian's copies of sid may be older than their own "Valid-Until"; the signature is checked.
_OPTIONS = {"sid": ('--aptopt=Acquire::Check-Valid-Until "false"',)}
# Each lab gives itself an id.
_NO_MACHINE_ID = '--customize-hook=mkdir -p "$1/etc"; : > "$1/etc/machine-id"'


def roots_folder() -> Path:
    """Where they are."""
    return cache_folder("lab") / "roots"


@contextlib.contextmanager
def hold_root(suite: str) -> Iterator[tuple[Path, int]]:
    """The root file system of a suite, built now if it is missing.

    Gives its folder, and a file descriptor: as long as that, or a copy of it in another process,
    is open, nobody removes the folder.

    Raises:
        BootstrapError: it cannot be built.
    """
    folder = roots_folder() / f"{suite}-{_fingerprint(suite)}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    lock = os.open(f"{folder}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if not folder.exists():
            fcntl.flock(lock, fcntl.LOCK_EX)  # somebody else may be building it
            if not folder.exists():
                _build(suite, folder)
        fcntl.flock(lock, fcntl.LOCK_SH)
        if not folder.exists():  # removed between the two, by one with another recipe
            raise BlockingIOError(f"{folder} was removed meanwhile")
        yield folder, lock
    finally:
        os.close(lock)


def _build(suite: str, folder: Path) -> None:
    scratch = folder.with_name(f".{folder.name}.new")
    shutil.rmtree(scratch, ignore_errors=True)  # of a build that was ended
    log = folder.with_name(f"{suite}.log")
    options = (*_OPTIONS.get(suite, ()), _NO_MACHINE_ID)
    packages = (*_PACKAGES, *SUITES[suite])
    bootstrap(scratch, [(find_mirror(), suite)], packages, log, options)
    for pattern in ("var/cache/apt/archives/*.deb", "var/lib/apt/lists/*_*"):
        for file in scratch.glob(pattern):
            file.unlink()
    scratch.rename(folder)
    _remove_older(suite, folder)


def _remove_older(suite: str, folder: Path) -> None:
    """Removes roots of other recipes, unless a lab uses them."""
    for older in folder.parent.glob(f"{suite}-*"):
        if older == folder or not older.is_dir():
            continue
        with open(f"{older}.lock", "w") as lock, contextlib.suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(older)


def _fingerprint(suite: str) -> str:
    """Changes with whatever a root is made from, but for the versions of packages."""
    parts = [suite, *_PACKAGES, *SUITES[suite], *UNWANTED, _NO_MACHINE_ID]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]
