"""`rtrace dump`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator

import click

from tracer import abi
from tracer.capture_format import (
    DETAILS,
    EVENT_STRIDE,
    EVENTS,
    FACT,
    PHASES,
    PROCESSES,
    RING_HEADER_SIZE,
    SOCKET_HEAD,
    SOCKET_REASONS,
    SOCKETS,
    TASK_PHASE,
    TASKS,
    load_json,
)
from tracer.cli.completers import complete_capture
from tracer.cli.documented import Command
from tracer.event_text import detail_text, event_text, process_text
from tracer.text import printable


@click.command(
    cls=Command,
    short_help="Print the raw records of a capture.",
    examples=[
        ("rtrace dump incident.rtrace", "every record"),
        ("rtrace dump incident.rtrace | grep -w SIGKILL", "who was sent SIGKILL, and by whom"),
    ],
)
@click.argument("capture", shell_complete=complete_capture)
def dump(capture: str) -> None:
    """Print the raw records of a capture, one a line, in the order of the file.

    Times are seconds after boot. The order is the ring's, which may differ from that of time by
    some hundredths of a millisecond.
    """
    from tracer.capture_reader import CaptureReader

    with CaptureReader(capture) as reader:
        header = {key: value for key, value in reader.header.items() if key != "layout"}
        print(f"header    {_json(header)}")
        for chunk_type, content in reader.chunks():
            sys.stdout.writelines(f"{line}\n" for line in _lines(chunk_type, content))
        if reader.damage:
            print(f"damaged   {printable(reader.damage)}")


def _lines(chunk_type: bytes, content: bytes) -> Iterator[str]:
    if chunk_type == EVENTS:
        for offset in range(RING_HEADER_SIZE, len(content), EVENT_STRIDE):
            event = abi.Event.from_buffer_copy(content, offset)
            yield f"{_seconds(event.ts_ns)} {event.cpu:3} {event_text(event)}"
    elif chunk_type == DETAILS:
        for detail in abi.decode_details(content):
            yield f"{_seconds(detail.ts_ns)} {detail.cpu:3} {detail_text(detail)}"
    elif chunk_type == TASKS:
        # Where a bounded recording began a new segment there is one more of the start.
        phase = PHASES[TASK_PHASE.unpack_from(content)[0]]
        yield f"snapshot  {phase}, {(len(content) - TASK_PHASE.size) // abi.TASK_SIZE} processes"
        for offset in range(TASK_PHASE.size, len(content), abi.TASK_SIZE):
            task = abi.Task.from_buffer_copy(content, offset)
            yield (
                f"{_seconds(task.ts_ns)}   - {'task':9} "
                f"{process_text(task.tgid, task.start_ns)} {printable(task.comm)} "
                f"parent={process_text(task.parent_tgid, task.parent_start_ns)} "
                f"ns_tgid={task.ns_tgid} level={task.level} flags={task.flags} "
                f"exit_state={task.exit_state}"
            )
    elif chunk_type == SOCKETS:
        begun_ns, reason, cut = SOCKET_HEAD.unpack_from(content)
        count = (len(content) - SOCKET_HEAD.size) // abi.SOCKET_SIZE
        more = ", and more that were not kept" if cut else ""
        yield f"sockets   {SOCKET_REASONS[reason]}, begun at {_seconds(begun_ns)}, {count}{more}"
        for offset in range(SOCKET_HEAD.size, len(content), abi.SOCKET_SIZE):
            yield _socket_line(content, offset)
    elif chunk_type == PROCESSES:
        chunk = load_json(chunk_type, content)
        for process in chunk["processes"]:
            yield f"proc      {printable(chunk['phase'])} {_json(process)}"
    elif chunk_type == FACT:
        fact = load_json(chunk_type, content)
        ts_ns, kind = fact.pop("ts_ns"), printable(fact.pop("kind"))
        yield f"{_seconds(ts_ns)}   - {'fact':9} {kind} {_json(fact)}"
    else:
        name = printable(chunk_type).lower()
        yield f"{name:9} {printable(content)}"


def _socket_line(content: bytes, offset: int) -> str:
    socket = abi.Socket.from_buffer_copy(content, offset)
    at = offset + abi.Socket.name.offset
    name = content[at : at + min(socket.name_len, abi.SOCKET_NAME_MAX)]
    return (
        f"{_seconds(socket.ts_ns)}   - {'socket':9} "
        f"{process_text(socket.tgid, socket.start_ns)} {printable(socket.comm)} fd={socket.fd} "
        f"inode={socket.inode} peer={socket.peer_inode} state={socket.state} "
        f"flags={socket.flags} pending={socket.pending} netns={socket.netns} "
        f"noted={process_text(socket.cred_tgid, socket.cred_start_ns)} name={printable(name)}"
    )


def _seconds(ts_ns: int) -> str:
    return f"{ts_ns // 1_000_000_000}.{ts_ns % 1_000_000_000:09}"


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=True)
