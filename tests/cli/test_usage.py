"""Wrong usage: exit status 2, and how it is used."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.kernel.recording import Ended, run_rtrace


def assert_usage(ended: Ended, *words: str) -> None:
    assert ended.status == 2
    assert ended.stdout == ""
    assert "usage: " in ended.stderr.lower() or ended.stderr.startswith("rtrace: ")
    for word in words:
        assert word in ended.stderr


@pytest.mark.parametrize(
    "duration", ["", "0", "0s", "-1s", "1 s s", "soon", "1d", "1e3", "nan", "inf", "9999999999h"]
)
def test_wrong_durations(tmp_path: Path, duration: str) -> None:
    ended = run_rtrace("record", "-o", "x", f"--duration={duration}", cwd=tmp_path)

    assert_usage(ended, "--duration", "write 30s, 5m, 250ms or 1h")
    assert ended.stderr.startswith("Usage: rtrace record ")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("size", ["", "0", "-1", "big", "1TiB", "16 MiB MiB", "0.1", "1e6"])
def test_wrong_sizes(tmp_path: Path, size: str) -> None:
    ended = run_rtrace("record", "-o", "x", f"--buffer={size}", cwd=tmp_path)

    assert_usage(ended, "--buffer", "write 16MiB, 500MiB or 1GiB")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("size", ["1", "64", "63KiB", "2GiB"])
def test_sizes_that_no_ring_has(tmp_path: Path, size: str) -> None:
    ended = run_rtrace("record", "-o", "x", f"--buffer={size}", cwd=tmp_path)

    assert_usage(ended, "give something from 64KiB to 1GiB")
    assert not list(tmp_path.iterdir())


def test_both_filters(tmp_path: Path) -> None:
    ended = run_rtrace("record", "--pidns=1", "--cgroup=/x", cwd=tmp_path)

    assert_usage(ended, "--pidns and --cgroup", "give one of them")
    assert not list(tmp_path.iterdir())


def test_wrong_usage_is_2_with_a_command_too(tmp_path: Path) -> None:
    for wrong in (["--duration=soon"], ["--buffer=1"], ["--pidns=1", "--cgroup=/x"]):
        assert_usage(run_rtrace("record", *wrong, "--", "touch", "ran", cwd=tmp_path))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "arguments",
    [
        ["record", "--no-such-option"],
        ["record", "--pidns=me"],
        ["record", "--pidns=0"],
        ["record", "--pidns=-1"],
        ["record", "--engine=magic"],
        ["record", "--confirm=prayer"],
        ["report"],
        ["report", "a", "b"],
        ["report", "a", "--format=pdf"],
        ["report", "a", "--since=yesterday"],
        ["why", "a"],
        ["why", "a", "b", "--format=html"],
        ["dump"],
        ["dump", "a", "--force"],
        ["doctor", "a"],
        ["no-such-command"],
        ["--no-such-option"],
        ["\x1b[31m"],
    ],
    ids=" ".join,
)
def test_wrong_options(tmp_path: Path, arguments: list[str]) -> None:
    ended = run_rtrace(*arguments, cwd=tmp_path)

    assert_usage(ended)
    assert ended.stderr.startswith("Usage: rtrace ")
    assert "\x1b" not in ended.stderr
    assert not list(tmp_path.iterdir())


def test_an_option_without_its_value(tmp_path: Path) -> None:
    ended = run_rtrace("record", "--duration", cwd=tmp_path)

    assert (ended.status, ended.stdout) == (2, "")
    assert "Option '--duration' requires an argument." in ended.stderr


@pytest.mark.parametrize("command", ["record", "report", "why", "dump", "doctor", ""])
def test_help(command: str) -> None:
    for option in ("-h", "--help"):
        ended = run_rtrace(*([command] if command else []), option)

        assert (ended.status, ended.stderr) == (0, "")
        assert ended.stdout.startswith("Usage: rtrace")


def test_version() -> None:
    ended = run_rtrace("--version")

    assert ended.status == 0
    assert ended.stdout.startswith("rtrace, version ")
