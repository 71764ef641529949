"""Root file systems from Debian packages, for machines that tests boot.

They are built once, by mmdebstrap, from the mirror that the host's apt uses, and kept below
~/.cache/rtrace (XDG_CACHE_HOME).
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable
from pathlib import Path

UNWANTED = ("/usr/share/doc/*", "/usr/share/locale/*", "/usr/share/man/*")


class BootstrapError(Exception):
    """A root file system cannot be had. ``str()`` says why and what to do, in one line."""


def cache_folder(name: str) -> Path:
    """Where root file systems of a kind are kept."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base, "rtrace", name)


def find_mirror() -> str:
    """The Debian mirror that this host's apt uses.

    Raises:
        BootstrapError: it uses none.
    """
    listing = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(ORIGIN)|$(LABEL)|$(COMPONENT)|$(REPO_URI)"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    for line in listing.splitlines():
        origin, label, component, uri = line.split("|")
        if (origin, label, component) == ("Debian", "Debian", "main"):
            return uri
    raise BootstrapError("apt knows no Debian mirror here: name one in /etc/apt/sources.list")


def bootstrap(
    root: Path,
    sources: Iterable[tuple[str, str]],
    packages: Iterable[str],
    log: Path,
    options: Iterable[str] = (),
) -> None:
    """A root file system in a folder, which must not exist.

    Args:
        sources: mirror and suite; the first suite is the one that is bootstrapped.
        log: gets what mmdebstrap says.
        options: more options for mmdebstrap.

    Raises:
        BootstrapError: mmdebstrap failed.
    """
    sources = list(sources)
    command = [
        *("mmdebstrap", "--mode=root", "--variant=apt", "--format=directory"),
        *('--aptopt=APT::Install-Recommends "false"', '--aptopt=Acquire::Languages "none"'),
        *(f"--dpkgopt=path-exclude={pattern}" for pattern in UNWANTED),
        "--dpkgopt=force-unsafe-io",
        f"--include={','.join(packages)}",
        *options,
        *(sources[0][1], str(root), "-"),
    ]
    lines = "\n".join(f"deb {mirror} {suite} main" for mirror, suite in sources)
    with open(log, "w") as file:
        status = subprocess.run(
            command, input=lines, text=True, stdout=file, stderr=subprocess.STDOUT
        ).returncode
    if status != 0:
        raise BootstrapError(
            f"cannot build a root of {sources[0][1]}: mmdebstrap failed, see {log}; "
            "does the mirror that apt uses have this suite?"
        )
