"""The archive of a ticket: written like a capture, and read like one, as hostile input.

Of an archive the one member that is a capture is taken, into a file without a name. No other
member is looked into, no name in it is opened or made.
"""

from __future__ import annotations

import contextlib
import os
import stat
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Mapping
from typing import BinaryIO

from tracer.ending import temporary_directory
from tracer.errors import CaptureError
from tracer.output_file import new_file

_END = struct.Struct("<4sHHHHIIH")
_END_MAGIC = b"PK\x05\x06"
_ZIP64_MAGIC, _ZIP64_SIZE = b"PK\x06\x07", 20
_COMMENT_LIMIT = 65_535
_MEMBERS = 64
_DIRECTORY_LIMIT = 64 << 10
_CAPTURE_LIMIT = 1 << 30
_RATIO_LIMIT, _RATIO_FREE = 20, 16 << 20  # what is in a capture is compressed already
_PIECE = 1 << 20
_STORED = (".rtrace", ".png")  # compressed already
_EPOCH = (1980, 1, 1, 0, 0, 0)
_STEP = "give a capture, or an archive that `rtrace ticket` wrote"


def write_ticket(path: str, files: Mapping[str, str], *, force: bool) -> int:
    """Writes the archive; gives its size in bytes.

    Args:
        path: file to create, mode 0600, owned by whoever ran sudo.
        files: paths of the members by their names.

    Raises:
        CaptureError: it exists, or cannot be written; then nothing of it is left.
    """
    with new_file(path, force=force) as file:
        _pack(file, files)
        return file.tell()


def _pack(made: BinaryIO, files: Mapping[str, str]) -> None:
    with zipfile.ZipFile(made, "w") as archive:
        for name, source in files.items():
            # No time, owner or mode of this machine.
            member = zipfile.ZipInfo(name, _EPOCH)
            member.external_attr = (stat.S_IFREG | 0o600) << 16
            stored = name.endswith(_STORED)
            member.compress_type = zipfile.ZIP_STORED if stored else zipfile.ZIP_DEFLATED
            with open(source, "rb") as file, archive.open(member, "w") as written:
                while piece := file.read(_PIECE):
                    written.write(piece)


def open_ticket(path: str, fd: int, limit: int | None = None) -> int:
    """File descriptor of the capture in an archive, for which ``fd`` is given up.

    Args:
        limit: bytes of a capture that are too many; None: as many as any ticket may have.

    Raises:
        CaptureError: it is no archive of a ticket, or not one that can be trusted.
    """
    fact = f"cannot read {path}"
    with os.fdopen(fd, "rb") as file:
        try:
            size = _check_directory(file)
            with zipfile.ZipFile(file) as archive:
                most = _CAPTURE_LIMIT if limit is None else limit
                return _take_out(archive, _find_capture(archive.infolist(), size, most))
        except _RefusalError as refusal:
            raise CaptureError(fact, str(refusal), _STEP) from None
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, ValueError) as error:
            cause = f"it is a damaged archive ({error or type(error).__name__})"
            raise CaptureError(fact, cause, _STEP) from None
        except (OSError, RuntimeError) as error:  # encrypted members are a RuntimeError
            raise CaptureError(fact, str(error)) from None


class _RefusalError(Exception):
    """What is wrong with an archive, as a phrase."""


def _check_directory(file: BinaryIO) -> int:
    """The list of members is small: zipfile reads all of it before it can be asked anything.

    Returns: the size of the archive, bytes.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - _ZIP64_SIZE - _END.size - _COMMENT_LIMIT))
    end = file.read()
    at = end.rfind(_END_MAGIC)
    if at < 0 or len(end) - at < _END.size:
        raise _RefusalError("it is an archive that was cut")
    _, _, _, _, members, directory, _, _ = _END.unpack_from(end, at)
    if at >= _ZIP64_SIZE and end.startswith(_ZIP64_MAGIC, at - _ZIP64_SIZE):
        # The numbers that it leads to would count, and not those that are looked at here.
        raise _RefusalError("it is an archive for more than 4 GiB")
    if members > _MEMBERS or directory > _DIRECTORY_LIMIT:
        raise _RefusalError(f"it is an archive of more than {_MEMBERS} files")
    return size


def _find_capture(members: list[zipfile.ZipInfo], size: int, most: int) -> zipfile.ZipInfo:
    """The one member to read, of ``most`` bytes at most, of an archive of ``size`` bytes."""
    names = [member.filename for member in members]
    if len(members) > _MEMBERS or len(set(names)) < len(names):
        raise _RefusalError("it is an archive with files of the same name")
    for member in members:
        name, mode = member.filename, member.external_attr >> 16
        parts = name.replace("\\", "/").split("/")
        if name.startswith(("/", "\\")) or ".." in parts or "\0" in member.orig_filename:
            raise _RefusalError("it is an archive with files outside of itself")
        if mode and not (stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_IFMT(mode) == 0):
            raise _RefusalError("it is an archive with links or devices")
    captures = [member for member in members if member.filename.endswith(".rtrace")]
    if len(captures) != 1:
        how_many = "no capture" if not captures else "several captures"
        raise _RefusalError(f"it is an archive with {how_many}")
    member = captures[0]
    # It may say that it takes more room in the archive than there is.
    stored = min(member.compress_size, size)
    bomb = max(_RATIO_FREE, _RATIO_LIMIT * stored)
    if member.file_size > min(most, bomb):
        raise _RefusalError("the capture in the archive is too large")
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise _RefusalError("the capture in the archive is compressed in a way not known")
    return member


def _take_out(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> int:
    """The member in a file without a name, never more than the archive declares."""
    with contextlib.ExitStack() as stack:
        target = stack.enter_context(tempfile.TemporaryFile(dir=temporary_directory()))
        source = stack.enter_context(archive.open(member))
        left = member.file_size
        while left and (piece := source.read(min(_PIECE, left))):
            target.write(piece)
            left -= len(piece)
        if left or source.read(1):
            raise _RefusalError("the capture in the archive has another length than it says")
        target.flush()
        return os.dup(target.fileno())
