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
    TASK_PHASE,
    TASKS,
    load_json,
)
from tracer.event_text import detail_text, event_text, process_text
from tracer.text import printable


@click.command()
@click.argument("capture")
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


def _seconds(ts_ns: int) -> str:
    return f"{ts_ns // 1_000_000_000}.{ts_ns % 1_000_000_000:09}"


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=True)
