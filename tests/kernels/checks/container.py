"""One container's life with runc alone: create, start, exec, kill, delete."""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.kernels.checks.result import Result
from tests.kernels.recording import record

_ID = "kernels-box"
_PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h
_WORKLOAD = "trap 'exit 7' TERM; while :; do sleep 0.1; done"


def run(folder: Path) -> None:
    """Records it."""
    bundle = Path("/tmp/bundle")
    _make_bundle(bundle)
    manager = [sys.executable, "-m", __name__, str(bundle), str(folder)]
    record(folder / "container.rtrace", [], manager)


def judge(folder: Path) -> Iterator[Result]:
    """The report names runc, whose child process 1 becomes when runc exits, and its end."""
    from analysis.model import open_capture
    from analysis.report import build_report

    report = build_report(open_capture(folder / "container.rtrace"))
    (folder / "report.json").write_text(json.dumps(report, indent=1))
    told = dict(line.split() for line in (folder / "told.txt").read_text().splitlines())
    containers = [found for found in report["containers"] if found["id"] == _ID]
    processes = {found["id"]: found for found in report["processes"]}
    adoptions = [
        move
        for move in report["reparents"]
        if move["child"]["tgid"] == int(told["init"])
        and move["from"]["role"] == "runc"
        and move["to"]["tgid"] == int(told["manager"])
    ]
    wrong = []
    if not containers:
        wrong.append("the container is not in the report")
    elif processes[containers[0]["init"]["id"]]["tgid"] != int(told["init"]):
        wrong.append("its process 1 is another")
    if [(m["reason"], m["certainty"]) for m in adoptions] != [("subreaper", "confirmed")]:
        wrong.append(f"adoptions of process 1: {adoptions}")
    calls = sum(found["role"] == "runc" for found in report["processes"])
    if calls < 5:
        wrong.append(f"{calls} processes of runc")
    text = f"runc's container, its process 1 adopted by the subreaper, confirmed; {calls} runc"
    yield Result("a container's life with runc", not wrong, "; ".join(wrong) or text)


def _make_bundle(bundle: Path) -> None:
    """A root file system of busybox, and runc's own default configuration."""
    programs = bundle / "rootfs" / "bin"
    programs.mkdir(parents=True)
    (programs / "busybox").write_bytes(Path("/usr/bin/busybox").read_bytes())
    (programs / "busybox").chmod(0o755)
    for name in ("sh", "sleep", "true"):
        (programs / name).symlink_to("busybox")
    for name in ("proc", "sys", "dev"):
        (bundle / "rootfs" / name).mkdir()
    subprocess.run(["runc", "spec"], cwd=bundle, check=True)
    config = json.loads((bundle / "config.json").read_text())
    config["process"].update(terminal=False, args=["sh", "-c", _WORKLOAD])
    (bundle / "config.json").write_text(json.dumps(config))


def _manage(bundle: Path, folder: Path) -> None:
    """Stands in for a shim: a subreaper that calls runc, and waits for what it adopts."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)

    def runc(*arguments: str) -> None:
        with open(folder / "runc.txt", "a") as said:
            subprocess.run(
                ["runc", *arguments],
                check=True,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.STDOUT,
            )

    runc("create", "--bundle", str(bundle), "--pid-file", str(bundle / "pid"), _ID)
    init = int((bundle / "pid").read_text())
    runc("start", _ID)
    runc("exec", _ID, "true")
    runc("kill", _ID, "TERM")
    _, status = os.waitpid(init, 0)
    runc("delete", _ID)
    told = {"init": init, "manager": os.getpid(), "status": os.waitstatus_to_exitcode(status)}
    (folder / "told.txt").write_text("".join(f"{key} {value}\n" for key, value in told.items()))


if __name__ == "__main__":
    _manage(Path(sys.argv[1]), Path(sys.argv[2]))
