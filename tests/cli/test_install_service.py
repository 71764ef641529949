"""`rtrace install-service` where nothing can be installed: it says why, and changes nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

RTRACE = Path(sys.executable).with_name("rtrace")


def run(*arguments: str, wrapper: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    command = [*wrapper, str(RTRACE), "install-service", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_print_needs_neither_root_nor_systemd() -> None:
    shown = run("--print", "--trigger", "shim-exit", "--max-size", "200MiB", "--keep", "3")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert f"ExecStart={RTRACE} record " in shown.stdout
    assert "--max-size 200M --keep 3 " in shown.stdout
    assert "--trigger shim-exit\n" in shown.stdout
    # On the disk: the recording, the saves, and two captures while it stops.
    assert "1.2 GiB at most" in shown.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--trigger", "shim"], "no such trigger"),
        (["--dir", "relative"], "is not an absolute path"),
        (["--max-size", "5"], "cannot keep a recording in 5 bytes"),
        (["--buffer", "1k"], "cannot use a buffer of 1024 bytes"),
        (["--keep", "0"], "--keep"),
    ],
)
def test_wrong_options_are_refused(arguments: list[str], words: str) -> None:
    for more in (["--print"], []):
        refused = run(*arguments, *more)
        assert refused.returncode == 2
        assert words in refused.stderr
        assert "Traceback" not in refused.stderr


@pytest.mark.kernel
def test_without_root_it_is_refused() -> None:
    nobody = ("setpriv", "--reuid=65534", "--clear-groups")
    for arguments in ([], ["--uninstall"]):
        refused = run(*arguments, wrapper=nobody)
        assert refused.returncode == 1
        assert refused.stderr.endswith("the service: it needs root; run it with sudo\n")
        assert refused.stderr.count("\n") == 1


@pytest.mark.kernel
def test_without_systemd_it_is_refused() -> None:
    hidden = ("unshare", "--mount", "sh", "-c", 'mount -t tmpfs none /run; exec "$@"', "sh")
    for arguments in ([], ["--uninstall"]):
        refused = run(*arguments, wrapper=hidden)
        assert refused.returncode == 1
        assert "systemd does not run this host; " in refused.stderr
        assert "rtrace install-service --print" in refused.stderr
        assert refused.stderr.count("\n") == 1
    assert not os.path.exists("/etc/systemd/system/rtrace.service")
