"""A capture names paths everywhere; none of them is opened, whatever is made of it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests import incidents

# Every file that Python opens, and every folder that it looks into, is told to an audit hook,
# which nothing can take away again: hence a process of its own.
WATCHED = """
import contextlib, io, sys
touched = []
EVENTS = {"open", "os.listdir", "os.scandir", "subprocess.Popen", "os.exec", "socket.connect"}

def hook(event, arguments):
    if event in EVENTS:
        touched.append(f"{event} {arguments}")

sys.addaudithook(hook)
from tracer.cli import rtrace

capture, canary, folder = sys.argv[1:]
commands = [
    *(["report", capture, "--format", f] for f in ("text", "json", "html", "markdown", "csv")),
    *(["why", capture, "shop", "--format", f] for f in ("text", "json", "markdown", "csv")),
    ["compare", capture, capture],
    ["dump", capture],
    ["ticket", capture, "-o", f"{folder}/x.zip"],
    ["report", f"{folder}/x.zip"],
]
out = io.StringIO()
with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
    for command in commands:
        rtrace.main(command, standalone_mode=False)
assert canary in out.getvalue()
assert any(capture in line for line in touched)
wrong = [line for line in touched if canary in line]
assert not wrong, wrong
assert not [line for line in touched if line.startswith(("subprocess", "os.exec", "socket"))]
"""


def test_no_path_of_a_capture_is_opened(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    canary.mkdir()
    inside = f"{canary}/{'x' * 8}"
    Path(inside).write_text("secret")
    host = incidents.recycled(argument=inside, cgroup=inside)
    stream = host.stream
    process = stream.fork(host.shell)
    stream.exec(process, inside, [inside, "--config", inside, f"@{inside}", f"file://{inside}"])
    stream.attach(process, inside)
    stream.die(process, 1)
    stream.fact("container", id="f" * 64, name="x", image=inside, source=inside, runtime="docker")
    stream.fact("runtime", name="docker", version="1", source=inside)
    stream.fact("problem", what=inside)
    stream.header |= {"argv": ["rtrace", "record", "-o", inside], "filter": None}
    stream.header["host"]["cgroup"] = inside
    path = stream.write(tmp_path / "x.rtrace")
    command = [sys.executable, "-c", WATCHED, str(path), str(canary), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
