"""What is loaded when: the recorder stays small, and the desk needs no BPF."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

HEAVY = ("pandas", "numpy", "bcc")


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
    ["tracer.cli", "tracer.recorder", "tracer.live", "tracer.checks", "tracer.capture_reader"],
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


def test_the_desk_loads_no_bpf() -> None:
    loaded = modules_after("import analysis.model, analysis.report, analysis.render_text")

    assert "pandas" in loaded
    assert not loaded & {"bcc", "tracer.libbpf", "tracer.core_engine", "tracer.recorder"}
