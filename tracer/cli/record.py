"""`rtrace record`."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING

import click

from tracer.cli.completers import (
    complete_cgroup,
    complete_command,
    complete_file,
    complete_pidns,
    complete_trigger,
)
from tracer.cli.documented import Command
from tracer.errors import RtraceError, UsageError
from tracer.status import format_kept
from tracer.text import printable
from tracer.units import duration_option, size_option

if TYPE_CHECKING:
    from tracer.live import LiveView
    from tracer.recorder import Result
    from tracer.second_screen import SecondScreen

FAILED = 125  # with a COMMAND, whose own statuses are passed on


@click.command(
    cls=Command,
    takes_signals=True,
    examples=[
        ("sudo rtrace record", "the whole host, until Ctrl-C"),
        ("sudo rtrace record -o run.rtrace -- docker run --rm alpine true", "while it runs"),
        (
            "sudo rtrace record --pidns $(pidof -s systemd) --duration 30s",
            "only the processes of one pid namespace",
        ),
        (
            "sudo rtrace record --max-size 99MiB --trigger shim-exit --trigger 'container-exit!=0'",
            "the newest 99 MiB, saved when something ends",
        ),
    ],
    statuses=[
        ("125", "with COMMAND: rtrace itself failed"),
        ("128+N", "with COMMAND: signal N ended it"),
        ("any", "with COMMAND: its own status"),
    ],
    files=[
        ("rtrace-DATE-TIME.rtrace", "the capture if -o is not given"),
        ("FILE.segments/", "with --max-size: what is kept while it records; reads as a capture"),
        ("STEM-DATE-TIME-EVENT.rtrace", "what --trigger saved, beside FILE, which is STEM.rtrace"),
    ],
)
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    shell_complete=complete_file,
    help="Capture to write. [default: a new name]",
)
@click.option(
    "--duration",
    metavar="TIME",
    callback=duration_option,
    help="Stop after 30s, 5m, 1h.",
)
@click.option(
    "--pidns",
    type=click.IntRange(min=1),
    metavar="PID",
    shell_complete=complete_pidns,
    help="Only PID's pid namespace.",
)
@click.option(
    "--cgroup",
    metavar="PATH",
    shell_complete=complete_cgroup,
    help="Only this cgroup and those below it.",
)
@click.option(
    "--engine",
    type=click.Choice(["auto", "core", "bcc"]),
    default="auto",
    show_default=True,
    help="How the BPF programs are loaded.",
)
@click.option(  # which hook confirms reparents: for tests and measurements
    "--confirm",
    type=click.Choice(["auto", "fentry", "kprobe", "sched_switch"]),
    default="auto",
    hidden=True,
)
@click.option(
    "--buffer",
    metavar="SIZE",
    callback=size_option,
    default="16MiB",
    show_default=True,
    help="Ring buffer for events; rounded up to a power of two.",
)
@click.option(
    "--max-size",
    metavar="SIZE",
    callback=size_option,
    help="Keep only the newest SIZE: 20MiB, 500MiB. [default: all; 64MiB with --trigger]",
)
@click.option(
    "--trigger",
    "triggers",
    multiple=True,
    metavar="EVENT",
    shell_complete=complete_trigger,
    help="Save what is kept at EVENT, and go on: shim-exit, dockerd-exit, containerd-exit, oom, "
    "container-exit, container-exit!=0, runtime-kill. May be repeated.",
)
@click.option(
    "--after",
    metavar="TIME",
    callback=duration_option,
    default="5s",
    show_default=True,
    help="A save waits so long after its EVENT.",
)
@click.option(
    "--apart",
    metavar="TIME",
    callback=duration_option,
    default="30s",
    show_default=True,
    help="So much time is between two saves; EVENTs in between join the next.",
)
@click.option(
    "--keep",
    type=click.IntRange(min=1),
    default=10,
    show_default=True,
    metavar="N",
    help="Keep the newest N saves.",
)
@click.option("--no-args", is_flag=True, help="Do not record the arguments of programs.")
@click.option(
    "--live",
    is_flag=True,
    help="Show what happens: on a screen; without a terminal, or with COMMAND, in lines.",
)
@click.option("--force", is_flag=True, help="Replace FILE if it exists.")
@click.argument("command", nargs=-1, type=click.UNPROCESSED, shell_complete=complete_command)
def record(
    output: str | None,
    duration: float | None,
    pidns: int | None,
    cgroup: str | None,
    engine: str,
    confirm: str,
    buffer: int,
    max_size: int | None,
    triggers: tuple[str, ...],
    after: float,
    apart: float,
    keep: int,
    no_args: bool,
    live: bool,
    force: bool,
    command: tuple[str, ...],
) -> int:
    """Record process events of this host into a capture.

    Needs root, or CAP_BPF and CAP_PERFMON. Stops at Ctrl-C, SIGTERM, after --duration, or when
    COMMAND ends; COMMAND's exit status is then passed on (125: rtrace itself failed).
    """
    from tracer import options, recorder
    from tracer.confirmation import Confirmation
    from tracer.filters import resolve_filter
    from tracer.triggers import parse_trigger

    path = output or options.new_name()
    screen, view = _open_live(path, command) if live else (None, None)
    try:
        result = recorder.record(
            options.Options(
                path=path,
                record_filter=resolve_filter(pidns, cgroup),
                duration_s=duration,
                command=command,
                engine=engine,
                confirmations=None if confirm == "auto" else [Confirmation(confirm)],
                buffer_bytes=options.round_buffer(buffer),
                max_bytes=options.choose_bound(max_size, triggers),
                triggers=[parse_trigger(trigger) for trigger in triggers],
                after_s=after,
                apart_s=apart,
                keep=keep,
                no_args=no_args,
                force=force,
                argv=sys.argv,
                on_events=view.show_events if view else None,
                on_details=view.show_details if view else None,
                on_started=None if screen else lambda: _say_started(duration, command),
                say=screen.say if screen else _say,
                show_status=not (live and (command or sys.stdout.isatty())),
                screen=screen,
            )
        )
    except RtraceError as error:
        if command and not isinstance(error, UsageError):
            error.exit_code = FAILED
        raise
    finally:
        if screen is not None:
            screen.close()
        if view is not None:
            view.close()
    _say_done(result)
    if result.failure is not None:
        if command:
            result.failure.exit_code = FAILED
        raise result.failure
    return result.command_status or 0


def _open_live(path: str, command: tuple[str, ...]) -> tuple[SecondScreen | None, LiveView | None]:
    """What shows the recording: a screen, or lines. COMMAND has the terminal and stdout to itself:
    then it is lines, on stderr."""
    from tracer.live import LiveView
    from tracer.second_screen import SecondScreen, fits_terminal

    if command:
        return None, LiveView(sys.stderr)
    return (SecondScreen(path), None) if fits_terminal() else (None, LiveView(sys.stdout))


def _say(line: str) -> None:
    with contextlib.suppress(OSError):  # the terminal may be gone
        print(printable(line), file=sys.stderr, flush=True)


def _say_started(duration: float | None, command: tuple[str, ...]) -> None:
    if not sys.stderr.isatty():
        return
    until = "Ctrl-C"
    if command:
        until = f"{command[0]} ends"
    elif duration is not None:
        until = f"{duration:g} s have passed, or Ctrl-C"
    print(f"recording until {until}", file=sys.stderr)


def _say_done(result: Result) -> None:
    """Where the capture is, what is in it, and what to run next."""
    lost = f", {result.lost:,} LOST" if result.lost else ""
    kept = format_kept(result.size_bytes, result.dropped)
    _say(f"{result.path}: {result.events:,} events{lost}, {kept}")
    _say(f"next: rtrace report {result.path}")
