"""The golden captures: recorded in labs, committed, so that analysis is tested without root.

They are to tell of the lab and of nothing else. What a capture says of the processes around it is
little (names, no arguments), but even those are of no use to a test: they are replaced.
"""

from __future__ import annotations

import os
from pathlib import Path

import zstandard

from tests.kernel.recording import read_capture
from tests.lab.lab import Setup
from tests.lab.recording import Recorded, record
from tests.lab.scenarios import SCENARIOS
from tracer import abi
from tracer.capture_format import (
    EVENT_STRIDE,
    EVENTS,
    HEAD,
    PREFIX,
    RING_HEADER_SIZE,
    dump_json,
    pack_frame,
)

FOLDER = Path("tests/golden/captures")
SETUPS = tuple(
    Setup(suite, topology) for suite in ("bullseye", "trixie", "bookworm") for topology in "ABCD"
)
MAIN = (
    *("start", "exec", "restart", "rounds", "container-exit", "container-kill"),
    *("shim-kill", "shim-kill-containerd-down", "containerd-kill"),
    *("dockerd-kill", "dockerd-kill-return", "dockerd-restart", "orphans-host"),
)
_PROGRAM = ".venv/bin/rtrace"  # as the header has it: no path of this machine
_OURS = (b"unshare", b"nsenter")


def planned() -> list[tuple[Setup, str]]:
    """What is recorded: setups and names of scenarios."""
    found = []
    for setup in SETUPS:
        found += [(setup, name) for name in MAIN if SCENARIOS[name].fits(setup)]
        restored = Setup(setup.suite, setup.topology, live_restore=True)
        found += [(restored, "dockerd-restart")]
    return found


def record_golden(setup: Setup, name: str) -> Recorded:
    """Records one anew. The working directory is the checkout's.

    It moves to the top of the memory cgroups first: the lab's are made below this process's own,
    and their paths are in the capture.
    """
    for cgroup in Path("/sys/fs/cgroup").glob("*/cgroup.procs"):
        cgroup.write_text(str(os.getpid()))
    FOLDER.mkdir(parents=True, exist_ok=True)
    scenario = SCENARIOS[name]
    result = record(setup, scenario, FOLDER, program=_PROGRAM)
    forget_outsiders(result.capture)
    return result


def forget_outsiders(path: Path) -> None:
    """Replaces the names of processes outside the lab by what they are to it."""
    capture = read_capture(path)
    assert capture.whole
    capture.header["host"]["init"] = "init"
    parts = [path.read_bytes()[: PREFIX.size], _pack(HEAD, dump_json(capture.header))]
    for kind, content in capture.chunks:
        parts.append(_pack(kind, _rename_stubs(content) if kind == EVENTS else content))
    path.write_bytes(b"".join(parts))


def _pack(kind: bytes, content: bytes) -> bytes:
    """A chunk, packed as small as it gets: these files are committed."""
    payload = zstandard.ZstdCompressor(level=19).compress(content)
    return pack_frame(kind, payload, len(content)) + payload


def _rename_stubs(content: bytes) -> bytes:
    changed = bytearray(content)
    for at in range(RING_HEADER_SIZE, len(changed), EVENT_STRIDE):
        event = abi.Event.from_buffer(changed, at)
        if event.type == abi.Type.STUB and event.comm.comm not in _OURS:
            event.comm.comm = b"init" if event.tgid == 1 else b"outside"
        del event  # which holds the buffer
    return bytes(changed)
