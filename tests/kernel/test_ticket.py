"""Hundreds of secrets in the arguments of real processes, recorded, and gone from the ticket."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.kernel.recording import Recorder, run_rtrace
from tests.redacting import structure
from tests.secrets import all_leaks, every_byte, every_byte_of_ticket, planted

pytestmark = pytest.mark.kernel


def test_no_secret_of_a_real_process_is_in_the_ticket(tmp_path: Path) -> None:
    """GIVEN processes whose titles are command lines with secrets; other programs of the host are
    left out by the pid namespace, and are not looked at."""
    cases = list(planted(7))
    script = tmp_path / "plant.py"
    lines = [f"run({case.args!r})" for case in cases]
    head = "import subprocess\ndef run(args): subprocess.run(args, executable='/bin/true')\n"
    script.write_text(head + "\n".join(lines))
    with subprocess.Popen(
        ["unshare", "--pid", "--fork", "--kill-child", "sleep", "600"], stdout=subprocess.DEVNULL
    ) as outer:
        try:
            inside = _only_child(outer.pid)
            recorder = Recorder(tmp_path, "--pidns", str(inside))
            try:
                recorder.wait_until_recording()
                enter = ["nsenter", "-t", str(inside), "-p", "python3", str(script)]
                subprocess.run(enter, check=True)
            finally:
                recorder.stop()
        finally:
            outer.kill()
    before = every_byte(str(recorder.path))
    recorded = [c for c in cases if c.args[-1].encode() in before or c.args[1].encode() in before]
    assert len(recorded) > 350
    target = tmp_path / "t.zip"
    ended = run_rtrace("ticket", recorder.path, "-o", target)
    assert ended.status == 0, ended.stderr
    content = every_byte_of_ticket(target, tmp_path)
    assert all_leaks(content, (needle for c in cases for needle in c.needles)) == []
    assert structure(target) == structure(recorder.path)


def _only_child(pid: int) -> int:
    while True:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        if children:
            return int(children[0])
