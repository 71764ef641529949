"""Containers in the foreground that live until the recorder knows who they are.

Their names and images are in files that are gone with them, and a busy machine may keep the
recorder from its work for longer than such a container lives.
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from typing import Any

from tests.kernel.recording import Recorder


def run_held(
    recorder: Recorder, name: str, command: Sequence[str], **keywords: Any
) -> subprocess.CompletedProcess[str]:
    """Run a client with ``-i`` to its end: its container is to begin with reading a line, which
    comes when the recorder has its name and image. Gives both outputs as stdout."""
    pipe = subprocess.PIPE
    streams: dict[str, Any] = {"stdin": pipe, "stdout": pipe, "stderr": subprocess.STDOUT}
    with subprocess.Popen(command, text=True, **streams, **keywords) as client:
        recorder.wait_until_named(name)
        said, _ = client.communicate("\n", timeout=60)
    return subprocess.CompletedProcess(command, client.returncode, said)
