"""Hosts on which /proc, /sys or a part of the kernel is missing, hidden or limited."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.kernel.hosts import in_mount_namespace, run
from tests.kernel.recording import (
    RTRACE,
    read_capture,
    run_rtrace,
)
from tracer.abi import Type

pytestmark = pytest.mark.kernel

Build = Callable[[str], Path]


def test_no_tracefs(tmp_path: Path) -> None:
    script = (
        "for folder in /sys/kernel/debug /sys/kernel/tracing; do "
        '[ ! -d $folder ] || mount -t tmpfs none $folder; done; "$@"'
    )
    path = tmp_path / "x.rtrace"

    record = run(
        in_mount_namespace(script, RTRACE, "record", "-o", path, "--", "true", "no-tracefs")
    )
    doctor = run(in_mount_namespace(script, RTRACE, "doctor"))

    assert record.status == 0
    (detail,) = [d for d in read_capture(path).details() if d.args == (b"true", b"no-tracefs")]
    assert read_capture(path).event(detail.tgid, Type.EXIT).exit.exit_code == 0
    assert doctor.status == 0
    assert "-   tracefs: not mounted, and not needed" in doctor.stdout


def test_doctor_on_this_host() -> None:
    doctor = run_rtrace("doctor")

    assert (doctor.status, doctor.stderr) == (0, "")
    assert "ok  BPF programs: load and attach; reparents are confirmed by " in doctor.stdout
