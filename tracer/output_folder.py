"""A folder of new files, there whole or not at all: made as tracer.output_file makes one file."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Collection, Iterator
from typing import BinaryIO

from tracer.errors import CaptureError
from tracer.invoking_user import as_invoking_user, give_to_invoking_user
from tracer.output_file import create, create_error, held_directory, remove

_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@contextlib.contextmanager
def new_folder(
    path: str, *, force: bool, names: Collection[str]
) -> Iterator[Callable[[str], BinaryIO]]:
    """Gives what makes a new file in it; the caller closes each.

    Args:
        path: folder to create, mode 0700.
        force: replace a folder that is there, if it holds nothing but files of these names.

    Raises:
        CaptureError: it exists, or it or a file in it cannot be written.
    """
    path = path.rstrip("/") or path
    with held_directory(path) as directory_fd:
        fd = _make(path, directory_fd, force, names)
        made: list[str] = []

        def new_file(name: str) -> BinaryIO:
            file = os.fdopen(create(os.path.join(path, name), fd), "wb")
            made.append(name)
            return file

        try:
            yield new_file
        except BaseException as error:
            for name in made:
                remove(name, fd)
            with contextlib.suppress(OSError):
                as_invoking_user(lambda: os.rmdir(os.path.basename(path), dir_fd=directory_fd))
            if isinstance(error, OSError):
                raise create_error(path, error) from None
            raise
        finally:
            os.close(fd)


def _make(path: str, directory_fd: int, force: bool, names: Collection[str]) -> int:
    """File descriptor of the new folder."""
    name = os.path.basename(path)
    fact = f"cannot write {path}"
    try:
        if force:
            with contextlib.suppress(FileNotFoundError):
                _take_away(path, directory_fd, names)
        as_invoking_user(lambda: os.mkdir(name, 0o700, dir_fd=directory_fd))
        fd = os.open(name, _OPEN, dir_fd=directory_fd)
    except FileExistsError:
        step = "give another name, or --force to replace it"
        raise CaptureError(fact, "it exists", step) from None
    except NotADirectoryError:
        raise CaptureError(fact, "it exists and is not a folder", "give another name") from None
    except (OSError, ValueError) as error:
        raise create_error(path, error) from None
    give_to_invoking_user(fd)
    return fd


def _take_away(path: str, directory_fd: int, names: Collection[str]) -> None:
    name = os.path.basename(path)
    fd = os.open(name, _OPEN, dir_fd=directory_fd)
    try:
        found = os.listdir(fd)
        if not set(found) <= set(names):
            cause = "it is a folder with other files in it"
            raise CaptureError(f"cannot replace {path}", cause, "give another name")
        for each in found:
            remove(each, fd)
    finally:
        os.close(fd)
    as_invoking_user(lambda: os.rmdir(name, dir_fd=directory_fd))
