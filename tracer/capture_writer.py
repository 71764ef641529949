"""Writes a capture: append-only, whole chunks, never over somebody else's file.

What was written stays readable whatever happens next: each chunk is handed to the kernel as soon
as it is complete, so that kill -9 loses nothing that was written, and a chunk that the disk has
no room for is taken back.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from typing import Any

from tracer.capture_file import CaptureFile
from tracer.capture_format import TAIL, dump_json
from tracer.chunk_writer import Buffer, Packer
from tracer.recording_writer import Counts, Held, RecordingWriter, pack_header


class CaptureWriter(RecordingWriter):
    """Creates a capture and appends chunks to it. Any thread may write.

    Args:
        path: file to create, mode 0600, owned by whoever ran sudo.
        header: content of the HEAD chunk; see docs/capture-format.md.
        force: replace a regular file that is there. Never a link, device or directory.

    Raises:
        CaptureError: the file exists, cannot be created, or the header does not fit on the disk;
            no file is left behind then.
    """

    def __init__(
        self, path: str | os.PathLike[str], header: Mapping[str, Any], *, force: bool = False
    ) -> None:
        super().__init__(os.fspath(path))
        self._lock = threading.Lock()
        self._packer = Packer()
        self._counts = Counts()
        self._file = CaptureFile(path, force=force)
        try:
            self._file.append(pack_header(self._packer, header, self.path))
        except BaseException:
            self._file.remove()
            raise

    @property
    def bytes_written(self) -> int:
        """Size of the capture so far."""
        return self._file.size

    @property
    def events_written(self) -> int:
        """How many events are in the capture."""
        return self._counts.events

    @property
    def closed(self) -> bool:
        """Whether nothing more can be written: after close() or a failed write."""
        return self._file.closed

    def write(self, chunk_type: bytes, content: Buffer, count: int = 0) -> None:
        """See tracer.chunk_writer.ChunkWriter.

        Raises:
            CaptureError: it could not be written (disk full, file removed), or the capture is
                closed. After a failure the file ends with the last whole chunk and is closed:
                each further write fails the same way, and close() does nothing.
                JSON of more than 1 MiB is refused too; the capture goes on then.
            ValueError: the content is longer than any reader accepts.
        """
        with self._lock:
            self._file.append(self._packer.pack(chunk_type, content, self.path))
            self._counts.add(chunk_type, count)

    def hold(self) -> list[Held]:
        """The capture as far as it is written, as the one segment that it is.

        Raises:
            CaptureError: the capture is closed.
        """
        with self._lock:
            counts = self._counts
            fd = self._file.open_copy()
            return [Held(counts.number, fd, self._file.size, counts.events, counts.details)]

    def close(self, trailer: Mapping[str, Any]) -> None:
        """Appends the TAIL chunk and closes the file. Does nothing when it is closed already.

        Raises:
            CaptureError: as for write(); the capture is readable without its trailer.
        """
        with self._lock:
            if self._file.closed:
                return
            counts = {"events": self._counts.events, "details": self._counts.details}
            content = dump_json(counts | dict(trailer))
            try:
                self._file.append(self._packer.pack(TAIL, content, self.path))
                self._file.finish()
            finally:
                self._file.close()

    def discard(self) -> None:
        """See RecordingWriter."""
        with self._lock:
            self._file.remove()

    def abandon(self) -> None:
        """Closes the file without a trailer: readers will call the capture cut."""
        with self._lock:
            self._file.close()
