"""When a process has ended, as the demo and the tests see it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from demo.process import Process
from tests.witness import wait_for_state

# The first thread ends, the second one when it is told to.
_LEADER_ENDS = """
import ctypes, os, sys, threading
threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0))).start()
ctypes.CDLL(None).pthread_exit(None)
"""


def test_a_process_lives_as_long_as_any_of_its_threads() -> None:
    # GIVEN a process whose first thread has ended
    program = [sys.executable, "-c", _LEADER_ENDS]
    with subprocess.Popen(program, stdin=subprocess.PIPE) as child:
        process = Process.of(child.pid)
        assert process is not None
        wait_for_state(child.pid, "Z")
        # WHEN another one goes on THEN it lives
        assert process.is_alive()
        assert not process.wait_gone(0.05)
        # and is gone with the last one, though nobody has waited for it.
        assert child.stdin is not None
        child.stdin.close()
        assert process.wait_gone(60)
        assert Path(f"/proc/{child.pid}").exists()
