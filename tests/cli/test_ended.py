"""Commands that end in the middle: what they make is there whole, or nothing is."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from bench.busy_host import write_capture
from tests.kernel.recording import DEADLINE_S, RTRACE, run_rtrace, wait_for

EVENTS = 40_000
COMMANDS: dict[str, Sequence[str]] = {
    "jsonl": ("export", "--to", "jsonl"),
    "perfetto": ("export", "--to", "perfetto"),
    "parquet": ("export", "--to", "parquet"),
    "csv": ("export", "--to", "csv", "--since", "0.1s"),
    "ticket": ("ticket",),
    "report": ("report", "--format", "json"),
}
FOLDERS = ("parquet", "csv")


@pytest.fixture(scope="module")
def capture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("capture") / "x.rtrace"
    write_capture(path, EVENTS)
    return path


class Started:
    """A command that writes ``out/made``, with a TMPDIR of its own."""

    def __init__(self, kind: str, capture: Path, folder: Path, *options: str) -> None:
        self.out, self.scratch = folder / "out", folder / "scratch"
        for each in (self.out, self.scratch):
            each.mkdir(exist_ok=True)
        command, *more = COMMANDS[kind]
        self.process = subprocess.Popen(
            [RTRACE, command, str(capture), *more, "-o", str(self.out / "made"), *options],
            env={**os.environ, "TMPDIR": str(self.scratch)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    def open_files(self) -> Iterator[Path]:
        """What it has open below the two folders, with a name or without."""
        for link in Path(f"/proc/{self.process.pid}/fd").glob("*"):
            try:
                target = os.readlink(link)
            except OSError:
                continue
            # A directory that is held open is not what is made.
            if target.startswith(f"{self.out.parent}/") and os.path.isfile(link):
                yield link

    def begun(self) -> bool:
        """Something half made is there, or it has ended."""
        return bool(any(self.open_files()) or os.listdir(self.scratch) or self.ended())

    def written(self) -> bool:
        """There is something in it."""
        try:
            sizes = [link.stat().st_size for link in self.open_files()]
        except OSError:
            return self.ended()
        return any(sizes) or self.ended()

    def ended(self) -> bool:
        return self.process.poll() is not None

    def end_by(self, number: signal.Signals) -> int:
        """Its exit status; it may also have ended by itself."""
        self.process.send_signal(number)
        _, said = self.process.communicate(timeout=DEADLINE_S)
        assert "Traceback" not in said
        return self.process.returncode


MOMENTS: dict[str, Callable[[Started], bool]] = {"begun": Started.begun, "written": Started.written}
NUMBERS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize(("kind", "number"), list(zip(COMMANDS, NUMBERS * 2, strict=True)))
def test_nothing_is_left(
    tmp_path: Path, capture: Path, kind: str, number: signal.Signals, moment: str
) -> None:
    # GIVEN a command that is about to write, or writes
    started = Started(kind, capture, tmp_path)
    wait_for(lambda: MOMENTS[moment](started), "what it makes")

    # WHEN a signal ends it
    status = started.end_by(number)

    # THEN its name does not exist, nor anything else; unless it was done before.
    assert os.listdir(started.scratch) == []
    assert (status, os.listdir(started.out)) in [(128 + number, []), (0, ["made"])]


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_what_would_be_replaced_stays(tmp_path: Path, capture: Path, kind: str) -> None:
    made = tmp_path / "out" / "made"
    old = made / "events.parquet" if kind in FOLDERS else made
    old.parent.mkdir(parents=True)
    old.write_text("old")
    started = Started(kind, capture, tmp_path, "--force")
    wait_for(started.written, "what it makes")

    status = started.end_by(signal.SIGTERM)

    assert os.listdir(started.out) == ["made"]
    assert (old.read_bytes() == b"old") == (status != 0)


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_sigkill_leaves_nothing_under_the_name(tmp_path: Path, capture: Path, kind: str) -> None:
    started = Started(kind, capture, tmp_path)
    wait_for(started.written, "what it makes")

    status = started.end_by(signal.SIGKILL)

    # Of a folder the rest is beside it; a file had no name at all.
    left = os.listdir(started.out)
    if status == 0:
        assert left == ["made"]
    else:
        assert len(left) == (kind in FOLDERS)
        assert all(name.startswith(".rtrace-") and name.endswith(".part") for name in left)


def test_what_is_to_be_ignored_is_ignored(tmp_path: Path, capture: Path) -> None:
    # GIVEN nohup(1)
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        started = Started("jsonl", capture, tmp_path)
    finally:
        signal.signal(signal.SIGHUP, before)
    wait_for(started.begun, "what it makes")

    assert started.end_by(signal.SIGHUP) == 0

    lines = (started.out / "made").read_bytes().splitlines()
    assert b'"event":"end"' in lines[-1]


def test_compare_ends_with_its_processes(tmp_path: Path, capture: Path) -> None:
    started = subprocess.Popen(
        [RTRACE, "compare", str(capture), str(capture), "-o", str(tmp_path / "made")],
        stderr=subprocess.PIPE,
    )
    children = Path(f"/proc/{started.pid}/task/{started.pid}/children")
    wait_for(lambda: started.poll() is not None or children.read_text(), "its processes")

    started.send_signal(signal.SIGTERM)
    _, said = started.communicate(timeout=DEADLINE_S)

    # stderr is at its end: nobody has it open any more.
    assert said == b""
    assert (started.returncode, os.listdir(tmp_path)) in [(143, []), (0, ["made"])]


def test_there_is_a_name_only_when_all_is_written(tmp_path: Path, capture: Path) -> None:
    started = Started("jsonl", capture, tmp_path)
    made, sizes = started.out / "made", set()
    while not started.ended():
        if made.exists():
            sizes.add(made.stat().st_size)
        time.sleep(0.001)
    started.process.communicate()

    assert sizes <= {made.stat().st_size}
    assert run_rtrace("report", capture, "-o", made).status == 1
