"""Which hooks this host allows, and what their programs are called."""

from __future__ import annotations

import ctypes
import errno
import os
from pathlib import Path
from typing import Any

import pytest

from tracer import confirmation
from tracer.bcc_source import find_definitions
from tracer.confirmation import Confirmation, allowed_confirmations, fentry_allowed, kprobe_allowed

BPF = str(Path(__file__).resolve().parents[2] / "bpf")


def test_programs_are_those_of_the_source() -> None:
    assert {hook.program for hook in Confirmation} <= set(find_definitions(BPF).program_names)


@pytest.mark.parametrize(
    ("fentry", "kprobe", "allowed"),
    [
        (True, True, ["fentry", "kprobe", "sched_switch"]),
        (False, True, ["kprobe", "sched_switch"]),
        (True, False, ["fentry", "sched_switch"]),
        (False, False, ["sched_switch"]),
    ],
)
def test_the_cheapest_first(
    monkeypatch: pytest.MonkeyPatch, fentry: bool, kprobe: bool, allowed: list[str]
) -> None:
    monkeypatch.setattr(confirmation, "fentry_allowed", lambda: fentry)
    monkeypatch.setattr(confirmation, "kprobe_allowed", lambda: kprobe)

    assert allowed_confirmations() == allowed


@pytest.mark.parametrize(
    ("answer", "error", "allowed"),
    [
        (-1, errno.EINVAL, True),  # it misses the function's name: the kernel would take one
        (-1, errno.EPERM, False),
        (-1, errno.EOPNOTSUPP, False),
        (-1, errno.ENOSYS, False),
        (0, 0, True),
    ],
)
def test_the_kernels_answer(
    monkeypatch: pytest.MonkeyPatch, answer: int, error: int, allowed: bool
) -> None:
    closed = []

    class Libc:
        def syscall(self, number: int, command: int, attributes: Any, size: int) -> int:
            assert (number, command) == (321, 5)
            assert bytes(attributes._obj)[:4] == (26).to_bytes(4, "little")
            assert size == ctypes.sizeof(attributes._obj)
            ctypes.set_errno(error)
            return 99 if answer == 0 else answer

    monkeypatch.setattr(ctypes, "CDLL", lambda *_a, **_k: Libc())
    monkeypatch.setattr(os, "close", closed.append)

    assert fentry_allowed() is allowed
    assert closed == ([99] if answer == 0 else [])


def test_kprobes(monkeypatch: pytest.MonkeyPatch) -> None:
    for there in (True, False):
        monkeypatch.setattr(os.path, "exists", lambda _path, there=there: there)
        assert kprobe_allowed() is there
