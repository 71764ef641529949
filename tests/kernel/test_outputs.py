"""Where root writes in places that are somebody else's too: nothing is followed, shared or lost."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from tests.kernel.hosts import NOBODY, in_mount_namespace
from tests.kernel.recording import RTRACE, Ended, Recorder, assert_failed, run_rtrace, wait_for
from tracer.capture_file import CaptureFile
from tracer.capture_reader import CaptureReader
from tracer.control import socket_path
from tracer.errors import CaptureError
from tracer.output_file import create, held_directory, new_file
from tracer.save_names import remove_old_saves
from tracer.segment_directory import SegmentDirectory

pytestmark = pytest.mark.kernel

ALICE = 12345
GOLDEN = Path(__file__).parents[1] / "golden/captures/trixie-B-shim-kill.rtrace"


@pytest.fixture
def shared() -> Iterator[Path]:
    """A directory like /tmp: everybody may make files in it, and remove their own."""
    folder = Path(tempfile.mkdtemp(prefix="rtrace-test-"))
    folder.chmod(0o1777)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def theirs(shared: Path) -> Path:
    """A directory of somebody who wishes us no good."""
    folder = shared / "theirs"
    folder.mkdir()
    os.chown(folder, NOBODY, NOBODY)
    return folder


@pytest.fixture
def alice(monkeypatch: pytest.MonkeyPatch, shared: Path) -> Path:
    """Who ran sudo, and her home."""
    monkeypatch.setenv("SUDO_UID", str(ALICE))
    monkeypatch.setenv("SUDO_GID", str(ALICE))
    home = shared / "alice"
    home.mkdir(mode=0o700)
    os.chown(home, ALICE, ALICE)
    return home


def as_nobody(*command: str | Path) -> None:
    arguments = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    subprocess.run([*arguments, *map(str, command)], check=True)


def write(kind: str, path: Path, *, force: bool) -> Ended:
    """Each command that makes a file."""
    commands: dict[str, Sequence[str | Path]] = {
        "record": ("record", "-o", path, "--", "true"),
        "bounded": ("record", "-o", path, "--max-size", "2MiB", "--", "true"),
        "report": ("report", GOLDEN, "-o", path),
        "html": ("report", GOLDEN, "--format", "html", "-o", path),
        "ticket": ("ticket", GOLDEN, "-o", path),
    }
    arguments = list(commands[kind])
    return run_rtrace(arguments[0], *(["--force"] if force else []), *arguments[1:])


KINDS = ("record", "bounded", "report", "html", "ticket")


@pytest.mark.parametrize("kind", KINDS)
def test_nobody_else_reads_what_is_written_and_no_link_is_followed(shared: Path, kind: str) -> None:
    precious = shared / "precious"
    precious.write_text("precious")
    # GIVEN names that somebody planted: links, another name of a file, a fifo
    as_nobody("ln", "-s", precious, shared / "link")
    as_nobody("ln", "-s", shared / "nowhere", shared / "dangling")
    as_nobody("mkfifo", shared / "fifo")
    os.link(precious, shared / "hard")
    for name in ("link", "dangling", "fifo"):
        ended = write(kind, shared / name, force=True)
        assert_failed(ended, "it exists", status=125 if kind in ("record", "bounded") else 1)
    assert not (shared / "nowhere").exists()
    # THEN a name of a file is taken away from it where one says so, and the file is as it was
    for name in ("hard", "new"):
        ended = write(kind, shared / name, force=True)
        assert ended.status == 0, ended.stderr
        status = (shared / name).stat()
        assert (stat.S_IMODE(status.st_mode), status.st_uid, status.st_nlink) == (0o600, 0, 1)
    assert precious.read_text() == "precious"
    assert not [path for path in shared.iterdir() if path.name.endswith(".segments")]


def test_somebody_elses_link_on_the_way_is_not_followed(shared: Path) -> None:
    inside = shared / "inside"
    inside.mkdir()
    as_nobody("ln", "-s", inside, shared / "way")
    for kind in ("record", "report"):
        ended = write(kind, shared / "way" / "x", force=True)
        status = 125 if kind == "record" else 1
        assert_failed(ended, f"a symbolic link of user {NOBODY} leads to", status=status)
    with pytest.raises(CaptureError, match="a symbolic link of user"):
        SegmentDirectory(str(shared / "way" / "x.segments"))
    assert not list(inside.iterdir())
    # One's own is, relative or not, and so are links to links, but not in a circle.
    (shared / "mine").symlink_to(inside)
    (shared / "relative").symlink_to("./mine/../inside")
    (shared / "circle").symlink_to("circle")
    for number, name in enumerate(("mine", "relative")):
        CaptureFile(shared / name / f"x{number}").close()
    assert {path.name for path in inside.iterdir()} == {"x0", "x1"}
    with pytest.raises(CaptureError, match="too many levels of symbolic links"):
        CaptureFile(shared / "circle" / "x")
    (shared / "file").touch()
    with pytest.raises(CaptureError, match="not a directory"):
        CaptureFile(shared / "file" / "x")


_SWAP = """
import os, sys
folder, target = sys.argv[1:]
os.chdir(folder)
print("swapping", flush=True)
while True:
    for make in (lambda: os.symlink(target, "x"), lambda: os.close(os.open("x", os.O_CREAT)),
                 lambda: os.mkfifo("x"), lambda: os.symlink(target + "/new", "x")):
        try:
            make()
            os.unlink("x")
        except OSError:
            pass
    try:
        os.rename("d", "e")
        os.symlink(target, "d")
        os.unlink("d")
        os.rename("e", "d")
    except OSError:
        pass
"""


@contextlib.contextmanager
def swapping(folder: Path, target: Path) -> Iterator[None]:
    """Somebody who changes all the time what two names in their directory are."""
    program = [sys.executable, "-c", _SWAP, str(folder), str(target)]
    process = subprocess.Popen(program, user=NOBODY, group=NOBODY, stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        assert process.stdout.readline()
        yield
    finally:
        process.kill()
        process.communicate()


def test_races_for_the_name_and_for_the_directory(shared: Path, theirs: Path) -> None:
    # GIVEN somebody who puts links to a directory of ours where files are to be made
    ours = shared / "ours"
    ours.mkdir()
    (ours / "x").write_text("precious")
    (theirs / "d").mkdir()
    os.chown(theirs / "d", NOBODY, NOBODY)
    made = refused = 0
    with swapping(theirs, ours):
        for number in range(600):
            path = theirs / ("x" if number % 2 else "d/x")
            try:
                with new_file(str(path), force=True) as file:
                    file.write(b"mine")
                made += 1
            except CaptureError:
                refused += 1
    # THEN that directory stays as it was
    assert made + refused == 600
    assert [p.name for p in ours.iterdir()] == ["x"]
    assert (ours / "x").read_text() == "precious"


def test_what_is_held_open_is_not_lost_when_the_directory_is_moved(shared: Path) -> None:
    (shared / "a").mkdir()
    with held_directory(str(shared / "a" / "x")) as directory_fd:
        (shared / "a").rename(shared / "b")
        (shared / "a").mkdir()
        os.close(create("a/x", directory_fd))
    assert [p.name for p in (shared / "b").iterdir()] == ["x"]
    assert not list((shared / "a").iterdir())


def test_files_are_made_as_whoever_ran_sudo(alice: Path, shared: Path) -> None:
    # GIVEN sudo, and a place of ours that is not hers
    ours = shared / "ours"
    ours.mkdir(mode=0o755)
    # WHEN somebody leads her directory there
    (alice / "way").symlink_to(ours)
    os.chown(alice / "way", NOBODY, NOBODY, follow_symlinks=False)
    assert_failed(write("report", alice / "way" / "x", force=True), "a symbolic link of user")
    # THEN nothing is made; and what is made in hers was never root's
    for path in (alice / "x", ours / "x"):
        ended = write("record", path, force=False)
        assert ended.status == 0, ended.stderr
        status = path.stat()
        assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (ALICE, ALICE, 0o600)
    # and this thread is who it was.
    assert (os.geteuid(), os.access("/etc/shadow", os.W_OK)) == (0, True)
    (shared / "roots").touch()
    assert (shared / "roots").stat().st_uid == 0


def test_a_bounded_recording_of_sudo(alice: Path, tmp_path: Path) -> None:
    with Recorder(tmp_path, "--max-size", "2MiB", path=alice / "x.rtrace") as recording:
        segments, control = alice / "x.rtrace.segments", Path(socket_path(recording.pid))
        wait_for(control.exists, "the recorder's socket")
        owned = [segments, *segments.iterdir()]
        assert {(p.stat().st_uid, p.stat().st_mode & 0o077) for p in owned} == {(ALICE, 0)}
        saved = run_rtrace("snapshot", "--pid", str(recording.pid))
        assert saved.status == 0, saved.stderr
        recording.stop()
    made = list(alice.iterdir())
    assert len(made) == 2
    for path in made:
        assert (path.stat().st_uid, stat.S_IMODE(path.stat().st_mode)) == (ALICE, 0o600)
        with CaptureReader(path) as reader:
            assert [kind for kind, _ in reader.chunks()][-1] == b"TAIL"


def test_planted_saves_do_not_push_out_ours(shared: Path) -> None:
    mine = shared / "x-20231114-221320-oom.rtrace"
    mine.write_text("mine")
    os.utime(mine, (0, 0))
    for day in range(10, 20):
        as_nobody("touch", shared / f"x-203001{day}-221320-oom.rtrace")
    assert remove_old_saves(str(shared / "x.rtrace"), 2, "") == []
    assert mine.exists()


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("limit", [{}, {"NO_LINKS": "1"}])
def test_file_systems_that_know_little(
    tmp_path: Path, build: Callable[[str], Path], limit: dict[str, str]
) -> None:
    # GIVEN neither files without names, nor what renames only if a name is free, nor links
    library = build("storm").with_name("plain_disk.so")
    source = Path(__file__).with_name("plain_disk.c")
    command = ["gcc", "-O1", "-Wall", "-Werror", "-shared", "-fPIC", "-o", library, source]
    subprocess.run(command, check=True)
    environment = {**os.environ, "LD_PRELOAD": str(library), **limit}
    made = tmp_path / "made"
    made.mkdir()
    for arguments in (
        ("report", GOLDEN, "-o", made / "x.txt"),
        ("export", GOLDEN, "--to", "csv", "--table", "processes", "-o", made / "x"),
    ):
        # THEN files and folders are made, not replaced, and replaced if one says so
        said = [run_rtrace(*arguments, *more, env=environment) for more in ((), (), ("--force",))]
        assert [ended.status for ended in said] == [0, 1, 0]
        assert "it exists" in said[1].stderr
    assert names_in(made) == ["x", "x.txt"]
    assert names_in(made / "x") == ["processes.csv"]


@pytest.mark.parametrize(
    "arguments",
    [
        ("report", GOLDEN, "--format", "html"),
        ("ticket", GOLDEN),
        ("export", GOLDEN, "--to", "csv"),
        ("export", GOLDEN, "--to", "jsonl"),
    ],
)
def test_a_full_disk_leaves_nothing(tmp_path: Path, arguments: tuple[str | Path, ...]) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    script = (
        'disk=$1; shift; mount -t tmpfs -o size=16k none "$disk"; status=0; '
        '"$@" || status=$?; ls -A "$disk"; exit $status'
    )
    done = subprocess.run(
        in_mount_namespace(script, disk, RTRACE, *arguments, "-o", disk / "x"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("rtrace: ")]
    assert line.startswith(f"rtrace: cannot write {disk}/x: no space left on device")
    assert "Traceback" not in done.stderr
