"""`python -m tests.examples.incident`: records anew the incident that docs/tutorial.md is about.

In a lab (docs/lab.md), as root: a docker host on which a timer's clean-up script kills the shim of
the container `shop`. The flight recorder runs meanwhile and saves what it holds. Afterwards the
host is recorded once more, in good health, as somebody restarts `shop`. Both captures tell of the
lab alone; look into them before you commit them, then let `python -m tests.examples` take them into
the pages. (dockerd.rtrace is bullseye-C-dockerd-kill-return of tests/golden.)
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from tests.kernel.recording import wait_for
from tests.lab.golden import forget_outsiders
from tests.lab.lab import Lab, Setup

FOLDER = Path("tests/examples")
INCIDENT, HEALTHY = FOLDER / "shop.rtrace", FOLDER / "healthy.rtrace"
_WORK = Path("build/incident")
_SCRIPT = """#!/bin/sh
# Ends whoever holds the biggest open file, so that the disk gets its room back.
kill -9 "$(pgrep -n -f 'containerd-shim.* -id '"$(cat /run/biggest)")"
"""
_SERVICE = """[Service]
Type=oneshot
ExecStart=/usr/local/bin/disk-cleanup --free 10G /var
"""
_TIMER = """[Timer]
OnActiveSec=2500ms
AccuracySec=1ms
"""
_RECORDER = (
    *("setpriv", "--pdeathsig", "TERM", "unshare", "--uts"),
    *("sh", "-c", 'hostname web-1 && exec "$@"', "sh"),
    *(".venv/bin/rtrace", "record"),
)


def main() -> None:
    """Plays and records."""
    os.chdir(Path(__file__).resolve().parents[2])  # the command line is in each capture
    for cgroup in Path("/sys/fs/cgroup").glob("*/cgroup.procs"):
        cgroup.write_text(str(os.getpid()))  # paths of the lab's cgroups are in it, too
    shutil.rmtree(_WORK, ignore_errors=True)
    _WORK.mkdir(parents=True)
    with Lab.boot(Setup("bookworm", "A"), "web-1") as lab:
        _prepare(lab)
        _record_incident(lab)
        time.sleep(1)
        _record_restart(lab)
    for capture in (INCIDENT, HEALTHY):
        forget_outsiders(capture)


def _do(lab: Lab, *words: str, text: str | None = None) -> None:
    done = lab.run(*words, **({} if text is None else {"input": text}))
    if done.returncode:
        sys.exit(f"{' '.join(words)}: {done.stderr}")


def _prepare(lab: Lab) -> None:
    for path, text in (
        ("/usr/local/bin/disk-cleanup", _SCRIPT),
        ("/etc/systemd/system/disk-cleanup.service", _SERVICE),
        ("/etc/systemd/system/disk-cleanup.timer", _TIMER),
    ):
        _do(
            lab,
            "sh",
            "-c",
            f"mkdir -p $(dirname {path}); cat > {path}; chmod 755 {path}",
            text=text,
        )
    _do(lab, "systemctl", "daemon-reload")
    for name in ("db", "shop"):
        _do(lab, "docker", "tag", "busybox", f"{name}:1.4")
        serve = ("sh", "-c", "sleep 3600 & wait")
        options = ("--name", name, "--network", "none", "--restart", "always")
        _do(lab, "docker", "run", "-d", *options, f"{name}:1.4", *serve)
    _do(lab, "sh", "-c", "docker inspect -f '{{.Id}}' shop > /run/biggest")


def _record_incident(lab: Lab) -> None:
    options = ("--max-size", "20MiB", "--trigger", "runtime-kill", "--after", "2s")
    path = _WORK / "host.rtrace"
    recorder = _start(lab, path, *options)
    _do(lab, "systemctl", "start", "disk-cleanup.timer")
    for _ in range(3):
        time.sleep(0.4)
        _do(lab, "docker", "exec", "shop", "true")
    saves = wait_for(lambda: list(_WORK.glob("host-*-runtime-kill.rtrace")), "the save")
    recorder.terminate()
    recorder.wait()
    shutil.move(saves[0], INCIDENT)


def _record_restart(lab: Lab) -> None:
    recorder = _start(lab, _WORK / "healthy.rtrace")
    _do(lab, "docker", "restart", "-t", "0", "shop")
    time.sleep(0.5)
    recorder.terminate()
    recorder.wait()
    shutil.move(_WORK / "healthy.rtrace", HEALTHY)


def _start(lab: Lab, path: Path, *options: str) -> subprocess.Popen[bytes]:
    recorder = subprocess.Popen([*_RECORDER, "-o", path, "--pidns", str(lab.pid), *options])
    segments = path.with_suffix(".rtrace.segments")
    wait_for(lambda: path.exists() or segments.exists(), "the recorder")
    time.sleep(2)
    return recorder


if __name__ == "__main__":
    main()
