"""Names of saves, and which of them go."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tracer.capture_file import CaptureFile
from tracer.errors import CaptureError
from tracer.save_names import create_save, remove_old_saves, save_path


@pytest.fixture(autouse=True)
def _utc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")


@pytest.mark.parametrize(
    ("capture", "word", "name"),
    [
        ("/d/flight.rtrace", "shim-exit", "/d/flight-20231114-221320-shim-exit.rtrace"),
        ("x", "container-exit", "x-20231114-221320-container-exit.rtrace"),
        ("x.rtrace", "container-exit!=0", "x-20231114-221320-container-exit-not-0.rtrace"),
    ],
)
def test_name(capture: str, word: str, name: str) -> None:
    assert save_path(capture, word, 1_700_000_000.9) == name


def test_a_name_that_is_taken_gets_a_number(tmp_path: Path) -> None:
    capture = str(tmp_path / "x.rtrace")
    made = [create_save(capture, "saved", 1_700_000_000) for _ in range(3)]
    (tmp_path / "x-20231114-221320-saved-4.rtrace").symlink_to(tmp_path / "nowhere")
    made.append(create_save(capture, "saved", 1_700_000_000))
    names = [os.path.basename(file.path) for file in made]
    assert names == [
        "x-20231114-221320-saved.rtrace",
        "x-20231114-221320-saved-2.rtrace",
        "x-20231114-221320-saved-3.rtrace",
        "x-20231114-221320-saved-5.rtrace",
    ]
    assert not (tmp_path / "nowhere").exists()


def test_the_newest_are_kept(tmp_path: Path) -> None:
    # GIVEN saves of a recording, and files of others beside them
    capture = str(tmp_path / "x.rtrace")
    saves = [create_save(capture, "shim-exit", 1_700_000_000 + i) for i in range(6)]
    for age, file in enumerate(reversed(saves)):
        file.close()
        os.utime(file.path, (0, 1_700_000_000 - age))
    others = [
        "x.rtrace",
        "x-20231114-221320.rtrace",
        "x-20231114-221320-20231114-221320-oom.rtrace",  # of a capture with a time in its name
        "x-20231114-221320-mine.txt",
        "xx-20231114-221320-oom.rtrace",
        "y-20231114-221320-oom.rtrace",
    ]
    for name in others:
        (tmp_path / name).write_text("mine")
        os.utime(tmp_path / name, (0, 0))
    (tmp_path / "x-20231114-221321-link.rtrace").symlink_to(tmp_path / "y")
    # WHEN all but three are removed, and the oldest is the one just made (the clock was set)
    removed = remove_old_saves(capture, 3, saves[0].path)
    # THEN it is kept, and so are the two newest, and whatever is no save of this recording
    assert removed == [saves[i].path for i in (3, 2, 1)]
    left = {path.name for path in tmp_path.iterdir()}
    kept = {os.path.basename(saves[i].path) for i in (0, 4, 5)}
    assert left == kept | set(others) | {"x-20231114-221321-link.rtrace"}


def test_in_the_current_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    first = create_save("x.rtrace", "oom", 1_700_000_000)
    second = create_save("x.rtrace", "oom", 1_700_000_001)
    assert remove_old_saves("x.rtrace", 1, second.path) == [first.path]


def test_a_save_is_never_somebody_elses_file(tmp_path: Path) -> None:
    (tmp_path / "x").symlink_to(tmp_path / "target")
    with pytest.raises(CaptureError, match="it exists"):
        CaptureFile(tmp_path / "x")
    assert not (tmp_path / "target").exists()
