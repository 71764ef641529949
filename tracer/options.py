"""What to record and how, and what of that the capture's header says."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import tracer
from tracer import abi
from tracer.cgroups import naming_controller, read_hierarchies
from tracer.clock import read_clock
from tracer.confirmation import Confirmation
from tracer.engine import Engine
from tracer.errors import UsageError
from tracer.filters import RecordFilter
from tracer.host import read_host
from tracer.proc_view import ProcView
from tracer.segment_writer import MIN_BYTES
from tracer.triggers import Trigger

if TYPE_CHECKING:
    from tracer.second_screen import SecondScreen

_TRIGGER_BOUND = 64 << 20
_ARGV_ROOM = 64 << 10  # characters of the command line: up to twelve bytes each in JSON
_BUFFER_MIN, _BUFFER_MAX = 64 << 10, 1 << 30


@dataclass(frozen=True, slots=True)
class Options:
    """What to record, and how.

    Attributes:
        path: the capture to create.
        duration_s: stop by itself after so many seconds.
        command: program to run and to record until it ends.
        engine: one of tracer.engines.ENGINES.
        confirmations: hooks to confirm reparents with; None: what this host allows.
        buffer_bytes: size of the events ring.
        max_bytes: keep so many bytes, the newest; None: all.
        triggers: save what is held at these events ...
        after_s: ... and what follows in so many seconds ...
        apart_s: ... with so many seconds between two saves ...
        keep: ... but no more than so many saves, the newest.
        no_args: record no arguments of programs.
        argv: rtrace's own command line, for the header.
        on_events, on_details: look at each batch (--live).
        show_status: keep a status line on stderr if that is a terminal.
        screen: shows the recording instead (--live on a terminal).
        on_started: called when everything from now on is recorded.
        say: takes lines for the user.
    """

    path: str
    record_filter: RecordFilter = field(default_factory=RecordFilter)
    duration_s: float | None = None
    command: Sequence[str] = ()
    engine: str = "auto"
    confirmations: Sequence[Confirmation] | None = None
    buffer_bytes: int = 16 << 20
    max_bytes: int | None = None
    triggers: Sequence[Trigger] = ()
    after_s: float = 5.0
    apart_s: float = 30.0
    keep: int = 10
    no_args: bool = False
    force: bool = False
    argv: Sequence[str] = ()
    on_events: Callable[[bytes], None] | None = None
    on_details: Callable[[list[abi.Detail]], None] | None = None
    on_started: Callable[[], None] | None = None
    say: Callable[[str], None] = print
    show_status: bool = True
    screen: SecondScreen | None = None


def bpf_config(options: Options) -> abi.Config:
    """Settings of the BPF programs."""
    controller = naming_controller(read_hierarchies())
    config = abi.Config(no_args=options.no_args, v1_controller=controller)
    options.record_filter.apply(config)
    return config


def make_header(options: Options, engine: Engine, view: ProcView) -> dict[str, Any]:
    """Content of HEAD (docs/capture-format.md)."""
    bounds: dict[str, Any] = {}
    if options.max_bytes is not None:
        bounds = {"max_bytes": options.max_bytes, "triggers": [str(t) for t in options.triggers]}
    return {
        "schema": abi.SCHEMA,
        "rtrace": tracer.__version__,
        "clock": read_clock(),
        "host": read_host(),
        "engine": engine.name,
        "confirm": engine.confirmation,
        "sockets": None if engine.sockets_refused is not None else "files",
        "argv": _recorded_argv(options),
        "filter": options.record_filter.description,
        "buffer_bytes": engine.events_bytes,
        **bounds,
        "no_args": options.no_args,
        "pid": view.own_tgid(),
        "pidns": view.pidns if view.isolated else None,
        "layout": abi.layout_description(),
    }


def _recorded_argv(options: Options) -> list[str]:
    """rtrace's command line, without COMMAND's arguments where none are to be recorded, or many."""
    own = len(options.argv) - len(options.command)
    kept = 1 if options.no_args else abi.ARGS_MAX // 16
    found: list[str] = []
    room = _ARGV_ROOM
    for argument in options.argv[: own + kept]:
        if room <= 0:
            break
        found.append(argument[: min(abi.ARGS_MAX, room)])
        room -= len(found[-1])
    return found


def new_name() -> str:
    """Name for a capture in the current directory, from the time."""
    return time.strftime("rtrace-%Y%m%d-%H%M%S.rtrace")


def round_buffer(size: int) -> int:
    """The next power of two, as a BPF ring buffer needs it.

    Raises:
        UsageError: too small or too large to work with.
    """
    if not _BUFFER_MIN <= size <= _BUFFER_MAX:
        raise UsageError(
            f"cannot use a buffer of {size} bytes",
            "",
            "give something from 64KiB to 1GiB",
        )
    return 1 << (size - 1).bit_length()


def choose_bound(size: int | None, triggers: Sequence[str]) -> int | None:
    """How many bytes a recording may keep; None: all.

    Raises:
        UsageError: too few for anything of use.
    """
    if size is None:
        return _TRIGGER_BOUND if triggers else None
    if size < MIN_BYTES:
        step = "give at least 1MiB, and better 20MiB"
        raise UsageError(f"cannot keep a recording in {size} bytes", "", step)
    return size
