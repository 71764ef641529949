"""A capture rewritten: redacted, narrowed to some processes, or both; chunk by chunk.

It is read twice, first by `observe`, then by `rewrite`: what is secret somewhere has to be known
before it can be replaced elsewhere.
One chunk is in memory at a time, and what was learned.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, BinaryIO

import zstandard

from analysis.redaction.keep import Keep
from analysis.redaction.records import (
    observe_comms,
    observe_details,
    observe_sockets,
    scrub_details,
    scrub_events,
    scrub_sockets,
    scrub_tasks,
)
from analysis.redaction.scrubber import Scrubber
from analysis.redaction.spans import Span
from tracer import abi
from tracer.capture_format import (
    CHUNK_BYTES,
    DETAILS,
    EVENT_STRIDE,
    EVENTS,
    FACT,
    HEAD,
    LOSS,
    PROCESSES,
    SOCKETS,
    TAIL,
    TASKS,
    dump_json,
    load_json,
    pack_frame,
    pack_prefix,
)
from tracer.capture_reader import CaptureReader

OnShare = Callable[[float], None]

_LEVEL = 9
_RECORDS = 1000  # details at a time: each has less than 80 KiB
_PROCESSES = 50  # of /proc in a chunk: those of a recorder's have 1 MiB at most


@dataclass
class Rewritten:
    """What became of a capture.

    Attributes:
        events, details: how many are in the new one.
        dropped: chunks of unknown types that were left out, by type.
        complete: the capture that was read was whole.
        too_large: it was given up, as it had become larger than was allowed.
    """

    events: int = 0
    details: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    complete: bool = True
    too_large: bool = False


def rewrite(
    reader: CaptureReader,
    target: BinaryIO,
    *,
    scrubber: Scrubber | None,
    keep: Keep | None = None,
    marks: dict[str, Any] | None = None,
    limit: int | None = None,
    on_progress: OnShare | None = None,
) -> Rewritten:
    """Writes a capture of the same schema with the same structure.

    Args:
        scrubber: hides what is to be hidden, and has observed the capture; None: hides nothing.
        keep: only what these processes did, of all others nothing; None: everybody.
        marks: keys that are added to HEAD.
        limit: bytes; as soon as it is larger it is given up, what was written is no capture then.
        on_progress: told the share of what is done.
    """
    rewriter = _Rewriter(reader, scrubber, keep)
    compressor = zstandard.ZstdCompressor(level=_LEVEL)
    target.write(pack_prefix())
    header = rewriter.header() | (marks or {})
    for chunk_type, content in chain([(HEAD, dump_json(header))], rewriter.chunks()):
        payload = compressor.compress(content)
        target.write(pack_frame(chunk_type, payload, len(content)) + payload)
        if limit is not None and target.tell() > limit:
            rewriter.result.too_large = True
            break
        if on_progress is not None:
            on_progress(reader.share)
    return rewriter.result


def observe(reader: CaptureReader, scrubber: Scrubber, on_progress: OnShare | None = None) -> None:
    """Lets a scrubber look at all of a capture, once."""
    header = reader.header
    host = header.get("host") or {}
    if host.get("hostname"):
        scrubber.observe_host(host["hostname"])
    if header.get("argv"):
        scrubber.observe_arguments(header["argv"])
    scrubber.observe_value({k: v for k, v in header.items() if k not in ("layout", "argv")})
    for chunk_type, content in reader.chunks():
        if chunk_type == EVENTS:
            observe_comms(content, scrubber, tasks=False)
        elif chunk_type == TASKS:
            observe_comms(content, scrubber, tasks=True)
        elif chunk_type == SOCKETS:
            observe_sockets(content, scrubber)
        elif chunk_type == DETAILS:
            observe_details(content, scrubber)
        elif chunk_type == PROCESSES:
            for process in load_json(chunk_type, content)["processes"]:
                _observe_process(process, scrubber)
        elif chunk_type in (FACT, TAIL):
            fact = load_json(chunk_type, content)
            if chunk_type == FACT and fact.get("kind") == "container":
                scrubber.observe_container(fact["id"], fact.get("name"), fact.get("image"))
            scrubber.observe_value(fact)
        if on_progress is not None:
            on_progress(reader.share)
    scrubber.begin()


def _observe_process(process: dict[str, Any], scrubber: Scrubber) -> None:
    if process.get("exe"):
        scrubber.observe_path(process["exe"])
    if process.get("args"):
        scrubber.observe_arguments(
            process["args"],
            program=process.get("exe") or "",
            cut=process.get("args_cut") is True,
        )
    if process.get("cgroup"):
        scrubber.observe_cgroup(process["cgroup"])


class _Rewriter:
    def __init__(self, reader: CaptureReader, scrubber: Scrubber | None, keep: Keep | None) -> None:
        self.reader, self.scrubber, self.keep = reader, scrubber, keep
        self.result = Rewritten()
        self._read = {"events": 0, "details": 0}
        self._events, self._details = bytearray(), bytearray()

    def header(self) -> dict[str, Any]:
        """Content of HEAD. The layout of records is no text of anybody's."""
        header = dict(self.reader.header)
        if self.scrubber is None:
            return header
        layout, argv = header.pop("layout", None), header.pop("argv", None)
        host = header.pop("host", None)
        header = dict(self.scrubber.scrub_value(header))
        if host is not None:
            header["host"] = self._host(self.scrubber, host)
        if argv is not None:
            header["argv"] = list(self.scrubber.scrub_arguments(tuple(argv)))
        if layout is not None:
            header["layout"] = abi.layout_description()
        return header

    def _host(self, scrubber: Scrubber, host: dict[str, Any]) -> dict[str, Any]:
        done: dict[str, Any] = scrubber.scrub_value(host)
        for name in ("hostname", "boot_id"):
            if host.get(name):
                done[name] = scrubber.vault.replace(host[name], [Span(0, len(host[name]), "host")])
        return done

    def chunks(self) -> Iterator[tuple[bytes, bytes]]:
        """What comes behind HEAD. Events are put together in large chunks, and so are details:
        their order in the file has no meaning, and large ones compress better."""
        for chunk_type, content in self.reader.chunks():
            if chunk_type == EVENTS:
                self._read["events"] += len(content) // EVENT_STRIDE
                self._events += scrub_events(content, self.scrubber, self.keep)
                yield from self._flush(CHUNK_BYTES)
            elif chunk_type == DETAILS:
                for part in self._detail_parts(content):
                    self._details += part
                    yield from self._flush(CHUNK_BYTES)
            elif chunk_type == TASKS:
                yield chunk_type, scrub_tasks(content, self.scrubber, self.keep)
            elif chunk_type == SOCKETS:
                yield chunk_type, scrub_sockets(content, self.scrubber, self.keep)
            elif chunk_type == PROCESSES:
                for found in self._processes(load_json(chunk_type, content)):
                    yield chunk_type, dump_json(found)
            elif chunk_type in (FACT, LOSS):
                found = load_json(chunk_type, content)
                if chunk_type == LOSS or self._is_kept(found):
                    yield chunk_type, dump_json(self._value(found))
            elif chunk_type == TAIL:
                yield from self._flush(0)
                yield chunk_type, dump_json(self._trailer(load_json(chunk_type, content)))
            else:  # what it means is not known, nor what is in it
                name = chunk_type.decode("ascii", "backslashreplace")
                self.result.dropped[name] = self.result.dropped.get(name, 0) + 1
        yield from self._flush(0)
        self.result.complete = self.reader.complete

    def _flush(self, limit: int) -> Iterator[tuple[bytes, bytes]]:
        for chunk_type, buffer in ((EVENTS, self._events), (DETAILS, self._details)):
            if len(buffer) > limit:
                content = bytes(buffer)
                if chunk_type == EVENTS:
                    self.result.events += len(content) // EVENT_STRIDE
                yield chunk_type, content
                buffer.clear()

    def _detail_parts(self, content: bytes) -> Iterator[bytes]:
        """Placeholders may be longer than what they stand for: so a chunk may become several."""
        done, read = scrub_details(content, self.scrubber, self.keep)
        self._read["details"] += read
        self.result.details += len(done)
        for start in range(0, len(done), _RECORDS):
            yield b"".join(done[start : start + _RECORDS])

    def _processes(self, found: dict[str, Any]) -> Iterator[dict[str, Any]]:
        kept = [
            self._process(process)
            for process in found["processes"]
            if self.keep is None or self.keep.has_one(process["tgid"], process["start_ns"])
        ]
        for start in range(0, len(kept), _PROCESSES):
            yield {"phase": found["phase"], "processes": kept[start : start + _PROCESSES]}

    def _process(self, process: dict[str, Any]) -> dict[str, Any]:
        scrubber = self.scrubber
        if scrubber is None:
            return process
        rest = {k: v for k, v in process.items() if k not in ("exe", "args", "cgroup")}
        done: dict[str, Any] = scrubber.scrub_value(rest)
        if process.get("exe") is not None:
            done["exe"] = scrubber.scrub_path(process["exe"])
        if process.get("args") is not None:
            cut = process.get("args_cut") is True
            done["args"] = list(scrubber.scrub_arguments(tuple(process["args"]), cut=cut))
        if process.get("cgroup") is not None:
            done["cgroup"] = scrubber.scrub_cgroup(process["cgroup"])
        return done

    def _value(self, value: dict[str, Any]) -> dict[str, Any]:
        if self.scrubber is None:
            return value
        done: dict[str, Any] = self.scrubber.scrub_value(value)
        # Without it, it would be another fact.
        return done | {key: value[key] for key in ("kind",) if key in value}

    def _is_kept(self, fact: dict[str, Any]) -> bool:
        """Facts of processes and containers that were left out go with them."""
        if self.keep is None:
            return True
        if fact.get("kind") == "container":
            return self.keep.has_container(fact["id"])
        return fact.get("kind") != "trigger" or self.keep.has_one(fact["tgid"], fact["start_ns"])

    def _trailer(self, trailer: dict[str, Any]) -> dict[str, Any]:
        done = self._value(trailer)
        now = {"events": self.result.events, "details": self.result.details}
        for name, count in now.items():
            if isinstance(trailer.get(name), int):  # what did not fit before does not fit now
                done[name] = max(trailer[name] + count - self._read[name], 0)
        return done
