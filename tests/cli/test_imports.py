"""What is loaded when: the recorder stays small, and the desk needs no BPF."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

HEAVY = ("pandas", "numpy", "bcc", "textual", "rich", "screen")


def modules_after(code: str) -> set[str]:
    """Names of all modules that a fresh interpreter has after running this."""
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport json, sys; print(json.dumps(list(sys.modules)))"],
        stdout=subprocess.PIPE,
        check=True,
    )
    return set(json.loads(done.stdout))


@pytest.mark.parametrize(
    "module",
    [
        *("tracer.cli", "tracer.recorder", "tracer.live", "tracer.second_screen"),
        *("tracer.checks", "tracer.capture_reader"),
    ],
)
def test_the_recorder_loads_nothing_heavy(module: str) -> None:
    loaded = modules_after(f"import {module}")

    assert module in loaded
    assert not loaded & set(HEAVY)
    assert not {name for name in loaded if name.split(".")[0] == "analysis"}


def test_help_loads_no_more_than_it_needs() -> None:
    loaded = modules_after(
        "import sys; sys.argv = ['rtrace', '--help']\n"
        "import contextlib, io, tracer.cli\n"
        "with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):\n"
        "    tracer.cli.main()"
    )

    assert "tracer.cli.record" in loaded
    assert not loaded & {*HEAVY, "zstandard", "tracer.recorder", "tracer.libbpf"}
    assert "tracer.second_screen" not in loaded


def test_the_desk_loads_no_bpf() -> None:
    loaded = modules_after("import analysis.model, analysis.report, analysis.render_text")

    assert "pandas" in loaded
    assert not loaded & {"bcc", "tracer.libbpf", "tracer.core_engine", "tracer.recorder"}
    assert not loaded & {"textual", "rich", "screen"}


def test_the_screen_loads_no_recorder() -> None:
    loaded = modules_after("import screen.app, screen.watch")

    assert "textual" in loaded
    assert not loaded & {"bcc", "tracer.libbpf", "tracer.recorder", "tracer.saves", "tracer.cli"}
