"""Files whose owner wishes us no good: nothing is opened but a regular file, where it should be."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path

import pytest

from tracer import foreign_files
from tracer.foreign_files import found, parse_json, read_regular


@pytest.fixture(params=["openat2", "without"])
def root(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A root of a process, with a file; on kernels' filters that know openat2, and do not."""
    if request.param == "without":
        monkeypatch.setattr(foreign_files, "_SYS_OPENAT2", 100_000)  # ENOSYS
    made = tmp_path / "root"
    (made / "d").mkdir(parents=True)
    (made / "d" / "x").write_text("content")
    (tmp_path / "secret").write_text("secret")
    return made


def test_what_is_there(root: Path) -> None:
    for path in ("/d/x", "d/x", "/./d//x"):
        assert read_regular(str(root), path) == b"content"
    assert read_regular(str(root), "/d/x", 3) == b"con"
    with pytest.raises(FileNotFoundError):
        read_regular(str(root), "/d/y")


@pytest.mark.parametrize("kind", ["fifo", "device", "socket", "directory", "link"])
def test_nothing_but_a_regular_file_is_opened(root: Path, kind: str) -> None:
    path = root / "y"
    match kind:
        case "fifo":
            os.mkfifo(path)
        case "device":  # to open it as a watchdog's would do something
            if os.geteuid() != 0:
                pytest.skip("missing: root")
            os.mknod(path, 0o20600, os.makedev(1, 3))
        case "socket":
            os.mknod(path, 0o140600)
        case "directory":
            path.mkdir()
        case "link":
            path.symlink_to("d/x")

    with pytest.raises(OSError, match="not a regular file"):
        read_regular(str(root), "/y")


def test_links_lead_nowhere_else(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "etc").mkdir(parents=True)
    (root / "etc" / "x").write_text("of this root")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "x").write_text("secret")
    # GIVEN links and steps upwards that would lead out of it
    (root / "absolute").symlink_to(outside)
    (root / "up").symlink_to("../../../../.." + str(outside))
    for path in ("/absolute/x", "/up/x", "/../outside/x", f"/..{outside}/x"):
        with pytest.raises(FileNotFoundError):
            read_regular(str(root), path)
    # THEN / is this root's,
    (root / "slash").symlink_to("/etc")
    assert read_regular(str(root), "/slash/x") == b"of this root"
    # and the links of /proc lead nowhere.
    for path in ("/proc/self/root/etc/hostname", "/proc/self/cwd/x", "/proc/thread-self/root/etc"):
        with pytest.raises(OSError, match="Too many levels"), found("/", path):
            pass


def test_a_swap_never_gives_another_file(tmp_path: Path) -> None:
    secret, root = tmp_path / "secret", tmp_path / "root"
    secret.write_text("secret")
    root.mkdir()
    stop = threading.Event()

    def swap() -> None:
        while not stop.is_set():
            for make in (
                lambda: (root / "x").write_text("mine"),
                lambda: (root / "x").symlink_to(secret),
                lambda: os.mkfifo(root / "x"),
            ):
                make()
                (root / "x").unlink()

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        for _ in range(2000):
            try:
                assert read_regular(str(root), "x") in (b"", b"mine")
            except OSError:
                continue
    finally:
        stop.set()
        thread.join()


@pytest.mark.parametrize(
    "content",
    [
        b"[" * 100_000,
        b"[" + b"[]," * 300_000 + b"1]",
        json.dumps({str(n): n for n in range(250_000)}).encode(),
        b"1" * 10_000,
        b"\xff",
        b"",
    ],
    ids=["deep", "many", "wide", "long", "no UTF-8", "empty"],
)
def test_json_that_is_too_much(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_json(content)


def test_json() -> None:
    assert parse_json(b'{"a": [1, "x"]}') == {"a": [1, "x"]}
