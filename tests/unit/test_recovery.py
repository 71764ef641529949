"""What a recorder that was killed left behind is saved before the next one begins."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from tests.segments import TRAILER, numbers_in, open_writer, read, write_numbered
from tracer.errors import CaptureError
from tracer.recovery import take_directory
from tracer.segments import segments_path


def leave(path: Path, events: int = 3000) -> Path:
    """A recording whose recorder is gone."""
    writer = open_writer(path)
    write_numbered(writer, 0, events)
    writer._directory.close()
    return Path(segments_path(str(path)))


def test_it_is_saved_as_a_capture(tmp_path: Path) -> None:
    folder = leave(tmp_path / "x.rtrace", 30_000)
    before, _ = read(folder)
    said: list[str] = []

    directory = take_directory(str(tmp_path / "x.rtrace"), said.append)

    (saved,) = tmp_path.glob("*.rtrace")
    assert re.fullmatch(r"x-\d{8}-\d{6}-recovered\.rtrace", saved.name)
    assert saved.stat().st_mode & 0o777 == 0o600
    chunks, reader = read(saved)
    assert chunks == before
    assert reader.damage is not None
    assert reader.damage.startswith("cut at byte ")
    assert len(said) == 1
    assert said[0].startswith(f"saved {saved}: ")
    assert directory.numbers() == []


def test_nothing_left_nothing_said(tmp_path: Path) -> None:
    said: list[str] = []
    take_directory(str(tmp_path / "x.rtrace"), said.append).close()
    take_directory(str(tmp_path / "x.rtrace"), said.append).leave()
    assert said == []
    assert list(tmp_path.iterdir()) == []


def test_the_first_segment_had_just_begun(tmp_path: Path) -> None:
    folder = leave(tmp_path / "x.rtrace", 0)
    os.truncate(folder / "000001.rtrace", 30)
    said: list[str] = []
    take_directory(str(tmp_path / "x.rtrace"), said.append).leave()
    assert said == []
    assert list(tmp_path.iterdir()) == []


def test_an_old_save_is_not_touched(tmp_path: Path) -> None:
    leave(tmp_path / "x.rtrace", 100)
    take_directory(str(tmp_path / "x.rtrace"), print).close()
    (first,) = tmp_path.glob("*.rtrace")
    content = first.read_bytes()
    folder = leave(tmp_path / "x.rtrace", 200)
    stamp = first.stem.removeprefix("x-").removesuffix("-recovered")
    # The same second once more.
    for name in (f"x-{stamp}-recovered-2.rtrace", f"x-{stamp}-recovered-3.rtrace"):
        (tmp_path / name).symlink_to(first)
    newest = first.stat().st_mtime
    os.utime(folder / "000001.rtrace", (newest, int(newest)))

    take_directory(str(tmp_path / "x.rtrace"), print).close()

    assert first.read_bytes() == content
    found = [p for p in tmp_path.glob("*.rtrace") if not p.is_symlink() and p != first]
    assert [len(numbers_in(read(path)[0])) for path in found] == [200]


@pytest.mark.parametrize(
    ("number", "damage", "message"),
    [
        (2, None, "000002.rtrace: it is missing; read it with"),
        (2, b"nonsense", "000002.rtrace has no header; read it with `rtrace report`, and move"),
    ],
)
def test_what_cannot_be_saved_stays(
    tmp_path: Path, number: int, damage: bytes | None, message: str
) -> None:
    folder = leave(tmp_path / "x.rtrace", 12_000)
    segment = folder / f"{number:06}.rtrace"
    if damage is None:
        segment.unlink()
    else:
        segment.write_bytes(damage)
    before = sorted(folder.iterdir())
    with pytest.raises(CaptureError, match=re.escape(message)):
        take_directory(str(tmp_path / "x.rtrace"), print)
    assert sorted(folder.iterdir()) == before
    assert list(tmp_path.glob("*.rtrace")) == []


def test_a_recording_whose_end_could_not_be_joined(tmp_path: Path) -> None:
    """It has its trailer, and so has what is saved."""
    (tmp_path / "x.rtrace").write_text("in the way")
    writer = open_writer(tmp_path / "x.rtrace")
    write_numbered(writer, 0, 500)
    with pytest.raises(CaptureError, match="it exists"):
        writer.close(TRAILER)
    writer._directory.close()
    take_directory(str(tmp_path / "x.rtrace"), print).leave()
    (saved,) = tmp_path.glob("x-*-recovered.rtrace")
    assert read(saved)[1].complete
