"""`rtrace doctor`: everything that recording needs is there, and all hooks are allowed."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.kernels.checks.result import Result
from tests.kernels.recording import RTRACE


def run(folder: Path) -> None:
    """What it says, and its status."""
    with open(folder / "doctor.txt", "w") as said:
        done = subprocess.run([RTRACE, "doctor"], stdout=said, stderr=subprocess.STDOUT)
    (folder / "status").write_text(str(done.returncode))


def judge(folder: Path) -> Iterator[Result]:
    """Stock kernels have BTF, fentry and kprobes."""
    lines = (folder / "doctor.txt").read_text().splitlines()
    facts = {line[4:].partition(": ")[0]: line[4:].partition(": ")[2] for line in lines}
    status = int((folder / "status").read_text())
    allowed = all(facts[f"confirm by {hook}"] == "allowed" for hook in ("fentry", "kprobe"))
    confirmed = facts["BPF programs"].endswith("confirmed by fentry")
    text = "; ".join([facts["kernel"], facts["BPF programs"]])
    yield Result("doctor", status == 0 and allowed and confirmed, text)
